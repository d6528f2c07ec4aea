//! A walk along a channel's rows in order of time: bucket after bucket, the shards of each merged.
//!
//! It asks for a little first and for more as it goes, several blocks in one call, and never holds more than a few
//! times what is wanted, nor, of large rows, much more than [`HELD_BYTES_MAX`].

use std::cmp::Ordering;
use std::collections::VecDeque;

use domain::limits::SHARDS;
use domain::{ChannelId, ChannelProfile};

use crate::contract::{
    Block, BlockScan, Direction, Row, RowKey, Scanned, Store, StoreError, TimeRange, shard_of,
};

use super::Query;

/// Blocks asked of the index in the first call; each call asks for twice as many, up to [`BLOCKS_MAX`].
const BLOCKS_FIRST: usize = 64;
/// Blocks asked of the index in one call.
const BLOCKS_MAX: usize = 1_024;
/// Buckets whose rows are asked for in one call, where the ones before had few.
const BUCKETS_AHEAD_MAX: usize = 64;
/// Rows asked of a block at least: a call costs more than a few rows too many.
const ROWS_PER_SCAN_MIN: usize = 4;

/// Bytes of rows that are read ahead.
const HELD_BYTES_MAX: usize = 16 << 20;
/// Bytes of rows of one block that are read ahead: there may be a block of each shard at the front, and each has to have a row
/// before the first of them is known.
const BLOCK_BYTES_MAX: usize = HELD_BYTES_MAX / SHARDS as usize;

/// Rows of a channel, in order.
pub(super) struct Walk<'a> {
    store: &'a dyn Store,
    channel: ChannelId,
    profile: ChannelProfile,
    range: TimeRange,
    direction: Direction,
    /// The only shard that can hold what is wanted.
    shard: Option<u16>,
    after: Option<RowKey>,
    /// Rows wanted of one call.
    wanted: usize,
    buckets: VecDeque<Bucket>,
    /// Buckets to ask for in the next call.
    ahead: usize,
    /// Where the index goes on; `None` at its end.
    index: Option<Index>,
}

/// Where a walk along the index has come.
struct Index {
    after: Option<i64>,
    limit: usize,
}

struct Bucket {
    shards: Vec<Shard>,
}

struct Shard {
    block: Block,
    rows: VecDeque<Row>,
    /// Bytes of these rows.
    bytes: usize,
    after: Option<RowKey>,
    exhausted: bool,
}

impl<'a> Walk<'a> {
    /// A walk along the rows of a range behind a row, which expects to be asked for `wanted` rows, or for that many
    /// again and again.
    pub(super) fn new(
        store: &'a dyn Store,
        query: &Query,
        mut range: TimeRange,
        after: Option<RowKey>,
        wanted: usize,
    ) -> Self {
        if let Some(after) = &after {
            range = range.starting_at(query.direction, after.time);
        }
        Self {
            store,
            channel: query.channel,
            profile: query.profile,
            range,
            direction: query.direction,
            shard: query.filter.publisher.map(shard_of),
            after,
            wanted: wanted.max(1),
            buckets: VecDeque::new(),
            ahead: 1,
            index: Some(Index { after: None, limit: BLOCKS_FIRST }),
        }
    }

    /// The next row, or none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Row>, StoreError> {
        loop {
            match self.buckets.front_mut() {
                None => {
                    if !self.load_blocks().await? {
                        return Ok(None);
                    }
                }
                Some(bucket) if bucket.shards.iter().any(Shard::wants_rows) => self.load_rows().await?,
                Some(bucket) => {
                    if let Some(row) = bucket.take_first(self.direction) {
                        return Ok(Some(row));
                    }
                    self.buckets.pop_front();
                    self.ahead = (self.ahead * 2).min(BUCKETS_AHEAD_MAX);
                }
            }
        }
    }

    /// Takes the next buckets from the index; false if there are none.
    async fn load_blocks(&mut self) -> Result<bool, StoreError> {
        while let Some(Index { after, limit }) = self.index {
            let blocks = self
                .store
                .blocks(self.channel, self.profile, self.range, self.direction, after, limit)
                .await?;
            let last = blocks.last().map(|block| block.bucket);
            self.index = last.map(|last| Index { after: Some(last), limit: (limit * 2).min(BLOCKS_MAX) });
            for bucket in blocks.chunk_by(|a, b| a.bucket == b.bucket) {
                let wanted =
                    bucket.iter().filter(|block| self.shard.is_none_or(|shard| block.shard == shard));
                let shards: Vec<Shard> = wanted.map(|&block| Shard::new(block, self.after.clone())).collect();
                if !shards.is_empty() {
                    self.buckets.push_back(Bucket { shards });
                }
            }
            if !self.buckets.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks for rows of the shards that have none left, of the first bucket and some ahead.
    async fn load_rows(&mut self) -> Result<(), StoreError> {
        let held: usize =
            self.buckets.iter().flat_map(|bucket| &bucket.shards).map(|shard| shard.bytes).sum();
        let room = HELD_BYTES_MAX.saturating_sub(held);
        let mut shards: Vec<&mut Shard> = self
            .buckets
            .iter_mut()
            .take(self.ahead)
            .flat_map(|bucket| bucket.shards.iter_mut().filter(|shard| shard.wants_rows()))
            .collect();
        let share = (self.wanted * 2).div_ceil(shards.len().max(1));
        let limit = share.clamp(ROWS_PER_SCAN_MIN.min(self.wanted), self.wanted);
        let scans = shards
            .iter()
            .map(|shard| BlockScan {
                block: shard.block,
                range: self.range,
                direction: self.direction,
                after: shard.after.clone(),
                limit,
                bytes_max: BLOCK_BYTES_MAX,
            })
            .collect();
        let answers = self.store.rows(self.channel, self.profile, scans, room).await?;
        if answers.len() != shards.len() {
            return Err(StoreError::Damaged("the store answered another number of scans than asked".into()));
        }
        for (shard, Scanned { rows, bytes, more }) in shards.iter_mut().zip(answers) {
            shard.exhausted = !more;
            if let Some(last) = rows.last().filter(|_| more) {
                shard.after = Some(last.key());
            }
            (shard.rows, shard.bytes) = (rows.into(), bytes);
        }
        Ok(())
    }
}

impl Shard {
    fn new(block: Block, after: Option<RowKey>) -> Self {
        Self { block, rows: VecDeque::new(), bytes: 0, after, exhausted: false }
    }

    fn wants_rows(&self) -> bool {
        self.rows.is_empty() && !self.exhausted
    }

    /// The first row. Its share of the bytes is as much as each of the others', because to look at it again would take longer than
    /// all the rest.
    fn take_first(&mut self) -> Option<Row> {
        self.bytes -= self.bytes.checked_div(self.rows.len())?;
        self.rows.pop_front()
    }
}

impl Bucket {
    fn take_first(&mut self, direction: Direction) -> Option<Row> {
        let with_rows = self.shards.iter_mut().filter(|shard| !shard.rows.is_empty());
        let first = with_rows.min_by(|a, b| match (a.rows.front(), b.rows.front()) {
            (Some(a), Some(b)) => compare(direction, a, b),
            _ => Ordering::Equal,
        });
        first.and_then(Shard::take_first)
    }
}

/// The order of reads: by time in the direction, ties upwards in either.
fn compare(direction: Direction, a: &Row, b: &Row) -> Ordering {
    let times = match direction {
        Direction::Ascending => a.record.time.cmp(&b.record.time),
        Direction::Descending => b.record.time.cmp(&a.record.time),
    };
    times
        .then_with(|| a.publisher.cmp(&b.publisher))
        .then_with(|| a.subtopic.cmp(&b.subtopic))
        .then_with(|| a.record.name.cmp(&b.record.name))
        .then_with(|| a.record.unit.cmp(&b.record.unit))
}
