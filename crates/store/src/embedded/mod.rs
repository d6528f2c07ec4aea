//! The store inside the process: one directory, one [fjall](https://docs.rs/fjall) database, threads of its own.
//!
//! Rows, their counts, the index and the consumer's positions of a batch are one atomic write, so a crash at any moment
//! leaves the store as it was between two batches. It never calls the database on the async workers, never has more than
//! one writer, and never scans to open.

mod append;
mod counts;
mod expire;
mod hot;
mod key;
mod layout;
mod open;
mod purge;
mod recent;
mod scan;
mod value;

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use domain::{ChannelId, ChannelProfile, Position, Timestamp};
use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode};
use tokio::time::Instant;

use self::append::Writer;
use self::hot::HotWindows;
use self::scan::View;
use crate::contract::{
    Block, BlockScan, CountLevel, Direction, Expired, PurgeTarget, Scanned, Store, StoreError, TimeCount,
    TimeRange, WriteBatch,
};
use crate::tally::Tally;

pub use self::open::EmbeddedConfig;

/// A [`Store`] in a directory of this machine, which only one process may have open at a time.
///
/// Dropping it stops its threads. What was appended survives a crash of the process; [`Store::persist`] makes it survive
/// a crash of the machine.
#[derive(Debug)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
    sweeper: Option<JoinHandle<()>>,
}

/// What every thread of the store shares.
struct Inner {
    keyspaces: Keyspaces,
    writer: Mutex<Writer>,
    /// Held by the one who deletes what has expired.
    expiring: Mutex<()>,
    sweeper: Sweeper,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

/// The database, and its few keyspaces: an idle one would keep journals from being deleted.
struct Keyspaces {
    database: Database,
    /// Rows alone.
    rows: Keyspace,
    /// Counts alone: small, often replaced.
    counts: Keyspace,
    /// Everything else.
    catalogue: Keyspace,
    /// Where reads of counts had better not scan.
    hot: HotWindows,
}

impl Keyspaces {
    fn batch(&self) -> OwnedWriteBatch {
        self.database.batch()
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.database.persist(PersistMode::SyncAll).map_err(unavailable)
    }
}

/// How the thread that finishes purges is woken and stopped.
#[derive(Debug, Default)]
struct Sweeper {
    state: Mutex<SweeperState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SweeperState {
    wanted: bool,
    stop: bool,
}

impl Sweeper {
    fn state(&self) -> MutexGuard<'_, SweeperState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: impl FnOnce(&mut SweeperState)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}

impl Inner {
    /// The one writer. One that panicked may remember what was never stored, and forgets it.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|poisoned| {
            self.writer.clear_poison();
            let mut writer = poisoned.into_inner();
            writer.forget();
            writer
        })
    }
}

impl EmbeddedStore {
    /// Does blocking work where it blocks no async worker. Once begun it is finished, waited for or not.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(unavailable)?
    }

    /// Reads from one moment's view of the store; a purged channel has nothing.
    async fn reading<T: Send + 'static>(
        &self,
        channel: ChannelId,
        nothing: T,
        read: impl FnOnce(View<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.blocking(move |inner| {
            let view = View::new(&inner.keyspaces);
            if view.hides(channel)? { Ok(nothing) } else { read(view) }
        })
        .await
    }
}

impl EmbeddedStore {
    /// Stops the thread that finishes purges; what it leaves goes on after the next start.
    fn stop_sweeper(&mut self) {
        self.inner.sweeper.tell(|state| state.stop = true);
        if let Some(sweeper) = self.sweeper.take() {
            // A panic there was reported when it happened.
            let _ = sweeper.join();
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.stop_sweeper();
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn append(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.blocking(move |inner| inner.writer().append(&inner.keyspaces, &batch)).await
    }

    async fn persist(&self) -> Result<Instant, StoreError> {
        let asked = Instant::now();
        self.blocking(|inner| inner.keyspaces.persist()).await?;
        Ok(asked)
    }

    async fn resume_after(&self) -> Result<Vec<Position>, StoreError> {
        self.blocking(|inner| View::new(&inner.keyspaces).positions()).await
    }

    async fn answers(&self) -> Result<(), StoreError> {
        self.resume_after().await.map(drop)
    }

    async fn blocks(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        range: TimeRange,
        direction: Direction,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Block>, StoreError> {
        let width = profile.bucket_width;
        let read = move |view: View<'_>| view.blocks(channel, width, range, direction, after, limit);
        self.reading(channel, Vec::new(), read).await
    }

    async fn rows(
        &self,
        channel: ChannelId,
        _: ChannelProfile,
        scans: Vec<BlockScan>,
        bytes_max: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        let nothing = vec![Scanned::default(); scans.len()];
        let read = move |view: View<'_>| view.scans(channel, &scans, bytes_max);
        self.reading(channel, nothing, read).await
    }

    async fn times(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        range: TimeRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let width = profile.bucket_width;
        let read = move |view: View<'_>| view.times(channel, width, range, direction, limit);
        self.reading(channel, Vec::new(), read).await
    }

    async fn counts(
        &self,
        channel: ChannelId,
        _: ChannelProfile,
        level: CountLevel,
        starts: Range<i64>,
    ) -> Result<Vec<TimeCount>, StoreError> {
        let read = move |view: View<'_>| view.counts(channel, level, starts);
        self.reading(channel, Vec::new(), read).await
    }

    async fn tally(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        mut tallies: Vec<Tally>,
    ) -> Result<Vec<Tally>, StoreError> {
        self.blocking(move |inner| {
            let view = View::new(&inner.keyspaces);
            let hidden = view.hides(channel)?;
            for tally in &mut tallies {
                view.answer(tally, channel, profile.bucket_width, hidden)?;
            }
            Ok(tallies)
        })
        .await
    }

    async fn purge(&self, target: PurgeTarget) -> Result<(), StoreError> {
        self.blocking(move |inner| {
            if !purge::begin(inner, target)? {
                return Ok(());
            }
            match target {
                PurgeTarget::Channel(_) => inner.sweeper.tell(|state| state.wanted = true),
                PurgeTarget::Publisher(_) => purge::finish(inner, target, || false)?,
            }
            Ok(())
        })
        .await
    }

    async fn expire(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        before: Timestamp,
    ) -> Result<Expired, StoreError> {
        self.blocking(move |inner| expire::expire(inner, channel, profile.bucket_width, before)).await
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
