//! Deletion of what has expired: whole blocks of a channel, with their counts and their places in the index.
//!
//! Rows go in steps of one atomic batch each, with their counts, and a block leaves the index with the last of its rows. So
//! nothing has to be written down: what a crash left is due again, and what comes late into a block lists it again.

use std::sync::PoisonError;

use domain::{BucketWidth, ChannelId, Timestamp};

use super::counts::Deltas;
use super::key::{behind, block_prefix};
use super::layout::{block_key, purged_key};
use super::purge::{STEP_KEYS, commit_with_counts};
use super::scan::{View, row_time};
use super::{Inner, unavailable};
use crate::contract::{Block, Direction, Expired, PurgeTarget, StoreError, TimeRange};

/// Blocks that one call takes on.
const BLOCKS_PER_CALL: usize = 1_024;
/// Steps of one call: a second or so, in which appends go on between the steps.
const STEPS_PER_CALL: usize = 64;

/// Deletes blocks of a channel that end before a time: some of them, the oldest first.
pub(super) fn expire(
    inner: &Inner,
    channel: ChannelId,
    width: BucketWidth,
    before: Timestamp,
) -> Result<Expired, StoreError> {
    // The writer watches one block at a time.
    let _alone = inner.expiring.lock().unwrap_or_else(PoisonError::into_inner);
    let end = width.bucket_of(before);
    let due = due_blocks(inner, channel, width, end)?;
    let mut deletion =
        Deletion { inner, channel, width, end, due: &due, from: None, deleted: 0, late: false };
    let mut steps = 0;
    while steps < STEPS_PER_CALL && !deletion.due.is_empty() {
        deletion.step()?;
        steps += 1;
    }
    let more = deletion.late || !deletion.due.is_empty() || due.len() >= BLOCKS_PER_CALL;
    Ok(Expired { blocks: deletion.deleted, more })
}

/// Blocks of the buckets before one.
fn due_blocks(
    inner: &Inner,
    channel: ChannelId,
    width: BucketWidth,
    end: i64,
) -> Result<Vec<Block>, StoreError> {
    let to = Timestamp::from_nanos(end.saturating_mul(width.nanos()));
    let range = TimeRange { to: Some(to), ..TimeRange::ALL };
    let view = View::new(&inner.keyspaces);
    view.blocks(channel, width, range, Direction::Ascending, None, BLOCKS_PER_CALL)
}

/// The deletion of some blocks, as far as it has come.
struct Deletion<'a> {
    inner: &'a Inner,
    channel: ChannelId,
    width: BucketWidth,
    /// The first bucket that is not deleted.
    end: i64,
    /// What is left to do.
    due: &'a [Block],
    /// Where the first of these goes on, if rows of it are gone.
    from: Option<Vec<u8>>,
    /// Blocks that are gone.
    deleted: u64,
    /// Whether rows came into a block meanwhile, which stays listed for them.
    late: bool,
}

impl Deletion<'_> {
    /// Deletes some rows, of as many blocks as they lie in.
    fn step(&mut self) -> Result<(), StoreError> {
        let keyspaces = &self.inner.keyspaces;
        let mut writer = self.inner.writer();
        let purged = purged_key(PurgeTarget::Channel(self.channel));
        if keyspaces.catalogue.contains_key(purged).map_err(unavailable)? {
            // All of it goes on its own way, and counts no longer belong to rows.
            self.due = &[];
            return Ok(());
        }
        let mut writes = keyspaces.batch();
        let mut deltas = Deltas::default();
        let mut keys_left = STEP_KEYS;
        while let [block, rest @ ..] = self.due {
            let prefix = block_prefix(self.channel, *block);
            let from = self.from.take().unwrap_or_else(|| prefix.to_vec());
            for item in keyspaces.rows.range(from..behind(&prefix)) {
                let key = item.key().map_err(unavailable)?;
                if keys_left == 0 {
                    self.from = Some(key.to_vec());
                    writer.watch(self.channel, *block);
                    break;
                }
                keys_left -= 1;
                deltas.add(self.channel, row_time(&key)?, -1);
                writes.remove(&keyspaces.rows, key);
            }
            if self.from.is_some() {
                break;
            }
            self.due = rest;
            if writer.came_into(self.channel, *block) {
                self.late = true;
                continue;
            }
            writes.remove(&keyspaces.catalogue, block_key(self.channel, self.width, *block));
            self.deleted += 1;
        }
        commit_with_counts(&mut writer, keyspaces, writes, deltas)?;
        writer.forget_buckets(self.channel, self.end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{CountLevel, Store, WriteBatch};
    use crate::embedded::{EmbeddedConfig, EmbeddedStore};
    use crate::suite::{channel, number_row, thing};
    use domain::ChannelProfile;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3_600 * SECOND;
    const DONE: Expired = Expired { blocks: 0, more: false };

    fn open(dir: &std::path::Path) -> EmbeddedStore {
        EmbeddedStore::open(dir, EmbeddedConfig::default()).unwrap()
    }

    async fn append(store: &EmbeddedStore, times: impl Iterator<Item = i64>) {
        let rows = times.map(|nanos| number_row(channel(1), thing(1), nanos, 1.0)).collect();
        store.append(WriteBatch { rows, positions: Vec::new() }).await.unwrap();
    }

    async fn expire_before(store: &EmbeddedStore, nanos: i64) -> Expired {
        let before = Timestamp::from_nanos(nanos);
        store.expire(channel(1), ChannelProfile::default(), before).await.unwrap()
    }

    /// The times of the rows that are stored; their counts and the index say the same.
    async fn stored(store: &EmbeddedStore) -> Vec<i64> {
        let profile = ChannelProfile::default();
        let keys = store.inner.keyspaces.rows.prefix(channel(1).as_bytes());
        let mut times: Vec<i64> =
            keys.map(|item| row_time(&item.key().unwrap()).unwrap().as_nanos()).collect();
        times.sort_unstable();
        for level in CountLevel::ALL {
            let counts = store.counts(channel(1), profile, level, i64::MIN..i64::MAX).await.unwrap();
            let starts: Vec<i64> = counts.iter().map(|count| count.start_seconds).collect();
            let mut windows: Vec<i64> =
                times.iter().map(|time| level.window_of(time.div_euclid(SECOND))).collect();
            windows.dedup();
            assert_eq!(counts.iter().map(|count| count.rows).sum::<u64>(), times.len() as u64, "{level:?}");
            assert_eq!(starts, windows, "{level:?}");
        }
        let all = TimeRange::ALL;
        let blocks = store.blocks(channel(1), profile, all, Direction::Ascending, None, 9_999).await.unwrap();
        let listed: Vec<i64> = blocks.into_iter().map(|block| block.bucket).collect();
        let mut buckets: Vec<i64> = times.iter().map(|time| time.div_euclid(HOUR)).collect();
        buckets.dedup();
        assert_eq!(listed, buckets);
        times
    }

    #[tokio::test]
    async fn whole_blocks_go_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let times = || (-6..20).map(|n| n * HOUR / 2);
        append(&store, times()).await;
        assert_eq!(expire_before(&store, i64::MIN).await, DONE);
        assert_eq!(expire_before(&store, 5 * HOUR + 1).await, Expired { blocks: 8, more: false });
        assert_eq!(stored(&store).await, times().filter(|time| *time >= 5 * HOUR).collect::<Vec<_>>());
        assert_eq!(
            expire_before(&store, 6 * HOUR - 1).await,
            DONE,
            "a block goes when all of it has expired"
        );

        // What comes late is stored like anything else, and goes with the next call.
        append(&store, [HOUR, HOUR + 1, 8 * HOUR].into_iter()).await;
        assert_eq!(stored(&store).await[..2], [HOUR, HOUR + 1]);
        assert_eq!(expire_before(&store, 5 * HOUR).await, Expired { blocks: 1, more: false });
        assert_eq!(stored(&store).await, times().filter(|time| *time >= 5 * HOUR).collect::<Vec<_>>());
        assert_eq!(expire_before(&store, i64::MAX).await, Expired { blocks: 5, more: false });
        assert!(stored(&store).await.is_empty());
    }

    fn deletion<'a>(store: &'a EmbeddedStore, due: &'a [Block]) -> Deletion<'a> {
        let (inner, width) = (&*store.inner, BucketWidth::Hour);
        Deletion { inner, channel: channel(1), width, end: 1, due, from: None, deleted: 0, late: false }
    }

    #[tokio::test]
    async fn a_deletion_that_a_crash_cut_off_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let rows = 2 * STEP_KEYS as i64 + 10;
        let store = open(dir.path());
        append(&store, 0..rows).await;
        append(&store, std::iter::once(HOUR)).await;
        let due = due_blocks(&store.inner, channel(1), BucketWidth::Hour, 1).unwrap();
        deletion(&store, &due).step().unwrap();
        drop(store);

        let store = open(dir.path());
        assert_eq!(stored(&store).await.len(), STEP_KEYS + 11, "one step is not all");
        assert_eq!(expire_before(&store, HOUR).await, Expired { blocks: 1, more: false });
        assert_eq!(stored(&store).await, [HOUR]);
    }

    #[tokio::test]
    async fn rows_that_come_between_two_steps_keep_their_block_listed() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        append(&store, 0..2 * STEP_KEYS as i64).await;
        let due = due_blocks(&store.inner, channel(1), BucketWidth::Hour, 1).unwrap();
        let mut deletion = deletion(&store, &due);
        deletion.step().unwrap();
        // Newer than what is gone already: deletion does not come by there again.
        append(&store, std::iter::once(HOUR - 1)).await;
        while !deletion.due.is_empty() {
            deletion.step().unwrap();
        }
        assert!(deletion.late);
        assert_eq!(stored(&store).await, [HOUR - 1]);
        assert_eq!(expire_before(&store, HOUR).await, Expired { blocks: 1, more: false });
        assert!(stored(&store).await.is_empty());
    }
}
