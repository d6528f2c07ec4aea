//! Several consumers of one group.

use std::collections::{BTreeMap, BTreeSet};

use domain::Lane;
use thalweg_log::suite::ANY;
use thalweg_log::{BatchLimits, Delivery, KafkaConfig, KafkaLog, Log, Subscription};

use crate::site::{KafkaSite, last_positions, number, numbered, site};

/// Much longer than lanes take to move, and shorter than the client lets a member be silent (5 minutes).
const LANES_MOVE_WITHIN: std::time::Duration = std::time::Duration::from_secs(90);

/// Publishers enough for each lane to have some.
const PUBLISHERS: std::ops::Range<u8> = 0..40;

async fn append(log: &KafkaLog, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let entries = PUBLISHERS.map(|publisher| numbered(publisher, number)).collect();
        log.append(entries).await.unwrap();
    }
}

fn lanes(deliveries: &[Delivery]) -> BTreeSet<Lane> {
    deliveries.iter().map(|delivery| delivery.position.lane).collect()
}

fn numbers(deliveries: &[Delivery]) -> BTreeSet<(u8, i64)> {
    deliveries.iter().map(|delivery| number(delivery.entry.as_ref().unwrap())).collect()
}

/// Commits all it takes, until the two of them together have seen all of these numbers of each publisher.
async fn share(
    one: &mut dyn Subscription,
    two: &mut dyn Subscription,
    wanted: std::ops::Range<i64>,
) -> (Vec<Delivery>, Vec<Delivery>) {
    let all: BTreeSet<_> =
        PUBLISHERS.flat_map(|publisher| wanted.clone().map(move |n| (publisher, n))).collect();
    let (mut by_one, mut by_two) = (Vec::new(), Vec::new());
    while !numbers(&by_one).union(&numbers(&by_two)).copied().collect::<BTreeSet<_>>().is_superset(&all) {
        // A commit fails while lanes are being moved; what it would have said is said by the next one.
        tokio::select! {
            batch = one.next_batch(&ANY) => {
                let batch = batch.unwrap();
                let _ = one.commit(&batch.last_positions()).await;
                by_one.extend(batch.deliveries);
            }
            batch = two.next_batch(&ANY) => {
                let batch = batch.unwrap();
                let _ = two.commit(&batch.last_positions()).await;
                by_two.extend(batch.deliveries);
            }
        }
    }
    (by_one, by_two)
}

#[tokio::test]
async fn a_second_consumer_takes_lanes_over_and_gives_them_back_when_it_goes() {
    let site = site();
    let log = site.log().await;
    let mut one = log.subscribe("g", &[]).await.unwrap();
    append(&log, 0..1).await;
    let mut alone = Vec::new();
    while numbers(&alone).len() < PUBLISHERS.len() {
        alone.extend(one.next_batch(&ANY).await.unwrap().deliveries);
    }
    assert_eq!(lanes(&alone).len(), 4, "the only consumer has every lane");
    one.commit(&last_positions(&alone)).await.unwrap();

    let second_log = site.log().await;
    let mut two = second_log.subscribe("g", &[]).await.unwrap();
    // Lanes move as soon as the first consumer lets go of them; entries go to whoever has the lane then.
    let (mut round, mut by_two) = (1, Vec::new());
    while lanes(&by_two).len() < 2 {
        append(&log, round..round + 1).await;
        by_two = share(one.as_mut(), two.as_mut(), round..round + 1).await.1;
        round += 1;
    }
    append(&log, round..round + 1).await;
    let (by_one, by_two) = share(one.as_mut(), two.as_mut(), round..round + 1).await;
    assert!(lanes(&by_one).is_disjoint(&lanes(&by_two)), "no lane has two consumers");
    assert_eq!((lanes(&by_one).len(), lanes(&by_two).len()), (2, 2));

    // The first one knows positions of lanes that it has lost; committing them changes nothing for their new consumer.
    one.commit(&last_positions(&alone)).await.unwrap();
    drop(two);
    second_log.close().await;
    append(&log, round + 1..round + 2).await;
    let mut rest = Vec::new();
    while !numbers(&rest).is_superset(&PUBLISHERS.map(|publisher| (publisher, round + 1)).collect()) {
        rest.extend(one.next_batch(&ANY).await.unwrap().deliveries);
    }
    assert!(rest.iter().all(|delivery| number(delivery.entry.as_ref().unwrap()).1 >= round), "commits held");
    log.close().await;
}

/// In an outage of the store the consumer takes nothing for a long time. If its member did not go on polling it would let
/// go of no lane, and a second one would wait for its lanes in vain.
#[tokio::test]
async fn a_consumer_that_takes_nothing_stays_in_its_group_and_lets_go_of_lanes() {
    let site = site();
    let site = KafkaSite { config: KafkaConfig { fetched_bytes_max: 1_000, ..site.config } };
    let log = site.log().await;
    let mut one = log.subscribe("g", &[]).await.unwrap();
    append(&log, 0..20).await;
    let second_log = site.log().await;
    let mut two = second_log.subscribe("g", &[]).await.unwrap();
    let mut by_two = Vec::new();
    let two_has_half = async {
        while lanes(&by_two).len() < 2 {
            by_two.extend(two.next_batch(&ANY).await.unwrap().deliveries);
        }
    };
    tokio::time::timeout(LANES_MOVE_WITHIN, two_has_half).await.expect("the first consumer lets go of lanes");
    let by_one = one.next_batch(&ANY).await.unwrap().deliveries;
    assert!(lanes(&by_one).is_disjoint(&lanes(&by_two)), "what waited of lost lanes is gone");

    // It committed nothing, so that the other one gets everything once it is alone.
    drop(one);
    let all: BTreeSet<_> =
        PUBLISHERS.flat_map(|publisher| (0..20).map(move |number| (publisher, number))).collect();
    while !numbers(&by_two).is_superset(&all) {
        by_two.extend(two.next_batch(&ANY).await.unwrap().deliveries);
    }
    let mut orders: BTreeMap<u8, Vec<i64>> = BTreeMap::new();
    for delivery in &by_two {
        let (publisher, number) = number(delivery.entry.as_ref().unwrap());
        orders.entry(publisher).or_default().push(number);
    }
    assert!(orders.values().all(|order| order.is_sorted()), "{orders:?}");
    drop(two);
    second_log.close().await;
    log.close().await;
}

#[tokio::test]
async fn a_full_buffer_is_a_full_batch_and_fetching_goes_on_behind_it() {
    let site = site();
    let site = KafkaSite { config: KafkaConfig { fetched_bytes_max: 2_000, ..site.config } };
    let log = site.log().await;
    append(&log, 0..5).await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    // With a linger that never ends, only a full buffer ends the wait.
    let limits = BatchLimits { linger: std::time::Duration::from_secs(3600), ..ANY };
    let mut seen = BTreeSet::new();
    while seen.len() < 5 * PUBLISHERS.len() - 20 {
        let batch = subscription.next_batch(&limits).await.unwrap();
        assert!(batch.deliveries.len() < 20, "{}", batch.deliveries.len());
        seen.extend(numbers(&batch.deliveries));
    }
    log.close().await;
}
