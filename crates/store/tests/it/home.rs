//! A directory for an embedded store, gone with the test.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use thalweg_store::suite::{Flaky, Home};
use thalweg_store::{EmbeddedConfig, EmbeddedStore, Store};

pub(crate) struct EmbeddedHome(TempDir);

impl EmbeddedHome {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

#[async_trait]
impl Home for EmbeddedHome {
    async fn open(&mut self) -> Arc<dyn Store> {
        Arc::new(EmbeddedStore::open(self.path(), EmbeddedConfig::default()).expect("the store opens"))
    }
}

/// The same store behind another one, which leaves every method with a default to the trait.
pub(crate) struct PlainHome(EmbeddedHome);

impl PlainHome {
    pub(crate) fn new() -> Self {
        Self(EmbeddedHome::new())
    }
}

#[async_trait]
impl Home for PlainHome {
    async fn open(&mut self) -> Arc<dyn Store> {
        Arc::new(Flaky::new(self.0.open().await, 0))
    }
}
