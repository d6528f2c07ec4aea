//! Reads of the embedded store: blocks, rows and counts, out of one consistent view of it.
//!
//! Nothing here writes.

use std::ops::{Bound, Range};

use domain::{BucketWidth, ChannelId, Position, Record, Timestamp};
use fjall::{Readable, Slice, Snapshot};

use super::key::{TIME_BYTES, behind, decode_row_key, put_row_key, time_of, time_prefix};
use super::layout::{
    POSITIONS, block_range, count_key, count_start, decode_block, decode_number, decode_position, purged_key,
};
use super::value::decode_value;
use super::{Keyspaces, unavailable};
use crate::contract::{
    Block, BlockScan, CountLevel, Direction, PurgeTarget, Row, Scanned, StoreError, TimeCount, TimeRange,
};
use crate::found::Found;
use crate::tally::{Tally, Wants};

/// The store as it was at one moment: no batch is seen in part.
pub(super) struct View<'a> {
    snapshot: Snapshot,
    keyspaces: &'a Keyspaces,
}

impl<'a> View<'a> {
    pub(super) fn new(keyspaces: &'a Keyspaces) -> Self {
        Self { snapshot: keyspaces.database.snapshot(), keyspaces }
    }

    /// A channel is hidden from the moment it is purged; its rows go away later.
    pub(super) fn hides(&self, channel: ChannelId) -> Result<bool, StoreError> {
        let key = purged_key(PurgeTarget::Channel(channel));
        self.snapshot.contains_key(&self.keyspaces.catalogue, key).map_err(unavailable)
    }

    /// The last positions that came with a batch.
    pub(super) fn positions(&self) -> Result<Vec<Position>, StoreError> {
        let items = self.snapshot.prefix(&self.keyspaces.catalogue, POSITIONS);
        items
            .map(|item| {
                let (key, value) = item.into_inner().map_err(unavailable)?;
                decode_position(&key, &value)
            })
            .collect()
    }

    /// Gives a tally what it wants until it is done or wants rows; of a hidden channel, nothing.
    pub(super) fn answer(
        &self,
        tally: &mut Tally,
        channel: ChannelId,
        width: BucketWidth,
        hidden: bool,
    ) -> Result<(), StoreError> {
        loop {
            match tally.wants().clone() {
                Wants::Counts { .. } if hidden => tally.take_counts(Vec::new()),
                Wants::Counts { level, starts } => tally.take_counts(self.counts(channel, level, starts)?),
                Wants::Times { .. } if hidden => tally.take_times(&[]),
                Wants::Times { range, direction, limit } => {
                    tally.take_times(&self.times(channel, width, range, direction, limit)?);
                }
                Wants::Rows(_) | Wants::Nothing | Wants::Found(_) => return Ok(()),
            }
        }
    }

    pub(super) fn blocks(
        &self,
        channel: ChannelId,
        width: BucketWidth,
        range: TimeRange,
        direction: Direction,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Block>, StoreError> {
        let Some(newest) = newest_of(range) else {
            return Ok(Vec::new());
        };
        let (mut first, mut last) = (width.bucket_of(range.from), width.bucket_of(newest));
        match (direction, after) {
            (_, None) => {}
            (Direction::Ascending, Some(after)) => first = first.max(after.saturating_add(1)),
            (Direction::Descending, Some(after)) => last = last.min(after.saturating_sub(1)),
        }
        if first > last {
            return Ok(Vec::new());
        }
        let mut keys =
            self.snapshot.range(&self.keyspaces.catalogue, block_range(channel, width, first, last));
        let mut blocks: Vec<Block> = Vec::new();
        loop {
            let next = match direction {
                Direction::Ascending => keys.next(),
                Direction::Descending => keys.next_back(),
            };
            let Some(item) = next else { break };
            let block = decode_block(&item.key().map_err(unavailable)?)?;
            if blocks.len() >= limit && blocks.last().is_some_and(|last| last.bucket != block.bucket) {
                break;
            }
            blocks.push(block);
        }
        Ok(whole_buckets(blocks, direction, limit))
    }

    /// See [`Store::rows`](crate::Store::rows).
    pub(super) fn scans(
        &self,
        channel: ChannelId,
        scans: &[BlockScan],
        bytes_max: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        let mut bytes = 0;
        let scan = |(number, scan)| {
            if number > 0 && bytes >= bytes_max {
                return Ok(Scanned { more: true, ..Scanned::default() });
            }
            let found = self.rows(channel, scan)?;
            bytes += found.bytes;
            Ok(found.scanned())
        };
        scans.iter().enumerate().map(scan).collect()
    }

    fn rows(&self, channel: ChannelId, scan: &BlockScan) -> Result<Found, StoreError> {
        let found = Found::within(scan);
        let Some(newest) = newest_of(scan.range) else {
            return Ok(found);
        };
        let times = Times { oldest: scan.range.from, newest };
        let mut rows = Rows { view: self, channel, block: scan.block, found };
        match scan.direction {
            Direction::Descending => rows.newest_first(times, scan)?,
            Direction::Ascending => rows.oldest_first(times, scan)?,
        }
        Ok(rows.found)
    }

    /// Merges the times of all blocks, so that no more keys are read than are wanted.
    pub(super) fn times(
        &self,
        channel: ChannelId,
        width: BucketWidth,
        range: TimeRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let Some(newest) = newest_of(range) else {
            return Ok(Vec::new());
        };
        let blocks = self.blocks(channel, width, range, direction, None, usize::MAX)?;
        let scans = blocks.into_iter().map(|block| {
            let first = time_prefix(channel, block, newest).to_vec();
            let keys = first..behind(&time_prefix(channel, block, range.from));
            let mut items = self.snapshot.range(&self.keyspaces.rows, keys);
            move || {
                let item = match direction {
                    Direction::Descending => items.next(),
                    Direction::Ascending => items.next_back(),
                };
                item.map(|item| row_time(&item.key().map_err(unavailable)?)).transpose()
            }
        });
        let mut heads = Vec::new();
        for mut scan in scans {
            if let Some(time) = scan()? {
                heads.push((time, scan));
            }
        }
        let mut times = Vec::new();
        while times.len() < limit {
            let nearest = match direction {
                Direction::Descending => heads.iter().enumerate().max_by_key(|(_, (time, _))| *time),
                Direction::Ascending => heads.iter().enumerate().min_by_key(|(_, (time, _))| *time),
            };
            let Some((at, _)) = nearest else { break };
            let (time, scan) = &mut heads[at];
            times.push(*time);
            match scan()? {
                Some(next) => *time = next,
                None => drop(heads.swap_remove(at)),
            }
        }
        Ok(times)
    }

    pub(super) fn counts(
        &self,
        channel: ChannelId,
        level: CountLevel,
        starts: Range<i64>,
    ) -> Result<Vec<TimeCount>, StoreError> {
        if starts.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        let mut next = starts.start;
        for hot in self.keyspaces.hot.within(channel, level, &starts) {
            self.scan_counts(channel, level, next..hot, &mut found)?;
            let stored = self.snapshot.get(&self.keyspaces.counts, count_key(channel, level, hot));
            if let Some(rows) = stored.map_err(unavailable)? {
                found.push(TimeCount { start_seconds: hot, rows: decode_number(&rows)? });
            }
            next = hot + level.seconds();
        }
        self.scan_counts(channel, level, next..starts.end, &mut found)?;
        Ok(found)
    }

    fn scan_counts(
        &self,
        channel: ChannelId,
        level: CountLevel,
        starts: Range<i64>,
        found: &mut Vec<TimeCount>,
    ) -> Result<(), StoreError> {
        if starts.is_empty() {
            return Ok(());
        }
        let keys = count_key(channel, level, starts.start)..count_key(channel, level, starts.end);
        for item in self.snapshot.range(&self.keyspaces.counts, keys) {
            let (key, value) = item.into_inner().map_err(unavailable)?;
            found.push(TimeCount { start_seconds: count_start(&key)?, rows: decode_number(&value)? });
        }
        Ok(())
    }
}

/// The last time within a range, if there is any.
fn newest_of(range: TimeRange) -> Option<Timestamp> {
    let newest = match range.to {
        None => Timestamp::MAX,
        Some(to) => Timestamp::from_nanos(to.as_nanos().checked_sub(1)?),
    };
    (newest >= range.from).then_some(newest)
}

/// Puts each bucket's blocks in order of shard, and leaves the last bucket out if it is not the only one and makes them
/// more than the limit.
fn whole_buckets(mut blocks: Vec<Block>, direction: Direction, limit: usize) -> Vec<Block> {
    if blocks.len() > limit {
        let last = blocks.last().map(|block| block.bucket);
        let whole = blocks.iter().take_while(|block| Some(block.bucket) != last).count();
        if whole > 0 {
            blocks.truncate(whole);
        }
    }
    if direction == Direction::Descending {
        for bucket in blocks.chunk_by_mut(|a, b| a.bucket == b.bucket) {
            bucket.reverse();
        }
    }
    blocks
}

/// Times of a scan, both inclusive.
#[derive(Debug, Clone, Copy)]
struct Times {
    oldest: Timestamp,
    newest: Timestamp,
}

/// One scan of one block, as far as it has come.
struct Rows<'a> {
    view: &'a View<'a>,
    channel: ChannelId,
    block: Block,
    found: Found,
}

impl Rows<'_> {
    /// The order of keys is the order wanted.
    fn newest_first(&mut self, times: Times, scan: &BlockScan) -> Result<(), StoreError> {
        let mut low = Bound::Included(self.time(times.newest).to_vec());
        if let Some(after) = &scan.after {
            if after.time < times.oldest {
                return Ok(());
            }
            if after.time <= times.newest {
                low = Bound::Excluded(self.key(after));
            }
        }
        self.forward(low, behind(&self.time(times.oldest)))
    }

    /// Times go against the order of keys, ties with it.
    fn oldest_first(&mut self, mut times: Times, scan: &BlockScan) -> Result<(), StoreError> {
        if let Some(after) = scan.after.as_ref().filter(|after| after.time >= times.oldest) {
            if after.time > times.newest {
                return Ok(());
            }
            self.forward(Bound::Excluded(self.key(after)), behind(&self.time(after.time)))?;
            if after.time >= times.newest {
                return Ok(());
            }
            times.oldest = Timestamp::from_nanos(after.time.as_nanos() + 1);
        }
        self.backward(times)
    }

    fn forward(&mut self, low: Bound<Vec<u8>>, high: Vec<u8>) -> Result<(), StoreError> {
        if self.found.is_full() {
            return Ok(());
        }
        if matches!(&low, Bound::Included(low) | Bound::Excluded(low) if *low >= high) {
            return Ok(());
        }
        let snapshot = &self.view.snapshot;
        for item in snapshot.range(&self.view.keyspaces.rows, (low, Bound::Excluded(high))) {
            let (key, value) = item.into_inner().map_err(unavailable)?;
            self.found.take(decode_row(&key, &value)?);
            if self.found.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// Reads backwards, a group of ties at a time. Where more rows tie than still fit, only the first of them are
    /// wanted, and they are read forwards: so no more than the bounds is ever held.
    fn backward(&mut self, times: Times) -> Result<(), StoreError> {
        let range = self.time(times.newest).to_vec()..behind(&self.time(times.oldest));
        let mut items = self.view.snapshot.range(&self.view.keyspaces.rows, range);
        let mut ties: Vec<(Slice, Slice)> = Vec::new();
        // As stored they take less than printed: more of them do not fit for certain.
        let mut ties_bytes = 0;
        while !self.found.is_full() {
            let Some(item) = items.next_back() else {
                return self.take_ties(&mut ties);
            };
            let (key, value) = item.into_inner().map_err(unavailable)?;
            let same_time = ties.first().is_some_and(|(tie, _)| tie[..TIME_BYTES] == key[..TIME_BYTES]);
            if !same_time {
                self.take_ties(&mut ties)?;
                ties_bytes = 0;
                if self.found.is_full() {
                    return Ok(());
                }
            }
            ties_bytes += value.len();
            ties.push((key, value));
            let too_many = ties.len() > self.found.left();
            if too_many || (ties.len() > 1 && ties_bytes > self.found.bytes_left()) {
                let prefix = self.time(row_time(&ties[0].0)?);
                return self.forward(Bound::Included(prefix.to_vec()), behind(&prefix));
            }
        }
        Ok(())
    }

    fn take_ties(&mut self, ties: &mut Vec<(Slice, Slice)>) -> Result<(), StoreError> {
        for (key, value) in ties.drain(..).rev() {
            self.found.take(decode_row(&key, &value)?);
        }
        Ok(())
    }

    fn time(&self, time: Timestamp) -> [u8; TIME_BYTES] {
        time_prefix(self.channel, self.block, time)
    }

    fn key(&self, row: &crate::contract::RowKey) -> Vec<u8> {
        let mut key = Vec::with_capacity(128);
        put_row_key(&mut key, self.channel, self.block, row.into());
        key
    }
}

/// The time in a row's key.
pub(super) fn row_time(key: &[u8]) -> Result<Timestamp, StoreError> {
    let malformed = || StoreError::Damaged(format!("a row's key is malformed: {}", key.escape_ascii()));
    key.first_chunk().map(time_of).ok_or_else(malformed)
}

fn decode_row(key: &[u8], value: &[u8]) -> Result<Row, StoreError> {
    let (_, _, place) = decode_row_key(key)?;
    let stored = decode_value(value)?;
    Ok(Row {
        publisher: place.publisher,
        subtopic: place.subtopic,
        protocol: stored.protocol,
        received: stored.received,
        record: Record {
            name: place.name,
            unit: place.unit,
            time: place.time,
            value: stored.value,
            sum: stored.sum,
            update_time: stored.update_time,
        },
    })
}
