//! The registry's tables, version by version: the files under `migrations/`, which are part of the binary.

use std::sync::LazyLock;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The files of an engine. Both engines have the same, and a file is never changed once it is released.
macro_rules! files {
    ($engine:literal) => {
        files!(
            $engine:
            1 "0001_registry",
            2 "0002_sign_up",
            3 "0003_retention",
            4 "0004_orgs_and_groups",
            5 "0005_audit",
            6 "0006_webhooks",
            7 "0007_slow_webhooks_and_older_secrets",
        )
    };
    ($engine:literal: $($version:literal $name:literal,)+) => {
        vec![$(migration(
            $version,
            $name,
            include_str!(concat!("../../migrations/", $engine, "/", $name, ".sql")),
        )),+]
    };
}

pub(super) static SQLITE: LazyLock<Migrator> = LazyLock::new(|| Migrator::with_migrations(files!("sqlite")));
pub(super) static POSTGRES: LazyLock<Migrator> =
    LazyLock::new(|| Migrator::with_migrations(files!("postgres")));

/// One version, applied in a transaction.
fn migration(version: i64, name: &str, sql: &'static str) -> Migration {
    let description = name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_').replace('_', " ");
    Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What identifies the versions to a database that has some of them.
    fn versions(migrator: &Migrator) -> Vec<(i64, String, MigrationType, Vec<u8>, bool)> {
        let version = |one: &Migration| {
            (one.version, one.description.to_string(), one.migration_type, one.checksum.to_vec(), one.no_tx)
        };
        migrator.iter().map(version).collect()
    }

    #[tokio::test]
    async fn every_file_of_both_folders_is_embedded() {
        let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        for (engine, embedded) in [("sqlite", &*SQLITE), ("postgres", &*POSTGRES)] {
            let read = Migrator::new(folders.join(engine)).await.unwrap();
            assert_eq!(versions(embedded), versions(&read), "{engine}");
        }
    }
}
