//! The traits every log implements, and what they promise.

use std::time::Duration;

use async_trait::async_trait;
use domain::{Entry, Position};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An ordered, durable log of entries, in lanes.
///
/// * `append` answers only once every entry survives a crash of this node.
/// * Entries of one publisher share a lane and are delivered in append order; others come in any order.
/// * Delivery is at least once: an entry returns until its position, or a later one of its lane, is committed.
/// * Damage is delivered as damage, in its place: no entry is skipped in silence.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends the entries and returns their positions, in the same order.
    ///
    /// Dropping the future does not undo anything: the entries may still be appended.
    ///
    /// # Errors
    /// [`AppendError`]: whether a retry may write the entries twice.
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Position>, AppendError>;

    /// Joins a consumer group. Its lanes are spread over its consumers, where the log allows more than one at a time. A
    /// lane that moves to another consumer is delivered to it from the commit on, and no more to the one before. In each lane the group goes on behind the later of its committed position and the one
    /// in `resume`, which a consumer that keeps its positions beside its results passes; where neither is known, at
    /// the oldest entry.
    ///
    /// # Errors
    /// [`LogError`] if the log can't be read.
    async fn subscribe(&self, group: &str, resume: &[Position]) -> Result<Box<dyn Subscription>, LogError>;

    /// Keeps entries that a consumer can never process, with the reason, where a person can find them. Durable when
    /// it answers.
    ///
    /// # Errors
    /// [`AppendError`] as for `append`; a retry keeps a letter twice, which harms nobody.
    async fn bury(&self, letters: Vec<DeadLetter>) -> Result<(), AppendError>;

    /// Dead letters in the order they were buried, from this number on, at most `letters_max`.
    ///
    /// # Errors
    /// [`LogError`] if they can't be read.
    async fn dead_letters(&self, from: u64, letters_max: usize) -> Result<Vec<StoredLetter>, LogError>;

    /// Whether entries can be appended now, as far as that shows without appending one.
    ///
    /// # Errors
    /// [`LogError`] says why not.
    async fn answers(&self) -> Result<(), LogError>;

    /// Finishes what was appended, and stops: later appends answer [`AppendError::Closed`].
    async fn close(&self);
}

/// One consumer's place in the log.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for at least one delivery, and returns what there is within the limits.
    ///
    /// Cancel-safe: a dropped future loses nothing. Each call goes on behind the last batch returned.
    ///
    /// # Errors
    /// [`LogError`] if the log can't be read; the next call tries the same place again.
    async fn next_batch(&mut self, limits: &BatchLimits) -> Result<Batch, LogError>;

    /// Commits everything up to and including these positions, one per lane. Survives a crash when it answers; a
    /// position behind the committed one changes nothing, nor does one of a lane that another consumer has taken over.
    ///
    /// # Errors
    /// [`LogError`] if it could not be kept: commit again, or have the entries again after a restart.
    async fn commit(&mut self, positions: &[Position]) -> Result<(), LogError>;

    /// Delivers nothing more of this lane from this position on, for a consumer that may not go on there. The lane is
    /// delivered from the group's commit again to the next subscription, or to the consumer that takes it over.
    fn withhold(&mut self, from: Position);

    /// Entries of this consumer's lanes that are appended but not delivered yet, and those withheld.
    fn backlog(&self) -> u64;
}

/// How much a consumer takes at once.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Most entries.
    pub entries_max: usize,
    /// Most bytes of packs, but never less than one entry.
    pub bytes_max: usize,
    /// How long to wait for a fuller batch once there is one entry. Zero: not at all.
    pub linger: Duration,
}

/// Deliveries in order; never empty.
#[derive(Debug, Clone)]
pub struct Batch {
    /// In order of position within each lane.
    pub deliveries: Vec<Delivery>,
}

impl Batch {
    /// The last position of each lane in the batch: what to commit when all of it is done.
    pub fn last_positions(&self) -> Vec<Position> {
        let mut last: Vec<Position> = Vec::new();
        for delivery in &self.deliveries {
            match last.iter_mut().find(|position| position.lane == delivery.position.lane) {
                Some(position) => *position = delivery.position,
                None => last.push(delivery.position),
            }
        }
        last
    }
}

/// What stands at one position.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where.
    pub position: Position,
    /// The entry, or why there is none.
    pub entry: Result<Entry, Undeliverable>,
}

/// Why a position holds no entry that this build can process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undeliverable {
    /// Written by a newer build. The consumer stops here until it is upgraded; it never skips it.
    #[error("entry has version {0}, which a newer build wrote")]
    UnknownVersion(u8),
    /// The stored bytes are damaged from the end of the position before this one through this position.
    #[error("log is damaged: {0}")]
    Damaged(String),
}

/// An entry that can never be processed.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Where it stood.
    pub position: Position,
    /// The entry as it was.
    pub entry: Entry,
    /// Why it can't be processed, in words for the person who looks after it.
    pub reason: String,
}

/// A dead letter as it is kept.
#[derive(Debug, Clone)]
pub struct StoredLetter {
    /// Its number: letters are read from a number on.
    pub number: u64,
    /// The letter, or why it can't be read. Damage covers all numbers since the letter before.
    pub letter: Result<DeadLetter, Undeliverable>,
}

/// Why entries were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written: retrying the same entries is safe. More waits than the log may hold in memory.
    #[error("log is at capacity")]
    Busy,
    /// Nothing was written and nothing will be: the log is closed, or can no longer write.
    #[error("log is closed")]
    Closed,
    /// Some entries may be in the log: a retry may append them a second time.
    #[error("outcome unknown for {entries} entries")]
    Unknown {
        /// How many entries this concerns.
        entries: usize,
        /// What went wrong.
        #[source]
        source: BoxError,
    },
}

/// Why the log can't be read, opened or committed to.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct LogError {
    /// What was being done, to what.
    pub context: String,
    /// What went wrong.
    #[source]
    pub source: BoxError,
}

impl LogError {
    pub(crate) fn new(context: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self { context: context.into(), source: source.into() }
    }
}
