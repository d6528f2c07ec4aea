//! A store that is away for a while, for the tests of those who have to wait for it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use domain::{ChannelId, ChannelProfile, Position, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::contract::{
    Block, BlockScan, CountLevel, Direction, Expired, PurgeTarget, Scanned, Store, StoreError, TimeCount,
    TimeRange, WriteBatch,
};

/// A real store whose first changes fail as if it were away, and which tells of the ones that did not.
pub struct Flaky {
    store: Arc<dyn Store>,
    failures_left: AtomicUsize,
    refuses_to_persist: AtomicBool,
    forgets: AtomicBool,
    forgot: AtomicBool,
    purged: watch::Sender<Vec<PurgeTarget>>,
    expired: watch::Sender<Vec<(ChannelId, ChannelProfile, Timestamp)>>,
}

impl Flaky {
    /// So many appends, persists, purges and expiries fail; then all is well.
    pub fn new(store: Arc<dyn Store>, failures: usize) -> Self {
        Self {
            store,
            failures_left: AtomicUsize::new(failures),
            refuses_to_persist: AtomicBool::new(false),
            forgets: AtomicBool::new(false),
            forgot: AtomicBool::new(false),
            purged: watch::Sender::default(),
            expired: watch::Sender::default(),
        }
    }

    /// What was purged so far, in order.
    pub fn purged(&self) -> watch::Receiver<Vec<PurgeTarget>> {
        self.purged.subscribe()
    }

    /// Waits until all of these were purged.
    pub async fn has_purged(&self, targets: &[PurgeTarget]) {
        let mut purged = self.purged();
        let all = |purged: &Vec<PurgeTarget>| targets.iter().all(|target| purged.contains(target));
        purged.wait_for(all).await.expect("the sender is in self");
    }

    /// What was asked to be deleted because it has expired, and was, in order.
    pub fn expired(&self) -> watch::Receiver<Vec<(ChannelId, ChannelProfile, Timestamp)>> {
        self.expired.subscribe()
    }

    /// Fails the next changes, too.
    pub fn go_away(&self, failures: usize) {
        self.failures_left.fetch_add(failures, Ordering::SeqCst);
    }

    /// From now on, or no longer, takes records and can't make them durable.
    pub fn refuse_to_persist(&self, refuses: bool) {
        self.refuses_to_persist.store(refuses, Ordering::SeqCst);
    }

    /// Says, once it is asked to persist, that it may have forgotten what was not durable, and knows no positions any more.
    pub fn forget(&self) {
        self.forgets.store(true, Ordering::SeqCst);
    }

    /// Whether all failures have happened.
    pub fn is_back(&self) -> bool {
        self.failures_left.load(Ordering::SeqCst) == 0
    }

    fn there(&self) -> Result<&dyn Store, StoreError> {
        let left =
            self.failures_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => Err(StoreError::Unavailable("the store is away".into())),
            Err(_) => Ok(&*self.store),
        }
    }
}

impl fmt::Debug for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flaky").field("failures_left", &self.failures_left).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Flaky {
    async fn append(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.there()?.append(batch).await
    }

    async fn persist(&self) -> Result<Instant, StoreError> {
        if self.forgets.swap(false, Ordering::SeqCst) {
            self.forgot.store(true, Ordering::SeqCst);
            return Err(StoreError::Forgotten);
        }
        if self.refuses_to_persist.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the store can't sync".into()));
        }
        self.there()?.persist().await
    }

    async fn resume_after(&self) -> Result<Vec<Position>, StoreError> {
        if self.forgot.load(Ordering::SeqCst) { Ok(Vec::new()) } else { self.store.resume_after().await }
    }

    async fn answers(&self) -> Result<(), StoreError> {
        self.there()?.answers().await
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
        self.store.blocks(channel, profile, range, direction, after, limit).await
    }

    async fn rows(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        scans: Vec<BlockScan>,
        bytes_max: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        self.store.rows(channel, profile, scans, bytes_max).await
    }

    async fn times(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        range: TimeRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        self.store.times(channel, profile, range, direction, limit).await
    }

    async fn counts(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        level: CountLevel,
        starts: Range<i64>,
    ) -> Result<Vec<TimeCount>, StoreError> {
        self.store.counts(channel, profile, level, starts).await
    }

    async fn purge(&self, target: PurgeTarget) -> Result<(), StoreError> {
        self.there()?.purge(target).await?;
        self.purged.send_modify(|purged| purged.push(target));
        Ok(())
    }

    async fn expire(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        before: Timestamp,
    ) -> Result<Expired, StoreError> {
        let done = self.there()?.expire(channel, profile, before).await?;
        self.expired.send_modify(|expired| expired.push((channel, profile, before)));
        Ok(done)
    }
}
