//! Reads of rows: slices of one block each, in either direction.
//!
//! The table is in the order of `dir=desc`: newest first, ties upwards. Read backwards its ties come downwards, so a
//! backward read turns them round, and reads those forwards that its limit cut.

use std::sync::atomic::{AtomicUsize, Ordering};

use domain::{ChannelId, ChannelProfile, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use uuid::Uuid;

use super::statements::{Room, RowStatements, all, each_until_full};
use super::{Inner, row};
use crate::contract::{Block, BlockScan, Direction, RowKey, Scanned, StoreError, TimeRange, shard_of};
use crate::found::Found;

impl Inner {
    /// See [`Store::rows`](crate::Store::rows).
    pub(super) async fn rows(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        scans: Vec<BlockScan>,
        bytes_max: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        let statements = self.rows_of(profile.storage_class).await?;
        let bytes = &AtomicUsize::new(0);
        let scans = stream::iter(scans.into_iter().enumerate()).map(|(number, scan)| async move {
            if number > 0 && bytes.load(Ordering::Relaxed) >= bytes_max {
                return Ok::<_, StoreError>(Scanned { more: true, ..Scanned::default() });
            }
            let slice = Slice { inner: self, statements, channel: channel.as_uuid(), block: scan.block };
            let mut found = Found::within(&scan);
            slice.scan(profile, &scan, &mut found).await?;
            bytes.fetch_add(found.bytes, Ordering::Relaxed);
            Ok(found.scanned())
        });
        scans.buffered(self.config.requests_in_flight_max.max(1)).try_collect().await
    }

    /// See [`Store::times`](crate::Store::times).
    pub(super) async fn times(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        range: TimeRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let Some(newest) = range.newest() else { return Ok(Vec::new()) };
        let statements = self.rows_of(profile.storage_class).await?;
        let blocks = self.blocks(channel, profile.bucket_width, range, direction, None, usize::MAX).await?;
        let times = Times { oldest: range.from.as_nanos(), newest: newest.as_nanos() };
        let reads = stream::iter(blocks).map(|block| async move {
            let statement = match direction {
                Direction::Descending => &statements.newest_times,
                Direction::Ascending => &statements.oldest_times,
            };
            all::<(i64,)>(
                &self.session,
                statement,
                (
                    channel.as_uuid(),
                    block.bucket,
                    block.shard as i16,
                    times.oldest,
                    times.newest,
                    at_most(limit),
                ),
            )
            .await
        });
        let mut found: Vec<(i64,)> =
            reads.buffered(self.config.requests_in_flight_max.max(1)).try_concat().await?;
        match direction {
            Direction::Descending => found.sort_unstable_by(|a, b| b.cmp(a)),
            Direction::Ascending => found.sort_unstable(),
        }
        found.truncate(limit);
        Ok(found.into_iter().map(|(time,)| Timestamp::from_nanos(time)).collect())
    }
}

/// Times of a read in nanoseconds, both inclusive.
#[derive(Debug, Clone, Copy)]
struct Times {
    oldest: i64,
    newest: i64,
}

/// One block to be read.
struct Slice<'a> {
    inner: &'a Inner,
    statements: &'a RowStatements,
    channel: Uuid,
    block: Block,
}

impl Slice<'_> {
    async fn scan(
        &self,
        profile: ChannelProfile,
        scan: &BlockScan,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let Some(newest) = scan.range.newest().filter(|_| scan.limit > 0) else { return Ok(()) };
        let mut times = Times { oldest: scan.range.from.as_nanos(), newest: newest.as_nanos() };
        if let Some(after) = &scan.after {
            let at = after.time.as_nanos();
            let (passed, before) = match scan.direction {
                Direction::Descending => (at < times.oldest, at > times.newest),
                Direction::Ascending => (at > times.newest, at < times.oldest),
            };
            if passed {
                return Ok(());
            }
            if !before {
                if profile.bucket_width.bucket_of(after.time) == scan.block.bucket {
                    self.ties_behind(after, found).await?;
                }
                let rest = match scan.direction {
                    Direction::Descending => at.checked_sub(1).map(|newest| Times { newest, ..times }),
                    Direction::Ascending => at.checked_add(1).map(|oldest| Times { oldest, ..times }),
                };
                let Some(rest) = rest.filter(|rest| rest.oldest <= rest.newest) else { return Ok(()) };
                times = rest;
            }
        }
        match scan.direction {
            _ if found.is_full() => Ok(()),
            Direction::Descending => self.newest(times, found).await,
            Direction::Ascending => self.oldest(times, found).await,
        }
    }

    async fn newest(&self, Times { oldest, newest }: Times, found: &mut Found) -> Result<(), StoreError> {
        let left = at_most(found.left());
        let values = (self.channel, self.block.bucket, self.block.shard as i16, oldest, newest, left);
        self.read(&self.statements.newest_rows, values, found).await.map(drop)
    }

    async fn oldest(&self, Times { oldest, newest }: Times, found: &mut Found) -> Result<(), StoreError> {
        // One more than wanted says whether the last ties are all there.
        let mut backward = Found::bounded(found.left().saturating_add(1), found.bytes_left());
        let left = at_most(backward.left());
        let values = (self.channel, self.block.bucket, self.block.shard as i16, oldest, newest, left);
        let cut_by_bytes = self.read(&self.statements.oldest_rows, values, &mut backward).await?;
        let mut rows = backward.rows;
        let cut =
            rows.last().filter(|_| cut_by_bytes || rows.len() > found.left()).map(|row| row.record.time);
        if let Some(time) = cut {
            rows.retain(|row| row.record.time != time);
        }
        for ties in rows.chunk_by_mut(|a, b| a.record.time == b.record.time) {
            ties.reverse();
        }
        for row in rows {
            found.take(row);
        }
        if let Some(time) = cut.filter(|_| !found.is_full()) {
            let left = at_most(found.left());
            let values = (self.channel, self.block.bucket, self.block.shard as i16, time.as_nanos(), left);
            // All of them are as many as were cut, or take as many bytes: it is full then.
            self.read(&self.statements.ties, values, found).await?;
        }
        Ok(())
    }

    /// The rows of a row's time that come behind it, as slices by one column each: not every database compares
    /// several at once. The next slice is read only if the one before was not enough.
    async fn ties_behind(&self, row: &RowKey, found: &mut Found) -> Result<(), StoreError> {
        let statements = self.statements;
        let (channel, bucket, shard) = (self.channel, self.block.bucket, self.block.shard as i16);
        let (time, publisher) = (row.time.as_nanos(), row.publisher.as_bytes().as_slice());
        let (subtopic, name, unit) = (row.subtopic.as_str(), row.name.as_str(), row.unit.as_str());
        let left = |found: &Found| at_most(found.left());
        if shard_of(row.publisher) == self.block.shard {
            let values = (channel, bucket, shard, time, publisher, subtopic, name, unit, left(found));
            self.read(&statements.ties_behind_unit, values, found).await?;
            if !found.is_full() {
                let values = (channel, bucket, shard, time, publisher, subtopic, name, left(found));
                self.read(&statements.ties_behind_name, values, found).await?;
            }
            if !found.is_full() {
                let values = (channel, bucket, shard, time, publisher, subtopic, left(found));
                self.read(&statements.ties_behind_subtopic, values, found).await?;
            }
        }
        if !found.is_full() {
            let values = (channel, bucket, shard, time, publisher, left(found));
            self.read(&statements.ties_behind_publisher, values, found).await?;
        }
        Ok(())
    }

    /// Reads until there are no more rows, or those found take too many bytes: whether it ended there.
    async fn read(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        found: &mut Found,
    ) -> Result<bool, StoreError> {
        let limit = found.left();
        let take = |stored: row::Stored| {
            let before = found.bytes;
            found.take(row::decode(stored)?);
            Ok(Room { taken: found.bytes - before, left: found.bytes_left() })
        };
        each_until_full(&self.inner.session, statement, values, limit, take).await
    }
}

fn at_most(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}
