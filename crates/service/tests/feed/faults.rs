//! Brokers that freeze, die and come back.

use std::time::{Duration, Instant};

use thalweg_service::feed::kafka::KafkaFeedConfig;
use thalweg_service::feed::{Change, ChangePublisher as _};

use crate::engines::Engines;
use crate::site::{Node, Site, config, thing, tick};

const SECOND: Duration = Duration::from_secs(1);

/// While the feed can't be confirmed, each look-up asks, and is not answered if that fails.
async fn nothing_cached_is_used(site: &Site, node: &Node) {
    for _ in 0..3 {
        let asked = site.registry.asked();
        assert!(node.may(1).await.unwrap());
        assert_eq!(site.registry.asked(), asked + 1);
    }
    site.registry.is_reachable.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(node.may(1).await.is_err());
    site.registry.is_reachable.store(true, std::sync::atomic::Ordering::SeqCst);
}

async fn an_outage_of_the_only_broker(
    config: KafkaFeedConfig,
    engines: &Engines,
    harm: &'static str,
    heal: &'static str,
) {
    let site = Site::on(config).await;
    let node = site.node().await;
    assert!(node.may(1).await.unwrap() && node.may(2).await.unwrap());
    let harmed = Instant::now();
    engines.act(harm, "kafka-1").await;
    let stale = node.until_fresh(false).await;
    println!("{harm}: stale {:?} after it was begun", harmed.elapsed());
    assert!(stale < 6 * SECOND, "{stale:?}");
    assert_eq!(node.shown("change_feed_stale"), 1.0);
    nothing_cached_is_used(&site, &node).await;
    // Whoever revokes is told in bounded time that it is not in force yet; the registry's own answer is asked for meanwhile.
    let began = Instant::now();
    site.revoke(2, true).await.unwrap_err();
    println!("{harm}: a publisher was told after {:?}", began.elapsed());
    assert!(began.elapsed() < 6 * SECOND, "{:?}", began.elapsed());
    assert!(!node.may(2).await.unwrap());

    engines.act(heal, "kafka-1").await;
    let healed = Instant::now();
    site.revoke_in_the_end(2, true).await;
    println!("{heal}: published after {:?}", healed.elapsed());
    assert!(node.until(2, false).await < SECOND, "as ever, whether or not the cache is used again");
    node.until_fresh(true).await;
    println!("{heal}: fresh after {:?}", healed.elapsed());
    assert!(!node.may(2).await.unwrap());
    let asked = site.registry.asked();
    assert!(node.may(1).await.unwrap());
    assert_eq!(site.registry.asked(), asked, "and what did not change is still cached");
    site.revoke(1, true).await.unwrap();
    assert!(node.until(1, false).await < SECOND);
    node.feed.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_makes_the_feed_stale_until_it_is_back() {
    let engines = Engines::start(1).await;
    let config = config(&engines.brokers, 1);
    an_outage_of_the_only_broker(config.clone(), &engines, "freeze", "thaw").await;
    let config = KafkaFeedConfig { stale_after: 2 * SECOND, delivery_timeout: 2 * SECOND, ..config };
    an_outage_of_the_only_broker(config, &engines, "kill", "restart").await;
}

/// Each change that could be published is in force within a second, whichever broker leads.
async fn revocations_while(site: &Site, node: &Node, harm: impl Future<Output = ()>) {
    let began = Instant::now();
    let (mut longest, mut gap, mut last) = (Duration::ZERO, Duration::ZERO, Instant::now());
    let (mut is_harmed, mut behind) = (false, 0);
    let mut harm = std::pin::pin!(harm);
    let mut is_revoked = true;
    // Until the brokers have had time to choose another leader, and it has published a while.
    while !is_harmed || behind < 100 {
        assert!(began.elapsed() < 60 * SECOND, "nothing can be published");
        if !is_harmed && futures::poll!(&mut harm).is_ready() {
            is_harmed = true;
        }
        let published = Instant::now();
        if site.revoke(1, is_revoked).await.is_ok() {
            gap = gap.max(published.elapsed().max(last.elapsed()));
            longest = longest.max(node.until(1, !is_revoked).await);
            last = Instant::now();
            is_revoked = !is_revoked;
            behind += usize::from(is_harmed);
        }
        tick().await;
    }
    println!("longest without a publication {gap:?}; published changes were in force within {longest:?}");
    assert!(longest < SECOND, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broker_of_three_fails_and_what_is_published_is_in_force_within_a_second() {
    let engines = Engines::start(3).await;
    let site = Site::on(config(&engines.brokers, 3)).await;
    let node = site.node().await;
    for (harm, heal) in [("kill", "restart"), ("freeze", "thaw")] {
        let leader = site.leader().await;
        println!("{harm} {leader}, which leads");
        revocations_while(&site, &node, engines.act(harm, leader)).await;
        node.until_fresh(true).await;
        engines.act(heal, leader).await;
        revocations_while(&site, &node, async {}).await;
    }
    // Two of three gone: nothing more can be published, and that is said; what could be is in force.
    engines.act("kill", "kafka-1").await;
    engines.act("kill", "kafka-2").await;
    site.publisher.publish(&[Change::Thing(thing(1))]).await.unwrap_err();
    node.feed.close().await;
}
