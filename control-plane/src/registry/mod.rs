//! The registry in SQL: every query of the control plane, and nothing but queries.
//!
//! No rule of who may do what is in here: [`crate::access`] has them, and the callers prove their rights before they
//! call. Nor is there a second set of queries: the texts keep to what SQLite and PostgreSQL both understand (`$1` binds, `ON
//! CONFLICT`, `RETURNING`), and [`engine`] runs them on the one that this registry is on.

pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod changes;
pub(crate) mod channels;
pub(crate) mod circles;
pub(crate) mod connections;
pub(crate) mod deliveries;
mod engine;
pub(crate) mod entities;
pub(crate) mod groups;
pub(crate) mod listing;
mod migrations;
pub(crate) mod orgs;
pub(crate) mod policies;
mod postgres;
mod row;
mod sql;
mod sqlite;
#[cfg(test)]
mod testing;
pub(crate) mod things;
pub(crate) mod ties;
pub(crate) mod users;
pub(crate) mod webhooks;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::PgPool;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqlitePool;
use tokio::sync::Mutex;

use self::engine::Readers;
pub(crate) use self::engine::Tx;
use self::postgres::Session;
use self::sql::sql;
use crate::author::Author;
use crate::postgres_url::PostgresUrl;

/// How long a statement waits for a lock, and a request for a connection, before it is answered 503.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Prepared statements a connection keeps. There are about 150 different ones.
const STATEMENTS_MAX: usize = 256;
/// Rows that one `INSERT` writes. SQLite takes 32,766 binds in a statement, PostgreSQL 65,535, and no row has more than 10.
const ROWS_PER_INSERT_MAX: usize = 1_000;

/// Why the registry did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// Nothing was changed, unless the connection was lost while the change was committed: try again.
    #[error("the registry can't be asked now")]
    Unavailable(#[from] sqlx::Error),
    /// What is stored can't be what was written; a person has to look.
    #[error("the registry is damaged: {0}")]
    Damaged(&'static str),
}

/// Why the registry could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The file or the server can't be opened.
    #[error("the registry can't be opened")]
    Open(#[source] sqlx::Error),
    /// Its tables can't be brought to this build's form.
    #[error("the registry's tables can't be brought up to date")]
    Migrate(#[source] MigrateError),
    /// The database can't hold every text.
    #[error("the database is encoded in {0}: one in UTF8 is needed")]
    Encoding(String),
    /// A newer build wrote it: this one leaves it alone.
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

/// Connections to the registry.
#[derive(Debug)]
pub(crate) struct Registry {
    readers: Readers,
    writers: Writers,
}

#[derive(Debug)]
enum Writers {
    Sqlite {
        pool: SqlitePool,
        /// Rows of the outbox that are published and not yet deleted.
        published: Mutex<BTreeSet<i64>>,
    },
    Postgres {
        pool: PgPool,
        publisher: PgPool,
    },
}

impl Registry {
    /// Opens the file, creating it if it is missing, and brings its tables up to date.
    pub(crate) async fn open(file: &Path) -> Result<Self, ConnectError> {
        let pools = sqlite::open(file).await?;
        let writers = Writers::Sqlite { pool: pools.writer, published: Mutex::default() };
        Ok(Self { readers: Readers::Sqlite(pools.readers), writers })
    }

    /// Connects to the server, and brings the tables up to date.
    pub(crate) async fn connect(url: &PostgresUrl) -> Result<Self, ConnectError> {
        let pools = postgres::open(url).await?;
        let writers = Writers::Postgres { pool: pools.writers, publisher: pools.publisher };
        Ok(Self { readers: Readers::Postgres(pools.readers), writers })
    }

    /// Brings the tables on the server up to date, and returns the versions that were not there before.
    pub(crate) async fn migrate(url: &PostgresUrl) -> Result<Vec<i64>, ConnectError> {
        postgres::migrate(url).await
    }

    /// Whether other processes may be working on it.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.writers, Writers::Postgres { .. })
    }

    /// Begins a change. Its transaction is the only one until it ends: what it reads stays true. What is changed has to be told
    /// by [`audit::record`].
    async fn begin(&self, by: &Author) -> Result<Tx, RegistryError> {
        Ok(self.begin_upkeep().await?.by(by))
    }

    /// Begins such a transaction for what follows from changes, and is nobody's.
    fn begin_upkeep(&self) -> BoxFuture<'_, Result<Tx, RegistryError>> {
        Box::pin(async move {
            match &self.writers {
                Writers::Sqlite { pool, .. } => Ok(pool.begin_with("BEGIN IMMEDIATE").await?.into()),
                Writers::Postgres { pool, .. } => Ok(Session::begin(pool, postgres::WRITE).await?.into()),
            }
        })
    }

    /// Begins a transaction that reads one state of everything.
    async fn snapshot(&self) -> Result<Tx, RegistryError> {
        Ok(self.readers.snapshot().await?)
    }

    /// What was sealed when the registry was made, to recognise the sealing secret by.
    pub(crate) async fn seal_check(&self) -> Result<Option<Vec<u8>>, RegistryError> {
        let row = sql("SELECT sealed FROM seal_check").fetch_optional(&self.readers).await?;
        Ok(row.map(|(sealed,)| sealed))
    }

    /// Keeps what the sealing secret is recognised by, unless the registry has something already.
    pub(crate) async fn set_seal_check(&self, sealed: &[u8]) -> Result<(), RegistryError> {
        let mut tx = self.begin_upkeep().await?;
        sql("INSERT INTO seal_check (id, sealed) VALUES (1, $1) ON CONFLICT (id) DO NOTHING")
            .bind(sealed)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends every connection, once what runs on it has ended.
    pub(crate) async fn close(&self) {
        match &self.readers {
            Readers::Sqlite(pool) => pool.close().await,
            Readers::Postgres(pool) => pool.close().await,
        }
        match &self.writers {
            Writers::Sqlite { pool, .. } => pool.close().await,
            Writers::Postgres { pool, publisher } => tokio::join!(pool.close(), publisher.close()).0,
        }
    }
}
