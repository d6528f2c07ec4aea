//! The writer between a real log and a real store, through what goes wrong on either side.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::senml::Format;
use domain::{ChannelId, ChannelProfile, Entry, Lane, Position, Protocol, ReceivedAt, Subtopic, ThingId};
use instruments::Registry;
use log::{BatchLimits, EmbeddedLog, Log};
use service::consumer_status::ConsumerStatus;
use store::suite::Flaky;
use store::{CountLevel, EmbeddedStore, Store};
use tempfile::TempDir;
use thalweg_writer::{Config, GROUP, Parts, WriterMetrics, run};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CHANNEL: ChannelId = ChannelId::from_bytes([1; 16]);

struct World {
    _directory: TempDir,
    log: Arc<EmbeddedLog>,
    store: Arc<Flaky>,
    metrics: Registry,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&directory.path().join("store"), Default::default()).unwrap();
        let resume = store.resume_after().await.unwrap();
        let (log, _) = EmbeddedLog::open(&directory.path().join("log"), Default::default(), &resume).unwrap();
        Self {
            _directory: directory,
            log: Arc::new(log),
            store: Arc::new(Flaky::new(Arc::new(store), 0)),
            metrics: Registry::new(),
        }
    }

    /// Starts a writer that tries again at once and commits soon.
    fn write(&self) -> (JoinHandle<()>, CancellationToken) {
        let moment = Duration::from_millis(1);
        let config = Config { commit_interval: moment, retry: (moment, moment), ..Config::default() };
        let parts = Parts {
            log: Arc::clone(&self.log) as _,
            store: Arc::clone(&self.store) as _,
            metrics: WriterMetrics::register(&self.metrics),
            status: ConsumerStatus::default(),
        };
        let stop = CancellationToken::new();
        let running = run(config, parts, stop.clone());
        (tokio::spawn(async move { running.await.unwrap() }), stop)
    }

    /// Appends packs, of which number n is received at n µs.
    async fn append(&self, packs: impl IntoIterator<Item = (i64, String)>) {
        let entry = |(number, pack): (i64, String)| Entry {
            channel: CHANNEL,
            profile: ChannelProfile::default(),
            publisher: ThingId::from_bytes([2; 16]),
            subtopic: Subtopic::default(),
            protocol: Protocol::Http,
            format: Format::Json,
            received: ReceivedAt::from_micros(number),
            payload: Bytes::from(pack),
        };
        self.log.append(packs.into_iter().map(entry).collect()).await.unwrap();
    }

    /// Waits until the store holds so many records.
    async fn until_stored(&self, records: u64) {
        while self.stored().await < records {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.stored().await, records);
    }

    /// Waits until a line is among the metrics.
    async fn until(&self, line: &str) {
        while !self.metrics.render().lines().any(|there| there == line) {
            tokio::task::yield_now().await;
        }
    }

    async fn stored(&self) -> u64 {
        let counts = self
            .store
            .counts(CHANNEL, ChannelProfile::default(), CountLevel::Coarsest, i64::MIN..i64::MAX)
            .await
            .unwrap();
        counts.iter().map(|count| count.rows).sum()
    }

    /// What the group would be given next: nothing, if all was committed.
    async fn uncommitted(&self) -> u64 {
        self.log.subscribe(GROUP, &[]).await.unwrap().backlog()
    }
}

fn pack(number: i64) -> (i64, String) {
    (number, format!(r#"[{{"n":"a","t":{},"v":{number}}}]"#, 1_700_000_000 + number))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_appended_is_stored_and_committed() {
    let world = World::new().await;
    let (writer, stop) = world.write();
    world.append((0..100).map(pack)).await;
    world.until_stored(100).await;
    stop.cancel();
    writer.await.unwrap();
    assert_eq!(world.uncommitted().await, 0);
    let end = Position { lane: Lane(0), offset: 99 };
    assert_eq!(world.store.resume_after().await.unwrap(), [end], "the position is kept beside the rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_waited_for_and_nothing_is_dropped() {
    let world = World::new().await;
    world.store.go_away(20);
    let (writer, stop) = world.write();
    world.append((0..50).map(pack)).await;
    world.until_stored(50).await;
    assert!(world.store.is_back());
    world.store.go_away(5);
    world.append((50..60).map(pack)).await;
    world.until_stored(60).await;
    stop.cancel();
    writer.await.unwrap();
    assert!(world.log.dead_letters(0, 10).await.unwrap().is_empty(), "an outage buries nothing");
    let text = world.metrics.render();
    // A commit that is due meanwhile meets the outage, too.
    let retries = |step: &str| -> u64 {
        let series = format!("writer_retries_total{{step=\"{step}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    };
    assert_eq!(retries("append") + retries("persist"), 25, "{text}");
    assert!(retries("append") >= 20, "{text}");
    assert!(text.contains("writer_records_total 60\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_has_not_made_durable_is_never_committed() {
    let world = World::new().await;
    world.store.refuse_to_persist(true);
    for _ in 0..2 {
        let (writer, stop) = world.write();
        world.append((0..10).map(pack)).await;
        world.until_stored(10).await;
        stop.cancel();
        writer.await.unwrap();
    }
    assert_eq!(world.uncommitted().await, 20, "all of it is still in the log, whatever becomes of the store");
    world.store.refuse_to_persist(false);
    let (writer, stop) = world.write();
    world.append([pack(10)]).await;
    world.until_stored(11).await;
    stop.cancel();
    writer.await.unwrap();
    assert_eq!(world.uncommitted().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_may_have_forgotten_is_stored_again_and_no_letter_is_kept_twice() {
    let world = World::new().await;
    world.store.refuse_to_persist(true);
    let (writer, stop) = world.write();
    world.append((0..10).map(pack).chain([(10, "[".to_owned())])).await;
    world.until_stored(10).await;
    world.until("writer_dead_letters_total{reason=\"malformed\"} 1").await;
    world.store.forget();
    world.until("writer_rewinds_total 1").await;
    world.until("writer_records_total 20").await;
    world.store.refuse_to_persist(false);
    world.append([pack(11)]).await;
    world.until_stored(11).await;
    stop.cancel();
    writer.await.unwrap();
    assert_eq!(world.uncommitted().await, 0);
    assert_eq!(world.log.dead_letters(0, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_during_an_outage_ends_at_once_and_the_entries_come_again() {
    let world = World::new().await;
    world.store.go_away(usize::MAX / 2);
    let (writer, stop) = world.write();
    world.append((0..10).map(pack)).await;
    stop.cancel();
    writer.await.unwrap();
    assert_eq!((world.stored().await, world.uncommitted().await), (0, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_can_never_be_stored_is_buried_with_its_reason_and_the_rest_is_stored() {
    let world = World::new().await;
    let (writer, stop) = world.write();
    world.append([pack(0), (1, "[".to_owned()), pack(2)]).await;
    world.until_stored(2).await;
    stop.cancel();
    writer.await.unwrap();
    let letters = world.log.dead_letters(0, 10).await.unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let text = world.metrics.render();
    assert!(text.contains("writer_dead_letters_total{reason=\"malformed\"} 1\n"), "{text}");
    assert_eq!(world.uncommitted().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_come_again_add_nothing() {
    let world = World::new().await;
    for _ in 0..3 {
        let (writer, stop) = world.write();
        world.append((0..20).map(pack)).await;
        world.append([pack(1_000)]).await;
        world.until_stored(21).await;
        while world.store.resume_after().await.unwrap()[0].offset + 1 < world.log.end() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        writer.await.unwrap();
    }
    let linger = BatchLimits { entries_max: 1, bytes_max: 1, linger: Duration::ZERO };
    let mut fresh = world.log.subscribe("other", &[]).await.unwrap();
    assert_eq!(
        fresh.next_batch(&linger).await.unwrap().deliveries[0].position.offset,
        0,
        "63 entries gave 21 records"
    );
}
