//! What do index and marks cost an append on CQL, compared with the bare rows in the same batches; and what does a total of
//! 1 million rows cost a reader that has counted before, one that finds what another counted, and one that finds nothing?
//!
//! `deploy/engines with cassandra -- cargo bench -p thalweg-store --features engines --bench cql`
//!
//! Load: batches of 1,000 rows of 10 publishers of one channel, 10 rows a second in all, one-hour buckets; one after the
//! other (a closed loop, as the writer is). Client and database share the machine, so only ratios within a run mean anything.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the bench")]

use std::time::{Duration, Instant};

use domain::{BucketWidth, ChannelProfile, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use thalweg_store::planner::{CursorKey, Filter, Query, Start, read};
use thalweg_store::suite::{channel, number_row, thing};
use thalweg_store::{Block, CqlConfig, CqlStore, Direction, Store, TimeRange, WriteBatch, WriteRow};

const KEYSPACE: &str = "thalweg_bench";
const ROWS: i64 = 1_000_000;
const ROWS_PER_BATCH: i64 = 1_000;
const BATCHES_PER_RUN: i64 = 200;
const STEP_NANOS: i64 = 100_000_000;
const SAMPLES: usize = 101;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let bare = Bare::new().await;
    let store = open().await;
    let mut number = 0;
    for run in 0..ROWS / ROWS_PER_BATCH / BATCHES_PER_RUN {
        let batches = || (number..number + BATCHES_PER_RUN).map(batch);
        let begun = Instant::now();
        for rows in batches() {
            store.append(WriteBatch { rows, positions: Vec::new() }).await.unwrap();
        }
        let ours = begun.elapsed();
        let begun = Instant::now();
        for rows in batches() {
            bare.append(&rows).await;
        }
        let bare = begun.elapsed();
        number += BATCHES_PER_RUN;
        let rows = (BATCHES_PER_RUN * ROWS_PER_BATCH) as f64;
        let (ours, bare) = (rows / ours.as_secs_f64(), rows / bare.as_secs_f64());
        println!(
            "append, run {run}: store {ours:.0} rows/s, bare {bare:.0} rows/s, ratio {:.2}",
            ours / bare
        );
    }
    let (first, _) = page(&open().await, 0).await;
    println!("first page and total by a reader where nothing was counted: {first:?}");
    let reader = open().await;
    let (kept, _) = page(&reader, 0).await;
    println!("the same where another reader has counted: {kept:?}");
    let warm = median(&reader, 0).await;
    println!("the same by a reader that has counted: {warm:?}");
    println!("10 rows at offset 900,000: {:?}", median(&reader, 900_000).await);
    let mut touched = Vec::new();
    for n in 0..SAMPLES as i64 {
        let rows = batch(number)[n as usize..=n as usize].to_vec();
        store.append(WriteBatch { rows, positions: Vec::new() }).await.unwrap();
        touched.push(page(&reader, 0).await.0);
    }
    touched.sort();
    println!("the same while a row comes before each page: {:?}", touched[SAMPLES / 2]);
    bare.session.query_unpaged(format!("DROP KEYSPACE {KEYSPACE}"), ()).await.unwrap();
}

fn batch(number: i64) -> Vec<WriteRow> {
    let first = 1_554_381_569_000_000_000 / STEP_NANOS + number * ROWS_PER_BATCH;
    let row = |n: i64| {
        let mut row = number_row(channel(1), thing((n % 10) as u8), n * STEP_NANOS, n as f64);
        row.row.record.name = "boiler:temperature".to_owned();
        row.row.record.unit = "Cel".to_owned();
        row
    };
    (first..first + ROWS_PER_BATCH).map(row).collect()
}

async fn page(store: &CqlStore, offset: u64) -> (Duration, u64) {
    let query = Query {
        channel: channel(1),
        profile: ChannelProfile::default(),
        range: TimeRange::ALL,
        cut_off: Timestamp::MIN,
        direction: Direction::Descending,
        filter: Filter::default(),
        limit: 10,
        start: Start::Offset(offset),
    };
    let begun = Instant::now();
    let page = read(store, &query, &CursorKey::from_bytes(&[1; 32])).await.unwrap();
    assert!(page.total >= ROWS as u64);
    (begun.elapsed(), page.total)
}

async fn median(store: &CqlStore, offset: u64) -> Duration {
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        samples.push(page(store, offset).await.0);
    }
    samples.sort();
    samples[SAMPLES / 2]
}

async fn open() -> CqlStore {
    let config = CqlConfig { replicas: 1, ..CqlConfig::new(nodes(), KEYSPACE.parse().unwrap()) };
    CqlStore::open(CqlConfig { request_timeout: Duration::from_secs(60), ..config }).await.unwrap()
}

#[expect(clippy::disallowed_methods, reason = "where the database is, is the one setting of this bench")]
fn nodes() -> Vec<String> {
    std::env::var("THALWEG_CQL_NODES")
        .expect("THALWEG_CQL_NODES is set")
        .split(',')
        .map(str::to_owned)
        .collect()
}

/// The rows alone, in a table of their own, in one batch a partition.
struct Bare {
    session: Session,
    insert: PreparedStatement,
}

impl Bare {
    async fn new() -> Self {
        let session = SessionBuilder::new().known_nodes(nodes()).build().await.unwrap();
        let replication = "{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";
        for statement in [
            format!("CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {replication}"),
            format!(
                "CREATE TABLE {KEYSPACE}.bare (channel uuid, bucket bigint, shard smallint, time bigint, publisher blob, \
                 subtopic text, name text, unit text, fields tinyint, protocol tinyint, value_number double, \
                 PRIMARY KEY ((channel, bucket, shard), time, publisher, subtopic, name, unit)) \
                 WITH CLUSTERING ORDER BY (time DESC, publisher ASC, subtopic ASC, name ASC, unit ASC)"
            ),
        ] {
            session.query_unpaged(statement, ()).await.unwrap();
        }
        let insert = format!(
            "INSERT INTO {KEYSPACE}.bare (channel, bucket, shard, time, publisher, subtopic, name, unit, fields, protocol, \
             value_number) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
        );
        let insert = session.prepare(insert).await.unwrap();
        Self { session, insert }
    }

    async fn append(&self, rows: &[WriteRow]) {
        let mut partitions = std::collections::HashMap::<Block, Vec<&WriteRow>>::new();
        for row in rows {
            let block = Block::of(BucketWidth::Hour, row.row.record.time, row.row.publisher);
            partitions.entry(block).or_default().push(row);
        }
        let writes = stream::iter(partitions).map(|(block, rows)| async move {
            let statements = vec![BatchStatement::from(self.insert.clone()); rows.len()];
            let values: Vec<_> = rows.iter().map(|row| self.values(block, row)).collect();
            self.session
                .batch(&Batch::new_with_statements(BatchType::Unlogged, statements), values)
                .await
                .map(drop)
        });
        writes.buffer_unordered(64).try_collect::<()>().await.unwrap();
    }

    #[expect(clippy::type_complexity, reason = "the columns of a row")]
    fn values<'a>(
        &self,
        block: Block,
        WriteRow { channel, row, .. }: &'a WriteRow,
    ) -> (uuid::Uuid, i64, i16, i64, &'a [u8], &'a str, &'a str, &'a str, i8, i8, f64, i64) {
        (
            channel.as_uuid(),
            block.bucket,
            block.shard as i16,
            row.record.time.as_nanos(),
            row.publisher.as_bytes(),
            row.subtopic.as_str(),
            &row.record.name,
            &row.record.unit,
            1,
            1,
            1.5,
            row.received.as_micros(),
        )
    }
}
