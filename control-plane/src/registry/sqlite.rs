//! The registry in a file: SQLite, in this process and no other.

use std::path::Path;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::{ConnectError, STATEMENTS_MAX, WAIT_MAX, migrations};

/// Connections that only read. Look-ups take tens of microseconds, so a few serve thousands a second.
const READERS: u32 = 4;

/// Connections to the file: one that writes, a few that read.
///
/// SQLite has one writer at a time anyway. With one connection, writers wait here, in order, and not in the engine's
/// retries; readers see the last commit and never wait.
#[derive(Debug)]
pub(super) struct Pools {
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
}

/// Opens the file, creating it if it is missing, and brings its tables up to date.
pub(super) async fn open(file: &Path) -> Result<Pools, ConnectError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(WAIT_MAX)
        .statement_cache_capacity(STATEMENTS_MAX);
    let pool = || {
        SqlitePoolOptions::new()
            .acquire_timeout(WAIT_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    };
    let writer = pool().max_connections(1).connect_with(options.clone()).await.map_err(ConnectError::Open)?;
    migrations::SQLITE.run(&writer).await?;
    let readers = pool().max_connections(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
    Ok(Pools { writer, readers })
}
