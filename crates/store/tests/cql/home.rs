//! Keyspaces for tests: a few, emptied and used again, because making tables takes a second.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::unprepared::Statement;
use thalweg_store::suite::Home;
use thalweg_store::{CqlConfig, CqlStore, Store};
use tokio::sync::{Semaphore, SemaphorePermit};

/// As many as there are tests at the same time: each keyspace takes memory of the database.
const KEYSPACES: usize = 2;
static FREE: Semaphore = Semaphore::const_new(KEYSPACES);
static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
static ALL_NAMES: [&str; KEYSPACES] = ["thalweg_test_1", "thalweg_test_2"];

/// A keyspace that nothing was ever stored in, when it is first opened.
#[derive(Default)]
pub(crate) struct CqlHome(Option<Lease>);

struct Lease {
    name: &'static str,
    _turn: SemaphorePermit<'static>,
}

/// Waits until no test has a keyspace, and keeps others from having one.
pub(crate) async fn alone() -> SemaphorePermit<'static> {
    FREE.acquire_many(KEYSPACES as u32).await.expect("the semaphore is never closed")
}

impl Lease {
    async fn take() -> Self {
        let turn = FREE.acquire().await.expect("the semaphore is never closed");
        let name = {
            let mut taken = NAMES.lock().unwrap();
            let name =
                *ALL_NAMES.iter().find(|name| !taken.contains(name)).expect("a permit stands for a name");
            taken.push(name);
            name
        };
        empty(name).await;
        Self { name, _turn: turn }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        NAMES.lock().unwrap().retain(|name| *name != self.name);
    }
}

impl CqlHome {
    pub(crate) async fn config(&mut self) -> CqlConfig {
        if self.0.is_none() {
            self.0 = Some(Lease::take().await);
        }
        let name = self.0.as_ref().map_or("", |lease| lease.name);
        config(nodes(), name)
    }

    pub(crate) async fn store(&mut self) -> Arc<CqlStore> {
        Arc::new(CqlStore::open(self.config().await).await.expect("the store opens"))
    }
}

#[async_trait]
impl Home for CqlHome {
    async fn open(&mut self) -> Arc<dyn Store> {
        self.store().await
    }

    fn keeps_positions(&self) -> bool {
        false
    }
}

/// Patient, because machines that run tests are busy.
pub(crate) fn config(nodes: Vec<String>, keyspace: &str) -> CqlConfig {
    CqlConfig {
        replicas: 1,
        request_timeout: Duration::from_secs(20),
        append_timeout: Duration::from_secs(60),
        requests_in_flight_max: 16,
        ..CqlConfig::new(nodes, keyspace.parse().expect("the name is one"))
    }
}

#[expect(clippy::disallowed_methods, reason = "where the database is, is the one setting of these tests")]
pub(crate) fn nodes() -> Vec<String> {
    let help = "THALWEG_CQL_NODES is not set. These tests need a database: run `make test`, or \
                `deploy/engines with cassandra -- cargo test -p thalweg-store --features engines --test cql`";
    std::env::var("THALWEG_CQL_NODES").expect(help).split(',').map(str::to_owned).collect()
}

/// A connection past the store, to look at its tables.
pub(crate) async fn session() -> Session {
    SessionBuilder::new().known_nodes(nodes()).build().await.expect("the database answers")
}

async fn empty(keyspace: &str) {
    let session = session().await;
    let tables = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let tables = session.query_unpaged(tables, (keyspace,)).await.unwrap().into_rows_result().unwrap();
    let tables = tables.rows::<(String,)>().unwrap().map(|row| row.unwrap().0);
    let truncate = async |table: String| {
        let mut truncate = Statement::new(format!("TRUNCATE {keyspace}.{table}"));
        truncate.set_request_timeout(Some(Duration::from_secs(60)));
        session.query_unpaged(truncate, ()).await.unwrap();
    };
    join_all(tables.filter(|table| table != "schema_version").map(truncate)).await;
}
