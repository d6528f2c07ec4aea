//! The least that the same rows cost in a CQL database: one table, unlogged batches of one partition, no index and no marks.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use thalweg_bench::ledger::{FIRST_SECOND, Plan, STEP_NANOS, UNIT};
use uuid::Uuid;

const KEYSPACE: &str = "thalweg_bare";
/// Records that are grouped by partition together: what the writer takes from the log at once, 1 MiB of packs of 100 records.
const FLUSH_RECORDS: u64 = 26_000;
/// Rows of one batch: 48 KiB, as the server's.
const BATCH_ROWS: usize = 200;
/// Batches that are under way at the same time, as the server's.
const IN_FLIGHT: usize = 64;
/// Shards that a channel's rows are spread over: as many as the server's.
const SHARDS: u64 = 16;
const BUCKET_NANOS: u64 = 3_600_000_000_000;

/// Writes rows as a ledger's are, and prints how many seconds that took.
pub(crate) async fn store(rows: u64, nodes: &[String]) -> anyhow::Result<()> {
    let session = SessionBuilder::new().known_nodes(nodes).build().await?;
    let insert = table(&session).await?;
    let plan = Plan { run: 1, channels: 1, things: 64, records_per_pack: 100 };
    let started = Instant::now();
    for first in (0..rows).step_by(FLUSH_RECORDS as usize) {
        flush(&session, &insert, &plan, first..rows.min(first + FLUSH_RECORDS)).await?;
    }
    println!("{}", started.elapsed().as_secs_f64());
    session.query_unpaged(format!("DROP KEYSPACE {KEYSPACE}"), ()).await?;
    Ok(())
}

async fn table(session: &Session) -> anyhow::Result<PreparedStatement> {
    for statement in [
        format!("DROP KEYSPACE IF EXISTS {KEYSPACE}"),
        format!(
            "CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}}"
        ),
        format!(
            "CREATE TABLE {KEYSPACE}.rows (channel uuid, bucket bigint, shard smallint, time bigint, publisher blob, \
             subtopic text, name text, unit text, fields tinyint, protocol tinyint, value_number double, \
             PRIMARY KEY ((channel, bucket, shard), time, publisher, subtopic, name, unit)) \
             WITH CLUSTERING ORDER BY (time DESC, publisher ASC, subtopic ASC, name ASC, unit ASC)"
        ),
    ] {
        session.query_unpaged(statement, ()).await?;
    }
    let insert = format!(
        "INSERT INTO {KEYSPACE}.rows (channel, bucket, shard, time, publisher, subtopic, name, unit, fields, protocol, \
         value_number) VALUES (?, ?, ?, ?, ?, '', ?, '{UNIT}', 1, 1, ?) USING TIMESTAMP ?"
    );
    Ok(session.prepare(insert).await?)
}

/// Time, publisher, name, value.
type Row = (i64, [u8; 16], String, f64);

async fn flush(
    session: &Session,
    insert: &PreparedStatement,
    plan: &Plan,
    records: Range<u64>,
) -> anyhow::Result<()> {
    let mut partitions: HashMap<(i64, i16), Vec<Row>> = HashMap::new();
    for record in records {
        let thing = plan.thing(plan.pack_of(record)) as u64;
        let time = FIRST_SECOND * 1_000_000_000 + record * STEP_NANOS;
        let place = ((time / BUCKET_NANOS) as i64, (thing % SHARDS) as i16);
        let row = (time as i64, u128::from(thing).to_be_bytes(), plan.name(record), plan.value(record));
        partitions.entry(place).or_default().push(row);
    }
    let batches = partitions.iter().flat_map(|(place, rows)| {
        rows.chunks(BATCH_ROWS).map(move |rows| write(session, insert, *place, rows))
    });
    stream::iter(batches.collect::<Vec<_>>()).buffer_unordered(IN_FLIGHT).try_collect().await
}

async fn write(
    session: &Session,
    insert: &PreparedStatement,
    (bucket, shard): (i64, i16),
    rows: &[Row],
) -> anyhow::Result<()> {
    let statements = vec![BatchStatement::from(insert.clone()); rows.len()];
    let channel = Uuid::from_u128(7);
    let values: Vec<_> = rows
        .iter()
        .map(|(time, publisher, name, value)| {
            (channel, bucket, shard, *time, publisher.as_slice(), name.as_str(), *value, 1_i64)
        })
        .collect();
    session.batch(&Batch::new_with_statements(BatchType::Unlogged, statements), values).await?;
    Ok(())
}
