//! Deletion for ever: of a channel's rows, or of those that a thing published.
//!
//! A purge is written down before the first row goes. This process refuses the target's rows from then on; another one
//! may take up to [`CqlConfig::purges_known_within`](super::CqlConfig) to know. So every purge is made twice: at once, and again
//! when nobody can have been unaware any more. Until then what an unaware writer stores of a channel is not shown, because
//! the channel as a whole is hidden; what it stores of a publisher is.
//!
//! Deletions say that they are of the next day, so that what is received before the purge and written
//! after it stays deleted. They are by whole partition for a channel, and by time for a publisher, whose partitions and times others share.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use domain::{ChannelId, Retention, ThingId};
use futures::{StreamExt, TryStreamExt, stream};
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use tokio::time::MissedTickBehavior;

use super::marks::Touch;
use super::statements::{all, each};
use super::{CqlStore, Inner, damage, unavailable};
use crate::contract::{Block, Direction, PurgeTarget, StoreError, shard_of};

/// How far in the future deletions are: further than any node's clock is ahead, and within what ScyllaDB takes.
pub(super) const AHEAD_MILLIS: i64 = 86_400_000;
/// Deletions in one batch, 100 bytes each.
pub(super) const DELETIONS_PER_BATCH: usize = 200;
/// Blocks of a publisher that are looked through at the same time.
const BLOCKS_AT_ONCE: usize = 8;

impl CqlStore {
    /// Once begun it is finished, waited for or not.
    pub(super) async fn purge_for_ever(&self, target: PurgeTarget) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move { inner.purge(target).await }).await.map_err(unavailable)?
    }
}

impl Inner {
    /// Whether a target is purged, as far as this process knows.
    pub(super) async fn is_purged(&self, target: PurgeTarget) -> Result<bool, StoreError> {
        if let Some(purged) = self.purged.get(&target) {
            return Ok(purged);
        }
        let purged = self.is_flagged(target).await?;
        self.purged.insert(target, purged);
        Ok(purged)
    }

    async fn is_flagged(&self, target: PurgeTarget) -> Result<bool, StoreError> {
        let (session, statements) = (&self.session, &self.statements);
        let rows: Vec<(Option<bool>,)> = match target {
            PurgeTarget::Channel(channel) => {
                all(session, &statements.channel_is_purged, (channel.as_uuid(),)).await?
            }
            PurgeTarget::Publisher(thing) => {
                all(session, &statements.publisher_is_purged, (thing.as_bytes().as_slice(),)).await?
            }
        };
        Ok(rows.into_iter().any(|(purged,)| purged == Some(true)))
    }

    async fn purge(&self, target: PurgeTarget) -> Result<(), StoreError> {
        let unfinished = self.unfinished().await?.iter().any(|(unfinished, _)| *unfinished == target);
        if !unfinished && self.is_flagged(target).await? {
            self.purged.insert(target, true);
            return Ok(());
        }
        let (kind, id) = encode(target);
        let asked = self.server_millis().await?;
        let values = (kind, id.as_slice(), asked);
        self.session.execute_unpaged(&self.statements.put_purge, values).await.map_err(unavailable)?;
        self.flag(target).await?;
        {
            let _all_are_aware = self.purges_gate.write().await;
            self.purged.insert(target, true);
        }
        self.delete(target).await
    }

    async fn flag(&self, target: PurgeTarget) -> Result<(), StoreError> {
        let (session, statements) = (&self.session, &self.statements);
        let flagged = match target {
            PurgeTarget::Channel(channel) => {
                session.execute_unpaged(&statements.purge_channel, (channel.as_uuid(),)).await
            }
            PurgeTarget::Publisher(thing) => {
                session.execute_unpaged(&statements.purge_publisher, (thing.as_bytes().as_slice(),)).await
            }
        };
        flagged.map(drop).map_err(unavailable)
    }

    async fn delete(&self, target: PurgeTarget) -> Result<(), StoreError> {
        let version = (self.server_millis().await? + AHEAD_MILLIS) * 1_000;
        match target {
            PurgeTarget::Channel(channel) => self.delete_channel(channel, version).await,
            PurgeTarget::Publisher(thing) => {
                let places = self.places(thing).await?;
                let deletions = stream::iter(places).map(|(channel, bucket)| async move {
                    let block = Block { bucket, shard: shard_of(thing) };
                    self.delete_publisher_in(thing, channel, block, version).await
                });
                deletions.buffer_unordered(BLOCKS_AT_ONCE).try_collect().await
            }
        }
    }

    /// The index goes last, so that what is interrupted can go on.
    async fn delete_channel(&self, channel: ChannelId, version: i64) -> Result<(), StoreError> {
        let (session, statements) = (&self.session, &self.statements);
        let class = self.class_of(channel).await?;
        loop {
            let blocks = self.endless_blocks(channel, i64::MAX).await?;
            if blocks.is_empty() {
                break;
            }
            self.delete_endless(channel, class, &blocks, version).await?;
        }
        for span in self.catalogue(channel).await?.spans {
            let blocks =
                self.blocks_of(channel, span, (i64::MIN, i64::MAX), Direction::Ascending, usize::MAX).await?;
            self.delete_blocks(channel, class, &blocks, version).await?;
            let values = (channel.as_uuid(), span);
            session.execute_unpaged(&statements.forget_blocks, values).await.map_err(unavailable)?;
            session.execute_unpaged(&statements.forget_window, values).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// The class that a channel's rows are stored under. One that was never written to has the first that there was.
    async fn class_of(&self, channel: ChannelId) -> Result<Retention, StoreError> {
        let rows: Vec<(Option<i8>,)> =
            all(&self.session, &self.statements.class, (channel.as_uuid(),)).await?;
        match rows.into_iter().find_map(|(class,)| class) {
            None => Ok(Retention::Forever),
            Some(code) => {
                Retention::from_code(code as u8).ok_or_else(|| damage("a channel's class of retention", code))
            }
        }
    }

    /// Deletes a thing's rows of one block, and marks them, so that they are no longer counted.
    async fn delete_publisher_in(
        &self,
        thing: ThingId,
        channel: ChannelId,
        block: Block,
        version: i64,
    ) -> Result<(), StoreError> {
        let statements = self.rows_of(self.class_of(channel).await?).await?;
        let place = (channel.as_uuid(), block.bucket, block.shard as i16);
        let mut times = BTreeSet::new();
        each(&self.session, &statements.times_of_publishers, place, |(time, publisher): (i64, Vec<u8>)| {
            if publisher == thing.as_bytes() {
                times.insert(time);
            }
            Ok(())
        })
        .await?;
        if times.is_empty() {
            return Ok(());
        }
        let seconds = times.iter().map(|time| time.div_euclid(1_000_000_000)).collect();
        let touched = HashMap::from([(channel, Touch { seconds, rows: times.len(), is_of_now: false })]);
        let opened = self.open(touched).await?;
        let times: Vec<i64> = times.into_iter().collect();
        for times in times.chunks(DELETIONS_PER_BATCH) {
            let deletions = vec![BatchStatement::from(statements.delete_time.clone()); times.len()];
            let mut batch = Batch::new_with_statements(BatchType::Unlogged, deletions);
            batch.set_is_idempotent(true);
            let values =
                |time: &i64| (version, place.0, place.1, place.2, *time, thing.as_bytes().as_slice());
            let values: Vec<_> = times.iter().map(values).collect();
            self.session.batch(&batch, values).await.map_err(unavailable)?;
        }
        self.mark(opened).await
    }

    /// Where a thing published.
    async fn places(&self, thing: ThingId) -> Result<Vec<(ChannelId, i64)>, StoreError> {
        type Stored = (Option<uuid::Uuid>, Option<i64>);
        let values = (thing.as_bytes().as_slice(),);
        let places: Vec<Stored> = all(&self.session, &self.statements.publisher_buckets, values).await?;
        let place = |(channel, bucket): Stored| Some((ChannelId::from_uuid(channel?), bucket?));
        Ok(places.into_iter().filter_map(place).collect())
    }

    /// The purges that have to be made again, and when they were asked for, in the database's milliseconds.
    async fn unfinished(&self) -> Result<Vec<(PurgeTarget, i64)>, StoreError> {
        let rows: Vec<(i8, Vec<u8>, i64)> = all(&self.session, &self.statements.purges, ()).await?;
        rows.into_iter().map(|(kind, id, asked)| Ok((decode(kind, &id)?, asked))).collect()
    }

    /// The second time: everybody is aware by now.
    async fn finish(&self, target: PurgeTarget) -> Result<(), StoreError> {
        self.delete(target).await?;
        if let PurgeTarget::Publisher(thing) = target {
            for (channel, bucket) in self.places(thing).await? {
                let values = (thing.as_bytes().as_slice(), channel.as_uuid(), bucket);
                let forgotten =
                    self.session.execute_unpaged(&self.statements.forget_publisher_bucket, values).await;
                forgotten.map_err(unavailable)?;
            }
        }
        let (kind, id) = encode(target);
        let values = (kind, id.as_slice());
        self.session.execute_unpaged(&self.statements.end_purge, values).await.map(drop).map_err(unavailable)
    }

    async fn finish_due(&self) -> Result<(), StoreError> {
        // It is flagged within two requests of being asked for, or has failed.
        let flagged_after = self.config.request_timeout * 2;
        let aware_after = flagged_after + self.config.purges_known_within + self.config.append_timeout;
        let aware_after = i64::try_from(aware_after.as_millis()).unwrap_or(i64::MAX);
        let unfinished = self.unfinished().await?;
        if unfinished.is_empty() {
            return Ok(());
        }
        let now = self.server_millis().await?;
        for (target, asked) in unfinished {
            if now.saturating_sub(asked) < aware_after {
                continue;
            }
            if self.is_flagged(target).await? {
                self.finish(target).await?;
            } else {
                // It was interrupted before anybody could know of it, and is begun anew.
                self.purge(target).await?;
            }
        }
        Ok(())
    }

    /// The database's clock: what deletions have to be later than was stamped by others' clocks, not by this one's.
    pub(super) async fn server_millis(&self) -> Result<i64, StoreError> {
        let rows: Vec<(i64,)> = all(&self.session, &self.statements.server_time, ()).await?;
        rows.first().map(|(millis,)| *millis).ok_or_else(|| damage("the database's clock", "nothing"))
    }
}

/// Makes purges again when they are due, for ever. Several processes may do that at once.
pub(super) async fn sweep(inner: Arc<Inner>) {
    let mut due =
        tokio::time::interval(inner.config.purges_known_within.max(std::time::Duration::from_millis(100)));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        if let Err(error) = inner.finish_due().await {
            tracing::warn!(%error, "purges can't be finished, trying again later");
        }
    }
}

fn encode(target: PurgeTarget) -> (i8, [u8; 16]) {
    match target {
        PurgeTarget::Channel(channel) => (1, *channel.as_bytes()),
        PurgeTarget::Publisher(thing) => (2, *thing.as_bytes()),
    }
}

fn decode(kind: i8, id: &[u8]) -> Result<PurgeTarget, StoreError> {
    let bytes: [u8; 16] = id.try_into().map_err(|_| damage("a purge's target", id.escape_ascii()))?;
    match kind {
        1 => Ok(PurgeTarget::Channel(ChannelId::from_bytes(bytes))),
        2 => Ok(PurgeTarget::Publisher(ThingId::from_bytes(bytes))),
        other => Err(damage("a purge's kind", other)),
    }
}
