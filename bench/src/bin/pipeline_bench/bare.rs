//! The bare parts that a server is held against: the least that the same job can cost.
//!
//! They check nothing and keep no promise. Each runs in a process of its own, as the server does.

use std::path::Path;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::{get, post};
use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use thalweg_bench::ledger::{FIRST_SECOND, Plan, STEP_NANOS, UNIT};
use tokio::net::TcpListener;

/// Rows of one batch.
const BATCH_ROWS: u64 = 1_000;
/// Shards that a channel's rows are spread over: as many as the server's.
const SHARDS: u64 = 16;
/// Nanoseconds of one bucket of record time.
const BUCKET_NANOS: u64 = 3_600_000_000_000;

/// Reads each body to its end and answers 202, until it is ended.
pub(crate) async fn respond() -> anyhow::Result<()> {
    let app = Router::new()
        .route("/readyz", get(|| async { StatusCode::OK }))
        .route("/http/channels/{channel}/messages", post(|_body: Bytes| async { StatusCode::ACCEPTED }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// Writes rows of the server's size and order of keys, in batches, and syncs once at the end.
pub(crate) fn store(rows: u64, directory: &Path) -> anyhow::Result<()> {
    let database = Database::builder(directory).open()?;
    let keyspace = database.keyspace("rows", KeyspaceCreateOptions::default)?;
    let plan = Plan { run: 1, channels: 1, things: 64, records_per_pack: 100 };
    let started = Instant::now();
    for first in (0..rows).step_by(BATCH_ROWS as usize) {
        let mut batch = database.batch();
        for record in first..rows.min(first + BATCH_ROWS) {
            batch.insert(&keyspace, key(&plan, record), value(&plan, record));
        }
        batch.commit()?;
    }
    database.persist(PersistMode::SyncAll)?;
    println!("{}", started.elapsed().as_secs_f64());
    Ok(())
}

/// Channel, bucket, shard, time with later ones first, publisher, subtopic, name, unit: as long as the server's.
fn key(plan: &Plan, record: u64) -> Vec<u8> {
    let thing = plan.thing(plan.pack_of(record)) as u64;
    let time = FIRST_SECOND * 1_000_000_000 + record * STEP_NANOS;
    let mut key = Vec::with_capacity(96);
    key.extend_from_slice(&[7; 16]);
    key.extend_from_slice(&(time / BUCKET_NANOS).to_be_bytes());
    key.extend_from_slice(&((thing % SHARDS) as u16).to_be_bytes());
    key.extend_from_slice(&(!time).to_be_bytes());
    key.extend_from_slice(&u128::from(thing).to_be_bytes());
    for text in ["", plan.name(record).as_str(), UNIT] {
        key.extend_from_slice(text.as_bytes());
        key.extend_from_slice(&[0, 1]);
    }
    key
}

/// Version, protocol, fields, value.
fn value(plan: &Plan, record: u64) -> Vec<u8> {
    let mut value = Vec::with_capacity(18);
    value.extend_from_slice(&record.to_be_bytes());
    value.extend_from_slice(&[1, 1]);
    value.extend_from_slice(&plan.value(record).to_be_bytes());
    value
}
