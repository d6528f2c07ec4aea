//! Where a control plane of the tests keeps its registry: a directory.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use thalweg_control_plane::Config;
use uuid::Uuid;

use crate::world::{ADMIN, PASSWORD};

/// Gone with the last that holds it.
pub(crate) struct Site {
    directory: TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    pub(crate) fn of(directory: TempDir) -> Self {
        Self { directory }
    }

    /// For the store, and whatever else a test needs.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn config(&self) -> Config {
        Config::new(self.directory(), ADMIN.parse().unwrap(), Some(PASSWORD.parse().unwrap()))
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

    /// Whether these bytes are stored anywhere. The control plane is closed.
    pub(crate) async fn holds(&self, bytes: &[u8]) -> bool {
        let files = std::fs::read_dir(self.directory()).unwrap().map(Result::unwrap);
        let mut files = files.filter(|file| file.file_type().unwrap().is_file());
        files.any(|file| {
            std::fs::read(file.path()).unwrap().windows(bytes.len()).any(|window| window == bytes)
        })
    }

    async fn connect(&self) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(self.directory().join("registry.sqlite"))
            .connect()
            .await
            .unwrap()
    }
}
