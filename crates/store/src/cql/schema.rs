//! The tables, and how a keyspace gets them: loads alike on ScyllaDB and Apache Cassandra.
//!
//! Steps are only ever added. Each may be taken twice, and by several processes at once: every statement is of the kind
//! "if it is not there", and each table has an id that follows from its name, so that two nodes that make
//! it at the same moment make the same one.

use domain::Retention;
use scylla::client::session::Session;
use scylla::errors::DbError;
use scylla::serialize::row::SerializeRow;
use scylla::statement::unprepared::Statement;
use std::error::Error;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

use super::statements::Statements;
use super::{CqlConfig, KeyspaceName, damaged, unavailable};
use crate::contract::StoreError;

/// The columns of a table of rows, one table for each class of retention. `fields` says which of the values hold, so that a
/// measurement sent again as another kind leaves nothing of the old one. The version of a row is the timestamp of its cells.
const ROWS: &str = "channel uuid, bucket bigint, shard smallint, time bigint, publisher blob, subtopic text, name text, unit text, \
    fields tinyint, protocol tinyint, value_number double, value_text text, value_bool boolean, value_data blob, \
    sum double, update_time double, \
    PRIMARY KEY ((channel, bucket, shard), time, publisher, subtopic, name, unit)";

/// The options of a table of rows: the order of `dir=desc`, then the given ones.
macro_rules! newest_first {
    ($more:literal) => {
        concat!("CLUSTERING ORDER BY (time DESC, publisher ASC, subtopic ASC, name ASC, unit ASC)", $more)
    };
}

/// The steps to the newest schema; the schema's version is how many of them were taken.
const STEPS: [&[Change]; 3] = [
    &[
        Change::Table { name: "rows_forever", columns: ROWS, options: newest_first!("") },
        // Which windows of 30 days of a channel hold anything, and whether the channel is purged.
        Change::Table {
            name: "windows",
            columns: "channel uuid, width tinyint static, purged boolean static, span int, PRIMARY KEY (channel, span)",
            options: "",
        },
        // Which blocks of such a window hold anything.
        Change::Table {
            name: "blocks",
            columns: "channel uuid, span int, bucket bigint, shard smallint, PRIMARY KEY ((channel, span), bucket, shard)",
            options: "",
        },
        // Where a thing published, and whether it is purged.
        Change::Table {
            name: "publishers",
            columns: "publisher blob, purged boolean static, channel uuid, bucket bigint, PRIMARY KEY (publisher, channel, bucket)",
            options: "",
        },
        // Purges that have to be made again, when everybody knows of them.
        Change::Table {
            name: "purges",
            columns: "slot tinyint, kind tinyint, target blob, asked bigint, PRIMARY KEY (slot, kind, target)",
            options: "",
        },
        // What each instance touched, see `marks.rs`. 30 days. What it has opened, see `openings.rs`, for a moment: a new
        // table has that column from the beginning.
        Change::Table {
            name: "marks",
            columns: "channel uuid, instance uuid, number bigint, spans blob, opened blob, PRIMARY KEY (channel, instance)",
            options: "default_time_to_live = 2592000",
        },
        // Counts per window of 16,384 s and the marks they were made at. 20 days: they have to be gone before the marks are.
        Change::Table {
            name: "counts",
            columns: "channel uuid, span int, start bigint, parts blob, seen blob, PRIMARY KEY ((channel, span), start)",
            options: "default_time_to_live = 1728000",
        },
    ],
    &[
        // Rows that expire, see `life.rs`. Files of one window of writing time are compacted together and dropped whole, which
        // takes one TTL for all: some 30 windows a life, as few as keep a file's oldest and newest row close together.
        Change::Table {
            name: "rows_7d",
            columns: ROWS,
            options: newest_first!(
                " AND default_time_to_live = 777600 AND gc_grace_seconds = 259200 AND compaction = \
             {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'HOURS', 'compaction_window_size': '8'}"
            ),
        },
        Change::Table {
            name: "rows_90d",
            columns: ROWS,
            options: newest_first!(
                " AND default_time_to_live = 7948800 AND compaction = \
             {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': '3'}"
            ),
        },
        Change::Table {
            name: "rows_400d",
            columns: ROWS,
            options: newest_first!(
                " AND default_time_to_live = 34732800 AND compaction = \
             {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS', 'compaction_window_size': '14'}"
            ),
        },
        // The class of each channel that has one with an end, and its blocks that hold rows without a TTL.
        Change::Table {
            name: "classes",
            columns: "channel uuid, class tinyint static, bucket bigint, shard smallint, PRIMARY KEY (channel, bucket, shard)",
            options: "",
        },
    ],
    &[Change::Column { table: "marks", column: "opened", is: "blob" }],
];

/// The table that holds the rows of channels of a class.
pub(super) const fn rows_of(class: Retention) -> &'static str {
    match class {
        Retention::Days7 => "rows_7d",
        Retention::Days90 => "rows_90d",
        Retention::Days400 => "rows_400d",
        Retention::Forever => "rows_forever",
    }
}

/// How many windows of `counts` are in one partition.
pub(super) const COUNTS_PER_PARTITION: i64 = 128;
/// Seconds that kept counts live from when they are written.
pub(super) const COUNTS_TTL_SECONDS: i32 = 1_728_000;
/// Seconds of one window of the index.
pub(super) const INDEX_WINDOW_SECONDS: i64 = 30 * 86_400;

/// The newest schema that this build knows.
const KNOWN: u32 = STEPS.len() as u32;
/// A change of schema waits for every node, on busy machines for long.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause before the schema is looked at again.
const SETTLES_WITHIN: Duration = Duration::from_millis(200);

enum Change {
    Table {
        name: &'static str,
        columns: &'static str,
        options: &'static str,
    },
    /// Of a table of an earlier step.
    Column {
        table: &'static str,
        column: &'static str,
        is: &'static str,
    },
}

/// Brings the keyspace to the newest schema, and prepares the statements that need it.
///
/// While several processes do so at once, a node may be asked for what another has been told of and it has not: then all of
/// it is tried again. Every step may be taken twice.
///
/// # Errors
/// [`StoreError::NewerFormat`] if a newer build has been there: nothing is changed then.
pub(super) async fn open(session: &Session, config: &CqlConfig) -> Result<Statements, StoreError> {
    let give_up = Instant::now() + STEP_TIMEOUT;
    loop {
        let opened = async {
            migrate(session, config).await?;
            Statements::prepare(session, &config.keyspace).await
        };
        match opened.await {
            Err(StoreError::Unavailable(error)) if is_unsettled(&*error) && Instant::now() < give_up => {
                tracing::debug!(%error, "the schema is being changed, trying again");
                tokio::time::sleep(SETTLES_WITHIN).await;
            }
            opened => return opened,
        }
    }
}

/// The database does not know of something that somebody has made a moment ago, or makes now. The driver's errors hide what
/// the database said behind one another; their texts have it.
fn is_unsettled(error: &(dyn Error + 'static)) -> bool {
    let text = error.to_string();
    [DbError::Invalid, DbError::ConfigError, DbError::ServerError]
        .iter()
        .any(|said| text.contains(&said.to_string()))
}

async fn migrate(session: &Session, config: &CqlConfig) -> Result<(), StoreError> {
    let keyspace = &config.keyspace;
    let found = version(session, keyspace).await?;
    if found > KNOWN {
        return Err(StoreError::NewerFormat { found, known: KNOWN });
    }
    if found == KNOWN {
        return Ok(());
    }
    tracing::info!(%keyspace, from = found, to = KNOWN, "the store's schema is brought up to date");
    if !exists(
        session,
        "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?",
        (keyspace.to_string(),),
    )
    .await?
    {
        let replication =
            format!("{{'class': 'NetworkTopologyStrategy', 'replication_factor': {}}}", config.replicas);
        change(session, format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}"))
            .await?;
    }
    let versions = Change::Table {
        name: "schema_version",
        columns: "slot tinyint PRIMARY KEY, version int",
        options: "",
    };
    make(session, keyspace, &versions).await?;
    for (version, changes) in (1..).zip(STEPS).skip(found as usize) {
        for change in changes {
            make(session, keyspace, change).await?;
        }
        // The version is also the timestamp: a step that another process took later is never struck off.
        let done = format!(
            "INSERT INTO {keyspace}.schema_version (slot, version) VALUES (0, {version}) USING TIMESTAMP {version}"
        );
        change(session, done).await?;
    }
    Ok(())
}

/// The version of the keyspace's schema; 0 where there is none.
pub(super) async fn version(session: &Session, keyspace: &KeyspaceName) -> Result<u32, StoreError> {
    let table = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'schema_version'";
    if !exists(session, table, (keyspace.to_string(),)).await? {
        return Ok(0);
    }
    let query = format!("SELECT version FROM {keyspace}.schema_version WHERE slot = 0");
    let rows =
        session.query_unpaged(query, ()).await.map_err(unavailable)?.into_rows_result().map_err(damaged)?;
    let version = rows.maybe_first_row::<(i32,)>().map_err(damaged)?;
    Ok(version.map_or(0, |(version,)| version.unsigned_abs()))
}

async fn exists(session: &Session, query: &str, values: impl SerializeRow) -> Result<bool, StoreError> {
    let rows = session
        .query_unpaged(query, values)
        .await
        .map_err(unavailable)?
        .into_rows_result()
        .map_err(damaged)?;
    Ok(rows.rows_num() > 0)
}

/// Makes a change that is not made yet.
async fn make(session: &Session, keyspace: &KeyspaceName, wanted: &Change) -> Result<(), StoreError> {
    match wanted {
        Change::Table { name, columns, options } => {
            let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{keyspace}.{name}").as_bytes());
            let and = if options.is_empty() { "" } else { " AND " };
            let create = format!(
                "CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({columns}) WITH ID = '{id}'{and}{options}"
            );
            change(session, create).await
        }
        // ScyllaDB has no "if not exists" of a column. Two who add it at once: one is told that it is there, and looks again.
        Change::Column { table, column, is } => {
            let there = "SELECT column_name FROM system_schema.columns \
                         WHERE keyspace_name = ? AND table_name = ? AND column_name = ?";
            let place = (keyspace.to_string(), (*table).to_owned(), (*column).to_owned());
            if exists(session, there, place).await? {
                return Ok(());
            }
            change(session, format!("ALTER TABLE {keyspace}.{table} ADD {column} {is}")).await
        }
    }
}

/// The driver waits until every node has the change.
async fn change(session: &Session, statement: String) -> Result<(), StoreError> {
    let mut statement = Statement::new(statement);
    statement.set_request_timeout(Some(STEP_TIMEOUT));
    statement.set_is_idempotent(true);
    session.query_unpaged(statement, ()).await.map_err(unavailable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cql::life;

    #[test]
    fn a_table_of_rows_lives_as_long_as_its_class() {
        let options_of = |table: &str| {
            let mut changes = STEPS.iter().flat_map(|step| step.iter());
            let of_table = |change: &Change| match change {
                Change::Table { name, options, .. } if *name == table => Some(*options),
                _ => None,
            };
            changes.find_map(of_table).unwrap()
        };
        for class in Retention::ALL {
            let (table, options) = (rows_of(class), options_of(rows_of(class)));
            match life::of_class(class) {
                Some(life) => {
                    let lives = format!("default_time_to_live = {life} ");
                    assert!(options.contains(&lives), "{table}: {options}");
                }
                None => assert!(!options.contains("time_to_live"), "{options}"),
            }
        }
        assert_eq!(KNOWN, 3);
    }
}
