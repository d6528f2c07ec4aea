//! The kill test against a server that keeps what it acknowledges, and against one that does not quite.

use std::path::Path;

use thalweg_bench::kills::{KillReport, Kills, kill_test};

async fn kill_a_server_that_is_late_by(packs: u64) -> KillReport {
    let arguments = vec!["--late".to_owned(), packs.to_string()];
    let kills = Kills { packs_between_max: 300, arguments, ..Kills::new(6, 20) };
    // What is lost stays lost: waiting is for what is stored later, and this server stores at once.
    let kills = Kills { settle: std::time::Duration::ZERO, ..kills };
    kill_test(Path::new(env!("CARGO_BIN_EXE_ledger-fixture")), &kills).await.unwrap()
}

#[tokio::test]
async fn a_server_that_keeps_what_it_acknowledges_survives() {
    let report = kill_a_server_that_is_late_by(0).await;
    assert!(report.verdict.holds(), "{}", report.verdict);
    assert_eq!(report.kills_under_load + report.kills_at_start, 6);
    assert!(report.published.packs_acknowledged > 6, "{report:?}");
}

#[tokio::test]
async fn a_server_that_acknowledges_too_early_is_found_out() {
    let report = kill_a_server_that_is_late_by(50).await;
    assert!(report.verdict.lost > 0, "{}", report.verdict);
    assert!(!report.verdict.holds());
}
