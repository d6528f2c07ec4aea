//! More than the server can take: some packs are refused, what is accepted is kept, and memory stays flat.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::alone;
use crate::harness::{Server, Thing};
use crate::memory::peak_bytes;

/// Packs that one phase publishes, and records of each.
const PACKS: u64 = 240;
const RECORDS: u64 = 2_000;

/// Publishes a phase's packs over so many connections; how many were accepted.
async fn publish(thing: &Thing, phase: u64, connections: u64) -> u64 {
    // Made beforehand, so that the connections wait for the server and not for the packs.
    let packs: Arc<Vec<String>> = Arc::new((0..PACKS).map(|number| pack(phase * PACKS + number)).collect());
    let (next, accepted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let workers: Vec<_> = (0..connections)
        .map(|_| {
            let (thing, packs) = (thing.clone(), Arc::clone(&packs));
            let (next, accepted) = (Arc::clone(&next), Arc::clone(&accepted));
            tokio::spawn(async move {
                while let Some(pack) = packs.get(next.fetch_add(1, Ordering::SeqCst) as usize) {
                    let answer = thing.post("").body(pack.clone()).send().await.unwrap();
                    match answer.status().as_u16() {
                        202 => _ = accepted.fetch_add(1, Ordering::SeqCst),
                        503 => assert_eq!(answer.headers()["retry-after"], "1"),
                        status => panic!("{status}: {}", answer.text().await.unwrap()),
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    accepted.load(Ordering::SeqCst)
}

fn pack(number: u64) -> String {
    let at = 1_700_000_000 + number * RECORDS;
    let record = |i| json!({"n": "a-name-of-usual-length", "u": "Cel", "t": at + i, "v": i});
    Value::from_iter((0..RECORDS).map(record)).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_flat_under_three_times_the_load_that_fits() {
    let _alone = alone().await;
    // Room for about 8 packs in flight; then 8 connections, and then 24, each with the next pack at once.
    let server = Server::start_with(&["--in-flight-bytes-max", "1200000", "--body-bytes-max", "400KiB"]);
    let thing = server.user().await.connected_thing().await;
    let mut accepted = publish(&thing, 0, 8).await;
    thing.until_stored(accepted * RECORDS).await;
    let usual = peak_bytes(&server);
    accepted += publish(&thing, 1, 24).await;
    thing.until_stored(accepted * RECORDS).await;
    let overloaded = peak_bytes(&server);
    assert!(accepted < 2 * PACKS, "all {accepted} packs were accepted: this was no overload");
    let ratio = overloaded as f64 / usual as f64;
    assert!(ratio < 1.5, "peak memory grew {ratio:.2}-fold, from {usual} to {overloaded} bytes");
}
