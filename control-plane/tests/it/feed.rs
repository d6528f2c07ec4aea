//! The change feed: what is published when, and what a crash may not lose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use domain::ThingKey;
use serde_json::json;
use service::access_cache::{AccessCache, AccessCacheConfig};
use service::feed::{Change, ChangeFeed as _, ChangePublisher, Feed, FeedError, FeedPosition};
use thalweg_control_plane::ControlPlane;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::site::Site;
use crate::world::{Changes, World, change_of_channel, change_of_thing, new_id, new_store, open};

/// Rows of the outbox.
const LEFT: &str = "SELECT COUNT(*) FROM outbox";

/// What a request leaves that ends after its commit. 2 is a thing, 3 a channel.
async fn leave(site: &Site, kind: u8, id: &str) {
    let insert = format!("INSERT INTO outbox (kind, entity_id) VALUES ({kind}, $1)");
    site.execute(&insert, &[id]).await;
}

#[tokio::test]
async fn changes_that_a_crash_left_are_published_at_the_next_start() {
    let world = World::new().await;
    let store = new_store(&world.site.directory().join("2"));
    let (thing, channel) = (new_id(), new_id());
    for (kind, id) in [(2, &thing), (3, &channel), (2, &thing)] {
        leave(&world.site, kind, id).await;
    }
    // No farewell: what a killed process leaves is what the registry holds now.
    let (again, changes) = open(&world.site, store).await.unwrap();
    let wanted = [change_of_thing(&thing), change_of_channel(&channel), change_of_thing(&thing)];
    assert_eq!(changes.take(), wanted);
    assert_eq!(world.site.count(LEFT).await, 0);
    again.close().await;
}

#[tokio::test]
async fn the_next_change_publishes_what_an_earlier_request_left() {
    let world = World::new().await;
    let (thing, _) = world.thing(&world.admin).await;
    let channel = world.channel(&world.admin).await;
    let left = new_id();
    leave(&world.site, 3, &left).await;
    let path = format!("/channels/{channel}/things/{thing}");
    world.delete(&path, &world.admin).await.is(204);
    assert_eq!(world.changes.take(), [change_of_channel(&left)], "even if it changes nothing itself");
    world.put(&path, &world.admin, json!({})).await.is(200);
    assert_eq!(world.changes.take(), [change_of_thing(&thing)], "and nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_made_at_once_are_each_published_before_their_answers() {
    let world = Arc::new(World::new().await);
    let channel = world.channel(&world.admin).await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (world, channel) = (Arc::clone(&world), channel.clone());
            tokio::spawn(async move {
                let (thing, _) = world.thing(&world.admin).await;
                for _ in 0..10 {
                    world.connect(&world.admin, &channel, &thing).await;
                    world.delete(&format!("/channels/{channel}/things/{thing}"), &world.admin).await.is(204);
                }
                thing
            })
        })
        .collect();
    let mut wanted = Vec::new();
    for task in tasks {
        wanted.extend([change_of_thing(&task.await.unwrap()); 20]);
    }
    let mut published = world.changes.take();
    let by_text = |change: &service::feed::Change| format!("{change:?}");
    published.sort_by_key(by_text);
    wanted.sort_by_key(by_text);
    assert_eq!(published, wanted);
}

/// More changes than the relay keeps before it deletes them.
#[tokio::test]
async fn the_outbox_does_not_grow() {
    let world = World::new().await;
    let channel = world.channel(&world.admin).await;
    let created = world.post("/things", &world.admin, json!(vec![json!({}); 1_000])).await.json();
    let things: Vec<_> =
        created["things"].as_array().unwrap().iter().map(|thing| thing["id"].clone()).collect();
    let ids = json!({"channel_ids": [channel], "thing_ids": things});
    for _ in 0..2 {
        world.post("/connect", &world.admin, ids.clone()).await.is(200);
        world.put("/disconnect", &world.admin, ids.clone()).await.is(200);
        assert_eq!(world.changes.take().len(), 2_000);
        assert_eq!(world.site.count(LEFT).await, 0);
    }
}

/// The promise itself, with the cache that ingest uses: what was answered is in force.
#[tokio::test]
async fn a_cached_grant_ends_with_the_answer_of_what_takes_it_away() {
    let site = Arc::new(Site::new().await);
    let feed = Arc::new(Feed::default());
    let store = new_store(site.directory());
    let (app, _) = ControlPlane::open(site.config(), Arc::clone(&feed) as _, store).await.unwrap();
    let cache = AccessCache::new(&AccessCacheConfig::default(), app.authority(), &*feed);
    let world = World::of(site, app, Arc::default()).await;

    let allowed = async |key: &str, channel: &str| {
        let digest = ThingKey::from_presented(key).unwrap().digest();
        let grant = cache.grant(digest, channel.parse().unwrap()).await.unwrap();
        grant.is_some_and(|grant| grant.connection.is_some())
    };
    for end in ["disconnect", "delete thing", "delete channel", "replace key"] {
        let (thing, key) = world.thing(&world.admin).await;
        let channel = world.channel(&world.admin).await;
        assert!(!allowed(&key, &channel).await);
        world.connect(&world.admin, &channel, &thing).await;
        assert!(allowed(&key, &channel).await, "the cached refusal ended with the answer");
        match end {
            "disconnect" => {
                let ids = json!({"channel_ids": [channel], "thing_ids": [thing]});
                world.put("/disconnect", &world.admin, ids).await.is(200);
            }
            "delete thing" => drop(world.delete(&format!("/things/{thing}"), &world.admin).await.is(204)),
            "delete channel" => {
                drop(world.delete(&format!("/channels/{channel}"), &world.admin).await.is(204))
            }
            _ => drop(world.patch(&format!("/things/{thing}/key"), &world.admin, json!({})).await.is(200)),
        }
        assert!(!allowed(&key, &channel).await, "{end}");
    }
}

#[tokio::test]
async fn the_end_of_an_overlap_is_published() {
    struct Wake(Notify);
    impl service::feed::Follower for Wake {
        fn apply(&self, _: service::feed::Change, _: service::feed::FeedPosition) {
            self.0.notify_one();
        }

        fn everything_changed(&self, _: service::feed::FeedPosition) {
            self.0.notify_one();
        }
    }
    let site = Arc::new(Site::new().await);
    let feed = Arc::new(Feed::default());
    let (wake, changes) = (Arc::new(Wake(Notify::new())), Arc::new(Changes::default()));
    feed.follow(Arc::clone(&changes) as _);
    feed.follow(Arc::clone(&wake) as _);
    let store = new_store(site.directory());
    let (app, _) = ControlPlane::open(site.config(), feed, store).await.unwrap();
    let world = World::of(site, app, changes).await;
    let stop = CancellationToken::new();
    let background = tokio::spawn(world.app.clone().run(stop.clone()));

    let (thing, old) = world.thing(&world.admin).await;
    let path = format!("/things/{thing}/key");
    let new = world.patch(&path, &world.admin, json!({"overlap": 1})).await.is(200).json();
    wake.0.notified().await;
    assert_eq!(world.changes.take(), [change_of_thing(&thing)]);
    wake.0.notified().await;
    assert_eq!(world.changes.take(), [change_of_thing(&thing)]);
    world.post("/identify", "", json!({"token": old})).await.refused(401);
    world.post("/identify", "", json!({"token": new["key"]})).await.is(200);
    stop.cancel();
    background.await.unwrap();
}

/// The feed of one process, as the control plane sees it when brokers come and go.
struct Interrupted {
    feed: Feed,
    is_broken: AtomicBool,
}

#[async_trait]
impl ChangePublisher for Interrupted {
    async fn publish(&self, changes: &[Change]) -> Result<FeedPosition, FeedError> {
        if self.is_broken.load(Ordering::SeqCst) {
            let source = "no broker answers".into();
            return Err(FeedError::Unavailable { doing: "publishing".to_owned(), source });
        }
        self.feed.publish(changes).await
    }
}

#[tokio::test]
async fn a_change_that_can_not_be_published_says_so_and_is_published_later() {
    let site = Arc::new(Site::new().await);
    let feed = Arc::new(Interrupted { feed: Feed::default(), is_broken: false.into() });
    let changes = Arc::new(Changes::default());
    feed.feed.follow(Arc::clone(&changes) as _);
    let store = new_store(site.directory());
    let (app, _) = ControlPlane::open(site.config(), Arc::clone(&feed) as _, store).await.unwrap();
    let world = World::of(site, app, changes).await;
    let (thing, key) = world.thing(&world.admin).await;
    let channel = world.channel(&world.admin).await;
    world.connect(&world.admin, &channel, &thing).await;
    world.changes.take();

    feed.is_broken.store(true, Ordering::SeqCst);
    let path = format!("/channels/{channel}/things/{thing}");
    let answer = world.delete(&path, &world.admin).await;
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.refused(503)["code"], "not_in_force");
    assert_eq!(world.access(&channel, &key).await, 403, "it is made all the same");
    assert_eq!(world.changes.take(), []);

    let stop = CancellationToken::new();
    let background = tokio::spawn(world.app.clone().run(stop.clone()));
    feed.is_broken.store(false, Ordering::SeqCst);
    let published = async {
        while world.changes.take() != [change_of_thing(&thing)] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), published)
        .await
        .expect("it is tried again by itself");
    stop.cancel();
    background.await.unwrap();
}
