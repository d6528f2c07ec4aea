//! What a node can't read lets it distrust everything that it has cached, and nothing is passed over in silence.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use thalweg_service::feed::kafka::KafkaPublisher;
use thalweg_service::feed::{Change, ChangeFeed as _, ChangePublisher as _, FeedPosition, Follower};
use tokio::sync::Semaphore;

use crate::site::{Site, thing, tick};

fn losses(reason: &str) -> String {
    format!("change_feed_losses_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn what_a_newer_build_publishes_and_what_is_no_change_fail_closed() {
    let site = Site::new().await;
    let node = site.node().await;
    let stranger: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &site.config.brokers).create().unwrap();
    let newer = r#"{"v":2,"change":{"group":"a"}}"#;
    for (payload, reason) in [(newer, "unknown_version"), ("nonsense", "malformed")] {
        for number in [1, 2] {
            assert!(node.may(number).await.unwrap());
        }
        // What it says may be this.
        site.registry.set(1, true);
        let record = FutureRecord::<(), _>::to(&site.config.topic).payload(payload);
        stranger.send(record, Duration::ZERO).await.unwrap();
        assert!(node.until(1, false).await < Duration::from_secs(1), "{reason}");
        assert_eq!(node.shown(&losses(reason)), 1.0);
        let asked = site.registry.asked();
        node.may(2).await.unwrap();
        assert_eq!(site.registry.asked(), asked + 1, "{reason}: everything is asked again");
        // And the feed goes on.
        site.revoke(1, false).await.unwrap();
        node.until(1, true).await;
        node.may(2).await.unwrap();
        assert_eq!(site.registry.asked(), asked + 2, "{reason}: once");
    }
}

fn admin(site: &Site) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &site.config.brokers).create().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_was_made_anew_lets_everything_be_asked_again() {
    let site = Site::new().await;
    let node = site.node().await;
    for _ in 0..5 {
        site.revoke(9, false).await.unwrap();
    }
    node.until_shown("change_feed_applied_total", 5.0).await;
    assert!(node.may(1).await.unwrap());
    for deleted in admin(&site).delete_topics(&[&site.config.topic], &AdminOptions::new()).await.unwrap() {
        deleted.unwrap();
    }
    // While there is none, nothing can be confirmed.
    node.until_fresh(false).await;
    let publisher = KafkaPublisher::open(site.config.clone()).await.unwrap();
    site.registry.set(1, true);
    publisher.publish(&[Change::Thing(thing(7))]).await.unwrap();
    node.until_fresh(true).await;
    assert!(!node.may(1).await.unwrap());
    assert!(node.shown(&losses("deleted")) >= 1.0);
    // Its places are behind all that were before: a change is in force as ever.
    site.registry.set(1, false);
    publisher.publish(&[Change::Thing(thing(1))]).await.unwrap();
    assert!(node.until(1, true).await < Duration::from_secs(1));
}

/// A test that fails meanwhile must not be waited for.
const SLOW_MAX: Duration = Duration::from_secs(30);

/// Applies nothing until it may.
struct Slow {
    may: Semaphore,
    lost: Mutex<Vec<FeedPosition>>,
}

impl Follower for Slow {
    fn apply(&self, _: Change, _: FeedPosition) {
        let permit = tokio::runtime::Handle::try_current();
        assert!(permit.is_err(), "followers are told by a thread that may wait");
        let began = Instant::now();
        while self.may.available_permits() == 0 && began.elapsed() < SLOW_MAX {
            std::thread::yield_now();
        }
    }

    fn everything_changed(&self, at: FeedPosition) {
        self.lost.lock().unwrap().push(at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_deleted_before_it_was_read_lets_everything_be_asked_again() {
    let site = Site::new().await;
    let node = site.node().await;
    assert!(node.may(1).await.unwrap());
    let slow = Arc::new(Slow { may: Semaphore::new(0), lost: Mutex::default() });
    node.feed.follow(Arc::clone(&slow) as _);
    // More than the client fetches ahead.
    let many = vec![Change::Thing(thing(9)); 500];
    let mut end = FeedPosition(0);
    for _ in 0..100 {
        end = site.publisher.publish(&many).await.unwrap();
    }
    site.registry.set(1, true);
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&site.config.topic, 0, Offset::Offset(end.0 as i64)).unwrap();
    let deleted = admin(&site).delete_records(&before, &AdminOptions::new()).await.unwrap();
    deleted.elements().iter().for_each(|element| element.error().unwrap());
    slow.may.add_permits(1);
    node.until_shown(&losses("deleted"), 1.0).await;
    assert!(!node.may(1).await.unwrap());
    let applied = node.shown("change_feed_applied_total");
    assert!((1.0..50_000.0).contains(&applied), "{applied} were read before the rest was gone");
    assert!(slow.lost.lock().unwrap()[0] >= end, "everything before the new end is unknown");
    site.revoke(1, false).await.unwrap();
    assert!(node.until(1, true).await < Duration::from_secs(1));
    tick().await;
}
