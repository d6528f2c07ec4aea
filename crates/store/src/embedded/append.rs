//! The one writer of the embedded store: a batch of rows, their counts and their position become one atomic write.
//!
//! It reads before it writes only where a row may already be there. Everything it remembers is a shortcut: forgetting
//! it changes nothing but speed.

use domain::{ChannelId, ThingId, Timestamp};
use fjall::{OwnedWriteBatch, PersistMode, Slice};

use super::counts::{Deltas, KnownCounts};
use super::key::{Identity, block_prefix, put_row_key};
use super::layout::{block_key, position_key, publisher_key, purged_key};
use super::recent::Recent;
use super::scan::row_time;
use super::value::{put_value, version_of};
use super::{Keyspaces, unavailable};
use crate::contract::{Block, PurgeTarget, StoreError, WriteBatch, WriteRow};

/// Blocks remembered. 100 bytes each; a channel writes to 16 at a time.
const BLOCKS_REMEMBERED: usize = 8_192;
/// Publishers of a bucket remembered. 150 bytes each: about as many things as one node serves.
const PUBLISHERS_REMEMBERED: usize = 16_384;
/// Channels and things remembered as purged or not.
const TARGETS_REMEMBERED: usize = 16_384;

/// What the writer remembers between batches.
#[derive(Debug)]
pub(super) struct Writer {
    /// Blocks that the index lists.
    blocks: Recent<(ChannelId, Block), ()>,
    /// Publishers that the catalogue lists for the channel, and a bound of their times in the bucket.
    publishers: Recent<(ChannelId, i64, ThingId), Newest>,
    purged: Recent<PurgeTarget, bool>,
    pub(super) counts: KnownCounts,
    batches: u64,
    /// A block whose rows are being deleted step by step, and whether rows have come into it since.
    watched: Option<((ChannelId, Block), bool)>,
}

/// An upper bound of the times in a place; `None`: nothing is there.
#[derive(Debug, Clone, Copy)]
struct Newest {
    /// The bound before the batch that changed it last.
    before: Option<Timestamp>,
    now: Option<Timestamp>,
    /// That batch.
    batch: u64,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            blocks: Recent::new(BLOCKS_REMEMBERED),
            publishers: Recent::new(PUBLISHERS_REMEMBERED),
            purged: Recent::new(TARGETS_REMEMBERED),
            counts: KnownCounts::new(),
            batches: 0,
            watched: None,
        }
    }

    /// Forgets everything: what is remembered may no longer be what is stored.
    pub(super) fn forget(&mut self) {
        self.blocks.clear();
        self.publishers.clear();
        self.purged.clear();
        self.counts.clear();
    }

    /// Forgets the buckets of a channel before one: they may no longer be listed.
    pub(super) fn forget_buckets(&mut self, channel: ChannelId, before: i64) {
        self.blocks.forget_if(|(of, block)| *of == channel && block.bucket < before);
        self.publishers.forget_if(|(of, bucket, _)| *of == channel && *bucket < before);
    }

    /// Watches a block from now on for rows that come into it, and no other.
    pub(super) fn watch(&mut self, channel: ChannelId, block: Block) {
        if self.watched.is_none_or(|(place, _)| place != (channel, block)) {
            self.watched = Some(((channel, block), false));
        }
    }

    /// Whether rows came into a block that is watched; it no longer is.
    pub(super) fn came_into(&mut self, channel: ChannelId, block: Block) -> bool {
        self.watched.take_if(|(place, _)| *place == (channel, block)).is_some_and(|(_, came)| came)
    }

    /// Remembers that a target is purged.
    pub(super) fn purged(&mut self, target: PurgeTarget) {
        self.purged.insert(target, true);
    }

    pub(super) fn append(&mut self, keyspaces: &Keyspaces, batch: &WriteBatch) -> Result<(), StoreError> {
        let done = self.try_append(keyspaces, batch);
        if done.is_err() {
            self.forget();
        }
        done
    }

    fn try_append(&mut self, keyspaces: &Keyspaces, batch: &WriteBatch) -> Result<(), StoreError> {
        self.batches += 1;
        let rows = self.winners(keyspaces, &batch.rows)?;
        let mut writes = OwnedWriteBatch::with_capacity(keyspaces.database.clone(), rows.order.len() + 64)
            .durability(Some(PersistMode::Buffer));
        let mut deltas = Deltas::default();
        let mut value = Vec::with_capacity(64);
        for (key, row) in rows.iter() {
            match self.stored_version(keyspaces, &mut writes, key, row)? {
                Stored::Nothing => deltas.add(row.channel, row.row.record.time, 1),
                Stored::Earlier => {}
                Stored::Later => continue,
            }
            value.clear();
            put_value(&mut value, &row.row);
            writes.insert(&keyspaces.rows, key, value.as_slice());
        }
        for position in &batch.positions {
            let offset = position.offset.to_be_bytes();
            writes.insert(&keyspaces.catalogue, position_key(position.lane), offset);
        }
        self.counts.apply(keyspaces, &mut writes, deltas)?;
        writes.commit().map_err(unavailable)
    }

    /// The rows of a batch that may be stored: of those with one key only the one that wins. Sorted, they also go into
    /// the memtable at less cost than in the order they came.
    fn winners<'a>(
        &mut self,
        keyspaces: &Keyspaces,
        rows: &'a [WriteRow],
    ) -> Result<Winners<'a>, StoreError> {
        let mut keys = Vec::with_capacity(rows.len() * 96);
        let mut order = Vec::with_capacity(rows.len());
        let mut last: Option<(ChannelId, ThingId, bool)> = None;
        for row in rows {
            let (channel, publisher) = (row.channel, row.row.publisher);
            let purged = match last {
                Some((c, p, purged)) if (c, p) == (channel, publisher) => purged,
                _ => {
                    self.is_purged(keyspaces, PurgeTarget::Channel(channel))?
                        || self.is_purged(keyspaces, PurgeTarget::Publisher(publisher))?
                }
            };
            last = Some((channel, publisher, purged));
            if purged {
                continue;
            }
            let start = keys.len();
            put_row_key(&mut keys, channel, block_of(row), identity_of(row));
            order.push((start, keys.len(), row));
        }
        let key = |&(start, end, _): &(usize, usize, &WriteRow)| &keys[start..end];
        // Stable, so that of rows with equal keys and receptions the one accepted last comes last.
        order.sort_by(|a, b| key(a).cmp(key(b)).then(a.2.row.received.cmp(&b.2.row.received)));
        order.dedup_by(|next, kept| {
            let same = key(next) == key(kept);
            if same {
                *kept = *next;
            }
            same
        });
        Ok(Winners { keys, order })
    }

    fn is_purged(&mut self, keyspaces: &Keyspaces, target: PurgeTarget) -> Result<bool, StoreError> {
        if let Some(purged) = self.purged.get_mut(&target) {
            return Ok(*purged);
        }
        let purged = keyspaces.catalogue.contains_key(purged_key(target)).map_err(unavailable)?;
        self.purged.insert(target, purged);
        Ok(purged)
    }

    /// What is stored under a row's key, and registers where the row goes. A row newer than everything of its publisher
    /// in its bucket can't be there yet, so most rows are not looked up.
    fn stored_version(
        &mut self,
        keyspaces: &Keyspaces,
        writes: &mut OwnedWriteBatch,
        key: &[u8],
        row: &WriteRow,
    ) -> Result<Stored, StoreError> {
        let newest = self.newest(keyspaces, writes, row)?;
        if newest.is_none_or(|newest| row.row.record.time > newest) {
            return Ok(Stored::Nothing);
        }
        Ok(match keyspaces.rows.get(key).map_err(unavailable)? {
            None => Stored::Nothing,
            Some(stored) if version_of(&stored)? > row.row.received => Stored::Later,
            Some(_) => Stored::Earlier,
        })
    }

    /// The bound for a row's publisher and bucket as it was before this batch; raises it to the row's time.
    fn newest(
        &mut self,
        keyspaces: &Keyspaces,
        writes: &mut OwnedWriteBatch,
        row: &WriteRow,
    ) -> Result<Option<Timestamp>, StoreError> {
        let (channel, publisher, time) = (row.channel, row.row.publisher, row.row.record.time);
        let block = block_of(row);
        if let Some((place, came)) = &mut self.watched {
            *came |= *place == (channel, block);
        }
        let place = (channel, block.bucket, publisher);
        if let Some(newest) = self.publishers.get_mut(&place) {
            if newest.batch != self.batches {
                (newest.before, newest.batch) = (newest.now, self.batches);
            }
            newest.now = newest.now.max(Some(time));
            return Ok(newest.before);
        }
        let before = self.register(keyspaces, writes, row, block)?;
        writes.insert(&keyspaces.catalogue, publisher_key(publisher, channel), Slice::empty());
        let now = before.max(Some(time));
        self.publishers.insert(place, Newest { before, now, batch: self.batches });
        Ok(before)
    }

    /// Registers a block where that is not known to be done, and looks up the newest time in it: a bound for each of
    /// its publishers.
    fn register(
        &mut self,
        keyspaces: &Keyspaces,
        writes: &mut OwnedWriteBatch,
        row: &WriteRow,
        block: Block,
    ) -> Result<Option<Timestamp>, StoreError> {
        if self.blocks.get_mut(&(row.channel, block)).is_none() {
            let key = block_key(row.channel, row.profile.bucket_width, block);
            writes.insert(&keyspaces.catalogue, key, Slice::empty());
            self.blocks.insert((row.channel, block), ());
        }
        let Some(first) = keyspaces.rows.prefix(block_prefix(row.channel, block)).next() else {
            return Ok(None);
        };
        row_time(&first.key().map_err(unavailable)?).map(Some)
    }
}

/// What stands where a row goes.
enum Stored {
    /// No row.
    Nothing,
    /// A row that this one replaces.
    Earlier,
    /// A row that this one does not replace.
    Later,
}

/// Rows in order of their keys, at most one for each.
struct Winners<'a> {
    keys: Vec<u8>,
    /// Where each row's key starts and ends.
    order: Vec<(usize, usize, &'a WriteRow)>,
}

impl<'a> Winners<'a> {
    fn iter(&self) -> impl Iterator<Item = (&[u8], &'a WriteRow)> {
        self.order.iter().map(|&(start, end, row)| (&self.keys[start..end], row))
    }
}

fn block_of(row: &WriteRow) -> Block {
    Block::of(row.profile.bucket_width, row.row.record.time, row.row.publisher)
}

fn identity_of(row: &WriteRow) -> Identity<'_> {
    Identity {
        time: row.row.record.time,
        publisher: row.row.publisher,
        subtopic: row.row.subtopic.as_str(),
        name: &row.row.record.name,
        unit: &row.row.record.unit,
    }
}
