//! How fast does the embedded store append, compared with fjall itself writing the same keys and values?
//!
//! Load: batches of 1,000 rows, of 10 publishers a channel, times increasing, one batch after the other (a closed loop, as
//! the writer is). Each run writes to an empty directory. The bare writer commits the very rows that the store
//! stored, in batches as large, with the same settings and durability: no counts, no index, no positions, no look-ups.
//! Of one channel a batch touches 4 counts at 10,000 rows per second of record time, and 103 at 10: the difference is
//! what counts cost. Of 1,000 channels it touches 4,000, which is the worst there is.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the bench")]

use std::path::Path;
use std::time::Instant;

use domain::{ChannelId, Lane, Position};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use thalweg_store::suite::{number_row, thing};
use thalweg_store::{EmbeddedConfig, EmbeddedStore, Store, WriteBatch};

const BATCHES: i64 = 300;
const ROWS_PER_BATCH: i64 = 1_000;
const RUNS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let loads = [
        Load { name: "one channel, 10,000 rows/s", channels: 1, step_nanos: 100_000 },
        Load { name: "one channel, 10 rows/s", channels: 1, step_nanos: 100_000_000 },
        Load { name: "1,000 channels, 10 rows/s each", channels: 1_000, step_nanos: 100_000 },
    ];
    for load in loads {
        for run in 0..RUNS {
            let (ours, bare) = runtime.block_on(compare(&load));
            let name = load.name;
            println!(
                "{name}, run {run}: store {ours:.0} rows/s, bare {bare:.0} rows/s, ratio {:.2}",
                ours / bare
            );
        }
    }
}

/// Rows spread evenly over channels and, within each, over 10 publishers; times increase by a step from row to row.
struct Load {
    name: &'static str,
    channels: i64,
    step_nanos: i64,
}

fn batch(number: i64, load: &Load) -> WriteBatch {
    let first = 1_554_381_569_000_000_000 / load.step_nanos + number * ROWS_PER_BATCH;
    let row = |n: i64| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(n % load.channels).to_be_bytes());
        let publisher = thing((n / load.channels % 10) as u8);
        let mut row = number_row(ChannelId::from_bytes(bytes), publisher, n * load.step_nanos, n as f64);
        row.row.record.name = "boiler:temperature".to_owned();
        row.row.record.unit = "Cel".to_owned();
        row
    };
    let rows = (first..first + ROWS_PER_BATCH).map(row).collect();
    WriteBatch { rows, positions: vec![Position { lane: Lane(0), offset: number as u64 }] }
}

async fn compare(load: &Load) -> (f64, f64) {
    let dir = tempfile::tempdir().unwrap();
    let ours = {
        let store = EmbeddedStore::open(dir.path(), EmbeddedConfig::default()).unwrap();
        let batches: Vec<WriteBatch> = (0..BATCHES).map(|number| batch(number, load)).collect();
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
