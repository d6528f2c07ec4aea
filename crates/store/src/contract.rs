//! The trait every store implements, and what it promises.

use std::ops::Range;

use async_trait::async_trait;
use domain::limits::SHARDS;
use domain::{
    BucketWidth, ChannelId, ChannelProfile, Position, Protocol, ReceivedAt, Record, Subtopic, ThingId,
    Timestamp, Value,
};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::tally::{Tally, Wants};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A store of records as time series.
///
/// * A row is known by channel, publisher, subtopic, name, unit and time. Writing it again replaces it whole if its
///   version ([`Row::received`]) is later, and changes nothing if it is earlier. Of equal versions in one batch the last
///   stays.
/// * Counts are exact: they include every row whose append was acknowledged before the call began, and none that was
///   not there during it.
/// * Nothing of a purged channel or publisher is ever stored or shown again.
/// * What is before a channel's [cut-off](ChannelProfile::cut_off) may be there or not, in whole or in part, and be counted
///   or not: the store deletes it at some time after. Who asks begins at the cut-off. It never moves back.
///
/// Stores differ in what is beside the rows of an append. A store that **keeps positions**
/// ([`Store::resume_after`]) has one process that writes, and
///
/// * `append` is atomic: after a crash all of a batch is there, with its positions, or nothing of it and an earlier
///   position; a batch is never there without the ones before it;
/// * of equal versions in different batches the one stored last stays.
///
/// A store that **keeps none** may be written to by many processes, and
///
/// * an append that failed, or was interrupted, may be there in part. Whoever keeps the positions of its consumers sees to it
///   that the same batch is appended again, which completes it. Until then the part may be shown and not counted;
/// * of equal versions in different batches each field is that of one of them. Receptions of one node are never equal;
/// * for a bounded time after a purge, another process that does not know of it yet may store and show rows of a purged
///   publisher; they are deleted then.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Stores rows, and beside them, where this store keeps positions, how far their consumer has come. The answer means
    /// that the rows can be read and survive a crash of this process; [`Store::persist`] makes them survive a crash of the
    /// machine.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: append the same batch again. Nothing of it was stored, or, where no positions are kept,
    /// perhaps a part.
    async fn append(&self, batch: WriteBatch) -> Result<(), StoreError>;

    /// Makes what was appended survive a crash of the machine: all whose append ended at or before the instant that this
    /// answers. That is when it was asked, or earlier where it takes this store a while and is under way by itself.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if that could not be done. [`StoreError::Forgotten`]: append again what was appended
    /// behind the last instant that was answered; this is said once.
    async fn persist(&self) -> Result<Instant, StoreError>;

    /// The last positions that came with a batch, one per lane; empty where this store keeps none.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if they can't be read.
    async fn resume_after(&self) -> Result<Vec<Position>, StoreError>;

    /// Whether it can be read now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] says why not.
    async fn answers(&self) -> Result<(), StoreError>;

    /// The blocks of a channel that may hold rows of the range, in order of bucket in the direction, then of shard;
    /// at most `limit`, but always whole buckets and at least one, and going on `after` a bucket where one is given.
    /// None at all: there are no more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if they can't be read.
    async fn blocks(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        range: TimeRange,
        direction: Direction,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Block>, StoreError>;

    /// The first rows of each scan, in its order.
    ///
    /// What is held at once is bounded in bytes, too ([`Row::bytes`]): once the rows found take `bytes_max` or more, no
    /// further scan is begun, and is to be asked for again. The first one always is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if they can't be read.
    async fn rows(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        scans: Vec<BlockScan>,
        bytes_max: usize,
    ) -> Result<Vec<Scanned>, StoreError>;

    /// The times of the first rows of a range in the direction, at most `limit`, in order. It is for ranges of a second or
    /// so: it costs as much as finding their rows, if not as much as reading them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if they can't be read.
    async fn times(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        range: TimeRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError>;

    /// How many rows the channel has in each window of the level whose start, in seconds since the epoch, is among
    /// `starts`; in ascending order, windows without rows left out.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if they can't be read.
    async fn counts(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        level: CountLevel,
        starts: Range<i64>,
    ) -> Result<Vec<TimeCount>, StoreError>;

    /// Gives the tallies the counts and times they want, until each is done or wants rows. A store that can answer many at
    /// once should, and of one moment: what goes deep into a channel then costs one call.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if counts or times can't be read.
    async fn tally(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        mut tallies: Vec<Tally>,
    ) -> Result<Vec<Tally>, StoreError> {
        for tally in &mut tallies {
            loop {
                match tally.wants().clone() {
                    Wants::Counts { level, starts } => {
                        tally.take_counts(self.counts(channel, profile, level, starts).await?);
                    }
                    Wants::Times { range, direction, limit } => {
                        let times = self.times(channel, profile, range, direction, limit).await?;
                        tally.take_times(&times);
                    }
                    Wants::Rows(_) | Wants::Nothing | Wants::Found(_) => break,
                }
            }
        }
        Ok(tallies)
    }

    /// Deletes all rows of a channel or of a publisher, for ever. When it answers, no row is shown or counted any
    /// more, even after a crash of the machine, and none will be stored again; the space comes back later. Asking
    /// again changes nothing.
    ///
    /// It takes the longer the more rows a publisher has, and its rows go away bit by bit until it answers; what was
    /// begun is finished even if the answer is not waited for, or a crash comes between.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: ask again.
    async fn purge(&self, target: PurgeTarget) -> Result<(), StoreError>;

    /// Deletes blocks of a channel that end before a time, which must be before the channel's cut-off by more than clocks
    /// are apart and reads take. It does a bounded piece of the work; asking again goes on, and changes nothing once all is
    /// done. What a store gets rid of by itself it may leave alone. A late record may come into such a block at any time,
    /// and goes with the next call.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: ask again.
    async fn expire(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        before: Timestamp,
    ) -> Result<Expired, StoreError>;
}

/// What a call of [`Store::expire`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Blocks that were deleted.
    pub blocks: u64,
    /// Whether there is more to do.
    pub more: bool,
}

/// What one flush of a writer stores.
#[derive(Debug, Clone, Default)]
pub struct WriteBatch {
    /// In the order they were accepted.
    pub rows: Vec<WriteRow>,
    /// How far the consumer has come with this batch, one per lane.
    pub positions: Vec<Position>,
}

/// One record on its way into the store.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteRow {
    /// The channel it belongs to.
    pub channel: ChannelId,
    /// The channel's profile, which decides the row's place.
    pub profile: ChannelProfile,
    /// The row.
    pub row: Row,
}

/// One record as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The thing that published it.
    pub publisher: ThingId,
    /// The subtopic it was published to.
    pub subtopic: Subtopic,
    /// How it came.
    pub protocol: Protocol,
    /// When it was received: the row's version.
    pub received: ReceivedAt,
    /// The measurement.
    pub record: Record,
}

impl Row {
    /// Bytes that the row takes when it is printed, at most. In memory it takes about as many.
    pub fn bytes(&self) -> usize {
        /// The names of all fields, two ids and the numbers.
        const FIXED: usize = 350;
        let Self { subtopic, record, .. } = self;
        let value = match &record.value {
            Some(Value::Text(text)) => printed_bytes(text),
            Some(Value::Data(bytes)) => bytes.len().div_ceil(3) * 4,
            Some(Value::Number(_) | Value::Bool(_)) | None => 0,
        };
        let texts = [subtopic.as_str(), &record.name, &record.unit];
        FIXED + value + texts.into_iter().map(printed_bytes).sum::<usize>()
    }

    /// The row's place within its channel.
    pub fn key(&self) -> RowKey {
        RowKey {
            time: self.record.time,
            publisher: self.publisher,
            subtopic: self.subtopic.clone(),
            name: self.record.name.clone(),
            unit: self.record.unit.clone(),
        }
    }
}

/// As JSON has it, where each control character takes the longest of its forms.
fn printed_bytes(text: &str) -> usize {
    let printed = |byte: &u8| match byte {
        0..=0x1f => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    // Each row that is read is measured: eight bytes at a time take a fifth of the time.
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let word = |word: &[u8; 8]| if prints_as_it_is(*word) { 8 } else { word.iter().map(printed).sum() };
    words.iter().map(word).sum::<usize>() + rest.iter().map(printed).sum::<usize>()
}

/// Whether none of eight bytes is escaped in JSON. Which byte of a word is below another is told without a loop: Bit Twiddling Hacks,
/// "Determine if a word has a byte less than n".
fn prints_as_it_is(bytes: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    let word = u64::from_ne_bytes(bytes);
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word & HIGH_BITS;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    below(word, b' ') | equal(b'"') | equal(b'\\') == 0
}

/// A row's place within its channel. Its order is the order of reads with `dir=asc`; ties of time go by publisher,
/// subtopic, name and unit (byte by byte), in either direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    /// Time of the measurement.
    pub time: Timestamp,
    /// The thing that published it.
    pub publisher: ThingId,
    /// The subtopic it was published to.
    pub subtopic: Subtopic,
    /// The resolved name.
    pub name: String,
    /// The unit, or nothing.
    pub unit: String,
}

/// A part of a channel that is stored together: one bucket of record time, one shard of publishers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// Number of the bucket, see [`BucketWidth::bucket_of`].
    pub bucket: i64,
    /// Number of the shard, below [`SHARDS`](domain::limits::SHARDS).
    pub shard: u16,
}

impl Block {
    /// The block that holds what a thing measured at a time.
    pub fn of(width: BucketWidth, time: Timestamp, publisher: ThingId) -> Self {
        Self { bucket: width.bucket_of(time), shard: shard_of(publisher) }
    }
}

/// The shard that holds a thing's rows. Stored rows depend on it: it may never change.
pub fn shard_of(publisher: ThingId) -> u16 {
    (xxh3_64(publisher.as_bytes()) % u64::from(SHARDS)) as u16
}

/// Which rows of a block to read.
#[derive(Debug, Clone)]
pub struct BlockScan {
    /// The block.
    pub block: Block,
    /// Rows of these times only.
    pub range: TimeRange,
    /// Newest or oldest first.
    pub direction: Direction,
    /// Begin behind this row, whether it is in this block or not.
    pub after: Option<RowKey>,
    /// At most so many rows.
    pub limit: usize,
    /// No more rows once those found take so many bytes; one row always.
    pub bytes_max: usize,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scanned {
    /// The first rows, in order.
    pub rows: Vec<Row>,
    /// Bytes that they take ([`Row::bytes`]).
    pub bytes: usize,
    /// Whether there may be more behind them: the scan ended at one of its bounds, or did not begin.
    pub more: bool,
}

/// The order of reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Newest first: `dir=desc`.
    Descending,
    /// Oldest first: `dir=asc`.
    Ascending,
}

impl Direction {
    /// The other one.
    pub(crate) const fn reversed(self) -> Self {
        match self {
            Self::Descending => Self::Ascending,
            Self::Ascending => Self::Descending,
        }
    }
}

/// Times from `from` (inclusive) to `to` (exclusive; `None`: to the end of time, inclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First time in the range.
    pub from: Timestamp,
    /// First time past it.
    pub to: Option<Timestamp>,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { from: Timestamp::MIN, to: None };

    /// Whether the range holds the time.
    pub fn contains(&self, time: Timestamp) -> bool {
        time >= self.from && self.to.is_none_or(|to| time < to)
    }

    /// The range without what is before a time.
    pub fn not_before(self, time: Timestamp) -> Self {
        Self { from: self.from.max(time), ..self }
    }

    /// Whether no time at all is in the range.
    pub fn is_empty(&self) -> bool {
        self.to.is_some_and(|to| to <= self.from)
    }

    /// The last time in the range, if there is any.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        let newest = match self.to {
            None => Timestamp::MAX,
            Some(to) => Timestamp::from_nanos(to.as_nanos().checked_sub(1)?),
        };
        (newest >= self.from).then_some(newest)
    }

    /// The range without what comes before a time in the direction.
    pub(crate) fn starting_at(mut self, direction: Direction, time: Timestamp) -> Self {
        match direction {
            Direction::Ascending => self.from = self.from.max(time),
            Direction::Descending => {
                let past = time.as_nanos().checked_add(1).map(Timestamp::from_nanos);
                self.to = match (self.to, past) {
                    (Some(to), Some(past)) => Some(to.min(past)),
                    (to, past) => to.or(past),
                };
            }
        }
        self
    }
}

/// Widths of the windows that rows are counted in. Windows start at whole multiples of their width since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CountLevel {
    /// 1 s.
    Finest,
    /// 128 s.
    Fine,
    /// 16,384 s, about 4.5 hours.
    Coarse,
    /// 2,097,152 s, about 24 days.
    Coarsest,
}

impl CountLevel {
    /// Every level, the finest first.
    pub const ALL: [Self; 4] = [Self::Finest, Self::Fine, Self::Coarse, Self::Coarsest];

    /// Width of the level's windows.
    pub const fn seconds(self) -> i64 {
        match self {
            Self::Finest => 1,
            Self::Fine => 1 << 7,
            Self::Coarse => 1 << 14,
            Self::Coarsest => 1 << 21,
        }
    }

    /// Start of the window that holds a second.
    pub const fn window_of(self, second: i64) -> i64 {
        second.div_euclid(self.seconds()) * self.seconds()
    }

    /// The level whose windows divide this one's, if there is one.
    pub const fn finer(self) -> Option<Self> {
        match self {
            Self::Finest => None,
            Self::Fine => Some(Self::Finest),
            Self::Coarse => Some(Self::Fine),
            Self::Coarsest => Some(Self::Coarse),
        }
    }
}

/// How many rows a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeCount {
    /// Start of the window, in seconds since the epoch. It may lie before the first time there is.
    pub start_seconds: i64,
    /// Rows in it, at least 1.
    pub rows: u64,
}

/// What to delete for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PurgeTarget {
    /// Every row of a channel.
    Channel(ChannelId),
    /// Every row that a thing published, in any channel.
    Publisher(ThingId),
}

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was answered, and at most a part done of what may be done twice: try again, now or when the store is back.
    #[error("store is unavailable")]
    Unavailable(#[source] BoxError),
    /// Of what was appended and had not been made durable, a part may be gone.
    #[error("a node of the store may have forgotten what it stored last")]
    Forgotten,
    /// The stored data can't be understood; a person has to look.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// A newer build wrote the data: this one leaves it alone. Start the newer one.
    #[error("stored data has format {found}, this build reads up to {known}: start a newer build")]
    NewerFormat {
        /// The format of the data.
        found: u32,
        /// The newest format that this build reads.
        known: u32,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_takes_what_json_prints_and_no_more_but_for_control_characters(
            text in any::<String>(),
            plain in r#"[^\x00-\x1f]{0,40}["\\]?[ !-~]{0,20}"#,
        ) {
            for text in [&text, &plain, &format!("{plain}{text}")] {
                let printed = serde_json::to_string(text).unwrap().len() - 2;
                prop_assert!(printed_bytes(text) >= printed);
                if !text.bytes().any(|byte| byte < b' ') {
                    prop_assert_eq!(printed_bytes(text), printed);
                }
            }
        }
    }

    /// Stored rows depend on these numbers: this may never be changed to fit.
    #[test]
    fn a_publishers_shard_never_changes() {
        let shards = [0u8, 1, 2, 3, 0x7f, 0xff].map(|byte| shard_of(ThingId::from_bytes([byte; 16])));
        assert_eq!(shards, [8, 14, 10, 2, 11, 3]);
        let thing: ThingId = "33eb28c3-4ca2-45c3-b1c5-d5d049c6c24e".parse().unwrap();
        assert_eq!(shard_of(thing), 3);
    }

    #[test]
    fn windows_of_a_level_divide_those_of_the_next() {
        for pair in CountLevel::ALL.windows(2) {
            assert_eq!(pair[1].seconds() % pair[0].seconds(), 0);
            assert_eq!(pair[1].finer(), Some(pair[0]));
        }
        assert_eq!(CountLevel::Fine.window_of(-1), -128);
        assert_eq!(CountLevel::Coarsest.window_of(1 << 21), 1 << 21);
    }
}
