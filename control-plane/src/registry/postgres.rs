//! The registry on a PostgreSQL that several control planes share.
//!
//! Writers are serial here too, over all control planes: each takes one lock of the database when it begins and gives it back with
//! its end, so that what it reads stays true, as on SQLite. Nobody waits for ever: not for a lock, not for the server,
//! and not for a control plane that stopped in the middle of a transaction; the server ends that one's session.

use std::future::Future;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::query::{Query, QueryAs};
use sqlx::{ConnectOptions as _, Connection as _, Postgres, SqlStr};

use super::engine::Record;
use super::sql::Sql;
use super::{ConnectError, STATEMENTS_MAX, WAIT_MAX, migrations};
use crate::postgres_url::PostgresUrl;

/// Connections that only read. A look-up takes a round trip, so a few serve thousands a second.
const READERS: u32 = 8;
/// Connections that write: one has the lock, and one waits for it in the server, so that it is handed on without a pause.
const WRITERS: u32 = 2;

/// The longest statement of ours: a filter over the metadata of 100,000 entities takes a fraction of it.
const STATEMENT_MAX: Duration = Duration::from_secs(8);
/// How long the server may say nothing to a statement. It ends statements itself before; so the connection is lost.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a transaction may do nothing, frozen process or lost machine: less than others wait for its lock.
const IDLE_IN_TRANSACTION_MAX: Duration = Duration::from_secs(3);
/// Connections that rested so long are asked whether they still stand, before a request relies on them.
const RESTED: Duration = Duration::from_secs(1);
/// How long that may take.
const PING_MAX: Duration = Duration::from_secs(1);

const _: () = assert!(STATEMENT_MAX.as_secs() < SILENCE_MAX.as_secs(), "the server speaks first");
const _: () =
    assert!(IDLE_IN_TRANSACTION_MAX.as_secs() < WAIT_MAX.as_secs(), "who waits outlasts who stopped");

/// Begins a transaction that writes. 0x7468616C is `thal`, and 1 is the lock of those who write.
pub(super) const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE;
                                SELECT pg_advisory_xact_lock(1952997740, 1)";
/// Begins a transaction that reads one state of everything.
pub(super) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
/// Begins a transaction that publishes, with the lock 2 of those who do. What it deletes may be forgotten by a crash: it is
/// published again.
pub(super) const PUBLISH: &str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE;
                                  SET LOCAL synchronous_commit = off;
                                  SET LOCAL idle_in_transaction_session_timeout = '10s';
                                  SELECT pg_advisory_xact_lock(1952997740, 2)";

/// Connections to the server.
#[derive(Debug)]
pub(super) struct Pools {
    pub(super) writers: PgPool,
    pub(super) readers: PgPool,
    /// One: it publishes, which takes as long as the feed takes, and keeps nobody from writing.
    pub(super) publisher: PgPool,
}

/// Brings the tables up to date, and opens connections as they are needed.
pub(super) async fn open(url: &PostgresUrl) -> Result<Pools, ConnectError> {
    migrate(url).await?;
    let options = url
        .options()
        .options([
            ("lock_timeout", millis(WAIT_MAX)),
            ("statement_timeout", millis(STATEMENT_MAX)),
            ("idle_in_transaction_session_timeout", millis(IDLE_IN_TRANSACTION_MAX)),
        ])
        .statement_cache_capacity(STATEMENTS_MAX);
    let pool = |connections| {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(WAIT_MAX)
            .test_before_acquire(false)
            .before_acquire(|connection, rest| {
                Box::pin(async move { Ok(rest.idle_for < RESTED || stands(connection).await) })
            })
            .after_release(|connection, _| Box::pin(async move { Ok(stands(connection).await) }))
            .connect_lazy_with(options.clone())
    };
    Ok(Pools { writers: pool(WRITERS), readers: pool(READERS), publisher: pool(1) })
}

/// Brings the tables up to date; the versions that were not there before. Several may do it at once: one does, the others
/// wait for it.
pub(super) async fn migrate(url: &PostgresUrl) -> Result<Vec<i64>, ConnectError> {
    let connected = tokio::time::timeout(WAIT_MAX, url.options().connect()).await;
    let mut connection = connected.unwrap_or_else(|_| Err(silent())).map_err(ConnectError::Open)?;
    let encoding: String = sqlx::query_scalar("SELECT current_setting('server_encoding')")
        .fetch_one(&mut connection)
        .await
        .map_err(ConnectError::Open)?;
    if encoding != "UTF8" {
        return Err(ConnectError::Encoding(encoding));
    }
    let before = versions(&mut connection).await.map_err(ConnectError::Open)?;
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(url.options());
    let run = migrations::POSTGRES.run(&pool).await;
    // With the connection ends the lock that keeps several from it at once, if it did not end before.
    pool.close().await;
    run?;
    let mut applied = versions(&mut connection).await.map_err(ConnectError::Open)?;
    applied.retain(|version| !before.contains(version));
    connection.close().await.map_err(ConnectError::Open)?;
    Ok(applied)
}

async fn versions(connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    let exists = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
    if !exists.fetch_one(&mut *connection).await? {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations ORDER BY version").fetch_all(connection).await
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

async fn stands(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(PING_MAX, connection.ping()).await, Ok(Ok(())))
}

fn silent() -> sqlx::Error {
    let error = std::io::Error::new(std::io::ErrorKind::TimedOut, "the server does not answer");
    sqlx::Error::Io(error)
}

/// A connection in use, perhaps in a transaction. What a dropped one leaves behind is cleared away before another
/// request gets it, and one of which nobody knows what it does any more is closed.
pub(super) struct Session {
    connection: Option<PoolConnection<Postgres>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    InTransaction,
    /// A statement was sent, and its answer was not read to its end.
    Asked,
}

impl Session {
    /// A connection of the pool.
    pub(super) async fn of(pool: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self { connection: Some(pool.acquire().await?), state: State::Idle })
    }

    /// Begins a transaction by one of the statements above.
    pub(super) async fn begin(pool: &PgPool, statement: &'static str) -> Result<Self, sqlx::Error> {
        let begun = async {
            let mut session = Self::of(pool).await?;
            session.run(statement).await?;
            session.state = State::InTransaction;
            Ok(session)
        };
        tokio::time::timeout(WAIT_MAX, begun).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.run("COMMIT").await?;
        self.state = State::Idle;
        Ok(())
    }

    pub(super) async fn execute(&mut self, sql: Sql) -> Result<u64, sqlx::Error> {
        self.ask(|connection| query(&sql).execute(connection)).await.map(|done| done.rows_affected())
    }

    pub(super) async fn fetch_all(&mut self, sql: Sql) -> Result<Vec<PgRow>, sqlx::Error> {
        self.ask(|connection| query(&sql).fetch_all(connection)).await
    }

    pub(super) fn fetch<T: Record>(&mut self, sql: Sql) -> BoxStream<'_, Result<T, sqlx::Error>> {
        let before = std::mem::replace(&mut self.state, State::Asked);
        let connection = self.connection.as_mut().expect("it is there until the session is dropped");
        let rows = query_as(&sql).fetch(&mut **connection);
        let rows = stream::unfold(Some((rows, &mut self.state)), move |reading| async move {
            let (mut rows, state) = reading?;
            match tokio::time::timeout(SILENCE_MAX, rows.next()).await {
                Ok(Some(Ok(row))) => Some((Ok(row), Some((rows, state)))),
                Ok(Some(Err(error))) => Some((Err(error), None)),
                Ok(None) => {
                    *state = before;
                    None
                }
                Err(_) => Some((Err(silent()), None)),
            }
        });
        rows.boxed()
    }

    async fn run(&mut self, statements: &'static str) -> Result<(), sqlx::Error> {
        self.ask(|connection| sqlx::raw_sql(statements).execute(connection)).await.map(drop)
    }

    /// Has the server answer. A connection that answered with an error is not used again: that is rare, and then nothing
    /// has to be known of the state it is in.
    async fn ask<'s, T, F>(
        &'s mut self,
        statement: impl FnOnce(&'s mut PgConnection) -> F,
    ) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>> + 's,
    {
        let before = std::mem::replace(&mut self.state, State::Asked);
        let connection = self.connection.as_mut().expect("it is there until the session is dropped");
        let answer = tokio::time::timeout(SILENCE_MAX, statement(connection)).await;
        let answer = answer.unwrap_or_else(|_| Err(silent()));
        if answer.is_ok() {
            self.state = before;
        }
        answer
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        match (self.state, tokio::runtime::Handle::try_current()) {
            (State::Idle, _) => {}
            (State::InTransaction, Ok(runtime)) => {
                runtime.spawn(async move {
                    let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut *connection);
                    if !matches!(tokio::time::timeout(SILENCE_MAX, rollback).await, Ok(Ok(_))) {
                        connection.close_on_drop();
                    }
                });
            }
            (State::InTransaction, Err(_)) | (State::Asked, _) => connection.close_on_drop(),
        }
    }
}

fn text(sql: &Sql) -> SqlStr {
    sql.text(|text, place| {
        text.push('$');
        text.push_str(&place.to_string());
    })
}

fn query(sql: &Sql) -> Query<'static, Postgres, PgArguments> {
    sqlx::query_with(text(sql), sql.values::<PgArguments>()).persistent(sql.is_kept)
}

fn query_as<T: Record>(sql: &Sql) -> QueryAs<'static, Postgres, T, PgArguments> {
    sqlx::query_as_with(text(sql), sql.values::<PgArguments>()).persistent(sql.is_kept)
}
