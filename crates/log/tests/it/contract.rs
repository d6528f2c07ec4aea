//! The contract suite on the embedded log: on a real disk, with segments of ordinary and of tiny size, and on a
//! simulated one.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use thalweg_log::disk::{Disk, RealDisk};
use thalweg_log::simulated::SimulatedDisk;
use thalweg_log::suite::Site;
use thalweg_log::{EmbeddedConfig, EmbeddedLog, Log};

use crate::support::{config, tiny_segments};

struct EmbeddedSite {
    disk: Arc<dyn Disk>,
    dir: TempDir,
    config: EmbeddedConfig,
}

#[async_trait]
impl Site for EmbeddedSite {
    async fn open(&self) -> Arc<dyn Log> {
        let opened = EmbeddedLog::open_on(Arc::clone(&self.disk), self.dir.path(), self.config.clone(), &[]);
        let (log, report) = opened.unwrap();
        assert_eq!((report.torn_tails, report.damage), (Vec::new(), Vec::new()));
        Arc::new(log)
    }
}

fn site(disk: impl Disk, config: EmbeddedConfig) -> EmbeddedSite {
    EmbeddedSite { disk: Arc::new(disk), dir: TempDir::new().unwrap(), config }
}

thalweg_log::contract!(on_a_real_disk, site(RealDisk, config()));
thalweg_log::contract!(in_tiny_segments, site(RealDisk, tiny_segments()));
thalweg_log::contract!(on_a_simulated_disk, site(SimulatedDisk::new(1), config()));

#[tokio::test]
async fn a_directory_is_open_once() {
    let dir = TempDir::new().unwrap();
    let (log, _) = EmbeddedLog::open(dir.path(), config(), &[]).unwrap();
    let refused = EmbeddedLog::open(dir.path(), config(), &[]).unwrap_err();
    let named = format!("the log in {} is in use by another process", dir.path().display());
    assert!(refused.to_string().contains(&named), "{refused}");
    log.close().await;
    EmbeddedLog::open(Path::new(dir.path()), config(), &[]).unwrap();
}

#[tokio::test]
async fn a_group_has_one_subscription_at_a_time_and_a_proper_name() {
    let dir = TempDir::new().unwrap();
    let (log, _) = EmbeddedLog::open(dir.path(), config(), &[]).unwrap();
    let first = log.subscribe("writer", &[]).await.unwrap();
    assert!(log.subscribe("writer", &[]).await.is_err());
    assert!(log.subscribe("webhooks", &[]).await.is_ok());
    drop(first);
    assert!(log.subscribe("writer", &[]).await.is_ok());
    for name in ["", "../evil", "a/b", ".hidden", "Upper", &"x".repeat(65)] {
        assert!(log.subscribe(name, &[]).await.is_err(), "{name:?}");
    }
}
