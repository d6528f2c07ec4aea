//! Ends under load, again and again on the same data: the ledger must hold.

use std::path::Path;

use thalweg_bench::kills::{Ending, Kills, kill_test};

use crate::alone;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_nothing_double_nothing_and_invent_nothing() {
    let _alone = alone().await;
    let kills = Kills::new(20, rand::random());
    let report = kill_test(Path::new(env!("CARGO_BIN_EXE_thalweg")), &kills).await.unwrap();
    let seen = serde_json::to_string(&report).unwrap();
    assert!(report.verdict.holds(), "{seen}");
    assert!(report.kills_under_load > 0 && report.published.packs_acknowledged > 0, "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_stops_break_no_request_lose_nothing_and_end_with_success() {
    let _alone = alone().await;
    let kills = Kills { ending: Ending::Stop, packs_between_max: 2_000, ..Kills::new(20, rand::random()) };
    // One that does not end with 0, or not in time, is an error.
    let report = kill_test(Path::new(env!("CARGO_BIN_EXE_thalweg")), &kills).await.unwrap();
    let seen = serde_json::to_string(&report).unwrap();
    assert!(report.verdict.holds(), "{seen}");
    assert_eq!(report.kills_under_load, 20);
    assert!(report.stop_seconds_max < 25.0, "{seen}");
    let statuses: Vec<_> = report.published.answers.keys().copied().collect();
    assert_eq!(statuses, [202], "{seen}");
    // A connection that the system completes between the last accept and the end of the listener is reset, and no server has
    // seen what was sent on it.
    assert_eq!(report.published.unanswered, report.published.unanswered_at_first, "{seen}");
    assert!(report.published.unanswered < 20, "{seen}");
}
