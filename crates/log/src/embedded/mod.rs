//! The embedded log: entries in segment files of this machine, one lane, one committer.
//!
//! * An append is answered after the sync of its group, and readers see an entry no sooner.
//! * Offsets are consecutive and never used twice, whatever was lost.
//! * A segment is deleted for its age or for the log's size, but never before every known group has committed past
//!   it. While a group lags the log grows, up to [`EmbeddedConfig::bytes_max`]; beyond it appends answer
//!   [`AppendError::Busy`]. While no group is known, nothing is deleted.
//! * Damage is named, delivered in its place, and never a reason not to start.
//!
//! It reads no clock: ages are told by the receptions of entries, and by whoever calls [`EmbeddedLog::retain`].

mod committer;
mod config;
pub mod format;
mod groups;
mod letters;
mod opening;
mod queue;
mod reader;
mod segments;
mod subscription;
mod walk;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use domain::entry::EntryError;
use domain::{Entry, Lane, Position, ReceivedAt};
use tokio::sync::{oneshot, watch};

pub use config::EmbeddedConfig;
pub use opening::{DamageFound, OpenReport, TornTail};
pub use walk::Extent;

use crate::contract::{AppendError, DeadLetter, Log, LogError, StoredLetter, Subscription, Undeliverable};
use crate::disk::{DirectoryLock, Disk, RealDisk};
use crate::metrics::LogMetrics;
use committer::Committer;
use format::encode_frame;
use groups::Groups;
use letters::Letters;
use queue::{Queue, Request};
use segments::Segments;
use subscription::EmbeddedSubscription;

/// The only lane there is.
pub(crate) const LANE: Lane = Lane(0);

/// A log in a directory of this machine.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    letters: Arc<Letters>,
    durable: watch::Receiver<u64>,
    metrics: LogMetrics,
    committer: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What the log, its committer and its subscriptions share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: EmbeddedConfig,
    pub(crate) dir: PathBuf,
    pub(crate) queue: Arc<Queue>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) groups: Groups,
    pub(crate) closed: watch::Sender<bool>,
    /// Held while segments are deleted, and while a new group takes its place before the oldest of them.
    retention: Mutex<()>,
    /// Let go of by `close`, or when the last of those that share this is gone: while any of them may write, nobody
    /// else may open the directory.
    lock: Mutex<Option<DirectoryLock>>,
}

/// What [`EmbeddedLog::retain`] deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    /// Segments deleted.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl EmbeddedLog {
    /// Opens the log in this directory, or begins one there.
    ///
    /// `resume` are the positions that consumers keep beside their results: the next offset is behind all of them,
    /// even if the entries there are lost, because a new entry at such an offset would never be delivered.
    ///
    /// # Errors
    /// [`LogError`] if another process has the directory, if a newer build wrote it, or if it can't be read or
    /// written. Damage is none: it is in the [`OpenReport`].
    pub fn open(
        dir: &Path,
        config: EmbeddedConfig,
        resume: &[Position],
    ) -> Result<(Self, OpenReport), LogError> {
        Self::open_measured(dir, config, resume, LogMetrics::default())
    }

    /// [`EmbeddedLog::open`] of a log that measures what it does.
    ///
    /// # Errors
    /// As [`EmbeddedLog::open`].
    pub fn open_measured(
        dir: &Path,
        config: EmbeddedConfig,
        resume: &[Position],
        metrics: LogMetrics,
    ) -> Result<(Self, OpenReport), LogError> {
        Self::open_with(Arc::new(RealDisk), dir, config, resume, metrics)
    }

    /// [`EmbeddedLog::open`] on another disk than that of this machine.
    ///
    /// # Errors
    /// As [`EmbeddedLog::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: EmbeddedConfig,
        resume: &[Position],
    ) -> Result<(Self, OpenReport), LogError> {
        Self::open_with(disk, dir, config, resume, LogMetrics::default())
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: EmbeddedConfig,
        resume: &[Position],
        metrics: LogMetrics,
    ) -> Result<(Self, OpenReport), LogError> {
        config.check()?;
        let failed = |error| LogError::new(format!("opening the log in {}", dir.display()), error);
        disk.create_dir(dir).map_err(failed)?;
        let lock = disk.lock_dir(dir).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => LogError::new(
                format!(
                    "the log in {} is in use by another process; only one may have it open",
                    dir.display()
                ),
                error,
            ),
            _ => failed(error),
        })?;
        let mut report = OpenReport::default();
        let salt = opening::identify(disk.as_ref(), dir, &mut report.damage)?;
        let groups = Groups::open(&disk, dir.join("groups"), &mut report.damage)?;
        let resumed =
            resume.iter().filter(|position| position.lane == LANE).map(|position| position.offset + 1);
        let floor = resumed.max().unwrap_or(0).max(groups.furthest());
        let opened = opening::open_segments(&disk, dir, salt, config.segment_bytes, floor)?;
        groups.begin_damaged_at(opened.segments.oldest());
        report.damage.extend(opened.damage);
        report.torn_tails = opened.torn_tails;
        report.newest_received = opened.segments.catalog().newest_received.map(ReceivedAt::from_micros);
        report.next_offset = opened.segments.end();
        let letters =
            Letters::open(&disk, dir.join("dead-letters"), salt, config.segment_bytes, &mut report)?;
        tell(dir, &report);

        let (durable_sender, durable) = watch::channel(report.next_offset);
        let queue = Arc::new(Queue::new(config.queue_requests_max, config.queue_bytes_max));
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            queue: Arc::clone(&queue),
            segments: opened.segments,
            groups,
            closed: watch::Sender::new(false),
            retention: Mutex::new(()),
            lock: Mutex::new(Some(lock)),
            config,
        });
        let committer = Committer {
            queue,
            writer: opened.writer,
            durable: durable_sender,
            group_bytes_max: shared.config.group_bytes_max,
            metrics: metrics.clone(),
        };
        let retaining = Arc::clone(&shared);
        let committer = std::thread::Builder::new()
            .name("log-committer".into())
            .spawn(move || committer.run(|| retaining.retain_by_newest()))
            .map_err(failed)?;
        let log = Self {
            shared,
            letters: Arc::new(letters),
            durable,
            metrics,
            committer: tokio::sync::Mutex::new(Some(committer)),
        };
        Ok((log, report))
    }

    /// The offset that the next entry gets: all before it are durable.
    pub fn end(&self) -> u64 {
        self.shared.segments.end()
    }

    /// The oldest offset that is still kept.
    pub fn oldest(&self) -> u64 {
        self.shared.segments.oldest()
    }

    /// Bytes that segments and dead letters take.
    pub fn bytes_on_disk(&self) -> u64 {
        self.shared.segments.bytes_on_disk() + self.letters.bytes_on_disk()
    }

    /// Bytes of entries that wait for the disk, or are being written.
    pub fn waiting_bytes(&self) -> usize {
        self.shared.queue.bytes()
    }

    /// The first offset that a consumer group has not committed, if there is such a group.
    pub fn committed(&self, group: &str) -> Option<u64> {
        self.shared.groups.next_of(group)
    }

    /// The newest reception in the log.
    pub fn newest_received(&self) -> Option<ReceivedAt> {
        self.shared.segments.catalog().newest_received.map(ReceivedAt::from_micros)
    }

    /// Whether appends can succeed: no once the log is closed, or the disk failed in a way that leaves unknown what
    /// is on it. Then only a restart helps.
    pub fn is_writable(&self) -> bool {
        !self.shared.queue.is_closed()
    }

    /// Deletes closed segments that are too many or, at this time, too old, and that every group has committed past.
    /// The log does the same by itself whenever it begins a segment or a group moves on, with the newest reception
    /// as the time: this call is for a log that receives nothing. It blocks on the disk.
    ///
    /// # Errors
    /// [`LogError`] if a file can't be deleted.
    pub fn retain(&self, now: ReceivedAt) -> Result<Retained, LogError> {
        self.shared.retain(Some(now.as_micros()))
    }

    fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.shared.queue.bytes() + bytes;
        self.bytes_on_disk() + waiting as u64 <= self.shared.config.bytes_max
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Position>, AppendError> {
        self.append_durably(entries).await.inspect_err(|error| self.metrics.refused(error))
    }

    async fn subscribe(&self, group: &str, resume: &[Position]) -> Result<Box<dyn Subscription>, LogError> {
        let (shared, name) = (Arc::clone(&self.shared), group.to_owned());
        let context = format!("subscribing as consumer group {group:?}");
        if *self.shared.closed.borrow() {
            return Err(LogError::new(context, "the log is closed"));
        }
        let resumed =
            resume.iter().filter(|position| position.lane == LANE).map(|position| position.offset + 1).max();
        if resumed.is_some_and(|next| next > self.end()) {
            let reason = "a position to resume behind is not in the log: pass it when opening the log, so that no new entry gets its offset";
            return Err(LogError::new(context, reason));
        }
        let group = blocking(&context, move || {
            let _no_deletion = shared.lock_retention();
            shared.groups.take(&name, shared.segments.oldest())
        })
        .await?;
        let subscription =
            EmbeddedSubscription::new(Arc::clone(&self.shared), group, self.durable.clone(), resumed);
        Ok(Box::new(subscription))
    }

    async fn bury(&self, letters: Vec<DeadLetter>) -> Result<(), AppendError> {
        let bytes: usize = letters.iter().map(|letter| letter.entry.payload.len()).sum();
        if !self.has_room(bytes) {
            return Err(AppendError::Busy);
        }
        let (kept, count) = (Arc::clone(&self.letters), letters.len());
        let buried = tokio::task::spawn_blocking(move || kept.bury(&letters)).await;
        buried.unwrap_or_else(|error| Err(AppendError::Unknown { entries: count, source: error.into() }))
    }

    async fn dead_letters(&self, from: u64, letters_max: usize) -> Result<Vec<StoredLetter>, LogError> {
        let letters = Arc::clone(&self.letters);
        blocking("reading dead letters", move || letters.read(from, letters_max)).await
    }

    async fn answers(&self) -> Result<(), LogError> {
        let closed = || LogError::new("asking the log", "it is closed, or its disk has failed");
        self.is_writable().then_some(()).ok_or_else(closed)
    }

    async fn close(&self) {
        // Held to the end: whoever closes too returns when the log is closed.
        let mut committer = self.committer.lock().await;
        self.shared.queue.close();
        let (shared, letters, thread) =
            (Arc::clone(&self.shared), Arc::clone(&self.letters), committer.take());
        let closed = tokio::task::spawn_blocking(move || {
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!(dir = %shared.dir.display(), "the log's committer had panicked");
            }
            letters.close();
            shared.groups.close();
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "closing the log failed");
        }
        self.shared.closed.send_replace(true);
        self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl EmbeddedLog {
    async fn append_durably(&self, entries: Vec<Entry>) -> Result<Vec<Position>, AppendError> {
        let Some(newest_received) = entries.iter().map(|entry| entry.received.as_micros()).max() else {
            return Ok(Vec::new());
        };
        let frames = self.encode(&entries)?;
        if !self.has_room(frames.len()) {
            return Err(AppendError::Busy);
        }
        let (answer, answered) = oneshot::channel();
        let count = entries.len();
        drop(entries);
        self.shared.queue.push(Request { frames, entries: count, newest_received, answer })?;
        let first = answered.await.unwrap_or_else(|_| {
            let source = "the thread that writes the log ended".into();
            Err(AppendError::Unknown { entries: count, source })
        })?;
        Ok((first..).take(count).map(|offset| Position { lane: LANE, offset }).collect())
    }

    fn encode(&self, entries: &[Entry]) -> Result<BytesMut, AppendError> {
        /// What an entry's headers take at most, nearly always: the buffer then never moves.
        const HEADERS_BYTES: usize = 96;
        let bytes = entries
            .iter()
            .map(|entry| format::FRAME_HEADER_BYTES + HEADERS_BYTES + entry.payload.len())
            .sum();
        let mut frames = BytesMut::with_capacity(bytes);
        for entry in entries {
            let encoded = encode_frame(entry, self.shared.segments.seed, &mut frames, |into| {
                entry.encode_headers(into)
            });
            encoded.map_err(|bytes| too_long(bytes, entries.len()))?;
        }
        Ok(frames)
    }
}

/// A log that is dropped without being closed writes what waits, answers, and lets go of the directory by itself.
impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.shared.closed.send_replace(true);
    }
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLog")
            .field("dir", &self.shared.dir)
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Retention at the time of the newest reception, by the log itself.
    pub(crate) fn retain_by_newest(&self) {
        let newest = self.segments.catalog().newest_received;
        match self.retain(newest) {
            Ok(Retained { segments: 0, .. }) => {}
            Ok(Retained { segments, bytes }) => tracing::info!(segments, bytes, "old log segments deleted"),
            Err(error) => {
                tracing::warn!(error = %error.source, "{} failed; it is tried again", error.context);
            }
        }
    }

    fn retain(&self, now: Option<i64>) -> Result<Retained, LogError> {
        let _one_at_a_time = self.lock_retention();
        let Some(needed) = self.groups.needed_from() else {
            return Ok(Retained::default());
        };
        let age = i64::try_from(self.config.retention_age.as_micros()).unwrap_or(i64::MAX);
        let received_min = now.map(|now| now.saturating_sub(age));
        let removed = self.segments.retain(needed, self.config.retention_bytes, received_min);
        let (segments, bytes) = removed.map_err(|error| {
            LogError::new(format!("deleting old log segments in {}", self.dir.display()), error)
        })?;
        Ok(Retained { segments, bytes })
    }

    fn lock_retention(&self) -> MutexGuard<'_, ()> {
        self.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that waits for the disk, off the threads that must not wait.
pub(crate) async fn blocking<T: Send + 'static>(
    context: &str,
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(LogError::new(context, error)))
}

pub(crate) fn too_long(bytes: usize, entries: usize) -> AppendError {
    let source =
        format!("an entry of {bytes} bytes is longer than the log can hold; nothing was written").into();
    AppendError::Unknown { entries, source }
}

/// Reads an entry whose frame has the right checksum.
pub(crate) fn decode_entry(headers: &[u8], payload: Bytes) -> Result<Entry, Undeliverable> {
    Entry::decode(headers, payload).map_err(|error| match error {
        EntryError::UnknownVersion(version) => Undeliverable::UnknownVersion(version),
        EntryError::Malformed(_) => Undeliverable::Damaged(format!("its checksum is right, but {error}")),
    })
}

fn tell(dir: &Path, report: &OpenReport) {
    let OpenReport { torn_tails, damage, next_offset, .. } = report;
    tracing::info!(dir = %dir.display(), next_offset, "log opened");
    for TornTail { file, from_byte, bytes, kept_in } in torn_tails {
        tracing::warn!(file = %file.display(), from_byte, bytes, ?kept_in, "torn end of the log cut off");
    }
    for DamageFound { file, extent, what } in damage {
        let Extent { from_byte, to_byte, first_offset, end_offset } = extent;
        tracing::error!(file = %file.display(), what, from_byte, to_byte, first_offset, end_offset, "log is damaged");
    }
}
