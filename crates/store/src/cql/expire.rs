//! Deletion of what has expired and does not go away by itself.
//!
//! What is written to a channel lives as long as the channel's class ([`life`](super::life)), and so does what lists it: of
//! a channel that keeps the retention it was created with, there is nothing to delete here, but for rows that were so far
//! ahead of their reception that they have no end. Of a channel whose retention became shorter, whole partitions are
//! deleted, then struck off the index.
//!
//! Like purges, deletions say that they are of the next day: what was received before and is written after stays deleted.

use domain::{ChannelId, ChannelProfile, Retention, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use scylla::statement::batch::{Batch, BatchStatement, BatchType};

use super::append::Listing;
use super::index::span_of;
use super::purge::{AHEAD_MILLIS, DELETIONS_PER_BATCH};
use super::statements::all;
use super::{Inner, damage, unavailable};
use crate::contract::{Block, Direction, Expired, StoreError};

/// Blocks that one call takes on.
const BLOCKS_PER_CALL: usize = 1_024;
/// How long before a window of the index was looked through it is struck off as of: more than the clocks of the database's
/// nodes are apart.
const STRUCK_OFF_MILLIS_AGO: i64 = 60_000;

const NOTHING: Expired = Expired { blocks: 0, more: false };

impl Inner {
    /// See [`Store::expire`](crate::Store::expire).
    pub(super) async fn expire(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        before: Timestamp,
    ) -> Result<Expired, StoreError> {
        // A bucket that begins before the first time there is has no whole one before it.
        let Some(last) = profile.bucket_width.bucket_of(before).checked_sub(1) else { return Ok(NOTHING) };
        let listed = match profile.is_shortened() {
            true => self.expire_listed(channel, profile, last).await?,
            false => NOTHING,
        };
        if profile.storage_class == Retention::Forever || listed.more {
            return Ok(listed);
        }
        let endless = self.expire_endless(channel, profile, last).await?;
        Ok(Expired { blocks: listed.blocks + endless.blocks, more: endless.more })
    }

    /// Deletes listed blocks up to a bucket.
    async fn expire_listed(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        last: i64,
    ) -> Result<Expired, StoreError> {
        let now = self.server_millis().await?;
        let catalogue = self.catalogue(channel).await?;
        if catalogue.purged {
            return Ok(NOTHING);
        }
        let last_span = span_of(profile.bucket_width, last);
        let mut deleted = 0;
        for span in catalogue.spans.into_iter().filter(|span| *span <= last_span) {
            let left = BLOCKS_PER_CALL - deleted;
            let blocks = self.blocks_of(channel, span, (i64::MIN, last), Direction::Ascending, left).await?;
            self.delete_blocks(channel, profile.storage_class, &blocks, (now + AHEAD_MILLIS) * 1_000).await?;
            self.unlist(channel, span, &blocks).await?;
            deleted += blocks.len();
            if blocks.len() == left {
                return Ok(Expired { blocks: deleted as u64, more: true });
            }
            if span < span_of(profile.bucket_width, last + 1) {
                self.strike_off(channel, span, now).await?;
            }
        }
        Ok(Expired { blocks: deleted as u64, more: false })
    }

    /// Deletes blocks up to a bucket that hold rows without an end. Mostly there are none, which one request says.
    async fn expire_endless(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        last: i64,
    ) -> Result<Expired, StoreError> {
        let blocks = self.endless_blocks(channel, last).await?;
        if blocks.is_empty() {
            return Ok(NOTHING);
        }
        let now = self.server_millis().await?;
        let version = (now + AHEAD_MILLIS) * 1_000;
        self.delete_endless(channel, profile.storage_class, &blocks, version).await?;
        let width = profile.bucket_width;
        for blocks in blocks.chunk_by(|a, b| span_of(width, a.bucket) == span_of(width, b.bucket)) {
            let span = span_of(width, blocks[0].bucket);
            self.unlist(channel, span, blocks).await?;
            let all = (i64::MIN, i64::MAX);
            if self.blocks_of(channel, span, all, Direction::Ascending, 1).await?.is_empty() {
                self.strike_off(channel, span, now).await?;
            }
        }
        Ok(Expired { blocks: blocks.len() as u64, more: blocks.len() == BLOCKS_PER_CALL })
    }

    /// Strikes off a window of the index in which no blocks were found after a time of the database's clock.
    async fn strike_off(&self, channel: ChannelId, span: i32, before_looking: i64) -> Result<(), StoreError> {
        let values = ((before_looking - STRUCK_OFF_MILLIS_AGO) * 1_000, channel.as_uuid(), span);
        let done = self.session.execute_unpaged(&self.statements.forget_window_as_of, values).await;
        done.map(drop).map_err(unavailable)
    }

    /// Deletes all rows of some blocks.
    pub(super) async fn delete_blocks(
        &self,
        channel: ChannelId,
        class: Retention,
        blocks: &[Block],
        version: i64,
    ) -> Result<(), StoreError> {
        let statement = &self.rows_of(class).await?.delete_block;
        let deletions = stream::iter(blocks.to_vec()).map(|Block { bucket, shard }| async move {
            let values = (version, channel.as_uuid(), bucket, shard as i16);
            self.session.execute_unpaged(statement, values).await.map(drop).map_err(unavailable)
        });
        deletions.buffer_unordered(self.requests_in_flight()).try_collect().await
    }

    /// Strikes off blocks one by one, and no others: what is listed meanwhile stays so.
    async fn unlist(&self, channel: ChannelId, span: i32, blocks: &[Block]) -> Result<(), StoreError> {
        for blocks in blocks.chunks(DELETIONS_PER_BATCH) {
            let statement = BatchStatement::from(self.statements.forget_block.clone());
            let mut batch = Batch::new_with_statements(BatchType::Unlogged, vec![statement; blocks.len()]);
            batch.set_is_idempotent(true);
            let values: Vec<_> = blocks
                .iter()
                .map(|block| (channel.as_uuid(), span, block.bucket, block.shard as i16))
                .collect();
            self.session.batch(&batch, values).await.map_err(unavailable)?;
            for block in blocks {
                self.listed.invalidate(&Listing::Block(channel, span, *block));
            }
        }
        Ok(())
    }

    /// Some of the blocks up to a bucket that hold rows without an end, in order.
    pub(super) async fn endless_blocks(
        &self,
        channel: ChannelId,
        last: i64,
    ) -> Result<Vec<Block>, StoreError> {
        let values = (channel.as_uuid(), last, BLOCKS_PER_CALL as i32);
        let found: Vec<(i64, i16)> = all(&self.session, &self.statements.endless_blocks, values).await?;
        let block = |(bucket, shard): (i64, i16)| {
            Ok(Block { bucket, shard: u16::try_from(shard).map_err(|_| damage("a shard", shard))? })
        };
        found.into_iter().map(block).collect()
    }

    /// Deletes blocks that hold rows without an end, and forgets that they did.
    pub(super) async fn delete_endless(
        &self,
        channel: ChannelId,
        class: Retention,
        blocks: &[Block],
        version: i64,
    ) -> Result<(), StoreError> {
        self.delete_blocks(channel, class, blocks, version).await?;
        for block in blocks {
            let values = (channel.as_uuid(), block.bucket, block.shard as i16);
            let forgotten = self.session.execute_unpaged(&self.statements.forget_endless, values).await;
            forgotten.map_err(unavailable)?;
            self.listed.invalidate(&Listing::Endless(channel, *block));
        }
        Ok(())
    }
}
