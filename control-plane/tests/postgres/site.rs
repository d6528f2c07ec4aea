//! Where a control plane of the tests keeps its registry: a database of its own on the server that the tests share.
//!
//! To make one and to drop one takes the server longer than most tests, so an emptied one is used again; when none is in use any
//! more, all are dropped.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tempfile::TempDir;
use thalweg_control_plane::delivery::DeliveryConfig;
use thalweg_control_plane::{Config, PostgresUrl, RegistryConfig, SealingSecret, TokenSecrets};
use uuid::Uuid;

use crate::world::{ADMIN, PASSWORD};

/// The databases on the server that the tests share.
static DATABASES: Mutex<Databases> = Mutex::new(Databases { used: 0, empty: Vec::new() });

struct Databases {
    used: usize,
    empty: Vec<String>,
}

/// Gone with the last that holds it.
pub(crate) struct Site {
    directory: TempDir,
    server: String,
    database: String,
    token_secrets: TokenSecrets,
    sealing_secret: SealingSecret,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let empty = {
            let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
            databases.used += 1;
            databases.empty.pop()
        };
        match empty {
            Some(database) => Self::of(&server(), database),
            None => Self::on(&server()).await,
        }
    }

    /// On this server.
    pub(crate) async fn on(server: &str) -> Self {
        let database = format!("test_{}", Uuid::new_v4().simple());
        run(server, &format!("CREATE DATABASE {database}")).await;
        Self::of(server, database)
    }

    fn of(server: &str, database: String) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            server: server.to_owned(),
            database,
            token_secrets: format!("test:{}", secret()).parse().unwrap(),
            sealing_secret: secret().parse().unwrap(),
        }
    }

    /// For the store, and whatever else a test needs.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    pub(crate) fn url_text(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.database)
    }

    pub(crate) fn url(&self) -> PostgresUrl {
        self.url_text().parse().unwrap()
    }

    /// Host and port of the server.
    pub(crate) fn place(&self) -> &str {
        let (_, place) = self.server.rsplit_once('@').unwrap();
        place.split_once('/').unwrap().0
    }

    pub(crate) fn config(&self) -> Config {
        self.config_at(&self.url_text())
    }

    /// With this as the server, the login and the database.
    pub(crate) fn config_at(&self, url: &str) -> Config {
        Config {
            registry: RegistryConfig::Postgres {
                url: url.parse().unwrap(),
                token_secrets: self.token_secrets.clone(),
                sealing_secret: self.sealing_secret.clone(),
            },
            admin_email: ADMIN.parse().unwrap(),
            admin_password: Some(PASSWORD.parse().unwrap()),
            deliveries: DeliveryConfig::default(),
        }
    }

    /// Changes the registry beside the control plane; how many rows were changed.
    pub(crate) async fn execute(&self, statement: &str, ids: &[&str]) -> u64 {
        let mut connection = self.connect().await;
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for id in ids {
            query = query.bind(id.parse::<Uuid>().unwrap());
        }
        let done = query.execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        done.rows_affected()
    }

    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        let mut connection = self.connect().await;
        let count = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    }

    /// Whether these bytes are stored anywhere: as a text, or as what the server shows of bytes.
    pub(crate) async fn holds(&self, bytes: &[u8]) -> bool {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = std::str::from_utf8(bytes).unwrap_or(&hex);
        let mut connection = self.connect().await;
        let tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
        assert!(tables.len() > 10, "{tables:?}");
        let mut found = false;
        for table in tables {
            let rows = sqlx::query(AssertSqlSafe(format!("SELECT t::text FROM {table} t")));
            for row in rows.fetch_all(&mut connection).await.unwrap() {
                let row: String = row.get(0);
                found |= row.contains(text) || row.contains(&hex);
            }
        }
        connection.close().await.unwrap();
        found
    }

    /// A connection beside those of the control planes.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url_text()).await.unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A server of the test's own goes away with its databases.
        if self.server == server() {
            let (server, url, database) = (self.server.clone(), self.url_text(), self.database.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            std::thread::spawn(move || runtime.block_on(give_back(&server, &url, database))).join().unwrap();
        }
    }
}

async fn give_back(server: &str, url: &str, database: String) {
    let empty = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid();
                 DROP SCHEMA public CASCADE;
                 CREATE SCHEMA public";
    run(url, empty).await;
    let unused = {
        let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
        databases.used -= 1;
        databases.empty.push(database);
        if databases.used == 0 { std::mem::take(&mut databases.empty) } else { Vec::new() }
    };
    for database in unused {
        run(server, &format!("DROP DATABASE {database} WITH (FORCE)")).await;
    }
}

async fn run(url: &str, statements: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[expect(clippy::disallowed_methods, reason = "only who starts the server knows where it is")]
pub(crate) fn server() -> String {
    std::env::var("THALWEG_POSTGRES_URL")
        .expect("THALWEG_POSTGRES_URL says where PostgreSQL is: deploy/engines with postgres -- …")
}

fn secret() -> String {
    let bytes = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
    URL_SAFE_NO_PAD.encode(bytes)
}
