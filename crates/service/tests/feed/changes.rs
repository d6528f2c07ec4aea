//! What is published is in force, and nothing else happens to what is cached.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use thalweg_service::feed::kafka::{KafkaFeed, KafkaFeedConfig, KafkaPublisher};
use thalweg_service::feed::{Change, ChangePublisher as _, FeedError};
use thalweg_service::metrics::FeedMetrics;

use crate::site::{CHANNEL, Node, Site, brokers, config, thing, tick};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_in_force_on_every_node_within_a_second() {
    let site = Site::new().await;
    let nodes = [site.node().await, site.node().await];
    let mut longest = Duration::ZERO;
    for round in 0..20 {
        for node in &nodes {
            assert!(node.may(1).await.unwrap());
        }
        let asked = site.registry.asked();
        site.revoke(1, true).await.unwrap();
        let waits = futures::future::join_all(nodes.iter().map(|node| node.until(1, false))).await;
        longest = longest.max(waits.into_iter().max().unwrap());
        assert!(site.registry.asked() >= asked + 2, "each asked anew");
        site.revoke(1, false).await.unwrap();
        for node in &nodes {
            longest = longest.max(node.until(1, true).await);
        }
        assert!(longest < SECOND, "round {round}: {longest:?}");
    }
    println!("a change was in force after {longest:?} at most");
    for node in &nodes {
        assert_eq!(node.shown("change_feed_applied_total"), 40.0);
        node.feed.close().await;
    }
}

#[tokio::test]
async fn changes_keep_their_order_and_a_position_is_behind_the_one_before() {
    let site = Site::new().await;
    let many: Vec<Change> = (0..=255).map(|number| Change::Thing(thing(number))).collect();
    let mut last = site.publisher.publish(&[Change::Channel(CHANNEL)]).await.unwrap();
    for _ in 0..3 {
        let end = site.publisher.publish(&many).await.unwrap();
        assert_eq!(end.0, last.0 + 256);
        last = end;
    }
    assert_eq!(site.publisher.publish(&[]).await.unwrap(), last, "nothing is nothing");
}

/// What was published before a node began does not concern it; what comes while its first answer is on its way does.
#[tokio::test]
async fn a_node_begins_at_the_end_and_then_fills() {
    let site = Site::new().await;
    for number in 0..10 {
        site.revoke(number, false).await.unwrap();
    }
    let node = site.node().await;
    assert!(node.feed.freshness().is_fresh());
    assert!(node.may(1).await.unwrap() && node.may(1).await.unwrap());
    assert_eq!((site.registry.asked(), node.shown("change_feed_applied_total")), (1, 0.0));

    // The old answer is read, and does not arrive before the change.
    site.registry.answers.forget_permits(usize::MAX);
    let (filled, ()) = tokio::join!(node.may(2), async {
        while site.registry.asked() < 2 {
            tick().await;
        }
        site.revoke(2, true).await.unwrap();
        node.until_shown("change_feed_applied_total", 1.0).await;
        site.registry.answers.add_permits(1_000_000);
    });
    assert!(!filled.unwrap(), "the fill that raced the change is not believed");
    assert!(!node.may(2).await.unwrap());
}

/// A cache that is made later follows from where the process has come to.
#[tokio::test]
async fn who_follows_later_is_told_what_comes_later() {
    let site = Site::new().await;
    let node = site.node().await;
    for _ in 0..3 {
        site.revoke(1, false).await.unwrap();
    }
    node.until_shown("change_feed_applied_total", 3.0).await;
    let late = thalweg_service::access_cache::AccessCache::new(
        &Default::default(),
        site.registry.clone() as _,
        &node.feed,
    );
    let late = Node { cache: late, ..node };
    assert!(late.may(1).await.unwrap() && late.may(1).await.unwrap());
    assert_eq!(site.registry.asked(), 1);
    site.revoke(1, true).await.unwrap();
    assert!(late.until(1, false).await < SECOND);
}

#[tokio::test]
async fn silence_is_no_staleness() {
    let site = Site::on(KafkaFeedConfig { stale_after: 2 * SECOND, ..config(&brokers(), 1) }).await;
    let node = site.node().await;
    assert!(node.may(1).await.unwrap());
    // The control plane may be gone, too.
    site.registry.is_reachable.store(false, std::sync::atomic::Ordering::SeqCst);
    let began = Instant::now();
    while began.elapsed() < 3 * SECOND {
        assert!(node.may(1).await.unwrap());
        assert_eq!((node.shown("change_feed_stale"), node.shown("change_feed_lag_changes")), (0.0, 0.0));
        tick().await;
    }
    assert_eq!(site.registry.asked(), 1);
    assert!(node.feed.unconfirmed() < 2 * SECOND);
}

#[tokio::test]
async fn a_feed_that_is_closed_is_stale_a_little_later() {
    let site = Site::on(KafkaFeedConfig { stale_after: 2 * SECOND, ..config(&brokers(), 1) }).await;
    let node = site.node().await;
    node.feed.close().await;
    node.until_fresh(false).await;
    assert_eq!(node.shown("change_feed_stale"), 1.0);
}

#[tokio::test]
async fn a_topic_of_several_partitions_is_no_feed() {
    let config = config(&brokers(), 1);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let topic = NewTopic::new(&config.topic, 2, TopicReplication::Fixed(1));
    for made in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
    let published = KafkaPublisher::open(config.clone()).await.unwrap_err();
    let followed = KafkaFeed::open(config, FeedMetrics::default()).await.unwrap_err();
    for error in [published, followed] {
        assert!(matches!(&error, FeedError::Unusable(why) if why.contains("2 partitions")), "{error:?}");
    }
}
