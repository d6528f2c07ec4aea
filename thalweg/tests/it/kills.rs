//! SIGKILL under load, again and again on the same data: the ledger must hold.

use std::path::Path;

use thalweg_bench::kills::{Kills, kill_test};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_nothing_double_nothing_and_invent_nothing() {
    let kills = Kills::new(20, rand::random());
    let report = kill_test(Path::new(env!("CARGO_BIN_EXE_thalweg")), &kills).await.unwrap();
    let seen = serde_json::to_string(&report).unwrap();
    assert!(report.verdict.holds(), "{seen}");
    assert!(report.kills_under_load > 0 && report.published.packs_acknowledged > 0, "{seen}");
}
