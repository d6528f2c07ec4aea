//! What does a page cost at the start and deep within a channel of 1 million rows, what does it cost within a second of
//! many rows, and what would a scan cost?
//!
//! Data: 10 publishers, 10 rows a second in all (28 hours), one-hour buckets; for dense seconds 64 publishers, 1,000 rows
//! a second. Pages are read one after the other (a closed loop) from a store that was just opened; printed is the median.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the bench")]

use std::time::{Duration, Instant};

use domain::{ChannelProfile, Timestamp};
use thalweg_store::planner::{CursorKey, Filter, Query, Start, read};
use thalweg_store::suite::{channel, number_row, thing};
use thalweg_store::{BlockScan, Direction, EmbeddedConfig, EmbeddedStore, Store, TimeRange, WriteBatch};

const ROWS: i64 = 1_000_000;
const STEP_NANOS: i64 = 100_000_000;
const SAMPLES: usize = 201;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), EmbeddedConfig::default()).unwrap();
    let first = 1_554_381_569_000_000_000 / STEP_NANOS;
    for start in (0..ROWS).step_by(1_000) {
        let rows = (start..start + 1_000)
            .map(|n| number_row(channel(1), thing((n % 10) as u8), (first + n) * STEP_NANOS, n as f64))
            .collect();
        store.append(WriteBatch { rows, positions: Vec::new() }).await.unwrap();
    }
    store.persist().await.unwrap();
    drop(store);
    let begun = Instant::now();
    let store = EmbeddedStore::open(dir.path(), EmbeddedConfig::default()).unwrap();
    println!("opening with {ROWS} rows: {:?}", begun.elapsed());
    println!("resident memory, idle: {} KiB", resident_kib());

    for limit in [10, 1_000] {
        let shallow = page(&store, limit, TimeRange::ALL, 0).await;
        let deep = page(&store, limit, TimeRange::ALL, 900_000).await;
        let ratio = deep.as_secs_f64() / shallow.as_secs_f64();
        println!("{limit} rows: offset 0 {shallow:?}, offset 900,000 {deep:?}, ratio {ratio:.2}");
    }
    let begun = Instant::now();
    let name = Filter { name: Some("other".to_owned()), ..Filter::default() };
    read(&store, &Query { filter: name, ..query(10, TimeRange::ALL, 0) }, &key()).await.unwrap();
    println!("a filter that matches none of 100,000 examined rows: {:?}", begun.elapsed());
    println!("reading all rows once, as a total without counts would: {:?}", scan(&store).await);
    println!("resident memory, after reading: {} KiB", resident_kib());
    drop(store);
    within_dense_seconds().await;
}

/// Offsets that end at different places of a second, against the newest page.
async fn within_dense_seconds() {
    const ROWS: i64 = 100_000;
    const STEP_NANOS: i64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), EmbeddedConfig::default()).unwrap();
    let first = 1_554_381_569_000_000_000 / STEP_NANOS;
    for start in (0..ROWS).step_by(1_000) {
        let rows = (start..start + 1_000)
            .map(|n| number_row(channel(1), thing((n % 64) as u8), (first + n) * STEP_NANOS, n as f64))
            .collect();
        store.append(WriteBatch { rows, positions: Vec::new() }).await.unwrap();
    }
    drop(store);
    let store = EmbeddedStore::open(dir.path(), EmbeddedConfig::default()).unwrap();
    for within in [0, 30, 250, 500, 750, 970] {
        let offset = 90_000 + within;
        let (mut shallow, mut deep) = (Vec::new(), Vec::new());
        for _ in 0..SAMPLES {
            for (samples, offset) in [(&mut shallow, 0), (&mut deep, offset)] {
                let begun = Instant::now();
                let page = read(&store, &query(10, TimeRange::ALL, offset), &key()).await.unwrap();
                samples.push(begun.elapsed());
                assert_eq!((page.rows.len(), page.total), (10, ROWS as u64));
            }
        }
        let (shallow, deep) = (middle(shallow), middle(deep));
        let ratio = deep.as_secs_f64() / shallow.as_secs_f64();
        println!(
            "10 rows behind {within} of a dense second: {deep:?}, offset 0 {shallow:?}, ratio {ratio:.2}"
        );
    }
}

fn middle(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    samples[samples.len() / 2]
}

fn key() -> CursorKey {
    CursorKey::from_bytes(&[1; 32])
}

fn query(limit: usize, range: TimeRange, offset: u64) -> Query {
    Query {
        channel: channel(1),
        profile: ChannelProfile::default(),
        range,
        cut_off: Timestamp::MIN,
        direction: Direction::Descending,
        filter: Filter::default(),
        limit,
        start: Start::Offset(offset),
    }
}

async fn page(store: &EmbeddedStore, limit: usize, range: TimeRange, offset: u64) -> Duration {
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        let page = read(store, &query(limit, range, offset), &key()).await.unwrap();
        samples.push(begun.elapsed());
        assert_eq!((page.rows.len(), page.total), (limit, ROWS as u64));
    }
    middle(samples)
}

/// Reads every row, one bucket at a time.
async fn scan(store: &EmbeddedStore) -> Duration {
    let begun = Instant::now();
    let direction = Direction::Descending;
    let profile = ChannelProfile::default();
    let (mut rows, mut after) = (0, None);
    loop {
        let blocks = store.blocks(channel(1), profile, TimeRange::ALL, direction, after, 1).await.unwrap();
        let Some(last) = blocks.last() else { break };
        after = Some(last.bucket);
        let scans = blocks.iter().map(|&block| BlockScan {
            block,
            range: TimeRange::ALL,
            direction,
            after: None,
            limit: usize::MAX,
            bytes_max: usize::MAX,
        });
        let found = store.rows(channel(1), profile, scans.collect(), usize::MAX).await.unwrap();
        rows += found.iter().map(|scanned| scanned.rows.len()).sum::<usize>();
    }
    assert_eq!(rows, ROWS as usize);
    begun.elapsed()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
