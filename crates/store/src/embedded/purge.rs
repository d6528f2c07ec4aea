//! Deletion for ever: of a channel's rows, or of those that a thing published.
//!
//! A purge is written down before the first row goes, and struck off behind the last, so that a crash between leaves
//! work to go on with. The writer refuses a purged target's rows from the first moment.
//!
//! A channel is hidden whole by that first write, and its rows go away in the background. A publisher's rows are spread
//! over blocks that others share, where hiding them would make every count wrong until they are gone: so they are
//! deleted, together with their counts, before [`Store::purge`](crate::Store::purge) answers.

use std::sync::PoisonError;

use domain::{ChannelId, ThingId};
use fjall::{OwnedWriteBatch, PersistMode, Slice};

use super::append::Writer;
use super::counts::Deltas;
use super::key::{behind, block_prefix, decode_row_key};
use super::layout::{
    UNFINISHED_PURGES, channel_blocks, decode_block, decode_publisher_channel, decode_unfinished,
    publisher_channels, purged_key, unfinished_key,
};
use super::{Inner, Keyspaces, unavailable};
use crate::contract::{Block, PurgeTarget, StoreError, shard_of};

/// Keys that one step of a purge looks at: appends wait no longer than a step takes, some milliseconds.
pub(super) const STEP_KEYS: usize = 4_096;

/// Whether a step left anything to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Go on at this key.
    More(Vec<u8>),
    Done,
}

/// Writes the purge down, durably. False if it was before and nothing is left of it.
pub(super) fn begin(inner: &Inner, target: PurgeTarget) -> Result<bool, StoreError> {
    let keyspaces = &inner.keyspaces;
    let mut writer = inner.writer();
    let purged = keyspaces.catalogue.contains_key(purged_key(target)).map_err(unavailable)?;
    let unfinished = keyspaces.catalogue.contains_key(unfinished_key(target)).map_err(unavailable)?;
    if purged {
        // The one who asked first may not have had its answer, and the disk may not have what it wrote.
        keyspaces.persist()?;
        return Ok(unfinished);
    }
    let mut writes = keyspaces.batch().durability(Some(PersistMode::SyncAll));
    writes.insert(&keyspaces.catalogue, purged_key(target), Slice::empty());
    writes.insert(&keyspaces.catalogue, unfinished_key(target), Slice::empty());
    writes.commit().map_err(unavailable)?;
    writer.purged(target);
    Ok(true)
}

/// The purges that were begun and not finished.
pub(super) fn unfinished(keyspaces: &Keyspaces) -> Result<Vec<PurgeTarget>, StoreError> {
    let keys = keyspaces.catalogue.prefix(UNFINISHED_PURGES);
    keys.map(|item| decode_unfinished(&item.key().map_err(unavailable)?)).collect()
}

/// Deletes what is left of a purged target, step by step, until nothing is or `stop` says so.
pub(super) fn finish(inner: &Inner, target: PurgeTarget, stop: impl Fn() -> bool) -> Result<(), StoreError> {
    let done = match target {
        PurgeTarget::Channel(channel) => finish_channel(inner, channel, &stop)?,
        PurgeTarget::Publisher(publisher) => finish_publisher(inner, publisher, &stop)?,
    };
    if !done {
        return Ok(());
    }
    let _writer = inner.writer();
    let keyspaces = &inner.keyspaces;
    let mut writes = keyspaces.batch().durability(Some(PersistMode::SyncAll));
    writes.remove(&keyspaces.catalogue, unfinished_key(target));
    writes.commit().map_err(unavailable)
}

fn finish_channel(inner: &Inner, channel: ChannelId, stop: &impl Fn() -> bool) -> Result<bool, StoreError> {
    let keyspaces = &inner.keyspaces;
    let all = channel.as_bytes().as_slice();
    let parts = [
        (&keyspaces.rows, all.to_vec()),
        (&keyspaces.counts, all.to_vec()),
        (&keyspaces.catalogue, channel_blocks(channel)),
    ];
    for (keyspace, prefix) in parts {
        let end = behind(&prefix);
        let mut from = prefix;
        loop {
            if stop() {
                return Ok(false);
            }
            let _writer = inner.writer();
            let mut writes = keyspaces.batch();
            let step = step_through(keyspace, &from, &end, |key| {
                writes.remove(keyspace, key);
                Ok(())
            })?;
            writes.commit().map_err(unavailable)?;
            match step {
                Step::More(next) => from = next,
                Step::Done => break,
            }
        }
    }
    Ok(true)
}

fn finish_publisher(inner: &Inner, publisher: ThingId, stop: &impl Fn() -> bool) -> Result<bool, StoreError> {
    let keyspaces = &inner.keyspaces;
    let channels: Vec<Slice> = keyspaces
        .catalogue
        .prefix(publisher_channels(publisher))
        .map(|item| item.key().map_err(unavailable))
        .collect::<Result<_, _>>()?;
    for key in channels {
        let channel = decode_publisher_channel(&key)?;
        if !finish_publisher_in(inner, publisher, channel, stop)? {
            return Ok(false);
        }
        let _writer = inner.writer();
        let mut writes = keyspaces.batch();
        writes.remove(&keyspaces.catalogue, key);
        writes.commit().map_err(unavailable)?;
    }
    Ok(true)
}

fn finish_publisher_in(
    inner: &Inner,
    publisher: ThingId,
    channel: ChannelId,
    stop: &impl Fn() -> bool,
) -> Result<bool, StoreError> {
    let keyspaces = &inner.keyspaces;
    for item in keyspaces.catalogue.prefix(channel_blocks(channel)) {
        let block = decode_block(&item.key().map_err(unavailable)?)?;
        if block.shard != shard_of(publisher) {
            continue;
        }
        let prefix = block_prefix(channel, block);
        let mut from = prefix.to_vec();
        loop {
            if stop() {
                return Ok(false);
            }
            match delete_some(inner, publisher, channel, block, &from)? {
                Step::More(next) => from = next,
                Step::Done => break,
            }
        }
    }
    Ok(true)
}

/// One step: some of the publisher's rows in the block go, and their counts with them.
fn delete_some(
    inner: &Inner,
    publisher: ThingId,
    channel: ChannelId,
    block: Block,
    from: &[u8],
) -> Result<Step, StoreError> {
    let keyspaces = &inner.keyspaces;
    let mut writer = inner.writer();
    let channel_is_purged =
        keyspaces.catalogue.contains_key(purged_key(PurgeTarget::Channel(channel))).map_err(unavailable)?;
    if channel_is_purged {
        // Its rows and counts go on their own way, and no longer belong together.
        return Ok(Step::Done);
    }
    let mut writes = keyspaces.batch();
    let mut deltas = Deltas::default();
    let step = step_through(&keyspaces.rows, from, &behind(&block_prefix(channel, block)), |key| {
        let (_, _, place) = decode_row_key(&key)?;
        if place.publisher == publisher {
            deltas.add(channel, place.time, -1);
            writes.remove(&keyspaces.rows, key);
        }
        Ok(())
    })?;
    commit_with_counts(&mut writer, keyspaces, writes, deltas)?;
    Ok(step)
}

/// Commits deletions of rows together with the counts that they change.
pub(super) fn commit_with_counts(
    writer: &mut Writer,
    keyspaces: &Keyspaces,
    mut writes: OwnedWriteBatch,
    deltas: Deltas,
) -> Result<(), StoreError> {
    let counted = writer.counts.apply(keyspaces, &mut writes, deltas);
    let committed = counted.and_then(|()| writes.commit().map_err(unavailable));
    if committed.is_err() {
        writer.forget();
    }
    committed
}

/// Visits the keys from one up to another, a step's worth of them.
fn step_through(
    keyspace: &fjall::Keyspace,
    from: &[u8],
    end: &[u8],
    mut visit: impl FnMut(Slice) -> Result<(), StoreError>,
) -> Result<Step, StoreError> {
    if from >= end {
        return Ok(Step::Done);
    }
    for (visited, item) in keyspace.range(from..end).enumerate() {
        let key = item.key().map_err(unavailable)?;
        if visited == STEP_KEYS {
            return Ok(Step::More(key.to_vec()));
        }
        visit(key)?;
    }
    Ok(Step::Done)
}

/// Finishes purges until it is told to stop. Runs on a thread of its own.
pub(super) fn sweep(inner: &Inner) {
    let stopped = || inner.sweeper.state().stop;
    loop {
        let result = unfinished(&inner.keyspaces)
            .and_then(|targets| targets.into_iter().try_for_each(|target| finish(inner, target, stopped)));
        if let Err(error) = result {
            tracing::warn!(%error, "a purge is interrupted, and goes on with the next one or after a restart");
        }
        let mut state = inner.sweeper.state();
        while !state.stop && !state.wanted {
            state = inner.sweeper.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stop {
            return;
        }
        state.wanted = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{CountLevel, Direction, Row, Store, TimeRange, WriteBatch, WriteRow};
    use crate::embedded::{EmbeddedConfig, EmbeddedStore};
    use domain::{BucketWidth, ChannelProfile, Protocol, ReceivedAt, Record, Subtopic, Timestamp};

    const CHANNEL: ChannelId = ChannelId::from_bytes([1; 16]);
    const GONE: ThingId = ThingId::from_bytes([2; 16]);
    /// In the same shard as the one that goes.
    const KEPT: ThingId = ThingId::from_bytes([55; 16]);

    fn row(publisher: ThingId, nanos: i64) -> WriteRow {
        WriteRow {
            channel: CHANNEL,
            profile: ChannelProfile::default(),
            row: Row {
                publisher,
                subtopic: Subtopic::default(),
                protocol: Protocol::Http,
                received: ReceivedAt::from_micros(1),
                record: Record {
                    name: "n".to_owned(),
                    unit: String::new(),
                    time: Timestamp::from_nanos(nanos),
                    value: None,
                    sum: Some(1.0),
                    update_time: None,
                },
            },
        }
    }

    async fn rows_left(store: &EmbeddedStore) -> u64 {
        let counts = store
            .counts(CHANNEL, ChannelProfile::default(), CountLevel::Coarsest, i64::MIN..i64::MAX)
            .await
            .unwrap();
        counts.iter().map(|count| count.rows).sum()
    }

    /// More rows than a step looks at, in one block, and others between them; nobody but the test finishes purges.
    async fn store_with_rows(dir: &std::path::Path) -> EmbeddedStore {
        let mut store = EmbeddedStore::open(dir, EmbeddedConfig::default()).unwrap();
        store.stop_sweeper();
        assert_eq!(shard_of(KEPT), shard_of(GONE));
        let rows = (0..STEP_KEYS as i64).flat_map(|n| [row(GONE, n), row(KEPT, n)]).collect();
        store.append(WriteBatch { rows, positions: Vec::new() }).await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_purge_cut_off_by_a_crash_goes_on_after_the_start() {
        let steps = STEP_KEYS as u64;
        for (target, left) in [(PurgeTarget::Publisher(GONE), steps), (PurgeTarget::Channel(CHANNEL), 0)] {
            let dir = tempfile::tempdir().unwrap();
            let store = store_with_rows(dir.path()).await;
            assert!(begin(&store.inner, target).unwrap());
            let asked = std::cell::Cell::new(0);
            finish(&store.inner, target, || asked.replace(asked.get() + 1) > 0).unwrap();
            assert_eq!(unfinished(&store.inner.keyspaces).unwrap(), [target], "one step is not all");
            drop(store);

            let store = EmbeddedStore::open(dir.path(), EmbeddedConfig::default()).unwrap();
            while !unfinished(&store.inner.keyspaces).unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(rows_left(&store).await, left, "{target:?}");
            let stored = store.inner.keyspaces.rows.prefix(CHANNEL.as_bytes()).count() as u64;
            assert_eq!(stored, left, "{target:?}");
        }
    }

    #[tokio::test]
    async fn rows_of_a_purged_target_that_come_later_take_no_place() {
        for target in [PurgeTarget::Publisher(GONE), PurgeTarget::Channel(CHANNEL)] {
            let dir = tempfile::tempdir().unwrap();
            let mut store = EmbeddedStore::open(dir.path(), EmbeddedConfig::default()).unwrap();
            store.stop_sweeper();
            assert!(begin(&store.inner, target).unwrap());
            let rows = vec![row(GONE, 1), row(GONE, 2)];
            store.append(WriteBatch { rows, positions: Vec::new() }).await.unwrap();
            let keyspaces = &store.inner.keyspaces;
            assert_eq!(keyspaces.rows.prefix(CHANNEL.as_bytes()).count(), 0, "{target:?}");
            assert_eq!(keyspaces.counts.prefix(CHANNEL.as_bytes()).count(), 0, "{target:?}");
        }
    }

    #[tokio::test]
    async fn each_step_takes_rows_and_their_counts_together() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with_rows(dir.path()).await;
        let target = PurgeTarget::Publisher(GONE);
        begin(&store.inner, target).unwrap();
        for steps in 1..5 {
            let asked = std::cell::Cell::new(0);
            finish(&store.inner, target, || asked.replace(asked.get() + 1) >= steps).unwrap();
            let stored = store.inner.keyspaces.rows.prefix(CHANNEL.as_bytes()).count() as u64;
            assert_eq!(rows_left(&store).await, stored, "after {steps} steps");
        }
        let all = TimeRange::ALL;
        let blocks = store
            .blocks(CHANNEL, BucketWidth::Hour.into(), all, Direction::Ascending, None, 99)
            .await
            .unwrap();
        assert_eq!(blocks.len(), 1, "{blocks:?}");
        assert_eq!(rows_left(&store).await, STEP_KEYS as u64);
    }
}
