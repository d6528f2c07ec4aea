//! What was deleted loses its records, whatever happens in between.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use domain::{
    BucketWidth, ChannelId, ChannelProfile, Position, Protocol, ReceivedAt, Record, Subtopic, ThingId,
    Timestamp, Value,
};
use store::{
    Block, BlockScan, CountLevel, Direction, PurgeTarget, Row, Store, StoreError, TimeCount, TimeRange,
    WriteBatch, WriteRow,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::world::{World, new_store};

/// A store that can be away, and tells what it purged.
struct Flaky {
    store: Arc<dyn Store>,
    failures_left: Mutex<VecDeque<()>>,
    purged: watch::Sender<Vec<PurgeTarget>>,
}

impl Flaky {
    fn new(store: Arc<dyn Store>, failures: usize) -> Arc<Self> {
        let failures_left = Mutex::new(std::iter::repeat_n((), failures).collect());
        Arc::new(Self { store, failures_left, purged: watch::Sender::default() })
    }

    async fn has_purged(&self, targets: &[PurgeTarget]) {
        let mut purged = self.purged.subscribe();
        purged.wait_for(|purged| targets.iter().all(|target| purged.contains(target))).await.unwrap();
    }
}

#[async_trait]
impl Store for Flaky {
    async fn append(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.store.append(batch).await
    }

    async fn persist(&self) -> Result<(), StoreError> {
        self.store.persist().await
    }

    async fn resume_after(&self) -> Result<Vec<Position>, StoreError> {
        self.store.resume_after().await
    }

    async fn blocks(
        &self,
        channel: ChannelId,
        width: BucketWidth,
        range: TimeRange,
        direction: Direction,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Block>, StoreError> {
        self.store.blocks(channel, width, range, direction, after, limit).await
    }

    async fn rows(&self, channel: ChannelId, scans: Vec<BlockScan>) -> Result<Vec<Vec<Row>>, StoreError> {
        self.store.rows(channel, scans).await
    }

    async fn times(
        &self,
        channel: ChannelId,
        width: BucketWidth,
        range: TimeRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        self.store.times(channel, width, range, direction, limit).await
    }

    async fn counts(
        &self,
        channel: ChannelId,
        level: CountLevel,
        starts: Range<i64>,
    ) -> Result<Vec<TimeCount>, StoreError> {
        self.store.counts(channel, level, starts).await
    }

    async fn purge(&self, target: PurgeTarget) -> Result<(), StoreError> {
        if self.failures_left.lock().unwrap().pop_front().is_some() {
            return Err(StoreError::Unavailable("the store is away".into()));
        }
        self.store.purge(target).await?;
        self.purged.send_modify(|purged| purged.push(target));
        Ok(())
    }
}

async fn store_record(store: &dyn Store, channel: ChannelId, publisher: ThingId) {
    let record = Record {
        name: "t".into(),
        unit: String::new(),
        time: Timestamp::from_nanos(0),
        value: Some(Value::Number(1.0)),
        sum: None,
        update_time: None,
    };
    let row = Row {
        publisher,
        subtopic: Subtopic::default(),
        protocol: Protocol::Http,
        received: ReceivedAt::from_micros(1),
        record,
    };
    let rows = vec![WriteRow { channel, profile: ChannelProfile::default(), row }];
    store.append(WriteBatch { rows, positions: Vec::new() }).await.unwrap();
}

async fn records(store: &dyn Store, channel: ChannelId) -> u64 {
    let level = CountLevel::Coarsest;
    let counts = store.counts(channel, level, 0..level.seconds()).await.unwrap();
    counts.iter().map(|count| count.rows).sum()
}

async fn world_with(failures: usize) -> (World, Arc<Flaky>) {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let store = Flaky::new(new_store(directory.path()), failures);
    (World::on(directory, Arc::clone(&store) as _).await, store)
}

#[tokio::test]
async fn records_of_what_is_deleted_are_purged_also_if_the_store_is_away_at_first() {
    let (world, store) = world_with(1).await;
    let stop = CancellationToken::new();
    let background = tokio::spawn(world.app.clone().run(stop.clone()));
    let [kept, deleted] = [world.channel(&world.admin).await, world.channel(&world.admin).await];
    let [thing, gone] = [world.thing(&world.admin).await.0, world.thing(&world.admin).await.0];
    let [kept_id, deleted_id]: [ChannelId; 2] = [kept, deleted.clone()].map(|id| id.parse().unwrap());
    let [thing_id, gone_id]: [ThingId; 2] = [thing, gone.clone()].map(|id| id.parse().unwrap());
    for (channel, publisher) in [(kept_id, thing_id), (kept_id, gone_id), (deleted_id, thing_id)] {
        store_record(&*store, channel, publisher).await;
    }
    world.delete(&format!("/channels/{deleted}"), &world.admin).await.is(204);
    world.delete(&format!("/things/{gone}"), &world.admin).await.is(204);
    store.has_purged(&[PurgeTarget::Channel(deleted_id), PurgeTarget::Publisher(gone_id)]).await;
    assert_eq!(records(&*store, deleted_id).await, 0);
    assert_eq!(records(&*store, kept_id).await, 1, "what others published stays");
    stop.cancel();
    background.await.unwrap();
}

#[tokio::test]
async fn a_purge_that_was_not_done_goes_on_at_the_next_start_and_a_done_one_does_not() {
    let (world, store) = world_with(0).await;
    let channel = world.channel(&world.admin).await;
    let target = PurgeTarget::Channel(channel.parse().unwrap());
    world.delete(&format!("/channels/{channel}"), &world.admin).await.is(204);
    assert_eq!(*store.purged.borrow(), [], "nobody worked in the background");
    world.app.close().await;

    let again = World::on(Arc::clone(&world.directory), Arc::clone(&store) as _).await;
    let stop = CancellationToken::new();
    let background = tokio::spawn(again.app.clone().run(stop.clone()));
    store.has_purged(&[target]).await;
    let other = again.channel(&again.admin).await;
    again.delete(&format!("/channels/{other}"), &again.admin).await.is(204);
    let other = PurgeTarget::Channel(other.parse().unwrap());
    store.has_purged(&[other]).await;
    assert_eq!(*store.purged.borrow(), [target, other]);
    stop.cancel();
    background.await.unwrap();
}
