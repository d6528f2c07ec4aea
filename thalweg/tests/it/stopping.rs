//! Ends: asked for, and not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use crate::harness::{PATIENCE, Server, Thing};

#[tokio::test]
async fn sigterm_under_load_keeps_what_was_accepted_and_ends_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &[]);
    let thing = server.user().await.connected_thing().await;
    let (accepted, refused, stop) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let publishers: Vec<_> = (0..8_u64)
        .map(|worker| {
            let (thing, accepted, refused, stop) =
                (thing.clone(), Arc::clone(&accepted), Arc::clone(&refused), Arc::clone(&stop));
            tokio::spawn(async move {
                for i in 0.. {
                    let pack = json!([{"n": format!("w{worker}"), "t": 1_700_000_000 + i, "v": i}]);
                    match thing.post("").body(pack.to_string()).send().await {
                        Ok(answer) if answer.status() == 202 => accepted.fetch_add(1, Ordering::SeqCst),
                        Ok(_) => refused.fetch_add(1, Ordering::SeqCst),
                        // A connection that is no longer taken; one that breaks in the middle is counted below.
                        Err(error) if error.is_connect() || stop.load(Ordering::SeqCst) => return,
                        Err(_) => return,
                    };
                }
            })
        })
        .collect();
    let reached = tokio::time::timeout(PATIENCE, async {
        while accepted.load(Ordering::SeqCst) < 500 {
            tokio::task::yield_now().await;
        }
    });
    reached.await.unwrap();
    let status = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    stop.store(true, Ordering::SeqCst);
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert_eq!(refused.load(Ordering::SeqCst), 0, "a request that was taken is finished");
    let server = Server::start_in(directory.path(), &[]);
    let thing = Thing { base: server.base.clone(), ..thing };
    let total = accepted.load(Ordering::SeqCst);
    crate::harness::eventually(async || {
        let stored = thing.page("limit=1").await["total"].as_u64().unwrap();
        // A connection that broke before its answer may have been stored: at most one a worker.
        if (total..=total + 8).contains(&stored) {
            Ok(())
        } else {
            Err(format!("{stored} stored of {total}"))
        }
    })
    .await;
}

#[tokio::test]
async fn one_directory_belongs_to_one_process() {
    let server = Server::start();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(server.data_dir())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(text.contains("another process"), "{text}");
}
