//! How records expire in the tables: lives, what is remembered of what is gone, late writers, and a keyspace of the first
//! release.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{BucketWidth, ChannelProfile, ReceivedAt, Retention, Timestamp};
use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;
use thalweg_store::planner::{CursorKey, Filter, Query, Start, read};
use thalweg_store::suite::{channel, number_row, thing};
use thalweg_store::{
    CountLevel, CqlStore, Direction, Expired, PurgeTarget, Store, TimeRange, WriteBatch, WriteRow, shard_of,
};

use crate::home::{CqlHome, config, nodes, session};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY_SECONDS: i64 = 86_400;

fn row(profile: ChannelProfile, nanos: i64) -> WriteRow {
    WriteRow { profile, ..number_row(channel(1), thing(1), nanos, 1.0) }
}

async fn append(store: &CqlStore, rows: impl IntoIterator<Item = WriteRow>) {
    let rows = rows.into_iter().collect();
    store.append(WriteBatch { rows, positions: Vec::new() }).await.unwrap();
}

/// The database's clock, in seconds: this process's is not needed.
async fn now(session: &Session) -> i64 {
    let query = "SELECT toUnixTimestamp(now()) FROM system.local WHERE key = 'local'";
    let rows = session.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap();
    rows.single_row::<(i64,)>().unwrap().0 / 1_000
}

/// Times in order, and the total, of what has not expired.
async fn shown(store: &CqlStore, profile: ChannelProfile, cut_off: i64, offset: u64) -> (Vec<i64>, u64) {
    let query = Query {
        channel: channel(1),
        profile,
        range: TimeRange::ALL,
        cut_off: Timestamp::from_nanos(cut_off),
        direction: Direction::Ascending,
        filter: Filter::default(),
        limit: 1_000,
        start: Start::Offset(offset),
    };
    let page = read(store, &query, &CursorKey::from_bytes(&[1; 32])).await.unwrap();
    (page.rows.iter().map(|row| row.record.time.as_nanos()).collect(), page.total)
}

/// Rows live for their class and two days if they are not ahead, longer if they are, and without an end if they are far
/// ahead; and the tables are of the kind that drops files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_live_until_they_have_expired() {
    let mut home = CqlHome::default();
    let store = home.store().await;
    let (session, keyspace) = (session().await, home.config().await.keyspace);
    let now = now(&session).await;
    for (number, (class, table, days)) in (1u8..).zip([
        (Retention::Days7, "rows_7d", 7),
        (Retention::Days90, "rows_90d", 90),
        (Retention::Days400, "rows_400d", 400),
    ]) {
        let profile = ChannelProfile::new(BucketWidth::Hour, class);
        let class_life = (days + 2) * DAY_SECONDS;
        let lives = [
            (-3 * DAY_SECONDS, Some(class_life)),
            (0, Some(class_life)),
            (DAY_SECONDS - 10, Some(class_life)),
            (30 * DAY_SECONDS, Some(class_life + 30 * DAY_SECONDS)),
            (800 * DAY_SECONDS, None),
        ];
        let rows = lives.map(|(ahead, _)| {
            let mut row = row(profile, (now + ahead) * SECOND);
            row.channel = channel(number);
            row.row.received = ReceivedAt::from_micros(now * 1_000_000);
            row
        });
        append(&store, rows).await;
        for (ahead, expected) in lives {
            let (time, width) = (now + ahead, BucketWidth::Hour.seconds());
            let query = format!(
                "SELECT TTL(fields) FROM {keyspace}.{table} WHERE channel = ? AND bucket = ? AND shard = ? AND time = ?"
            );
            let place =
                (channel(number).as_uuid(), time.div_euclid(width), shard_of(thing(1)) as i16, time * SECOND);
            let rows = session.query_unpaged(query, place).await.unwrap().into_rows_result().unwrap();
            let life = rows.single_row::<(Option<i32>,)>().unwrap().0.map(i64::from);
            let lately = |expected: i64| life.is_some_and(|life| (expected - 600..=expected).contains(&life));
            assert!(expected.map_or(life.is_none(), lately), "{class}, {ahead} s ahead: {life:?}");
        }
        let query = "SELECT default_time_to_live, compaction FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
        let rows = session.query_unpaged(query, (keyspace.to_string(), table)).await.unwrap();
        let (life, compaction) =
            rows.into_rows_result().unwrap().single_row::<(i32, BTreeMap<String, String>)>().unwrap();
        assert_eq!(i64::from(life), class_life);
        assert!(compaction["class"].ends_with("TimeWindowCompactionStrategy"), "{compaction:?}");
    }
}

/// Rows go away behind the store's back, as they do when they are dead: no count that is remembered, or was kept, of what
/// is before the cut-off comes into any total or offset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_drops_is_never_counted() {
    let mut home = CqlHome::default();
    let (store, warm) = (home.store().await, home.store().await);
    let keyspace = home.config().await.keyspace;
    let profile = ChannelProfile::new(BucketWidth::Hour, Retention::Days7);
    let all: Vec<i64> = (0..900).map(|n| n * 120 * SECOND + n).collect();
    append(&store, all.iter().map(|&nanos| row(profile, nanos))).await;
    let (times, total) = shown(&warm, profile, i64::MIN, 0).await;
    assert_eq!((times.len(), total), (900, 900));
    for level in CountLevel::ALL {
        let counts = warm.counts(channel(1), profile, level, i64::MIN..i64::MAX).await.unwrap();
        assert_eq!(counts.iter().map(|count| count.rows).sum::<u64>(), 900);
    }
    let session = session().await;
    let delete = format!("DELETE FROM {keyspace}.rows_7d WHERE channel = ? AND bucket = ? AND shard = ?");
    let delete = session.prepare(delete).await.unwrap();
    for bucket in 0..17_i64 {
        let place = (channel(1).as_uuid(), bucket, shard_of(thing(1)) as i16);
        session.execute_unpaged(&delete, place).await.unwrap();
    }
    let cold = home.store().await;
    for cut_off in [17 * HOUR, 17 * HOUR + 1_000 * SECOND, 17 * HOUR + 1_800 * SECOND + 465, 25 * HOUR + 1] {
        let kept: Vec<i64> = all.iter().copied().filter(|nanos| *nanos >= cut_off).collect();
        for store in [&warm, &cold] {
            for offset in [0, 1, kept.len() / 2, kept.len() - 1] {
                let (times, total) = shown(store, profile, cut_off, offset as u64).await;
                assert_eq!((times.as_slice(), total), (&kept[offset..], kept.len() as u64), "from {cut_off}");
            }
        }
    }
}

/// A count begins in the window that the cut-off is in: what is before that may be dead, and is not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_is_not_read_to_be_counted() {
    const WINDOW_SECONDS: i64 = 16_384;
    let mut home = CqlHome::default();
    let store = home.store().await;
    let profile = ChannelProfile::new(BucketWidth::Hour, Retention::Days7);
    append(&store, (0..1_000).map(|n| row(profile, n * 144 * SECOND))).await;
    assert_eq!(shown(&*home.store().await, profile, 30 * HOUR, 0).await.1, 250);
    let keyspace = home.config().await.keyspace;
    let query = format!("SELECT start FROM {keyspace}.counts WHERE channel = ? AND span = 0");
    let kept = session().await.query_unpaged(query, (channel(1).as_uuid(),)).await.unwrap();
    let kept = kept.into_rows_result().unwrap();
    let windows: Vec<i64> = kept.rows::<(i64,)>().unwrap().map(|row| row.unwrap().0).collect();
    let [first, last] = [30 * 3_600, 999 * 144].map(|second: i64| second.div_euclid(WINDOW_SECONDS));
    assert_eq!(windows, (first..=last).collect::<Vec<_>>());
}

async fn rows_of(session: &Session, query: String) -> usize {
    session.query_unpaged(query, ()).await.unwrap().into_rows_result().unwrap().rows_num()
}

/// A writer that remembers a block as listed writes into it after the sweep: what it writes is gone already, and what it
/// lists anew is swept again. Windows of the index that hold nothing any more are struck off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_late_is_gone_too() {
    let mut home = CqlHome::default();
    let (writer, sweeping) = (home.store().await, home.store().await);
    let (session, keyspace) = (session().await, home.config().await.keyspace);
    let class = ChannelProfile::new(BucketWidth::Hour, Retention::Forever);
    let profile = class.shortened(Retention::Days7).unwrap();
    let received = ReceivedAt::from_micros(now(&session).await * 1_000_000);
    let at = |nanos| {
        let mut row = row(profile, nanos);
        row.row.received = received;
        row
    };
    append(&writer, [at(HOUR), at(2 * HOUR), at(800 * HOUR)]).await;
    let partition = format!(
        "SELECT time FROM {keyspace}.rows_forever WHERE channel = {} AND bucket = 1 AND shard = {}",
        channel(1).as_uuid(),
        shard_of(thing(1))
    );
    assert_eq!(rows_of(&session, partition.clone()).await, 1);
    let before = Timestamp::from_nanos(799 * HOUR);
    let expired = sweeping.expire(channel(1), profile, before).await.unwrap();
    assert_eq!(expired, Expired { blocks: 2, more: false });
    assert_eq!(rows_of(&session, partition.clone()).await, 0);

    // By a node whose clock is an hour ahead.
    let mut late = at(HOUR + 1);
    late.row.received = ReceivedAt::from_micros(received.as_micros() + 3_600_000_000);
    append(&writer, [late, at(801 * HOUR)]).await;
    assert_eq!(rows_of(&session, partition.clone()).await, 0, "it was deleted before it was written");
    let kept = (vec![800 * HOUR, 801 * HOUR], 2);
    assert_eq!(shown(&sweeping, profile, 799 * HOUR, 0).await, kept);
    // One that remembers nothing lists the block again.
    append(&*home.store().await, [at(HOUR + 2)]).await;
    assert_eq!(
        sweeping.expire(channel(1), profile, before).await.unwrap(),
        Expired { blocks: 1, more: false }
    );
    let blocks =
        format!("SELECT bucket FROM {keyspace}.blocks WHERE channel = {} AND span = 0", channel(1).as_uuid());
    assert_eq!(rows_of(&session, blocks).await, 0);
    assert_eq!(shown(&sweeping, profile, 799 * HOUR, 0).await, kept);

    // A window that was listed some time ago, and holds nothing.
    let windows = format!("SELECT span FROM {keyspace}.windows WHERE channel = {}", channel(1).as_uuid());
    let an_hour_ago = received.as_micros() - 3_600_000_000;
    let list = format!(
        "INSERT INTO {keyspace}.windows (channel, span) VALUES ({}, -5) USING TIMESTAMP {an_hour_ago}",
        channel(1).as_uuid()
    );
    session.query_unpaged(list, ()).await.unwrap();
    assert_eq!(rows_of(&session, windows.clone()).await, 3);
    sweeping.expire(channel(1), profile, before).await.unwrap();
    assert_eq!(
        rows_of(&session, windows).await,
        2,
        "the first one was listed a moment ago, and may be about to be used"
    );
    assert_eq!(shown(&sweeping, profile, 799 * HOUR, 0).await, kept);
}

/// A keyspace of the first release gets the new tables, keeps what it has, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyspace_of_version_1_stays_readable() {
    let keyspace = "thalweg_version_1";
    let session = session().await;
    let change = async |text: String| {
        let mut statement = Statement::new(text);
        statement.set_request_timeout(Some(Duration::from_secs(60)));
        session.query_unpaged(statement, ()).await.unwrap();
    };
    change(format!("DROP KEYSPACE IF EXISTS {keyspace}")).await;
    for line in include_str!("../fixtures/cql-v1/keyspace.cql").lines() {
        change(line.replace("KS", keyspace)).await;
    }
    let store = CqlStore::open(config(nodes(), keyspace)).await.unwrap();
    let forever = ChannelProfile::default();
    let stored = vec![7 * SECOND, 5 * HOUR + 1];
    assert_eq!(shown(&store, forever, i64::MIN, 0).await, (stored.clone(), 2));
    append(&store, [row(forever, 7 * SECOND), row(forever, 6 * HOUR)]).await;
    let all = [stored, vec![6 * HOUR]].concat();
    assert_eq!(shown(&store, forever, i64::MIN, 0).await, (all, 3));

    // A channel that kept for ever may be given a retention.
    let shortened = forever.shortened(Retention::Days7).unwrap();
    let before = Timestamp::from_nanos(5 * HOUR);
    assert_eq!(store.expire(channel(1), shortened, before).await.unwrap().blocks, 1);
    assert_eq!(shown(&store, shortened, 5 * HOUR, 0).await, (vec![5 * HOUR + 1, 6 * HOUR], 2));
    let expiring = ChannelProfile::new(BucketWidth::Hour, Retention::Days90);
    append(&store, [WriteRow { channel: channel(2), ..row(expiring, HOUR) }]).await;
    let counted = store.counts(channel(2), expiring, CountLevel::Coarse, i64::MIN..i64::MAX).await.unwrap();
    assert_eq!(counted.len(), 1);
    store.purge(PurgeTarget::Publisher(thing(1))).await.unwrap();
    assert_eq!(shown(&store, shortened, 5 * HOUR, 0).await, (Vec::new(), 0));
    drop(store);
    change(format!("DROP KEYSPACE {keyspace}")).await;
}
