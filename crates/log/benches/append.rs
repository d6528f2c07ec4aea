//! How many one-entry appends a second does the embedded log make durable with 64 callers that wait for each answer,
//! as a ratio against a bare loop that writes the same bytes and calls fdatasync once for 64 of them?
//!
//! Closed loop: each caller appends again as soon as it is answered. Both sides run for the same time, in turns, in the
//! same directory (`BENCH_DIR`, else the system's temporary one, which should not be in memory). Payload: a pack of one
//! record, 120 bytes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use thalweg_log::suite::entry;
use thalweg_log::{EmbeddedConfig, EmbeddedLog, Log};

const CALLERS: usize = 64;
const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(2);
const PAYLOAD_BYTES: usize = 120;
/// Header of the frame, the entry's headers, the payload.
const FRAME_BYTES: usize = 36 + 49 + PAYLOAD_BYTES;

fn main() {
    let dir = tempfile::TempDir::new_in(bench_dir()).expect("the bench has a directory to write to");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    println!(
        "question: {CALLERS} callers, one entry each, durable appends per second against write+fdatasync by {CALLERS}"
    );
    let mut ratios = Vec::new();
    for run in 0..RUNS {
        let raw = raw_loop(&dir.path().join("raw"));
        let log = runtime.block_on(through_the_log(&dir.path().join(format!("log-{run}"))));
        ratios.push(log / raw);
        println!("run {run}: log {log:.0}/s, raw loop {raw:.0}/s, ratio {:.2}", log / raw);
    }
    ratios.sort_by(f64::total_cmp);
    println!("ratio: median {:.2}, from {:.2} to {:.2}", ratios[RUNS / 2], ratios[0], ratios[RUNS - 1]);
}

#[expect(clippy::disallowed_methods, reason = "a bench takes its directory from whoever runs it")]
fn bench_dir() -> std::path::PathBuf {
    std::env::var("BENCH_DIR").map_or_else(|_| std::env::temp_dir(), Into::into)
}

/// Entries per second of a loop that does nothing but write and sync.
fn raw_loop(path: &Path) -> f64 {
    let file = File::create(path).expect("a file can be made");
    let group = vec![b'x'; CALLERS * FRAME_BYTES];
    let (start, mut groups) = (Instant::now(), 0);
    while start.elapsed() < RUN {
        file.write_all_at(&group, groups * group.len() as u64).expect("the disk can be written");
        file.sync_data().expect("the disk can be synced");
        groups += 1;
    }
    groups as f64 * CALLERS as f64 / start.elapsed().as_secs_f64()
}

/// Entries per second that callers of the log are answered.
async fn through_the_log(dir: &Path) -> f64 {
    let (log, _) = EmbeddedLog::open(dir, EmbeddedConfig::default(), &[]).expect("a log can be opened");
    let (log, is_over, appended) =
        (Arc::new(log), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (log, is_over, appended) = (Arc::clone(&log), Arc::clone(&is_over), Arc::clone(&appended));
            tokio::spawn(async move {
                let mut entry = entry(caller as u8, 0, vec![b'x'; PAYLOAD_BYTES]);
                entry.subtopic = Default::default();
                while !is_over.load(Ordering::Relaxed) {
                    log.append(vec![entry.clone()]).await.expect("appends succeed");
                    appended.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(RUN).await;
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no caller panics");
    }
    let rate = appended.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    log.close().await;
    rate
}
