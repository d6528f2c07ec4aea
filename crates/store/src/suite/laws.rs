//! What a [`Store`] promises, one test each.

use domain::{BucketWidth, Lane, Position, ReceivedAt, Subtopic, Timestamp, Value};

use super::Home;
use super::fixtures::{all_counts, all_rows, append, batch, channel, counts_of, number_row, sort, thing};
use crate::contract::{
    Block, BlockScan, CountLevel, Direction, PurgeTarget, Row, Store, TimeRange, WriteBatch, WriteRow,
};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3_600 * SECOND;
const BOTH: [Direction; 2] = [Direction::Ascending, Direction::Descending];

fn received(mut row: WriteRow, micros: i64) -> WriteRow {
    row.row.received = ReceivedAt::from_micros(micros);
    row
}

/// Rows of one thing that differ in every part of their key, some of whose parts begin like others.
fn varied_rows() -> Vec<WriteRow> {
    let mut rows = Vec::new();
    for nanos in [5, 6] {
        for subtopic in ["", "a", "a.b", "b"] {
            for name in ["n", "n1", "m"] {
                for unit in ["", "u", "uu"] {
                    let mut row = number_row(channel(1), thing(1), nanos, rows.len() as f64);
                    row.row.subtopic = Subtopic::from_stored(subtopic);
                    row.row.record.name = name.to_owned();
                    row.row.record.unit = unit.to_owned();
                    rows.push(row);
                }
            }
        }
    }
    rows
}

fn scan(block: Block, direction: Direction, limit: usize) -> BlockScan {
    BlockScan { block, range: TimeRange::ALL, direction, after: None, limit, bytes_max: usize::MAX }
}

async fn one_scan(store: &dyn Store, scan: BlockScan) -> Vec<Row> {
    let answers = store.rows(channel(1), BucketWidth::Hour.into(), vec![scan], usize::MAX).await;
    let mut answers = answers.expect("rows can be read");
    assert_eq!(answers.len(), 1, "a scan has an answer");
    answers.remove(0).rows
}

/// A block's rows come by time in the direction, ties upwards, within the range and the limit.
pub async fn rows_come_in_order(home: &mut dyn Home) {
    let store = home.open().await;
    append(&*store, varied_rows()).await;
    let block = Block::of(BucketWidth::Hour, Timestamp::from_nanos(5), thing(1));
    for direction in BOTH {
        let mut expected: Vec<Row> = varied_rows().into_iter().map(|row| row.row).collect();
        sort(&mut expected, direction);
        for limit in [0, 1, 2, 35, 36, 37, 71, 72, 1_000] {
            let found = one_scan(&*store, scan(block, direction, limit)).await;
            assert_eq!(found, expected[..limit.min(72)], "{direction:?}, limit {limit}");
        }
        for (from, to) in [(5, Some(6)), (6, None), (5, Some(5)), (7, None), (i64::MIN, Some(i64::MIN))] {
            let range = TimeRange { from: Timestamp::from_nanos(from), to: to.map(Timestamp::from_nanos) };
            let found = one_scan(&*store, BlockScan { range, ..scan(block, direction, 100) }).await;
            let within: Vec<Row> =
                expected.iter().filter(|row| range.contains(row.record.time)).cloned().collect();
            assert_eq!(found, within, "{direction:?}, {range:?}");
        }
    }
}

/// A text of a record.
fn text_row(publisher: u8, nanos: i64, name: &str, bytes: usize) -> WriteRow {
    let mut row = number_row(channel(1), thing(publisher), nanos, 0.0);
    row.row.record.name = name.to_owned();
    row.row.record.value = Some(Value::Text("x".repeat(bytes)));
    row
}

/// Of large rows a call answers as many as its bytes allow, one at least, and says that there are more; what goes on behind them
/// misses none and repeats none.
pub async fn large_rows_are_read_in_parts(home: &mut dyn Home) {
    let store = home.open().await;
    // Some times have one row, some many; each row takes a little more than 10,000 bytes.
    let row = |n: i64| text_row(1, n / 7 * 3, &format!("n{:02}", n % 7), 10_000);
    append(&*store, (0..40).map(row).chain((100..110).map(|n| text_row(1, n, "n", 10_000)))).await;
    let block = Block::of(BucketWidth::Hour, Timestamp::from_nanos(5), thing(1));
    for direction in BOTH {
        let expected = one_scan(&*store, scan(block, direction, 1_000)).await;
        assert_eq!(expected.len(), 50);
        for (limit, bytes_max) in [(1_000, 0), (1_000, 10_000), (1_000, 35_000), (3, 1 << 20), (4, 25_000)] {
            let mut walked: Vec<Row> = Vec::new();
            loop {
                let after = walked.last().map(Row::key);
                let scan = BlockScan { after, bytes_max, ..scan(block, direction, limit) };
                let answers =
                    store.rows(channel(1), BucketWidth::Hour.into(), vec![scan.clone(), scan], 0).await;
                let answers = answers.expect("rows can be read");
                let bytes: usize = answers[0].rows.iter().map(Row::bytes).sum();
                assert_eq!(answers[0].bytes, bytes);
                assert!(bytes < bytes_max + 11_000, "{bytes} of {bytes_max}");
                assert!(answers[0].rows.len() <= limit);
                if !answers[0].rows.is_empty() && answers[1].rows.is_empty() {
                    assert!(answers[1].more, "it was not begun");
                }
                walked.extend(answers[0].rows.iter().cloned());
                if !answers[0].more {
                    break;
                }
                assert!(!answers[0].rows.is_empty(), "there is always one, if there is any");
            }
            assert_eq!(walked, expected, "{direction:?}, {limit}, {bytes_max}");
        }
    }
}

/// A scan begins behind any row, be it in the block, in another one, or nowhere.
pub async fn a_scan_goes_on_behind_any_row(home: &mut dyn Home) {
    let store = home.open().await;
    append(&*store, varied_rows()).await;
    let block = Block::of(BucketWidth::Hour, Timestamp::from_nanos(5), thing(1));
    for direction in BOTH {
        let mut expected: Vec<Row> = varied_rows().into_iter().map(|row| row.row).collect();
        sort(&mut expected, direction);
        let mut marks = expected.clone();
        for nanos in [i64::MIN, 4, 5, 6, 7, i64::MAX] {
            for publisher in [0, 1, 2] {
                marks.push(number_row(channel(1), thing(publisher), nanos, 0.0).row);
            }
        }
        for mark in marks {
            let mut with_mark = expected.clone();
            with_mark.retain(|row| row.key() != mark.key());
            with_mark.push(mark.clone());
            sort(&mut with_mark, direction);
            let at = with_mark.iter().position(|row| *row == mark).expect("it was just put there");
            for limit in [1, 40, 100] {
                let scan = BlockScan { after: Some(mark.key()), ..scan(block, direction, limit) };
                let found = one_scan(&*store, scan).await;
                let rest = &with_mark[at + 1..];
                assert_eq!(found, rest[..limit.min(rest.len())], "{direction:?} behind {mark:?}");
            }
        }
    }
}

/// Whatever order receptions are stored in, the latest stays; of equal ones the one stored last, if positions are kept.
pub async fn the_later_reception_wins(home: &mut dyn Home) {
    let equal_too = home.keeps_positions();
    let mut store = home.open().await;
    let version = |micros, number| received(number_row(channel(1), thing(1), 10, number), micros);
    let newer_row = number_row(channel(1), thing(1), 20, 0.0);
    for (micros, number, expected) in
        [(5, 1.0, 1.0), (4, 2.0, 1.0), (5, 3.0, 3.0), (9, 4.0, 4.0), (-1, 5.0, 4.0), (8, 6.0, 4.0)]
    {
        let number = if equal_too || number != 3.0 { number } else { 1.0 };
        let expected = if equal_too || expected != 3.0 { expected } else { 1.0 };
        append(&*store, [version(micros, number), newer_row.clone()]).await;
        let rows = all_rows(&*store, channel(1), BucketWidth::Hour, Direction::Ascending).await;
        assert_eq!(rows.len(), 2, "after reception {micros}");
        assert_eq!(rows[0].record.value, Some(Value::Number(expected)), "after reception {micros}");
        drop(store);
        store = home.open().await;
    }
}

/// A batch may say several things of one row: the same rule holds within it.
pub async fn a_batch_resolves_its_own_repetitions(home: &mut dyn Home) {
    let store = home.open().await;
    let version = |nanos, micros, number| received(number_row(channel(1), thing(1), nanos, number), micros);
    append(
        &*store,
        [version(1, 7, 1.0), version(2, 7, 2.0), version(1, 8, 3.0), version(1, 6, 4.0), version(2, 7, 5.0)],
    )
    .await;
    let rows = all_rows(&*store, channel(1), BucketWidth::Hour, Direction::Ascending).await;
    let values: Vec<_> = rows.into_iter().map(|row| row.record.value).collect();
    assert_eq!(values, [Some(Value::Number(3.0)), Some(Value::Number(5.0))]);
    let counts = all_counts(&*store, channel(1), BucketWidth::Hour, CountLevel::Finest).await;
    assert_eq!(counts.iter().map(|count| count.rows).sum::<u64>(), 2);
}

/// A measurement sent again as another kind, or without a sum, keeps nothing of what it was.
pub async fn another_kind_leaves_nothing_of_the_old(home: &mut dyn Home) {
    let store = home.open().await;
    let kinds = [
        (Some(Value::Number(1.5)), Some(2.0), Some(3.0)),
        (Some(Value::Text("on".into())), None, Some(60.0)),
        (Some(Value::Bool(false)), Some(-1.0), None),
        (Some(Value::Data(vec![0, 255])), None, None),
        (None, Some(4.0), None),
        (Some(Value::Text(String::new())), None, None),
    ];
    for (micros, (value, sum, update_time)) in kinds.into_iter().enumerate() {
        let mut row = received(number_row(channel(1), thing(1), 1, 0.0), micros as i64);
        (row.row.record.value, row.row.record.sum, row.row.record.update_time) = (value, sum, update_time);
        append(&*store, [row.clone()]).await;
        let rows = all_rows(&*store, channel(1), BucketWidth::Hour, Direction::Descending).await;
        assert_eq!(rows, [row.row]);
    }
}

/// Storing again what is stored changes no count, in the same batches or others.
pub async fn replays_count_nothing(home: &mut dyn Home) {
    let mut store = home.open().await;
    let rows: Vec<WriteRow> =
        (0..300).map(|n| number_row(channel(1), thing(n as u8 % 7), n * SECOND * 50, 1.0)).collect();
    for chunk in [100, 7, 300] {
        for part in rows.chunks(chunk) {
            append(&*store, part.to_vec()).await;
        }
        append(&*store, rows.iter().rev().cloned()).await;
        for level in CountLevel::ALL {
            let expected = counts_of(rows.iter().map(|row| row.row.record.time), level);
            assert_eq!(
                all_counts(&*store, channel(1), BucketWidth::Hour, level).await,
                expected,
                "{level:?}"
            );
        }
        drop(store);
        store = home.open().await;
    }
}

/// Counts are right for the first and the last time there is, and a range of starts cuts them exactly.
pub async fn counts_hold_at_the_ends_of_time(home: &mut dyn Home) {
    let store = home.open().await;
    let times = [i64::MIN, i64::MIN + 1, -SECOND, -1, 0, SECOND - 1, SECOND, i64::MAX - 1, i64::MAX];
    append(&*store, times.map(|nanos| number_row(channel(1), thing(1), nanos, 1.0))).await;
    for level in CountLevel::ALL {
        let expected = counts_of(times.into_iter().map(Timestamp::from_nanos), level);
        assert_eq!(all_counts(&*store, channel(1), BucketWidth::Hour, level).await, expected, "{level:?}");
        assert_eq!(
            all_counts(&*store, channel(2), BucketWidth::Hour, level).await,
            [],
            "{level:?} of another channel"
        );
        let starts = expected[1].start_seconds..expected.last().expect("there are some").start_seconds;
        let within = store
            .counts(channel(1), BucketWidth::Hour.into(), level, starts)
            .await
            .expect("counts can be read");
        assert_eq!(within, expected[1..expected.len() - 1], "{level:?} of some starts");
    }
    let found = all_rows(&*store, channel(1), BucketWidth::Hour, Direction::Ascending).await;
    assert_eq!(found.iter().map(|row| row.record.time.as_nanos()).collect::<Vec<_>>(), times);
}

/// Blocks come in order of bucket, then shard; whole buckets, at least one; decades apart or not.
pub async fn blocks_are_listed_in_whole_buckets(home: &mut dyn Home) {
    let store = home.open().await;
    let profile = BucketWidth::Hour.into();
    let hours = [-600_000, -1, 0, 1, 5, 200_000];
    let rows =
        hours.iter().flat_map(|hour| (0..9).map(move |n| number_row(channel(1), thing(n), hour * HOUR, 1.0)));
    append(&*store, rows).await;
    for direction in BOTH {
        let mut expected: Vec<Block> = hours
            .iter()
            .flat_map(|&bucket| {
                (0..9).map(move |n| {
                    Block::of(BucketWidth::Hour, Timestamp::from_nanos(bucket * HOUR), thing(n))
                })
            })
            .collect();
        expected.sort();
        expected.dedup();
        if direction == Direction::Descending {
            expected.sort_by_key(|block| (std::cmp::Reverse(block.bucket), block.shard));
        }
        let in_bucket = expected.len() / hours.len();
        for limit in [1, in_bucket - 1, in_bucket, in_bucket + 1, 3 * in_bucket, 1_000] {
            let whole = (limit / in_bucket).max(1) * in_bucket;
            let list = |after| store.blocks(channel(1), profile, TimeRange::ALL, direction, after, limit);
            let mut found = Vec::new();
            loop {
                let next =
                    list(found.last().map(|block: &Block| block.bucket)).await.expect("blocks can be listed");
                if next.is_empty() {
                    break;
                }
                assert_eq!(
                    next.len(),
                    whole.min(expected.len() - found.len()),
                    "{direction:?}, limit {limit}"
                );
                found.extend(next);
            }
            assert_eq!(found, expected, "{direction:?}, limit {limit}");
        }
        let range = TimeRange { from: Timestamp::from_nanos(-1), to: Some(Timestamp::from_nanos(HOUR)) };
        let found = store
            .blocks(channel(1), profile, range, direction, None, 1_000)
            .await
            .expect("blocks can be listed");
        expected.retain(|block| (-1..1).contains(&block.bucket));
        assert_eq!(found, expected, "{direction:?}");
    }
}

/// What was appended and persisted is there when the store is opened again, with its positions if it keeps any.
pub async fn positions_and_rows_survive(home: &mut dyn Home) {
    let keeps_positions = home.keeps_positions();
    let mut store = home.open().await;
    assert_eq!(store.resume_after().await.expect("positions can be read"), []);
    let position = |lane, offset| Position { lane: Lane(lane), offset };
    for (nanos, positions, mut expected) in [
        (1, vec![position(0, 7)], vec![position(0, 7)]),
        (2, vec![position(3, 1), position(0, 8)], vec![position(0, 8), position(3, 1)]),
        (3, vec![], vec![position(0, 8), position(3, 1)]),
    ] {
        let rows = vec![number_row(channel(1), thing(1), nanos, 1.0)];
        store.append(WriteBatch { rows, positions }).await.expect("an append works");
        store.persist().await.expect("persisting works");
        drop(store);
        store = home.open().await;
        let mut found = store.resume_after().await.expect("positions can be read");
        found.sort();
        if !keeps_positions {
            expected.clear();
        }
        assert_eq!(found, expected);
        let rows = all_rows(&*store, channel(1), BucketWidth::Hour, Direction::Descending).await;
        assert_eq!(rows.len() as i64, nanos);
    }
    store
        .append(WriteBatch { rows: vec![], positions: vec![position(0, 9)] })
        .await
        .expect("an append works");
    let found = store.resume_after().await.expect("positions can be read");
    assert_eq!(found.contains(&position(0, 9)), keeps_positions);
}

/// Rows of two channels by two things, at times a little apart.
fn shared_rows() -> Vec<WriteRow> {
    let rows =
        (0..40).map(|n| number_row(channel(1 + n as u8 % 2), thing(n as u8 / 2 % 2), n * HOUR / 9, n as f64));
    rows.collect()
}

async fn expect_only(store: &dyn Store, kept: impl Fn(&WriteRow) -> bool) {
    for number in [1, 2] {
        let mut expected: Vec<Row> = shared_rows()
            .into_iter()
            .filter(|row| row.channel == channel(number) && kept(row))
            .map(|row| row.row)
            .collect();
        sort(&mut expected, Direction::Descending);
        let found = all_rows(store, channel(number), BucketWidth::Hour, Direction::Descending).await;
        assert_eq!(found, expected, "channel {number}");
        for level in CountLevel::ALL {
            let counts = counts_of(expected.iter().map(|row| row.record.time), level);
            assert_eq!(
                all_counts(store, channel(number), BucketWidth::Hour, level).await,
                counts,
                "channel {number}, {level:?}"
            );
        }
    }
}

/// A purged channel has nothing and gets nothing; others are left alone.
pub async fn a_purged_channel_is_gone_for_ever(home: &mut dyn Home) {
    purged_for_ever(home, PurgeTarget::Channel(channel(1)), |row| row.channel != channel(1)).await;
}

/// A purged thing has nothing in any channel and adds nothing to any; others in the same blocks are left alone.
pub async fn a_purged_publisher_is_gone_for_ever(home: &mut dyn Home) {
    purged_for_ever(home, PurgeTarget::Publisher(thing(1)), |row| row.row.publisher != thing(1)).await;
}

async fn purged_for_ever(home: &mut dyn Home, target: PurgeTarget, kept: impl Fn(&WriteRow) -> bool + Copy) {
    let mut store = home.open().await;
    append(&*store, shared_rows()).await;
    expect_only(&*store, |_| true).await;
    store.purge(target).await.expect("a purge works");
    expect_only(&*store, kept).await;
    append(&*store, shared_rows()).await;
    expect_only(&*store, kept).await;
    drop(store);
    store = home.open().await;
    expect_only(&*store, kept).await;
    append(&*store, shared_rows().into_iter().map(|row| received(row, 9)).filter(|row| !kept(row))).await;
    store.purge(target).await.expect("a purge may be repeated");
    expect_only(&*store, kept).await;
}

/// Appends go on while targets are purged: none of a target's rows stays, none of another's is lost.
pub async fn purges_and_appends_may_race(home: &mut dyn Home) {
    let store = home.open().await;
    let rows = |from: i64| {
        (from..from + 50)
            .flat_map(|n| (0..4).map(move |t| number_row(channel(1 + t % 2), thing(t), n * SECOND, 1.0)))
    };
    append(&*store, rows(0)).await;
    let appends = async {
        for n in 1..40 {
            store.append(batch(rows(n * 50))).await.expect("an append works");
        }
    };
    let purges = async {
        store.purge(PurgeTarget::Publisher(thing(2))).await.expect("a purge works");
        store.purge(PurgeTarget::Channel(channel(2))).await.expect("a purge works");
    };
    tokio::join!(appends, purges);
    let left = all_rows(&*store, channel(1), BucketWidth::Hour, Direction::Ascending).await;
    assert_eq!(left.len(), 2_000, "all rows of the thing that was left alone");
    assert!(left.iter().all(|row| row.publisher == thing(0)));
    for level in CountLevel::ALL {
        let expected = counts_of(left.iter().map(|row| row.record.time), level);
        assert_eq!(all_counts(&*store, channel(1), BucketWidth::Hour, level).await, expected, "{level:?}");
    }
    assert_eq!(all_rows(&*store, channel(2), BucketWidth::Hour, Direction::Ascending).await, []);
}
