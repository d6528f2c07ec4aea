//! Nodes that die and freeze while appends go on: what was acknowledged is there, once, and counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::{BucketWidth, ChannelProfile, Timestamp};
use thalweg_store::planner::{CursorKey, Filter, Query, ReadError, Start, read};
use thalweg_store::suite::{channel, number_row, thing};
use thalweg_store::{CqlConfig, CqlStore, Direction, Store, StoreError, Tally, TimeRange, WriteBatch};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::engines::Engines;
use crate::home::config;

const ROWS_PER_BATCH: u64 = 60;
const SECOND: i64 = 1_000_000_000;

/// Batch `number`: a minute of rows of seven things, and every fifth one of the batch before again.
fn batch(number: u64) -> WriteBatch {
    let row = |n: u64| number_row(channel(1), thing((n % 7) as u8), n as i64 * SECOND, n as f64);
    let first = number * ROWS_PER_BATCH;
    let again = (first.saturating_sub(ROWS_PER_BATCH)..first).step_by(5);
    WriteBatch { rows: again.chain(first..first + ROWS_PER_BATCH).map(row).collect(), positions: Vec::new() }
}

/// What a writer has come to.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    acknowledged: u64,
    failures: u64,
}

/// A writer as ours is: it appends a batch until that is acknowledged, then the next one.
struct Appender {
    progress: watch::Receiver<Progress>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Appender {
    fn start(store: Arc<CqlStore>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (tell, progress) = watch::channel(Progress::default());
        let task = tokio::spawn(async move {
            for number in 0.. {
                while let Err(error) = store.append(batch(number)).await {
                    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
                    tell.send_modify(|progress| progress.failures += 1);
                }
                tell.send_modify(|progress| progress.acknowledged += 1);
                if *stopped.borrow() {
                    return;
                }
            }
        });
        Self { progress, stop, task }
    }

    /// Waits until so many more batches are acknowledged.
    async fn acknowledges(&self, more: u64) {
        let mut progress = self.progress.clone();
        let wanted = progress.borrow().acknowledged + more;
        progress.wait_for(|progress| progress.acknowledged >= wanted).await.unwrap();
    }

    /// Waits until so many more appends have failed.
    async fn fails(&self, more: u64) {
        let mut progress = self.progress.clone();
        let wanted = progress.borrow().failures + more;
        progress.wait_for(|progress| progress.failures >= wanted).await.unwrap();
    }

    fn acknowledged(&self) -> u64 {
        self.progress.borrow().acknowledged
    }

    /// How many batches were acknowledged in the end: all that were begun.
    async fn finish(self) -> u64 {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
        self.progress.borrow().acknowledged
    }
}

/// What a store answers when it is available, as it is not while the others notice that a node is gone.
async fn available<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn total(store: &CqlStore) -> u64 {
    let ask =
        async || store.tally(channel(1), BucketWidth::Hour.into(), vec![Tally::total(TimeRange::ALL)]).await;
    available(ask).await[0].passed()
}

/// Looks while appends go on: a total has all that was acknowledged before it was asked for.
async fn counts_what_is_acknowledged(store: &CqlStore, appender: &Appender) {
    let before = appender.acknowledged() * ROWS_PER_BATCH;
    let total = total(store).await;
    let after = (appender.acknowledged() + 1) * ROWS_PER_BATCH;
    assert!((before..=after).contains(&total), "{total} of {before} to {after}");
}

async fn holds_exactly(store: &CqlStore, batches: u64) {
    let rows = (batches * ROWS_PER_BATCH) as i64;
    assert_eq!(total(store).await, rows as u64);
    let mut query = Query {
        channel: channel(1),
        profile: ChannelProfile::default(),
        range: TimeRange::ALL,
        cut_off: Timestamp::MIN,
        direction: Direction::Ascending,
        filter: Filter::default(),
        limit: 1_000,
        start: Start::Offset(0),
    };
    let mut found = 0;
    loop {
        let page = available(async || match read(store, &query, &CursorKey::from_bytes(&[1; 32])).await {
            Ok(page) => Ok(page),
            Err(ReadError::Store(error)) => Err(error),
            Err(error) => panic!("{error:?}"),
        })
        .await;
        for row in &page.rows {
            assert_eq!(row.record.time.as_nanos(), found * SECOND, "every row is there once");
            found += 1;
        }
        match page.next {
            Some(next) => query.start = Start::Cursor(next),
            None => break,
        }
    }
    assert_eq!(found, rows);
}

/// Appends as a writer does that goes on behind what is durable when the store may have forgotten something.
struct Resuming {
    store: Arc<CqlStore>,
    /// The next batch.
    next: u64,
    /// The last batch that was begun.
    last: u64,
    /// By when the batches below a number were stored.
    stored: VecDeque<(Instant, u64)>,
    /// Batches below it are durable.
    durable: u64,
    /// How often the store had forgotten something.
    rewinds: u64,
}

impl Resuming {
    async fn step(&mut self) {
        self.last = self.last.max(self.next);
        if self.store.append(batch(self.next)).await.is_ok() {
            self.next += 1;
            self.stored.push_back((Instant::now(), self.next));
        }
        match self.store.persist().await {
            Ok(ended_by) => {
                while let Some((_, below)) = self.stored.pop_front_if(|(ended, _)| *ended <= ended_by) {
                    self.durable = below;
                }
            }
            Err(StoreError::Forgotten) => {
                self.rewinds += 1;
                self.stored.clear();
                self.next = self.durable;
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn until(&mut self, reached: impl Fn(&Self) -> bool) {
        while !reached(self) {
            self.step().await;
        }
    }
}

/// In one test, because three nodes take longer to start than most tests take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_killed_and_freeze_lose_nothing() {
    let engines = Engines::start(3).await;
    what_all_nodes_forgot_when_they_were_killed_at_once_is_stored_again(&engines).await;
    nodes_die_and_freeze_and_nothing_acknowledged_is_lost(&engines).await;
}

/// The nodes of `deploy/engines` acknowledge what their commit logs have not written, as is the default.
async fn what_all_nodes_forgot_when_they_were_killed_at_once_is_stored_again(engines: &Engines) {
    drop(
        CqlStore::open(CqlConfig { replicas: 3, ..config(engines.nodes.clone(), "thalweg_forgets") })
            .await
            .unwrap(),
    );
    let config =
        CqlConfig { keyspace: "thalweg_forgets".parse().unwrap(), ..impatient(engines.nodes.clone()) };
    let store = Arc::new(available(async || CqlStore::open(config.clone()).await).await);
    let mut writer = Resuming {
        store: Arc::clone(&store),
        next: 0,
        last: 0,
        stored: VecDeque::new(),
        durable: 0,
        rewinds: 0,
    };
    writer.until(|writer| writer.durable > 0).await;
    assert!(writer.durable < writer.next, "what was acknowledged just now is not durable");

    // Killed in the middle of appends.
    let killed = async {
        let kill = |node| engines.act("kill", node);
        tokio::join!(kill("cassandra-1"), kill("cassandra-2"), kill("cassandra-3"));
    };
    let mut killed = std::pin::pin!(killed);
    loop {
        tokio::select! {
            biased;
            () = &mut killed => break,
            () = writer.step() => {}
        }
    }
    engines.act("restart", "cassandra-1 cassandra-2 cassandra-3").await;
    writer.until(|writer| writer.rewinds > 0).await;
    // Each node may be found anew by itself.
    writer.until(|writer| writer.next > writer.last).await;
    assert!(writer.rewinds <= 3, "{}", writer.rewinds);
    holds_exactly(&store, writer.next).await;
}

/// Impatient, so that a node that does not answer is noticed soon.
fn impatient(nodes: Vec<String>) -> CqlConfig {
    CqlConfig {
        replicas: 3,
        request_timeout: Duration::from_secs(4),
        append_timeout: Duration::from_secs(12),
        ..config(nodes, "thalweg_faults")
    }
}

async fn nodes_die_and_freeze_and_nothing_acknowledged_is_lost(engines: &Engines) {
    // Making tables takes the busy machine longer than a request may.
    drop(
        CqlStore::open(CqlConfig { replicas: 3, ..config(engines.nodes.clone(), "thalweg_faults") })
            .await
            .unwrap(),
    );
    let open = async |nodes: &[String]| {
        Arc::new(available(async || CqlStore::open(impatient(nodes.to_vec())).await).await)
    };
    let (writes, reads) = (open(&engines.nodes).await, open(&engines.nodes).await);
    let appender = Appender::start(writes);
    appender.acknowledges(10).await;
    counts_what_is_acknowledged(&reads, &appender).await;

    engines.act("kill", "cassandra-2").await;
    appender.acknowledges(30).await;
    counts_what_is_acknowledged(&reads, &appender).await;

    engines.act("freeze", "cassandra-3").await;
    appender.fails(1).await;
    engines.act("thaw", "cassandra-3").await;
    appender.acknowledges(30).await;
    counts_what_is_acknowledged(&reads, &appender).await;

    engines.act("restart", "cassandra-2").await;
    appender.acknowledges(10).await;
    engines.act("kill", "cassandra-1").await;
    appender.acknowledges(30).await;

    let batches = appender.finish().await;
    assert!(batches >= 110);
    holds_exactly(&reads, batches).await;
    holds_exactly(&*open(&engines.nodes[1..]).await, batches).await;
}
