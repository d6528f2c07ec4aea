//! How fast does the embedded store append, compared with fjall itself writing the same keys and values?
//!
//! Load: batches of 1,000 rows of one channel from 10 publishers, times increasing, one batch after the other (a closed
//! loop, as the writer is). Each run writes to an empty directory. The bare writer commits the very rows that the store
//! stored, in batches as large and with the same durability; the variant with counts left out of the comparison is the
//! same bare writer given the index, the positions and the counts as well.

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
            let (ours, bare, all) = runtime.block_on(compare(step_nanos));
            println!(
                "record times at {load}, run {run}: store {ours:.0} rows/s, bare rows {bare:.0} rows/s (ratio {:.2}), \
                 bare with counts, index and positions {all:.0} rows/s (counts cost a factor of {:.2})",
                ours / bare,
                bare / all,
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

async fn compare(step_nanos: i64) -> (f64, f64, f64) {
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
    let database = dir.path().join("database");
    let bare = bare(&database, &["rows"]);
    let all = self::bare(&database, &["rows", "counts", "catalogue"]);
    (ours, bare, all)
}

/// Writes what a store's keyspaces hold into a new database, in as many batches as there were. The rows are put in
/// order of their versions' arrival: newest first within a block is how they are stored, so time is turned back.
fn bare(stored: &Path, keyspaces: &[&str]) -> f64 {
    let mut items: Vec<(usize, Vec<u8>, Vec<u8>)> = Vec::new();
    {
        let database = Database::builder(stored).open().unwrap();
        for (number, name) in keyspaces.iter().enumerate() {
            let keyspace = database.keyspace(name, KeyspaceCreateOptions::default).unwrap();
            for item in keyspace.iter() {
                let (key, value) = item.into_inner().unwrap();
                items.push((number, key.to_vec(), value.to_vec()));
            }
        }
    }
    // By bucket and time for rows, by start of the window for counts: about the order they came in.
    items.sort_by_key(|(number, key, _)| match number {
        0 => key[26..34].iter().map(|byte| !byte).collect::<Vec<u8>>(),
        _ => key[key.len().saturating_sub(8)..].to_vec(),
    });
    let dir = tempfile::tempdir().unwrap();
    let database = Database::builder(dir.path())
        .max_journaling_size(64 << 20)
        .worker_threads(2)
        .cache_size(16 << 20)
        .open()
        .unwrap();
    let options = || KeyspaceCreateOptions::default().max_memtable_size(8 << 20);
    let opened: Vec<_> = keyspaces.iter().map(|name| database.keyspace(name, options).unwrap()).collect();
    let rows = items.iter().filter(|(number, ..)| *number == 0).count();
    let per_batch = items.len().div_ceil(BATCHES as usize);
    let begun = Instant::now();
    for chunk in items.chunks(per_batch) {
        let mut batch = database.batch().durability(Some(PersistMode::Buffer));
        for (number, key, value) in chunk {
            batch.insert(&opened[*number], key.as_slice(), value.as_slice());
        }
        batch.commit().unwrap();
    }
    rows as f64 / begun.elapsed().as_secs_f64()
}
