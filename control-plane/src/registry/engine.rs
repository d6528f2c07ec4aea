//! The two engines behind the queries: where a statement runs, and in what transaction.
//!
//! A registry is on one of them for its whole life. What a statement means is the same on both; what differs ends here.
//!
//! Here the futures are boxed, and rows are fetched before they are read as something: so sqlx is compiled into this crate
//! once, and not again for whoever has a query, and for each type of row.

use std::fmt;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use sqlx::postgres::PgRow;
use sqlx::query::{Query, QueryAs};
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{FromRow, Sqlite, Transaction};

use super::postgres::{self, Session};
use super::sql::Sql;
use crate::author::Author;

/// What a row of either engine can be read as.
pub(super) trait Record:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static
{
}

impl<T> Record for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static
{
}

/// Connections that only read.
#[derive(Debug)]
pub(super) enum Readers {
    Sqlite(SqlitePool),
    Postgres(sqlx::PgPool),
}

impl Readers {
    /// Begins a transaction that reads one state of everything.
    pub(super) fn snapshot(&self) -> BoxFuture<'_, Result<Tx, sqlx::Error>> {
        Box::pin(async move {
            match self {
                Self::Sqlite(pool) => Ok(pool.begin().await?.into()),
                Self::Postgres(pool) => Ok(Session::begin(pool, postgres::SNAPSHOT).await?.into()),
            }
        })
    }
}

/// A transaction. Dropped without a commit, it changes nothing.
pub(crate) struct Tx {
    engine: Engine,
    /// Who makes the change that it is.
    by: Option<Author>,
}

enum Engine {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Session),
}

impl From<Transaction<'static, Sqlite>> for Tx {
    fn from(transaction: Transaction<'static, Sqlite>) -> Self {
        Self { engine: Engine::Sqlite(transaction), by: None }
    }
}

impl From<Session> for Tx {
    fn from(session: Session) -> Self {
        Self { engine: Engine::Postgres(session), by: None }
    }
}

impl Tx {
    /// Makes it somebody's.
    pub(super) fn by(self, author: &Author) -> Self {
        Self { by: Some(author.clone()), ..self }
    }

    /// Whose change it is, if it is one.
    pub(super) const fn author(&self) -> Option<&Author> {
        self.by.as_ref()
    }

    /// Makes its changes visible and durable.
    pub(crate) fn commit(self) -> BoxFuture<'static, Result<(), sqlx::Error>> {
        Box::pin(async move {
            match self.engine {
                Engine::Sqlite(transaction) => transaction.commit().await,
                Engine::Postgres(session) => session.commit().await,
            }
        })
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tx(..)")
    }
}

/// Where a statement that reads runs: in a transaction, or by itself.
pub(super) enum On<'a> {
    Readers(&'a Readers),
    Tx(&'a mut Tx),
}

impl<'a> From<&'a Readers> for On<'a> {
    fn from(readers: &'a Readers) -> Self {
        Self::Readers(readers)
    }
}

impl<'a> From<&'a mut Tx> for On<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        Self::Tx(tx)
    }
}

impl Sql {
    /// Runs it, and says how many rows it changed.
    pub(super) fn execute(self, tx: &mut Tx) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
        Box::pin(async move {
            match &mut tx.engine {
                Engine::Sqlite(tx) => Ok(sqlite(&self).execute(&mut **tx).await?.rows_affected()),
                Engine::Postgres(session) => session.execute(self).await,
            }
        })
    }

    /// All of its rows.
    pub(super) async fn fetch_all<'a, T: Record>(self, on: impl Into<On<'a>>) -> Result<Vec<T>, sqlx::Error> {
        self.rows(on.into()).await?.read()
    }

    /// All of its rows, whatever they are read as.
    fn rows(self, on: On<'_>) -> BoxFuture<'_, Result<Rows, sqlx::Error>> {
        Box::pin(async move {
            match on {
                On::Readers(Readers::Sqlite(pool)) => sqlite(&self).fetch_all(pool).await.map(Rows::Sqlite),
                On::Readers(Readers::Postgres(pool)) => {
                    Session::of(pool).await?.fetch_all(self).await.map(Rows::Postgres)
                }
                On::Tx(Tx { engine: Engine::Sqlite(tx), .. }) => {
                    sqlite(&self).fetch_all(&mut **tx).await.map(Rows::Sqlite)
                }
                On::Tx(Tx { engine: Engine::Postgres(session), .. }) => {
                    session.fetch_all(self).await.map(Rows::Postgres)
                }
            }
        })
    }

    /// Its row, if there is one. It has one at most.
    pub(super) async fn fetch_optional<'a, T: Record>(
        self,
        on: impl Into<On<'a>>,
    ) -> Result<Option<T>, sqlx::Error> {
        Ok(self.fetch_all(on).await?.pop())
    }

    /// Its row. It has one.
    pub(super) async fn fetch_one<'a, T: Record>(self, on: impl Into<On<'a>>) -> Result<T, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Its rows, one by one.
    pub(super) fn fetch<T: Record>(self, tx: &mut Tx) -> BoxStream<'_, Result<T, sqlx::Error>> {
        match &mut tx.engine {
            Engine::Sqlite(tx) => sqlite_as(&self).fetch(&mut **tx),
            Engine::Postgres(session) => session.fetch(self),
        }
    }
}

/// What a statement gave.
enum Rows {
    Sqlite(Vec<SqliteRow>),
    Postgres(Vec<PgRow>),
}

impl Rows {
    fn read<T: Record>(self) -> Result<Vec<T>, sqlx::Error> {
        match self {
            Self::Sqlite(rows) => rows.iter().map(T::from_row).collect(),
            Self::Postgres(rows) => rows.iter().map(T::from_row).collect(),
        }
    }
}

/// Places are written without a number: SQLite looks numbered ones up one by one, and a bulk has thousands.
fn sqlite_text(sql: &Sql) -> sqlx::SqlStr {
    sql.text(|text, _| text.push('?'))
}

fn sqlite(sql: &Sql) -> Query<'static, Sqlite, SqliteArguments> {
    sqlx::query_with(sqlite_text(sql), sql.values::<SqliteArguments>()).persistent(sql.is_kept)
}

fn sqlite_as<T: Record>(sql: &Sql) -> QueryAs<'static, Sqlite, T, SqliteArguments> {
    sqlx::query_as_with(sqlite_text(sql), sql.values::<SqliteArguments>()).persistent(sql.is_kept)
}
