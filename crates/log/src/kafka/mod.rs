//! The log on Kafka: entries in a topic that several brokers keep, a lane for each of its partitions.
//!
//! * An append is answered once `in_sync_min` brokers have the entry: durable by replication, not by a sync of a disk.
//! * A retry of the client never writes twice; one of the caller may.
//! * Lanes of a group are spread over its consumers, and move when one comes or goes. A lane that has moved is delivered
//!   again from the group's commit.
//! * Without brokers, appends answer [`AppendError`] within `delivery_timeout`; at once when that has gone on for
//!   `stall_after`, and from when the first was given up, but for one a second that tries. Subscriptions wait. Both go on by
//!   themselves.
//! * Brokers delete by age, whether or not a group has read: what it misses is delivered as damage.
//!
//! It never reads what a pack says, and keeps nothing on this machine.

mod config;
mod gate;
mod lane_choice;
mod lanes;
mod letters;
mod member;
mod producer;
mod record;
mod subscription;
mod topics;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::{Entry, Position};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::KafkaConfig;

use crate::contract::{AppendError, DeadLetter, Log, LogError, StoredLetter, Subscription};
use crate::metrics::LogMetrics;
use lane_choice::Topic;
use member::Member;
use producer::Sender;
use record::Outgoing;
use subscription::KafkaSubscription;

/// How long a group may take to give a new consumer its lanes, beyond the session of one that has died in it.
const JOINED_WITHIN: Duration = Duration::from_secs(30);

/// How long brokers may take to say that they are there.
const ANSWER_WITHIN: Duration = Duration::from_millis(900);

/// A log in the topics of a Kafka cluster.
pub struct KafkaLog {
    config: KafkaConfig,
    entries: Topic,
    dead_letters: Topic,
    sender: Arc<Sender>,
    closed: CancellationToken,
    members: TaskTracker,
    metrics: LogMetrics,
}

impl KafkaLog {
    /// Reaches the brokers, and makes the topics where they are missing.
    ///
    /// # Errors
    /// [`LogError`] if the settings make no sense, if no broker answers, or if the topics can't be made.
    pub async fn open(config: KafkaConfig) -> Result<Self, LogError> {
        Self::open_measured(config, LogMetrics::default()).await
    }

    /// [`KafkaLog::open`] of one that measures what it does.
    ///
    /// # Errors
    /// As [`KafkaLog::open`].
    pub async fn open_measured(config: KafkaConfig, metrics: LogMetrics) -> Result<Self, LogError> {
        config.check()?;
        let lanes = topics::ensure(&config).await?;
        if lanes != config.lanes {
            tracing::warn!(
                lanes,
                configured = config.lanes,
                topic = config.topic,
                "the topic has another number of lanes and keeps it"
            );
        }
        Ok(Self {
            entries: Topic::new(&config.topic, lanes),
            dead_letters: Topic::new(&config.dead_letters(), 1),
            sender: Arc::new(Sender::new(&config)?),
            closed: CancellationToken::new(),
            members: TaskTracker::new(),
            metrics,
            config,
        })
    }

    /// How many lanes the log has.
    pub fn lanes(&self) -> u32 {
        self.entries.lanes()
    }

    /// Entries that were given to the client and that no broker has answered for yet.
    pub fn entries_in_flight(&self) -> usize {
        self.sender.entries_in_flight()
    }

    async fn send(&self, topic: &Topic, outgoing: Vec<Outgoing>) -> Result<Vec<Position>, AppendError> {
        if self.closed.is_cancelled() {
            return Err(AppendError::Closed);
        }
        if outgoing.is_empty() {
            return Ok(Vec::new());
        }
        self.sender.send(topic, outgoing).await
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Position>, AppendError> {
        let outgoing: Vec<Outgoing> = entries.iter().map(Outgoing::entry).collect();
        let (count, bytes) = (outgoing.len(), outgoing.iter().map(|entry| entry.payload.len() as u64).sum());
        let appended = self.send(&self.entries, outgoing).await;
        match &appended {
            Ok(_) => {
                self.metrics.appended_entries_total.increment(count as u64);
                self.metrics.appended_bytes_total.increment(bytes);
            }
            Err(error) => self.metrics.refused(error),
        }
        appended
    }

    async fn subscribe(&self, group: &str, resume: &[Position]) -> Result<Box<dyn Subscription>, LogError> {
        let context = || format!("subscribing as consumer group {group:?}");
        if self.closed.is_cancelled() {
            return Err(LogError::new(context(), "the log is closed"));
        }
        let stop = self.closed.child_token();
        let (member, commits) = Member::join(&self.config, group, resume, stop.clone(), &self.members)?;
        // Made before it waits: dropped with this future, it ends the member.
        let subscription = KafkaSubscription { member, commits, stop };
        let joined = tokio::time::timeout(JOINED_WITHIN + self.config.session_timeout, subscription.joined());
        joined.await.map_err(|_| LogError::new(context(), "no broker gave it its lanes"))??;
        Ok(Box::new(subscription))
    }

    async fn bury(&self, letters: Vec<DeadLetter>) -> Result<(), AppendError> {
        self.send(&self.dead_letters, letters.iter().map(Outgoing::letter).collect()).await.map(drop)
    }

    async fn dead_letters(&self, from: u64, letters_max: usize) -> Result<Vec<StoredLetter>, LogError> {
        let config = self.config.clone();
        tokio::task::spawn_blocking(move || letters::read(&config, from, letters_max))
            .await
            .unwrap_or_else(|error| Err(LogError::new("reading dead letters", error)))
    }

    async fn answers(&self) -> Result<(), LogError> {
        let failed =
            |reason: Box<dyn std::error::Error + Send + Sync>| LogError::new("asking the brokers", reason);
        if self.closed.is_cancelled() {
            return Err(failed("the log is closed".into()));
        }
        let (sender, topic) = (Arc::clone(&self.sender), self.config.topic.clone());
        let asked = tokio::task::spawn_blocking(move || sender.reaches_leaders(&topic, ANSWER_WITHIN)).await;
        asked.map_err(|error| failed(error.into()))?.map_err(|reason| failed(reason.into()))
    }

    async fn close(&self) {
        self.closed.cancel();
        self.members.close();
        let sender = Arc::clone(&self.sender);
        let flushing = tokio::task::spawn_blocking(move || sender.flush());
        let (flushed, ()) = tokio::join!(flushing, self.members.wait());
        if let Err(error) = flushed {
            tracing::error!(%error, "closing the log failed");
        }
    }
}

/// Consumers of a log that is dropped without being closed end by themselves.
impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog")
            .field("brokers", &self.config.brokers)
            .field("topic", &self.config.topic)
            .finish_non_exhaustive()
    }
}
