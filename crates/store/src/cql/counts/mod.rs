//! Counts: derived from rows, remembered under the marks they were made at, and kept beside the rows.
//!
//! One channel is counted by one caller at a time within a process; others wait and find the work done. The argument why what
//! is answered is exact is `docs/adr/0008-counts-of-a-cql-store.md`.

mod known;
mod ranges;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::{ChannelId, ChannelProfile};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use uuid::Uuid;

use self::known::{Known, Parts, WINDOW_SECONDS, part_start, recall, window_of};
use super::index::Catalogue;
use super::marks::{Marks, Touched};
use super::schema::{COUNTS_PER_PARTITION, COUNTS_TTL_SECONDS};
use super::statements::{RowStatements, all, each};
use super::{Inner, damage, unavailable};
use crate::contract::{Block, CountLevel, StoreError, TimeCount};
use crate::tally::{Tally, Wants};

/// Bytes of counts remembered of all channels. A year of a channel that is never silent takes 1.5 MB.
const REMEMBERED_BYTES: u64 = 64 << 20;
/// A channel that was not looked at for so long is forgotten: marks and kept counts go by age, too, and a process
/// that slept through theirs must not trust its own.
const REMEMBERED_FOR: Duration = Duration::from_secs(86_400);
/// Channels of which much is counted at the same time: they may be many after a restart, and nobody may wait for them.
const LONG_COUNTS_MAX: usize = 8;
/// Windows counted at the same time, each with the blocks that reach into it.
const WINDOWS_AT_ONCE: usize = 4;

/// The first and the last second there is.
const FIRST_SECOND: i64 = i64::MIN.div_euclid(NANOS);
const LAST_SECOND: i64 = i64::MAX.div_euclid(NANOS);
const NANOS: i64 = 1_000_000_000;

/// What is remembered of all channels.
#[derive(Debug)]
pub(super) struct Counts {
    channels: moka::sync::Cache<ChannelId, Arc<Remembered>>,
    /// Taken by those who have much to count.
    long: Semaphore,
}

#[derive(Debug, Default)]
struct Remembered {
    known: Arc<Mutex<Known>>,
    bytes: AtomicU32,
}

impl Counts {
    pub(super) fn new() -> Self {
        let channels = moka::sync::Cache::builder()
            .max_capacity(REMEMBERED_BYTES)
            .weigher(|_, remembered: &Arc<Remembered>| remembered.bytes.load(Ordering::Relaxed).max(1_024))
            .time_to_idle(REMEMBERED_FOR)
            .build();
        Self { channels, long: Semaphore::new(LONG_COUNTS_MAX) }
    }
}

/// A caller's turn at a channel: no other counts it meanwhile.
struct Turn {
    remembered: Arc<Remembered>,
    known: OwnedMutexGuard<Known>,
}

impl Inner {
    /// See [`Store::counts`](crate::Store::counts).
    pub(super) async fn counts(
        self: &Arc<Self>,
        channel: ChannelId,
        profile: ChannelProfile,
        level: CountLevel,
        starts: Range<i64>,
    ) -> Result<Vec<TimeCount>, StoreError> {
        let (inner, turn) = (Arc::clone(self), self.turn(channel).await);
        finished(async move {
            match inner.counting(channel, profile, turn).await? {
                Some(mut counting) => counting.counts(level, starts, FIRST_SECOND).await,
                None => Ok(Vec::new()),
            }
        })
        .await
    }

    /// See [`Store::tally`](crate::Store::tally): one look at the marks for all of it.
    pub(super) async fn tally(
        self: &Arc<Self>,
        channel: ChannelId,
        profile: ChannelProfile,
        tallies: Vec<Tally>,
    ) -> Result<Vec<Tally>, StoreError> {
        let (inner, turn) = (Arc::clone(self), self.turn(channel).await);
        finished(async move {
            let mut counting = inner.counting(channel, profile, turn).await?;
            inner.tally_with(&mut counting, channel, profile, tallies).await
        })
        .await
    }

    async fn tally_with(
        &self,
        counting: &mut Option<Counting<'_>>,
        channel: ChannelId,
        profile: ChannelProfile,
        mut tallies: Vec<Tally>,
    ) -> Result<Vec<Tally>, StoreError> {
        for tally in &mut tallies {
            loop {
                match tally.wants().clone() {
                    Wants::Counts { level, starts } => tally.take_counts(match counting {
                        Some(counting) => counting.counts(level, starts, tally.first_second()).await?,
                        None => Vec::new(),
                    }),
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

    async fn turn(&self, channel: ChannelId) -> Turn {
        let remembered = self.counts.channels.get_with(channel, Arc::default);
        let known = Arc::clone(&remembered.known).lock_owned().await;
        Turn { remembered, known }
    }

    /// Looks at the channel's marks; `None` if it is purged.
    async fn counting(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        turn: Turn,
    ) -> Result<Option<Counting<'_>>, StoreError> {
        let Turn { remembered, mut known } = turn;
        let rows = self.rows_of(profile.storage_class).await?;
        let (catalogue, marks) = tokio::try_join!(self.catalogue(channel), self.marks_of(channel))?;
        if catalogue.purged {
            return Ok(None);
        }
        known.look_at(&marks);
        let source = Source { inner: self, channel, profile, rows, catalogue, marks };
        Ok(Some(Counting { source, remembered, known }))
    }

    async fn marks_of(&self, channel: ChannelId) -> Result<Marks, StoreError> {
        type Stored = (Uuid, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>);
        let rows: Vec<Stored> = all(&self.session, &self.statements.marks, (channel.as_uuid(),)).await?;
        let mut marks = Marks::default();
        for (instance, number, spans, opened) in rows {
            // What was opened and not touched yet has neither number nor spans.
            let touched = Touched::decode(number.unwrap_or(0), &spans.unwrap_or_default())?;
            marks.touched.push((instance, touched));
            let opened = Touched::decode(0, &opened.unwrap_or_default())?;
            marks.open.extend(opened.spans().iter().map(|span| (span.first, span.last)));
        }
        Ok(marks)
    }
}

/// Does a turn's work to its end, waited for or not: who gives up a first count and asks again shall find more of it done.
/// There is one such turn a channel; those who wait for theirs may give up.
async fn finished<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(work).await.map_err(unavailable)?
}

/// One caller's turn at a channel, with its marks as they are.
struct Counting<'a> {
    source: Source<'a>,
    remembered: Arc<Remembered>,
    known: OwnedMutexGuard<Known>,
}

impl Counting<'_> {
    /// Counts of windows, the first of them from a second on that may lie within it: what is before that may have expired,
    /// and is not looked at, but for what is in one of the windows that are counted by.
    async fn counts(
        &mut self,
        level: CountLevel,
        starts: Range<i64>,
        first_second: i64,
    ) -> Result<Vec<TimeCount>, StoreError> {
        let starts = starts.start.max(level.window_of(FIRST_SECOND))..starts.end.min(LAST_SECOND + 1);
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        let last = level.window_of(starts.end - 1) + level.seconds() - 1;
        let (first, last) = (starts.start.max(first_second).max(FIRST_SECOND), last.min(LAST_SECOND));
        let mut counts = BTreeMap::new();
        if level == CountLevel::Finest {
            let rows = match self.known.seconds(first, last) {
                Some(rows) => rows.into_iter().collect(),
                None => self.source.read(&[(first, last)]).await?,
            };
            counts = rows;
        } else {
            let (first, last) = (window_of(first), window_of(last));
            self.know(first, last).await?;
            for (window, parts) in self.known.windows(first, last) {
                for (part, rows) in parts.iter() {
                    *counts.entry(level.window_of(part_start(window, part))).or_default() += rows;
                }
            }
        }
        let counts = counts.into_iter().filter(|(start, _)| starts.contains(start));
        Ok(counts.map(|(start_seconds, rows)| TimeCount { start_seconds, rows }).collect())
    }

    /// Counts what is not known of some windows. What is done is remembered and kept as it goes.
    async fn know(&mut self, first: i64, last: i64) -> Result<(), StoreError> {
        let Self { source, remembered, known } = self;
        for gap in known.not_listed(first, last) {
            let windows = source.windows_in(gap, known).await?;
            known.list(gap, windows.into_iter());
        }
        let unknown = known.unknown(first, last);
        let _turn = match unknown.len() > WINDOWS_AT_ONCE {
            true => Some(source.inner.counts.long.acquire().await.map_err(unavailable)?),
            false => None,
        };
        for windows in unknown.chunks(WINDOWS_AT_ONCE) {
            let reads = windows.iter().map(|&window| {
                let seconds = known.to_read(window);
                let source = &*source;
                async move { Ok::<_, StoreError>((window, source.read(&seconds).await?)) }
            });
            for (window, rows) in futures::future::try_join_all(reads).await? {
                known.counted(window, &rows);
                if let Some(counted) = known.window_mut(window).filter(|counted| counted.is_worth_keeping()) {
                    counted.unkept = 0;
                    source.keep(window, &counted.parts).await;
                }
            }
            known.trim();
        }
        remembered.bytes.store(u32::try_from(known.bytes()).unwrap_or(u32::MAX), Ordering::Relaxed);
        source.inner.counts.channels.insert(source.channel, Arc::clone(remembered));
        Ok(())
    }
}

/// Where a channel's counts come from.
struct Source<'a> {
    inner: &'a Inner,
    channel: ChannelId,
    profile: ChannelProfile,
    rows: &'a RowStatements,
    catalogue: Catalogue,
    marks: Marks,
}

impl Source<'_> {
    /// The windows of a range that may hold rows, with the counts that are kept of those that are not known yet.
    async fn windows_in(
        &self,
        (first, last): (i64, i64),
        known: &Known,
    ) -> Result<Vec<(i64, Option<Parts>)>, StoreError> {
        let seconds = (first * WINDOW_SECONDS, (last + 1) * WINDOW_SECONDS - 1);
        let width = self.profile.bucket_width.seconds();
        let mut windows = BTreeSet::new();
        for block in self.blocks_between(seconds).await? {
            let start = block.bucket * width;
            windows.extend(window_of(start).max(first)..=window_of(start + width - 1).min(last));
        }
        let partitions: BTreeSet<i64> = windows
            .iter()
            .filter(|window| !known.has(**window))
            .map(|window| window.div_euclid(COUNTS_PER_PARTITION))
            .collect();
        let kept = stream::iter(partitions)
            .map(|partition| self.kept(partition))
            .buffered(self.inner.requests_in_flight());
        let mut kept: HashMap<i64, Parts> = kept.try_concat().await?.into_iter().collect();
        Ok(windows.into_iter().map(|window| (window, kept.remove(&window))).collect())
    }

    async fn blocks_between(&self, seconds: (i64, i64)) -> Result<Vec<Block>, StoreError> {
        self.inner.blocks_between(self.channel, self.profile.bucket_width, &self.catalogue, seconds).await
    }

    async fn kept(&self, partition: i64) -> Result<Vec<(i64, Parts)>, StoreError> {
        type Stored = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<i32>);
        let values = (self.channel.as_uuid(), partition as i32);
        let rows: Vec<Stored> = all(&self.inner.session, &self.inner.statements.kept_counts, values).await?;
        let mut kept = Vec::new();
        for (window, parts, seen, seconds_left) in rows {
            let seen = decode_seen(&seen.unwrap_or_default())?;
            let parts = recall(window, Parts::decode(parts.unwrap_or_default())?, &seen, &self.marks);
            if parts.is_known() && seconds_left.is_none_or(|left| left < COUNTS_TTL_SECONDS / 2) {
                self.keep(window, &parts).await;
            }
            kept.push((window, parts));
        }
        Ok(kept)
    }

    /// Keeps the counts of a window for other readers. They can do without, so a failure is only noted.
    async fn keep(&self, window: i64, parts: &Parts) {
        let (first, last) = (window * WINDOW_SECONDS, (window + 1) * WINDOW_SECONDS - 1);
        let reaching = self.marks.touched.iter().filter(|(_, touched)| touched.reaches(first, last));
        let seen: Vec<u8> =
            reaching.flat_map(|(instance, touched)| encode_seen(*instance, touched.number)).collect();
        let partition = window.div_euclid(COUNTS_PER_PARTITION) as i32;
        let values = (self.channel.as_uuid(), partition, window, parts.encode(), seen);
        if let Err(error) =
            self.inner.session.execute_unpaged(&self.inner.statements.keep_counts, values).await
        {
            tracing::debug!(%error, "counts are not kept");
        }
    }

    /// Rows of each of some seconds that hold any, counted by reading their times. The ranges are in ascending order.
    async fn read(&self, seconds: &[(i64, i64)]) -> Result<BTreeMap<i64, u64>, StoreError> {
        let (Some(&(oldest, _)), Some(&(_, newest))) = (seconds.first(), seconds.last()) else {
            return Ok(BTreeMap::new());
        };
        let width = self.profile.bucket_width.seconds();
        let mut reads = Vec::new();
        for block in self.blocks_between((oldest, newest)).await? {
            let (start, end) = (block.bucket * width, (block.bucket + 1) * width);
            let within = seconds.iter().filter(|(first, last)| *first < end && *last >= start);
            reads.extend(within.map(|seconds| (block, *seconds)));
        }
        let reads = stream::iter(reads).map(|(block, (first, last))| async move {
            let mut rows = BTreeMap::<i64, u64>::new();
            let nanos = |second: i64| second.saturating_mul(NANOS);
            let (oldest, newest) = (nanos(first), nanos(last).saturating_add(NANOS - 1));
            let values = (self.channel.as_uuid(), block.bucket, block.shard as i16, oldest, newest, i32::MAX);
            each(&self.inner.session, &self.rows.newest_times, values, |(time,): (i64,)| {
                *rows.entry(time.div_euclid(NANOS)).or_default() += 1;
                Ok(())
            })
            .await?;
            Ok(rows)
        });
        let all = reads.buffer_unordered(self.inner.requests_in_flight()).try_fold(
            BTreeMap::<i64, u64>::new(),
            |mut all, rows| async move {
                for (second, rows) in rows {
                    *all.entry(second).or_default() += rows;
                }
                Ok::<_, StoreError>(all)
            },
        );
        all.await
    }
}

/// Bytes of one instance in the marks that counts were made at: its id and the number of its flush (u64, big endian).
const SEEN_BYTES: usize = 24;

fn encode_seen(instance: Uuid, number: u64) -> [u8; SEEN_BYTES] {
    let mut bytes = [0; SEEN_BYTES];
    bytes[..16].copy_from_slice(instance.as_bytes());
    bytes[16..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn decode_seen(stored: &[u8]) -> Result<HashMap<Uuid, u64>, StoreError> {
    let (instances, rest) = stored.as_chunks::<SEEN_BYTES>();
    if !rest.is_empty() {
        return Err(damage("what kept counts have seen", stored.escape_ascii()));
    }
    let seen = instances.iter().map(|bytes| {
        let (instance, number) = bytes.split_at(16);
        let instance = Uuid::from_slice(instance).map_err(unavailable)?;
        Ok((instance, u64::from_be_bytes(number.try_into().map_err(unavailable)?)))
    });
    seen.collect()
}
