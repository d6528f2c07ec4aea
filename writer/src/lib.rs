//! Moves entries from the log into the store: resolves packs, stores their records in batches, commits what is stored.
//!
//! Never drops an entry: one that can't be stored ever goes to the dead letters with its reason, a store that is down
//! is waited for, one that may have forgotten something is given it again, and an entry of a newer version stops its lane
//! until the writer is upgraded.

mod metrics;
mod reading;
mod resolve;
mod uncommitted;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::senml::PackLimits;
use domain::{Position, ReceivedAt};
use log::{BatchLimits, DeadLetter, Log, LogError, Subscription, Undeliverable};
use service::clock;
use service::consumer_status::ConsumerStatus;
use service::telemetry::Chain;
use store::{Store, StoreError, WriteBatch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use metrics::{Reason, Step, WriterMetrics};

use crate::reading::Reading;
use crate::resolve::{Dead, Resolved};
use crate::uncommitted::{Uncommitted, advance};

/// The consumer group of the writers.
pub const GROUP: &str = "writer";

/// Settings of one writer.
#[derive(Debug, Clone)]
pub struct Config {
    /// How much is taken from the log at once. A pack is at most [`PackLimits::records_max`] records more than that.
    pub batch: BatchLimits,
    /// The limits that packs were accepted under, or wider ones.
    pub pack: PackLimits,
    /// How often the store is made durable and the log told how far it may forget.
    pub commit_interval: Duration,
    /// First and longest pause before a failed step is tried again; it doubles in between.
    pub retry: (Duration, Duration),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch: BatchLimits { entries_max: 8_192, bytes_max: 1 << 20, linger: Duration::from_millis(5) },
            pack: PackLimits::default(),
            commit_interval: Duration::from_secs(1),
            retry: (Duration::from_millis(50), Duration::from_secs(5)),
        }
    }
}

/// What a writer works with.
#[derive(Clone)]
pub struct Parts {
    /// Where entries come from.
    pub log: Arc<dyn Log>,
    /// Where records go.
    pub store: Arc<dyn Store>,
    /// What it measures.
    pub metrics: WriterMetrics,
    /// How it says that it is in trouble.
    pub status: ConsumerStatus,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

impl Parts {
    fn failed(&self, step: Step) {
        self.metrics.retries_total.of(step).increment(1);
        self.status.failed(clock::unix_micros());
    }
}

/// Why a writer could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store does not say how far it has come.
    #[error("the store does not say how far it has come")]
    Store(#[from] StoreError),
    /// The log can't be subscribed to.
    #[error("the log can't be subscribed to")]
    Log(#[from] LogError),
}

/// Writes until `shutdown`, then commits what is stored. What is not committed comes again at the next start, and
/// lands in the same rows.
///
/// # Errors
/// [`RunError`] if it could not begin; afterwards every failure is waited out.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) -> Result<(), RunError> {
    let mut subscription = subscribe(&parts).await?;
    let _running = parts.status.run();
    let mut buried = Vec::new();
    loop {
        let mut writer = Writer {
            retry: Retry::new(config.retry),
            config: &config,
            parts: &parts,
            uncommitted: Uncommitted::default(),
            buried,
            shutdown: &shutdown,
        };
        let mut reading = Reading::new(subscription, config.batch, config.pack);
        if let Err(Forgotten) = writer.work(&mut reading).await {
            parts.metrics.rewinds_total.increment(1);
            tracing::warn!(
                "the store may have forgotten what it took last; all that is not committed is read and stored again"
            );
            let Writer { retry, buried: done, .. } = writer;
            drop(reading);
            let Some(again) = subscribe_again(&parts, retry, &shutdown).await else { return Ok(()) };
            (subscription, buried) = (again, done);
        } else {
            // What the store has forgotten just now comes again at the next start.
            let _ = writer.commit(&mut reading).await;
            return Ok(());
        }
    }
}

async fn subscribe(parts: &Parts) -> Result<Box<dyn Subscription>, RunError> {
    let resume = parts.store.resume_after().await?;
    Ok(parts.log.subscribe(GROUP, &resume).await?)
}

/// Nothing: shutdown came.
async fn subscribe_again(
    parts: &Parts,
    mut retry: Retry,
    shutdown: &CancellationToken,
) -> Option<Box<dyn Subscription>> {
    loop {
        match subscribe(parts).await {
            Ok(subscription) => return Some(subscription),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the log can't be subscribed to, trying again")
            }
        }
        parts.failed(Step::Read);
        if !retry.pause(shutdown).await {
            return None;
        }
    }
}

/// The store may have forgotten what is not committed: it has to be read again.
struct Forgotten;

struct Writer<'a> {
    config: &'a Config,
    parts: &'a Parts,
    uncommitted: Uncommitted,
    /// How far dead letters are kept; one a lane. What is read again is not buried again.
    buried: Vec<Position>,
    retry: Retry,
    shutdown: &'a CancellationToken,
}

impl Writer<'_> {
    /// Until shutdown.
    async fn work(&mut self, reading: &mut Reading) -> Result<(), Forgotten> {
        let mut commit_due = Instant::now() + self.config.commit_interval;
        loop {
            let batch = tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(commit_due), if !self.uncommitted.is_empty() => None,
                batch = reading.next() => Some(batch),
            };
            match batch {
                None => {
                    self.commit(reading).await?;
                    commit_due = Instant::now() + self.config.commit_interval;
                }
                Some(Ok(batch)) => {
                    let resolved = reading.resolved(batch).await;
                    let is_kept = tokio::select! {
                        is_kept = self.keep(resolved) => is_kept,
                        never = reading.ahead() => match never {},
                    };
                    if !is_kept {
                        return Ok(());
                    }
                }
                Some(Err(error)) => {
                    tracing::error!(error = %Chain(&error), "the log can't be read, trying again");
                    self.parts.failed(Step::Read);
                    if !self.retry.pause(self.shutdown).await {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Buries what can't be stored and stores the rest, as often as it takes. A lane with an entry of a newer version goes
    /// no further. `false`: stopped.
    async fn keep(&mut self, resolved: Resolved) -> bool {
        let began = Instant::now();
        let Resolved { rows, positions, dead, damaged, oldest, obstacles } = resolved;
        let records = rows.len();
        self.parts.metrics.damaged_total.increment(damaged);
        let stored =
            self.bury(dead).await && self.append(WriteBatch { rows, positions: positions.clone() }).await;
        if !stored {
            return false;
        }
        self.measure(records, oldest, began);
        self.uncommitted.stored(positions);
        for (position, obstacle) in obstacles {
            tracing::error!(?position, %obstacle, "this lane stops here until this program is upgraded; nothing is lost");
            self.parts.status.waits_for_upgrade();
        }
        true
    }

    fn measure(&self, records: usize, oldest: Option<ReceivedAt>, began: Instant) {
        let metrics = &self.parts.metrics;
        metrics.batches_total.increment(1);
        metrics.records_total.increment(records as u64);
        metrics.batch_seconds.record(began.elapsed());
        if let Some(oldest) = oldest {
            // A clock that was set back makes no time negative.
            let delay = clock::unix_micros().saturating_sub(oldest.as_micros()).max(0);
            metrics.store_delay_seconds.record(Duration::from_micros(delay.unsigned_abs()));
        }
    }

    async fn bury(&mut self, mut dead: Vec<Dead>) -> bool {
        let buried = |position: Position| {
            self.buried.iter().any(|last| last.lane == position.lane && last.offset >= position.offset)
        };
        dead.retain(|dead| !buried(dead.letter.position));
        for Dead { letter, code } in &dead {
            // The reason in the letter may name a field of the pack: it is for who looks at the letter, not for the log.
            let position = letter.position;
            tracing::error!(?position, reason = %code, "an entry can't be stored and goes to the dead letters");
            self.parts.metrics.dead_letters_total.of(Reason(*code)).increment(1);
        }
        let letters: Vec<DeadLetter> = dead.into_iter().map(|dead| dead.letter).collect();
        let positions = letters.iter().map(|letter| letter.position).collect();
        while !letters.is_empty() {
            match self.parts.log.bury(letters.clone()).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "dead letters can't be kept, trying again")
                }
            }
            self.parts.failed(Step::Bury);
            if !self.retry.pause(self.shutdown).await {
                return false;
            }
        }
        advance(&mut self.buried, positions);
        true
    }

    async fn append(&mut self, batch: WriteBatch) -> bool {
        loop {
            match self.parts.store.append(batch.clone()).await {
                Ok(()) => {
                    self.retry.reset();
                    self.parts.status.succeeded();
                    return true;
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the store takes no records, trying again")
                }
            }
            self.parts.failed(Step::Append);
            if !self.retry.pause(self.shutdown).await {
                return false;
            }
        }
    }

    /// Only what the store has made durable may be forgotten by the log.
    async fn commit(&mut self, reading: &mut Reading) -> Result<(), Forgotten> {
        self.uncommitted.mark(Instant::now());
        if self.uncommitted.is_empty() {
            return Ok(());
        }
        match self.parts.store.persist().await {
            Ok(ended_by) => self.uncommitted.settle(ended_by),
            Err(StoreError::Forgotten) => return Err(Forgotten),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the store can't make records durable, trying again later");
                self.parts.failed(Step::Persist);
                return Ok(());
            }
        }
        if self.uncommitted.durable().is_empty() {
            return Ok(());
        }
        match reading.subscription.commit(self.uncommitted.durable()).await {
            Ok(()) => {
                self.uncommitted.committed();
                self.parts.status.succeeded();
                self.parts.metrics.last_commit_timestamp_seconds.set(clock::unix_seconds() as f64);
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the log can't commit, trying again later");
                self.parts.failed(Step::Commit);
            }
        }
        Ok(())
    }
}

/// Says what stands in the way at a position, where a writer may not go on.
type Obstacle = (Position, Undeliverable);

/// Pauses that double, and end at once on shutdown.
struct Retry {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Retry {
    fn new((first, longest): (Duration, Duration)) -> Self {
        Self { first, longest, next: first }
    }

    fn reset(&mut self) {
        self.next = self.first;
    }

    /// `false`: shutdown came.
    async fn pause(&mut self, shutdown: &CancellationToken) -> bool {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        tokio::select! {
            () = shutdown.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}
