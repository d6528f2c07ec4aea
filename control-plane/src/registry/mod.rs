//! The registry in SQL: every query of the control plane, and nothing but queries.
//!
//! No rule of who may do what is in here: [`crate::access`] has them, and the callers prove their rights before they
//! call. The texts keep to what SQLite and PostgreSQL both understand (`$1` binds, `ON CONFLICT`, `RETURNING`), so that a
//! second engine is a second [`Db`], a second folder of migrations, and no second set of queries.

pub(crate) mod changes;
pub(crate) mod channels;
pub(crate) mod connections;
pub(crate) mod entities;
pub(crate) mod listing;
pub(crate) mod things;
pub(crate) mod users;

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Pool, QueryBuilder, Transaction};
use uuid::Uuid;

/// The engine the registry runs on.
pub(crate) type Db = sqlx::Sqlite;
/// A transaction that may write. Dropped without a commit, it changes nothing.
pub(crate) type Tx = Transaction<'static, Db>;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Connections that only read. Look-ups take tens of microseconds, so a few serve thousands a second.
const READERS: u32 = 4;
/// How long a statement waits for a lock, and a request for a connection, before it is answered 503.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Prepared statements a connection keeps. There are about 100 different ones.
const STATEMENTS_MAX: usize = 256;
/// Rows that one `INSERT` writes. SQLite takes 32,766 binds in a statement, and no row has more than 10.
const ROWS_PER_INSERT_MAX: usize = 1_000;

/// Why the registry did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// Nothing was changed: try again.
    #[error("the registry can't be asked now")]
    Unavailable(#[from] sqlx::Error),
    /// What is stored can't be what was written; a person has to look.
    #[error("the registry is damaged: {0}")]
    Damaged(&'static str),
}

/// Why the registry could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The file can't be opened.
    #[error("the registry can't be opened")]
    Open(#[source] sqlx::Error),
    /// Its tables can't be brought to this build's form.
    #[error("the registry's tables can't be brought up to date")]
    Migrate(#[source] MigrateError),
    /// A newer build wrote the file: this one leaves it alone.
    #[error("the registry has tables of version {0}, which a newer build wrote: start that one")]
    Newer(i64),
}

impl From<MigrateError> for ConnectError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::Newer(version),
            error => Self::Migrate(error),
        }
    }
}

/// Connections to the registry: one that writes, a few that read.
///
/// SQLite has one writer at a time anyway. With one connection, writers wait here, in order, and not in the engine's
/// retries; readers see the last commit and never wait.
#[derive(Debug)]
pub(crate) struct Registry {
    writer: Pool<Db>,
    readers: Pool<Db>,
}

impl Registry {
    /// Opens the file, creating it if it is missing, and brings its tables up to date.
    pub(crate) async fn open(file: &Path) -> Result<Self, ConnectError> {
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
        let writer =
            pool().max_connections(1).connect_with(options.clone()).await.map_err(ConnectError::Open)?;
        MIGRATIONS.run(&writer).await?;
        let readers = pool().max_connections(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self { writer, readers })
    }

    /// Begins a transaction that may write. It is the only one until it ends: what it reads stays true.
    pub(crate) async fn begin(&self) -> Result<Tx, RegistryError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Begins a transaction that reads one state of everything.
    async fn snapshot(&self) -> Result<Tx, RegistryError> {
        Ok(self.readers.begin().await?)
    }

    /// What was sealed when the registry was made, to recognise the sealing secret by.
    pub(crate) async fn seal_check(&self) -> Result<Option<Vec<u8>>, RegistryError> {
        Ok(sqlx::query_scalar("SELECT sealed FROM seal_check").fetch_optional(&self.writer).await?)
    }

    /// Keeps what the sealing secret is recognised by.
    pub(crate) async fn set_seal_check(&self, sealed: &[u8]) -> Result<(), RegistryError> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO seal_check (id, sealed) VALUES (1, $1)")
            .bind(sealed)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends every connection, once what runs on it has ended.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// `IN (…)`, with a bind for each id.
fn push_in(sql: &mut QueryBuilder<Db>, ids: impl IntoIterator<Item = Uuid>) {
    sql.push(" IN (");
    let mut list = sql.separated(", ");
    for id in ids {
        list.push_bind(id);
    }
    sql.push(")");
}
