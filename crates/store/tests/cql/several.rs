//! Several instances at one keyspace: they write and read at once, purge behind each other's back, and die in the middle.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use domain::{BucketWidth, Timestamp};
use thalweg_store::planner::{CursorKey, Filter, Query, Start, read};
use thalweg_store::suite::{channel, number_row, thing};
use thalweg_store::{
    CountLevel, CqlConfig, CqlStore, Direction, PurgeTarget, Store, StoreError, Tally, TimeRange, WriteBatch,
    WriteRow,
};

use crate::home::{CqlHome, config, nodes, session};

const SECOND: i64 = 1_000_000_000;

fn batch(rows: impl IntoIterator<Item = WriteRow>) -> WriteBatch {
    WriteBatch { rows: rows.into_iter().collect(), positions: Vec::new() }
}

async fn total(store: &dyn Store) -> u64 {
    total_of(store, TimeRange::ALL).await
}

async fn total_of(store: &dyn Store, range: TimeRange) -> u64 {
    store.tally(channel(1), BucketWidth::Hour.into(), vec![Tally::total(range)]).await.unwrap()[0].passed()
}

async fn counted(store: &dyn Store, level: CountLevel) -> u64 {
    store
        .counts(channel(1), BucketWidth::Hour.into(), level, i64::MIN..i64::MAX)
        .await
        .unwrap()
        .iter()
        .map(|count| count.rows)
        .sum()
}

/// Writers of one channel and readers of it, all at once: no total misses what was acknowledged before it was asked for,
/// and none has what was not begun when it was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_are_exact_while_several_write() {
    const BATCHES: i64 = 60;
    let mut home = CqlHome::default();
    let (begun, acknowledged) = (AtomicU64::new(0), AtomicU64::new(0));
    // One request after the other: readers have time to look into the middle of an append.
    let slow = CqlConfig { requests_in_flight_max: 1, ..home.config().await };
    let slow = Arc::new(CqlStore::open(slow).await.unwrap());
    let stores = [slow, home.store().await, home.store().await, home.store().await];
    let write = async |store: &CqlStore, writer: i64| {
        for number in 0..BATCHES {
            // What the first writer writes nobody touches again: a reader that misses it misses it for ever. The other
            // one fills a range up, and repeats a part of what it wrote before.
            let (start, step) =
                if writer == 0 { (0, 300 * SECOND) } else { (-1_000_000 * SECOND, 5 * SECOND) };
            let row = |n: i64| {
                let time = start + n / 20 * step + n % 20 * SECOND / 4;
                number_row(channel(1), thing((writer * 20 + n % 20) as u8), time, 1.0)
            };
            let again = if writer == 1 && number >= 3 { number * 20 - 60..number * 20 - 50 } else { 0..0 };
            let rows: Vec<WriteRow> = again.chain(number * 20..number * 20 + 20).map(row).collect();
            begun.fetch_add(20, Ordering::SeqCst);
            store.append(batch(rows)).await.unwrap();
            acknowledged.fetch_add(20, Ordering::SeqCst);
        }
    };
    let all = 2 * 20 * BATCHES as u64;
    let read = async |store: &CqlStore| {
        let mut looks = 0;
        while acknowledged.load(Ordering::SeqCst) < all {
            let before = acknowledged.load(Ordering::SeqCst);
            let total = total(store).await;
            let after = begun.load(Ordering::SeqCst);
            assert!((before..=after).contains(&total), "{total} of {before} to {after}");
            looks += 1;
        }
        looks
    };
    let (_, _, looks, more) =
        tokio::join!(write(&stores[0], 0), write(&stores[1], 1), read(&stores[2]), read(&stores[3]));
    assert!(looks + more > 4, "readers looked in between");
    for store in &stores {
        assert_eq!(total(&**store).await, all);
        for level in CountLevel::ALL {
            assert_eq!(counted(&**store, level).await, all, "{level:?}");
        }
    }
}

/// Lets a future go on for so many polls at most.
async fn interrupted<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// A writer that dies anywhere within an append, and another that appends the same batch: the rows are there once, and a
/// reader that looked in between counts them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_append_is_completed_by_another() {
    let mut home = CqlHome::default();
    let (reader, other) = (home.store().await, home.store().await);
    let (mut interrupted_anywhere, mut rows_so_far) = (0, 0);
    for polls in 1..25 {
        let dying = home.store().await;
        // Rows of two partitions in new blocks, so that an append has all of its steps.
        let rows: Vec<WriteRow> = (0..40)
            .map(|n| {
                number_row(channel(1), thing(n as u8 % 2), polls as i64 * 3_600 * SECOND + n * SECOND, 1.0)
            })
            .collect();
        interrupted_anywhere +=
            usize::from(interrupted(polls, dying.append(batch(rows.clone()))).await.is_none());
        drop(dying);
        let seen = total(&*reader).await;
        assert!((rows_so_far..=rows_so_far + 40).contains(&seen), "{seen} after {polls} polls");
        other.append(batch(rows)).await.unwrap();
        rows_so_far += 40;
        assert_eq!(total(&*reader).await, rows_so_far, "after {polls} polls");
    }
    assert!(interrupted_anywhere > 3, "{interrupted_anywhere} appends were interrupted");
    assert_eq!(counted(&*reader, CountLevel::Finest).await, rows_so_far);
}

/// How many rows there are to be seen from a time on, up to a limit.
async fn rows_from(store: &CqlStore, nanos: i64, limit: usize) -> u64 {
    let query = Query {
        channel: channel(1),
        profile: BucketWidth::Hour.into(),
        range: TimeRange { from: Timestamp::from_nanos(nanos), ..TimeRange::ALL },
        cut_off: Timestamp::MIN,
        direction: Direction::Ascending,
        filter: Filter::default(),
        limit,
        start: Start::Offset(0),
    };
    read(store, &query, &CursorKey::from_bytes(&[1; 32])).await.unwrap().rows.len() as u64
}

/// Rows that anybody has seen are in each total from then on, also of who counted before, and also while they are not
/// acknowledged: a writer dies between them and its mark, after few rows, whose seconds stay open, and after many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_seen_is_counted_though_its_writer_died() {
    let mut home = CqlHome::default();
    let (first, second) = (home.store().await, home.store().await);
    for count in [20, 200] {
        let mut died_unmarked = 0;
        for polls in 1..40 {
            let start = (count * 1_000_000 + polls as i64 * 600) * SECOND;
            let rows: Vec<WriteRow> =
                (0..count).map(|n| number_row(channel(1), thing(1), start + n * SECOND / 2, 1.0)).collect();
            // Both have counted, and remember it.
            let before = total(&*first).await;
            assert_eq!(total(&*second).await, before);
            let dying = home.store().await;
            let died = interrupted(polls, dying.append(batch(rows.clone()))).await.is_none();
            let seen = rows_from(&first, start, count as usize).await;
            died_unmarked += usize::from(died && seen == count as u64);
            for reader in [&second, &first] {
                let total = total(&**reader).await;
                assert!(total >= before + seen, "{total} after {polls} polls: {before} and {seen} were seen");
            }
            first.append(batch(rows)).await.unwrap();
        }
        assert!(died_unmarked > 0, "none died between {count} rows and their mark");
    }
}

/// What one reader has counted, the next one that starts does not read again; what was written since, it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_kept_for_readers_that_start() {
    let mut home = CqlHome::default();
    let writer = home.store().await;
    let keyspace = home.config().await.keyspace;
    let row = |n: i64| number_row(channel(1), thing(1), n * SECOND, 1.0);
    writer.append(batch((0..1_000).map(row))).await.unwrap();
    assert_eq!(total(&*home.store().await).await, 1_000);

    // The rows go behind the store's back: who says 1,000 has not looked at them.
    let first_hour = TimeRange { to: Some(Timestamp::from_nanos(3_600 * SECOND)), ..TimeRange::ALL };
    let delete = format!("TRUNCATE {keyspace}.rows_forever");
    session().await.query_unpaged(delete, ()).await.unwrap();
    let cold = home.store().await;
    assert_eq!(total(&*cold).await, 1_000, "from what was kept");
    // 900 s lie in the seventh part of 128 s, which goes to 1,024 s.
    writer.append(batch([row(900)])).await.unwrap();
    for reader in [&*cold, &*home.store().await] {
        assert_eq!(total(reader).await, 7 * 128 + 1, "only the touched part was counted again");
        assert_eq!(total_of(reader, first_hour).await, 7 * 128 + 1);
    }
}

/// A first count that nobody waits for any more is finished all the same, and kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_goes_on_when_its_caller_gives_up() {
    let mut home = CqlHome::default();
    let (writer, reader) = (home.store().await, home.store().await);
    let keyspace = home.config().await.keyspace;
    writer
        .append(batch((0..1_000).map(|n| number_row(channel(1), thing(1), n * SECOND, 1.0))))
        .await
        .unwrap();
    let mut count = Box::pin(total(&*reader));
    assert!(futures::poll!(&mut count).is_pending());
    drop(count);
    let session = session().await;
    let kept = format!("SELECT start FROM {keyspace}.counts WHERE channel = ? AND span = 0");
    let kept = session.prepare(kept).await.unwrap();
    let found = async || session.execute_unpaged(&kept, (channel(1).as_uuid(),)).await.unwrap();
    while found().await.into_rows_result().unwrap().rows_num() == 0 {}
    session.query_unpaged(format!("TRUNCATE {keyspace}.rows_forever"), ()).await.unwrap();
    assert_eq!(total(&*home.store().await).await, 1_000);
}

/// An instance that has not heard of a purge may store rows for a while; they go away by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_unaware_writer_stores_goes_away() {
    let mut home = CqlHome::default();
    let quick = CqlConfig {
        request_timeout: Duration::from_secs(3),
        purges_known_within: Duration::from_secs(1),
        append_timeout: Duration::from_secs(4),
        ..home.config().await
    };
    let open = async || CqlStore::open(quick.clone()).await.unwrap();
    let (unaware, purging, reader) = (open().await, open().await, open().await);
    let rows = |number: u8, from: i64| {
        (from..from + 50)
            .flat_map(move |n| [1, 2].map(|t| number_row(channel(number), thing(t), n * SECOND, 1.0)))
    };
    let write = async |from: i64| {
        let rows: Vec<WriteRow> = rows(1, from).chain(rows(2, from)).collect();
        unaware.append(batch(rows)).await.unwrap();
    };
    write(0).await;
    purging.purge(PurgeTarget::Publisher(thing(2))).await.unwrap();
    purging.purge(PurgeTarget::Channel(channel(2))).await.unwrap();
    assert_eq!(total(&reader).await, 50);
    // Old rows again and new ones: whether it has heard by now or not.
    write(0).await;
    write(50).await;
    let blocks = reader
        .blocks(channel(2), BucketWidth::Hour.into(), TimeRange::ALL, Direction::Ascending, None, 100)
        .await
        .unwrap();
    assert_eq!(blocks, [], "a channel is hidden at once and for ever");
    loop {
        let left = total(&reader).await;
        assert!(left >= 100, "none of the other's rows are lost");
        if left == 100 {
            break;
        }
    }
    write(100).await;
    assert_eq!(total(&reader).await, 150, "it has heard of it");
    assert_eq!(total(&open().await).await, 150);
    // The second purge leaves nothing to do, and nothing behind.
    let unfinished = format!("SELECT target FROM {}.purges", quick.keyspace);
    let session = session().await;
    while session.query_unpaged(unfinished.clone(), ()).await.unwrap().into_rows_result().unwrap().rows_num()
        > 0
    {}
    purging.purge(PurgeTarget::Publisher(thing(2))).await.unwrap();
    assert_eq!(total(&reader).await, 150);
}

/// Several processes that find no keyspace, or an old one, make one schema.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_may_migrate_at_once_and_a_newer_schema_is_refused() {
    let keyspace = format!("thalweg_new_{}", std::process::id());
    let session = session().await;
    let change = async |statement: String| {
        let mut statement = scylla::statement::unprepared::Statement::new(statement);
        statement.set_request_timeout(Some(Duration::from_secs(60)));
        session.query_unpaged(statement, ()).await.unwrap();
    };
    let open = || CqlStore::open(config(nodes(), &keyspace));
    let (a, b, c) = tokio::try_join!(open(), open(), open()).unwrap();
    a.append(batch([number_row(channel(1), thing(1), 5, 1.0)])).await.unwrap();
    assert_eq!((total(&b).await, total(&c).await), (1, 1));
    drop((a, b, c));

    change(format!("INSERT INTO {keyspace}.schema_version (slot, version) VALUES (0, 9)")).await;
    let refused = open().await.unwrap_err();
    assert!(matches!(refused, StoreError::NewerFormat { found: 9, known: 3 }), "{refused:?}");
    change(format!("DROP KEYSPACE {keyspace}")).await;
}

/// Nobody listens there: an error, and soon.
#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let refused = CqlStore::open(config(vec![address], "thalweg")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
}

/// Rows with every kind of value, and texts of every sort, come back as they went in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_text_and_number_survives() {
    use domain::Value;
    let mut home = CqlHome::default();
    let store: Arc<CqlStore> = home.store().await;
    let texts =
        ["", "\0", "a\0b", "ä€😀", "'; DROP TABLE x; --", "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10ffff}"];
    let values = texts.iter().map(|text| Value::Text((*text).to_owned())).chain([
        Value::Text("x".repeat(200_000)),
        Value::Data((0..=255).collect()),
        Value::Data(Vec::new()),
        Value::Number(f64::MIN_POSITIVE),
        Value::Number(-0.0),
        Value::Bool(true),
    ]);
    let rows: Vec<WriteRow> = values
        .enumerate()
        .map(|(n, value)| {
            let mut row = number_row(channel(1), thing(1), 7, 0.0);
            row.row.record.value = Some(value);
            row.row.record.name = format!("{n:02}{}", texts[n % texts.len()]);
            row.row.record.unit = texts[n % texts.len()].to_owned();
            row
        })
        .collect();
    store.append(batch(rows.clone())).await.unwrap();
    let block = thalweg_store::Block::of(BucketWidth::Hour, domain::Timestamp::from_nanos(7), thing(1));
    for direction in [Direction::Ascending, Direction::Descending] {
        let scan = thalweg_store::BlockScan {
            block,
            range: TimeRange::ALL,
            direction,
            after: None,
            limit: 100,
            bytes_max: usize::MAX,
        };
        let found = store.rows(channel(1), BucketWidth::Hour.into(), vec![scan], usize::MAX).await.unwrap();
        let expected: Vec<_> = rows.iter().map(|row| row.row.clone()).collect();
        assert_eq!(found[0].rows, expected, "{direction:?}");
    }
}
