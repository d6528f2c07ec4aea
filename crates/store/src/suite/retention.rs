//! What becomes of records that expire, over any [`Store`], one test each.

use domain::{BucketWidth, ChannelId, ChannelProfile, Retention, ThingId, Timestamp};

use super::Home;
use super::fixtures::{all_rows, append, batch, channel, number_row, thing};
use crate::contract::{Block, BlockScan, Direction, Expired, PurgeTarget, Row, Store, TimeRange, WriteRow};
use crate::planner::{CursorKey, Filter, Page, Query, Start, read};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3_600 * SECOND;
const BOTH: [Direction; 2] = [Direction::Ascending, Direction::Descending];

/// Every profile there is: each width, each class, each retention that a channel of it may have.
fn all_profiles() -> Vec<ChannelProfile> {
    let classes = BucketWidth::ALL
        .into_iter()
        .flat_map(|width| Retention::ALL.into_iter().map(move |class| ChannelProfile::new(width, class)));
    classes
        .flat_map(|profile| Retention::ALL.into_iter().filter_map(move |to| profile.shortened(to)))
        .collect()
}

fn row(channel: ChannelId, profile: ChannelProfile, publisher: ThingId, nanos: i64) -> WriteRow {
    WriteRow { profile, ..number_row(channel, publisher, nanos, 1.0) }
}

fn query(channel: ChannelId, profile: ChannelProfile, cut_off: i64, direction: Direction) -> Query {
    Query {
        channel,
        profile,
        range: TimeRange::ALL,
        cut_off: Timestamp::from_nanos(cut_off),
        direction,
        filter: Filter::default(),
        limit: 1_000,
        start: Start::Offset(0),
    }
}

async fn page(store: &dyn Store, query: Query) -> Page {
    read(store, &query, &CursorKey::from_bytes(&[9; 32])).await.expect("a page can be read")
}

fn times(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.record.time.as_nanos()).collect()
}

/// Deletes all that is due, and says how many blocks that were.
async fn expire(store: &dyn Store, channel: ChannelId, profile: ChannelProfile, before: i64) -> u64 {
    let mut blocks = 0;
    loop {
        let before = Timestamp::from_nanos(before);
        let Expired { blocks: more_blocks, more } =
            store.expire(channel, profile, before).await.expect("expiry works");
        blocks += more_blocks;
        if !more {
            return blocks;
        }
    }
}

/// A page, its total and any offset begin at the cut-off, exact to the nanosecond, in the middle of a second or of a
/// window, for a channel of whatever width and class.
pub async fn what_has_expired_is_neither_shown_nor_counted(home: &mut dyn Home) {
    let store = home.open().await;
    let cut = 20 * HOUR + 1_000 * SECOND + 500_000_000;
    let mut all: Vec<i64> = (0..40).map(|n| n * HOUR + n).collect();
    all.extend((-40..40).map(|n| cut + n * SECOND / 8));
    all.extend([cut - 1, cut + 1]);
    all.sort_unstable();
    all.dedup();
    for (number, profile) in (10..).zip(all_profiles().into_iter().filter(|profile| !profile.is_shortened()))
    {
        let channel = channel(number);
        append(&*store, all.iter().map(|&nanos| row(channel, profile, thing((nanos % 5) as u8), nanos)))
            .await;
        for cut_off in [cut, cut + 1, i64::MIN, 39 * HOUR + 40] {
            for direction in BOTH {
                let mut kept: Vec<i64> = all.iter().copied().filter(|nanos| *nanos >= cut_off).collect();
                if direction == Direction::Descending {
                    kept.reverse();
                }
                let query = query(channel, profile, cut_off, direction);
                for offset in [0, kept.len() / 2] {
                    let start = Start::Offset(offset as u64);
                    let page = page(&*store, Query { start, ..query.clone() }).await;
                    assert_eq!(
                        times(&page.rows),
                        kept[offset..],
                        "{profile:?} from {cut_off}, {direction:?}"
                    );
                    assert_eq!(page.total, kept.len() as u64, "{profile:?} from {cut_off}, {direction:?}");
                }
                let range = TimeRange { from: Timestamp::from_nanos(cut - 7), to: None };
                let page = page(&*store, Query { range, ..query }).await;
                kept.retain(|nanos| *nanos >= cut - 7);
                assert_eq!((times(&page.rows), page.total), (kept.clone(), kept.len() as u64));
            }
        }
    }
}

/// Pages go on behind where the last one ended while what was on it expires, and what is ahead.
pub async fn a_cursor_is_stable_while_the_cut_off_moves(home: &mut dyn Home) {
    let store = home.open().await;
    let profile = ChannelProfile::new(BucketWidth::Hour, Retention::Days7);
    append(&*store, (0..100).map(|n| row(channel(1), profile, thing(n as u8 % 3), n * SECOND))).await;
    for direction in BOTH {
        for limit in [3, 7] {
            let (mut walked, mut start, mut cut_off) = (Vec::new(), Start::Offset(0), 0);
            loop {
                let asked = query(channel(1), profile, cut_off * SECOND, direction);
                let next = page(&*store, Query { start, limit, ..asked }).await;
                assert_eq!(next.offset, walked.len() as u64);
                assert!(times(&next.rows).iter().all(|nanos| *nanos >= cut_off * SECOND), "nothing expired");
                assert!(next.total >= walked.len() as u64 + next.rows.len() as u64 || next.rows.is_empty());
                walked.extend(times(&next.rows).iter().map(|nanos| nanos / SECOND));
                match next.next {
                    Some(next) => start = Start::Cursor(next),
                    None => break,
                }
                // Slower than the pages at first, then faster.
                cut_off = (cut_off * 3 / 2 + 1).min(90);
            }
            let mut expected = walked.clone();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(expected.len(), walked.len(), "no row is shown twice");
            match direction {
                // Newest first, the pages meet the cut-off at some place, and all before it were shown.
                Direction::Descending => assert!(walked.iter().rev().is_sorted() && walked[0] == 99),
                Direction::Ascending => assert!(walked.is_sorted() && walked.ends_with(&[98, 99])),
            }
        }
    }
}

/// Blocks that have expired are gone for good from a channel whose retention became shorter: those that end before the
/// time, and no others; what comes late into them goes, too. What is kept is counted and shown as before.
pub async fn what_has_expired_is_deleted(home: &mut dyn Home) {
    let mut store = home.open().await;
    let shortened: Vec<ChannelProfile> =
        all_profiles().into_iter().filter(|profile| profile.is_shortened()).collect();
    let all: Vec<i64> = (-20..120).map(|n| n * HOUR / 2 + n).collect();
    for (number, profile) in (10..).zip(shortened.iter().copied()) {
        let rows =
            |channel| all.iter().map(move |&nanos| row(channel, profile, thing((nanos % 3) as u8), nanos));
        append(&*store, rows(channel(number))).await;
    }
    append(&*store, all.iter().map(|&nanos| number_row(channel(1), thing(1), nanos, 1.0))).await;
    for round in 0..2 {
        for (number, profile) in (10..).zip(shortened.iter().copied()) {
            let channel = channel(number);
            let before = 50 * HOUR + 17;
            let end =
                profile.bucket_width.bucket_of(Timestamp::from_nanos(before)) * profile.bucket_width.nanos();
            if round == 1 {
                append(&*store, [-HOUR, 3 * HOUR].map(|nanos| row(channel, profile, thing(9), nanos))).await;
            }
            assert!(expire(&*store, channel, profile, before).await > 0, "{profile:?}");
            assert_eq!(expire(&*store, channel, profile, before).await, 0, "all was done");
            let kept: Vec<i64> = all.iter().copied().filter(|nanos| *nanos >= end).collect();
            let left = all_rows(&*store, channel, profile, Direction::Ascending).await;
            assert_eq!(times(&left), kept, "{profile:?}");
            for cut_off in [end, before, before + HOUR] {
                let shown = page(&*store, query(channel, profile, cut_off, Direction::Descending)).await;
                let expected: Vec<i64> =
                    kept.iter().rev().copied().filter(|nanos| *nanos >= cut_off).collect();
                assert_eq!((times(&shown.rows), shown.total), (expected.clone(), expected.len() as u64));
            }
        }
        drop(store);
        store = home.open().await;
    }
    let others = all_rows(&*store, channel(1), BucketWidth::Hour, Direction::Ascending).await;
    assert_eq!(times(&others), all, "another channel is left alone");
}

/// A record that is years ahead of its reception is kept until it expires, and is deleted then like any other.
pub async fn rows_far_ahead_are_deleted_when_they_expire(home: &mut dyn Home) {
    let store = home.open().await;
    let years = |n: i64| n * 366 * 24 * HOUR;
    for (number, class) in (10..).zip(Retention::ALL) {
        let profile = ChannelProfile::new(BucketWidth::Hour, class);
        let all: [i64; 4] = [HOUR, years(2), years(2) + HOUR, years(3)];
        append(&*store, all.map(|nanos| row(channel(number), profile, thing(1), nanos))).await;
        if class == Retention::Forever {
            continue;
        }
        assert_eq!(expire(&*store, channel(number), profile, 0).await, 0);
        let shown = page(&*store, query(channel(number), profile, 0, Direction::Ascending)).await;
        assert_eq!((times(&shown.rows), shown.total), (all.to_vec(), 4));
        assert!(expire(&*store, channel(number), profile, years(2) + HOUR).await > 0);
        let read = async |nanos: i64| {
            let block = Block::of(profile.bucket_width, Timestamp::from_nanos(nanos), thing(1));
            let scan = BlockScan {
                block,
                range: TimeRange::ALL,
                direction: Direction::Ascending,
                after: None,
                limit: 10,
                bytes_max: usize::MAX,
            };
            let answers = store.rows(channel(number), profile, vec![scan], usize::MAX).await;
            answers
                .expect("rows can be read")
                .into_iter()
                .flat_map(|scanned| scanned.rows)
                .collect::<Vec<_>>()
        };
        assert!(read(years(2)).await.is_empty(), "{class}");
        assert_eq!(times(&read(years(2) + HOUR).await), [years(2) + HOUR], "{class}");
        let listed = all_rows(&*store, channel(number), profile, Direction::Ascending).await;
        assert!(!times(&listed).contains(&years(2)));
        let shown =
            page(&*store, query(channel(number), profile, years(2) + HOUR, Direction::Ascending)).await;
        assert_eq!((times(&shown.rows), shown.total), (all[2..].to_vec(), 2));
    }
}

/// One batch may have rows of channels of every class, and what is purged goes from each of them.
pub async fn channels_of_all_classes_keep_to_themselves(home: &mut dyn Home) {
    let mut store = home.open().await;
    let profiles = all_profiles();
    let rows = |publisher: u8| {
        (10u8..).zip(profiles.iter().copied()).flat_map(move |(number, profile)| {
            (0..5).map(move |n| row(channel(number), profile, thing(publisher), n * 400 * SECOND))
        })
    };
    append(&*store, rows(1).chain(rows(2))).await;
    append(&*store, rows(2)).await;
    let shown = async |store: &dyn Store, number: u8, profile| {
        let shown = page(store, query(channel(number), profile, i64::MIN, Direction::Ascending)).await;
        assert_eq!(shown.total, shown.rows.len() as u64, "{profile:?}");
        shown.total
    };
    for (number, profile) in (10..).zip(profiles.iter().copied()) {
        assert_eq!(shown(&*store, number, profile).await, 10, "{profile:?}");
    }
    store.purge(PurgeTarget::Publisher(thing(2))).await.expect("a purge works");
    let purged_channel = |number: u8| number.is_multiple_of(3);
    for (number, profile) in (10..).zip(profiles.iter().copied()) {
        assert_eq!(shown(&*store, number, profile).await, 5, "{profile:?}");
        if purged_channel(number) {
            store.purge(PurgeTarget::Channel(channel(number))).await.expect("a purge works");
            expire(&*store, channel(number), profile, i64::MAX).await;
        }
    }
    drop(store);
    store = home.open().await;
    append(&*store, rows(1).chain(rows(2))).await;
    for (number, profile) in (10..).zip(profiles.iter().copied()) {
        let expected = if purged_channel(number) { 0 } else { 5 };
        assert_eq!(shown(&*store, number, profile).await, expected, "{profile:?}");
    }
}

/// Appends go on, into blocks that expire, too, while these are deleted: what is kept stays exact.
pub async fn appends_and_expiry_may_race(home: &mut dyn Home) {
    let store = home.open().await;
    let class = ChannelProfile::new(BucketWidth::FiveMinutes, Retention::Forever);
    let profile = class.shortened(Retention::Days7).expect("it is shorter");
    let rows = |from: i64| {
        (from..from + 50).map(move |n| row(channel(1), profile, thing(n as u8 % 4), n * 10 * SECOND))
    };
    append(&*store, rows(0)).await;
    let appends = async {
        for n in 1..40 {
            store.append(batch(rows(n * 50).chain(rows(n)))).await.expect("an append works");
        }
    };
    let cut_off = 5_000 * SECOND;
    let expiry = async {
        for n in 1..=20 {
            expire(&*store, channel(1), profile, n * 250 * SECOND).await;
            let shown = page(&*store, query(channel(1), profile, cut_off, Direction::Ascending)).await;
            assert!(times(&shown.rows).iter().all(|nanos| *nanos >= cut_off));
        }
    };
    tokio::join!(appends, expiry);
    expire(&*store, channel(1), profile, cut_off).await;
    let end =
        BucketWidth::FiveMinutes.bucket_of(Timestamp::from_nanos(cut_off)) * BucketWidth::FiveMinutes.nanos();
    let expected: Vec<i64> = (0..2_000).map(|n| n * 10 * SECOND).filter(|nanos| *nanos >= end).collect();
    let left = all_rows(&*store, channel(1), profile, Direction::Ascending).await;
    assert_eq!(times(&left), expected);
    let mut query = query(channel(1), profile, end, Direction::Ascending);
    query.limit = 2_000;
    let shown = page(&*store, query).await;
    assert_eq!((times(&shown.rows), shown.total), (expected.clone(), expected.len() as u64));
}
