//! Reads of rows: slices of one block each, in either direction.
//!
//! The table is in the order of `dir=desc`: newest first, ties upwards. Read backwards its ties come downwards, so a
//! backward read turns them round, and reads those forwards that its limit cut.

use domain::{ChannelId, ChannelProfile, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use uuid::Uuid;

use super::statements::{RowStatements, all, each};
use super::{Inner, row};
use crate::contract::{Block, BlockScan, Direction, Row, RowKey, StoreError, TimeRange, shard_of};

impl Inner {
    /// See [`Store::rows`](crate::Store::rows).
    pub(super) async fn rows(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        scans: Vec<BlockScan>,
    ) -> Result<Vec<Vec<Row>>, StoreError> {
        let statements = self.rows_of(profile.storage_class).await?;
        let scans = stream::iter(scans).map(|scan| async move {
            let slice = Slice { inner: self, statements, channel: channel.as_uuid(), block: scan.block };
            slice.scan(profile, &scan).await
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
    async fn scan(&self, profile: ChannelProfile, scan: &BlockScan) -> Result<Vec<Row>, StoreError> {
        let Some(newest) = scan.range.newest().filter(|_| scan.limit > 0) else { return Ok(Vec::new()) };
        let mut times = Times { oldest: scan.range.from.as_nanos(), newest: newest.as_nanos() };
        let mut found = Vec::new();
        if let Some(after) = &scan.after {
            let at = after.time.as_nanos();
            let (passed, before) = match scan.direction {
                Direction::Descending => (at < times.oldest, at > times.newest),
                Direction::Ascending => (at > times.newest, at < times.oldest),
            };
            if passed {
                return Ok(found);
            }
            if !before {
                if profile.bucket_width.bucket_of(after.time) == scan.block.bucket {
                    found = self.ties_behind(after, scan.limit).await?;
                }
                let rest = match scan.direction {
                    Direction::Descending => at.checked_sub(1).map(|newest| Times { newest, ..times }),
                    Direction::Ascending => at.checked_add(1).map(|oldest| Times { oldest, ..times }),
                };
                let Some(rest) = rest.filter(|rest| rest.oldest <= rest.newest) else { return Ok(found) };
                times = rest;
            }
        }
        let left = scan.limit - found.len();
        if left > 0 {
            found.append(&mut match scan.direction {
                Direction::Descending => self.newest(times, left).await?,
                Direction::Ascending => self.oldest(times, left).await?,
            });
        }
        Ok(found)
    }

    async fn newest(&self, Times { oldest, newest }: Times, limit: usize) -> Result<Vec<Row>, StoreError> {
        let values =
            (self.channel, self.block.bucket, self.block.shard as i16, oldest, newest, at_most(limit));
        self.read(&self.statements.newest_rows, values).await
    }

    async fn oldest(&self, Times { oldest, newest }: Times, limit: usize) -> Result<Vec<Row>, StoreError> {
        // One more than wanted says whether the last ties are all there.
        let values = (
            self.channel,
            self.block.bucket,
            self.block.shard as i16,
            oldest,
            newest,
            at_most(limit.saturating_add(1)),
        );
        let mut rows = self.read(&self.statements.oldest_rows, values).await?;
        let cut = rows.last().filter(|_| rows.len() > limit).map(|row| row.record.time);
        if let Some(time) = cut {
            rows.retain(|row| row.record.time != time);
        }
        for ties in rows.chunk_by_mut(|a, b| a.record.time == b.record.time) {
            ties.reverse();
        }
        let left = limit - rows.len();
        if let Some(time) = cut.filter(|_| left > 0) {
            let values =
                (self.channel, self.block.bucket, self.block.shard as i16, time.as_nanos(), at_most(left));
            rows.append(&mut self.read(&self.statements.ties, values).await?);
        }
        Ok(rows)
    }

    /// The rows of a row's time that come behind it, as slices by one column each: not every database compares
    /// several at once. The next slice is read only if the one before was not enough.
    async fn ties_behind(&self, row: &RowKey, limit: usize) -> Result<Vec<Row>, StoreError> {
        let statements = self.statements;
        let (channel, bucket, shard) = (self.channel, self.block.bucket, self.block.shard as i16);
        let (time, publisher) = (row.time.as_nanos(), row.publisher.as_bytes().as_slice());
        let (subtopic, name, unit) = (row.subtopic.as_str(), row.name.as_str(), row.unit.as_str());
        let mut found = Vec::new();
        let left = |found: &Vec<Row>| at_most(limit - found.len());
        if shard_of(row.publisher) == self.block.shard {
            let values = (channel, bucket, shard, time, publisher, subtopic, name, unit, left(&found));
            found.append(&mut self.read(&statements.ties_behind_unit, values).await?);
            if found.len() < limit {
                let values = (channel, bucket, shard, time, publisher, subtopic, name, left(&found));
                found.append(&mut self.read(&statements.ties_behind_name, values).await?);
            }
            if found.len() < limit {
                let values = (channel, bucket, shard, time, publisher, subtopic, left(&found));
                found.append(&mut self.read(&statements.ties_behind_subtopic, values).await?);
            }
        }
        if found.len() < limit {
            let values = (channel, bucket, shard, time, publisher, left(&found));
            found.append(&mut self.read(&statements.ties_behind_publisher, values).await?);
        }
        Ok(found)
    }

    async fn read(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        each(&self.inner.session, statement, values, |stored: row::Stored| {
            rows.push(row::decode(stored)?);
            Ok(())
        })
        .await?;
        Ok(rows)
    }
}

fn at_most(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}
