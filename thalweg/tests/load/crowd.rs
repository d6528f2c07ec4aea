//! Many connections at once: what they cost, and what the others notice.

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use thalweg_bench::crowd::{Crowd, P99_RATIO_MAX, crowd_test, is_back, raise_file_limit};

use crate::alone;
use crate::harness::{Server, eventually};
use crate::memory::resident_bytes;
use crate::raw::{dial, exchange};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_slow_and_silent_connections_do_not_keep_publishers_waiting() {
    let _alone = alone().await;
    // As `make soak` does for minutes with the usual times.
    let timeouts = ["--header-timeout", "5s", "--body-timeout", "5s", "--write-timeout", "5s"];
    let crowd = Crowd {
        connections: 10_000,
        rounds: 3,
        rounds_max: 7,
        phase: Duration::from_secs(6),
        publishers: 8,
        packs_per_second: 100.0,
        arguments: timeouts.map(String::from).to_vec(),
    };
    let report = crowd_test(Path::new(env!("CARGO_BIN_EXE_thalweg")), &crowd).await.unwrap();
    let seen = serde_json::to_string(&report).unwrap();
    println!("{seen}");
    assert!(report.verdict.holds() && report.packs_failed == 0, "{seen}");
    assert!(report.p99_ratio <= P99_RATIO_MAX, "{seen}");
    for (kind, closed) in &report.closed {
        assert!(*closed > 0, "none that is {kind} was closed: {seen}");
    }
    assert!(is_back(report.resident_alone, report.resident_after), "{seen}");
}

/// What an idle connection may take.
const IDLE_BYTES_MAX: u64 = 16 << 10;
const IDLE_CONNECTIONS: u64 = 5_000;

#[tokio::test]
async fn an_idle_connection_takes_16_kib_or_less_and_gives_them_back() {
    let _alone = alone().await;
    raise_file_limit();
    let server = Server::start_with(&["--header-timeout", "1h"]);
    let thing = server.user().await.connected_thing().await;
    let request = format!(
        "GET /channels/{}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Thing {}\r\n\r\n",
        thing.channel, thing.key
    );
    let ask = |stream: &mut TcpStream| assert_eq!(exchange(stream, request.as_bytes()).status, 200);
    // The same requests on few connections: what grows by them is not the connections' doing.
    let mut few: Vec<_> = (0..50).map(|_| dial(&server)).collect();
    for _ in 0..IDLE_CONNECTIONS / 50 {
        few.iter_mut().for_each(ask);
    }
    let before = resident_bytes(&server);
    let idle: Vec<_> = (0..IDLE_CONNECTIONS)
        .map(|_| {
            let mut stream = dial(&server);
            ask(&mut stream);
            stream
        })
        .collect();
    let grown = resident_bytes(&server).saturating_sub(before);
    let each = grown / IDLE_CONNECTIONS;
    assert!(each <= IDLE_BYTES_MAX, "{each} bytes each");
    drop((idle, few));
    // Within a quarter: the allocator does not give back every page that something else lies on.
    eventually(async || {
        let left = resident_bytes(&server).saturating_sub(before);
        if left <= grown / 4 { Ok(()) } else { Err(format!("{left} of {grown} bytes are still there")) }
    })
    .await;
}
