//! Nodes that die, freeze, and are stopped in good order: the ledger must hold.

use std::time::Duration;

use thalweg_bench::faults::{Faults, fault_test, store_outage};

use crate::{alone, cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_each_kind_of_node_loses_nothing_and_a_rolling_stop_breaks_nothing() {
    let _alone = alone().await;
    let report = fault_test(&cluster(), &Faults::default()).await.unwrap();
    let seen = serde_json::to_string(&report).unwrap();
    assert!(report.verdict.holds(), "{seen}");
    assert_eq!(report.done.len(), 16, "{seen}");
    assert!(report.holds(), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_goes_on_without_the_store_and_the_writers_catch_up() {
    let _alone = alone().await;
    let report = store_outage(&cluster(), &Faults::default(), Duration::from_secs(60)).await.unwrap();
    let seen = serde_json::to_string(&report).unwrap();
    assert!(report.verdict.holds(), "{seen}");
    assert!(report.holds(), "{seen}");
}
