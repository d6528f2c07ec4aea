//! The index: which windows of 30 days of a channel hold anything, and which blocks of those.
//!
//! What is not listed here is not read. It is written before the first row of a block is.

use std::collections::BTreeSet;

use domain::limits::SHARDS;
use domain::{BucketWidth, ChannelId};
use futures::{StreamExt, TryStreamExt, stream};

use super::schema::INDEX_WINDOW_SECONDS;
use super::statements::all;
use super::{Inner, damage};
use crate::contract::{Block, Direction, StoreError, TimeRange};

/// Windows of the index that are read ahead.
const WINDOWS_AHEAD: usize = 4;

/// What the index knows of a channel as a whole.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) purged: bool,
    /// In ascending order.
    pub(super) spans: Vec<i32>,
}

/// The window of the index that a bucket is listed in.
pub(super) fn span_of(width: BucketWidth, bucket: i64) -> i32 {
    // Buckets are of times, whose seconds have 34 bits: what is left of them fits by far.
    (bucket * width.seconds()).div_euclid(INDEX_WINDOW_SECONDS) as i32
}

impl Inner {
    pub(super) async fn catalogue(&self, channel: ChannelId) -> Result<Catalogue, StoreError> {
        type Stored = (Option<bool>, Option<i32>);
        let rows: Vec<Stored> = all(&self.session, &self.statements.windows, (channel.as_uuid(),)).await?;
        let mut catalogue = Catalogue::default();
        for (purged, span) in rows {
            catalogue.purged |= purged.unwrap_or(false);
            catalogue.spans.extend(span);
        }
        Ok(catalogue)
    }

    /// See [`Store::blocks`](crate::Store::blocks).
    pub(super) async fn blocks(
        &self,
        channel: ChannelId,
        width: BucketWidth,
        range: TimeRange,
        direction: Direction,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Block>, StoreError> {
        let Some(newest) = range.newest() else { return Ok(Vec::new()) };
        let (mut first, mut last) = (width.bucket_of(range.from), width.bucket_of(newest));
        match (direction, after) {
            (_, None) => {}
            (Direction::Ascending, Some(after)) => first = first.max(after.saturating_add(1)),
            (Direction::Descending, Some(after)) => last = last.min(after.saturating_sub(1)),
        }
        if first > last {
            return Ok(Vec::new());
        }
        let catalogue = self.catalogue(channel).await?;
        if catalogue.purged {
            return Ok(Vec::new());
        }
        let mut spans = spans_between(&catalogue, span_of(width, first), span_of(width, last));
        if direction == Direction::Descending {
            spans.reverse();
        }
        // One bucket more than the limit at most, so that the last one is whole.
        let wanted = limit.max(1).saturating_add(usize::from(SHARDS));
        let mut windows = stream::iter(spans)
            .map(|span| self.blocks_of(channel, span, (first, last), direction, wanted))
            .buffered(WINDOWS_AHEAD);
        let mut blocks = Vec::new();
        while blocks.len() < wanted {
            let Some(mut more) = windows.try_next().await? else { break };
            blocks.append(&mut more);
        }
        Ok(whole_buckets(blocks, direction, limit))
    }

    /// All blocks that may hold rows of some seconds, in ascending order.
    pub(super) async fn blocks_between(
        &self,
        channel: ChannelId,
        width: BucketWidth,
        catalogue: &Catalogue,
        (first, last): (i64, i64),
    ) -> Result<Vec<Block>, StoreError> {
        let (first, last) = (first.div_euclid(width.seconds()), last.div_euclid(width.seconds()));
        let spans = spans_between(catalogue, span_of(width, first), span_of(width, last));
        let windows = stream::iter(spans)
            .map(|span| self.blocks_of(channel, span, (first, last), Direction::Ascending, usize::MAX))
            .buffered(self.config.requests_in_flight_max.max(1));
        windows.try_concat().await
    }

    pub(super) async fn blocks_of(
        &self,
        channel: ChannelId,
        span: i32,
        (first, last): (i64, i64),
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Block>, StoreError> {
        let statement = match direction {
            Direction::Ascending => &self.statements.first_blocks,
            Direction::Descending => &self.statements.last_blocks,
        };
        let values = (channel.as_uuid(), span, first, last, i32::try_from(limit).unwrap_or(i32::MAX));
        let rows: Vec<(i64, i16)> = all(&self.session, statement, values).await?;
        let block = |(bucket, shard): (i64, i16)| {
            Ok(Block { bucket, shard: u16::try_from(shard).map_err(|_| damage("a shard", shard))? })
        };
        rows.into_iter().map(block).collect()
    }
}

fn spans_between(catalogue: &Catalogue, first: i32, last: i32) -> Vec<i32> {
    let spans: BTreeSet<i32> =
        catalogue.spans.iter().copied().filter(|span| (first..=last).contains(span)).collect();
    spans.into_iter().collect()
}

/// Leaves the last bucket out that may not be whole or makes them more than the limit, if it is not the only one; each
/// bucket's blocks in order of shard.
fn whole_buckets(mut blocks: Vec<Block>, direction: Direction, limit: usize) -> Vec<Block> {
    let mut whole = 0;
    for bucket in blocks.chunk_by_mut(|a, b| a.bucket == b.bucket) {
        if whole > 0 && whole + bucket.len() > limit {
            break;
        }
        if direction == Direction::Descending {
            bucket.reverse();
        }
        whole += bucket.len();
    }
    blocks.truncate(whole);
    blocks
}
