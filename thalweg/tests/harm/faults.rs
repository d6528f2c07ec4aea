//! Nodes that die, freeze, and are stopped in good order: the ledger must hold. And what must go on without the store.

use std::time::{Duration, Instant};

use thalweg_bench::faults::{Faults, fault_test, store_outage};

use crate::{alone, cluster, deliveries, revocation};

/// Load enough that something is under way whenever a node dies. What more of it takes is the processor's time of nodes that start.
fn faults() -> Faults {
    Faults { rate: 100.0, packs_between: 100, ..Faults::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_each_kind_of_node_loses_nothing_and_a_rolling_stop_breaks_nothing() {
    let _alone = alone().await;
    let report = fault_test(&cluster(), &faults()).await.unwrap();
    let seen = serde_json::to_string(&report).unwrap();
    println!("{seen}");
    assert!(report.verdict.holds(), "{seen}");
    assert_eq!(report.done.len(), 14, "{seen}");
    assert!(report.holds(), "{seen}");
}

/// Also shows, in the minute that this takes, what needs no store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_publishing_revoking_and_delivering_go_on_and_the_writers_catch_up() {
    let _alone = alone().await;
    let (cluster, faults) = (cluster(), faults());
    let outage = store_outage(&cluster, &faults, Duration::from_secs(60));
    let meanwhile = async {
        step("disconnected", revocation::a_disconnected_thing_is_refused_everywhere_within_a_second()).await;
        step("deleted", revocation::a_deleted_thing_is_unknown_everywhere_within_a_second()).await;
        let key = revocation::a_replaced_key_is_unknown_everywhere_within_a_second_and_the_new_one_works();
        step("a new key", key).await;
        let deliveries =
            deliveries::killed_nodes_of_webhooks_and_a_killed_registry_lose_no_delivery(&cluster);
        step("deliveries", deliveries).await;
    };
    let (report, ()) = tokio::join!(outage, meanwhile);
    let report = report.unwrap();
    let seen = serde_json::to_string(&report).unwrap();
    println!("{seen}");
    assert!(report.verdict.holds(), "{seen}");
    assert!(report.holds(), "{seen}");
}

/// Says when it began, for whoever reads why something after it failed, and how long it took.
async fn step(name: &str, doing: impl Future<Output = ()>) {
    println!("{name} …");
    let began = Instant::now();
    doing.await;
    println!("{name}: {:.1} s", began.elapsed().as_secs_f64());
}
