//! What was deleted loses its records, whatever happens in between.

use std::sync::Arc;

use domain::{ChannelId, ChannelProfile, Protocol, ReceivedAt, Record, Subtopic, ThingId, Timestamp, Value};
use store::suite::Flaky;
use store::{CountLevel, PurgeTarget, Row, Store, WriteBatch, WriteRow};
use tokio_util::sync::CancellationToken;

use crate::site::Site;
use crate::world::{World, new_store};

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
    let counts = store.counts(channel, ChannelProfile::default(), level, 0..level.seconds()).await.unwrap();
    counts.iter().map(|count| count.rows).sum()
}

async fn new_world() -> (World, Arc<Flaky>) {
    let site = Arc::new(Site::new().await);
    let store = Arc::new(Flaky::new(new_store(site.directory()), 0));
    (World::on(site, Arc::clone(&store) as _).await, store)
}

#[tokio::test]
async fn records_of_what_is_deleted_are_purged_also_if_the_store_is_away_at_first() {
    let (world, store) = new_world().await;
    let stop = CancellationToken::new();
    let background = tokio::spawn(world.app.clone().run(stop.clone()));
    let [kept, deleted] = [world.channel(&world.admin).await, world.channel(&world.admin).await];
    let [thing, gone] = [world.thing(&world.admin).await.0, world.thing(&world.admin).await.0];
    let [kept_id, deleted_id]: [ChannelId; 2] = [kept, deleted.clone()].map(|id| id.parse().unwrap());
    let [thing_id, gone_id]: [ThingId; 2] = [thing, gone.clone()].map(|id| id.parse().unwrap());
    for (channel, publisher) in [(kept_id, thing_id), (kept_id, gone_id), (deleted_id, thing_id)] {
        store_record(&*store, channel, publisher).await;
    }
    store.go_away(1);
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
    let (world, store) = new_world().await;
    let channel = world.channel(&world.admin).await;
    let target = PurgeTarget::Channel(channel.parse().unwrap());
    world.delete(&format!("/channels/{channel}"), &world.admin).await.is(204);
    assert_eq!(*store.purged().borrow(), [], "nobody worked in the background");
    world.app.close().await;

    let again = World::on(Arc::clone(&world.site), Arc::clone(&store) as _).await;
    let stop = CancellationToken::new();
    let background = tokio::spawn(again.app.clone().run(stop.clone()));
    store.has_purged(&[target]).await;
    let other = again.channel(&again.admin).await;
    again.delete(&format!("/channels/{other}"), &again.admin).await.is(204);
    let other = PurgeTarget::Channel(other.parse().unwrap());
    store.has_purged(&[other]).await;
    assert_eq!(*store.purged().borrow(), [target, other]);
    stop.cancel();
    background.await.unwrap();
}
