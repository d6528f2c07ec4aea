//! How fast does the embedded store append, compared with fjall itself writing the same keys and values?
//!
//! Load: batches of 1,000 rows of one channel from 10 publishers, times increasing, one batch after the other (a closed
//! loop, as the writer is). Each run writes to an empty directory. The bare writer commits the very rows that the store
//! stored, in batches as large, with the same settings and durability: no counts, no index, no positions, no look-ups.
//! A batch touches 4 counts at 10,000 rows per second of record time, and 103 at 10: the difference is what counts cost.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the bench")]

use std::path::Path;
use std::time::Instant;

use domain::{Lane, Position};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use thalweg_store::suite::{channel, number_row, thing};
use thalweg_store::{EmbeddedConfig, EmbeddedStore, Store, WriteBatch};

const BATCHES: i64 = 300;
const ROWS_PER_BATCH: i64 = 1_000;
const RUNS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for (load, step_nanos) in [("10,000 rows/s", 100_000), ("10 rows/s", 100_000_000)] {
        for run in 0..RUNS {
            let (ours, bare) = runtime.block_on(compare(step_nanos));
            println!(
                "record times at {load}, run {run}: store {ours:.0} rows/s, bare {bare:.0} rows/s, ratio {:.2}",
                ours / bare
            );
        }
    }
}

fn batch(number: i64, step_nanos: i64) -> WriteBatch {
    let first = 1_554_381_569_000_000_000 / step_nanos + number * ROWS_PER_BATCH;
    let row = |n: i64| {
        let mut row = number_row(channel(1), thing((n % 10) as u8), n * step_nanos, n as f64);
        row.row.record.name = "boiler:temperature".to_owned();
        row.row.record.unit = "Cel".to_owned();
        row
    };
    let rows = (first..first + ROWS_PER_BATCH).map(row).collect();
    WriteBatch { rows, positions: vec![Position { lane: Lane(0), offset: number as u64 }] }
}

async fn compare(step_nanos: i64) -> (f64, f64) {
    let dir = tempfile::tempdir().unwrap();
    let ours = {
        let store = EmbeddedStore::open(dir.path(), EmbeddedConfig::default()).unwrap();
        let batches: Vec<WriteBatch> = (0..BATCHES).map(|number| batch(number, step_nanos)).collect();
        let begun = Instant::now();
        for batch in batches {
            store.append(batch).await.unwrap();
        }
        (BATCHES * ROWS_PER_BATCH) as f64 / begun.elapsed().as_secs_f64()
    };
    (ours, bare(&dir.path().join("database")))
}

/// Writes the rows that a store holds into a new database, in the order in which they came.
fn bare(stored: &Path) -> f64 {
    let mut items: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    {
        let database = Database::builder(stored).open().unwrap();
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
        for item in rows.iter() {
            let (key, value) = item.into_inner().unwrap();
            items.push((key.to_vec(), value.to_vec()));
        }
    }
    // Newer times have smaller bytes in a key.
    items.sort_by(|(a, _), (b, _)| b[26..34].cmp(&a[26..34]));
    let dir = tempfile::tempdir().unwrap();
    let database = Database::builder(dir.path())
        .max_journaling_size(64 << 20)
        .worker_threads(2)
        .cache_size(16 << 20)
        .open()
        .unwrap();
    let options = || KeyspaceCreateOptions::default().max_memtable_size(8 << 20);
    let rows = database.keyspace("rows", options).unwrap();
    let begun = Instant::now();
    for chunk in items.chunks(ROWS_PER_BATCH as usize) {
        let mut batch = database.batch().durability(Some(PersistMode::Buffer));
        for (key, value) in chunk {
            batch.insert(&rows, key.as_slice(), value.as_slice());
        }
        batch.commit().unwrap();
    }
    items.len() as f64 / begun.elapsed().as_secs_f64()
}
