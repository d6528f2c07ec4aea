//! Users, orgs, groups, things, channels, connections, policies, keys, and the access they give; webhooks, and their delivery.
//!
//! Owns the registry: everything that is known of who may do what. But for [`delivery`], which is a role of its own, it never sees a record; of the store it asks to purge what
//! belonged to an entity that is gone, and to delete what has expired. Other services ask it through [`Authority`], and are told
//! of changes through a [feed](service::feed); an answered change is in force, or within a second in other processes.

mod access;
mod api;
mod attempts;
mod author;
mod authority;
mod background;
mod caller;
pub mod delivery;
mod email;
mod entity;
mod fields;
mod internal;
mod metadata;
mod metrics;
mod moment;
mod open;
mod password;
mod postgres_url;
mod registry;
mod relay;
mod seal;
mod secrets;
mod tokens;

use std::sync::Arc;

use axum::Router;
use service::authority::Authority;
use service::telemetry::Chain;
use store::Store;
use tokio::sync::{Notify, Semaphore};

pub use email::{Email, NotAnEmail};
pub use metrics::{ControlPlaneMetrics, PasswordCheck};
pub use open::{Config, FirstStart, MigrationReport, OpenError, Parts, RegistryConfig, migrate};
pub use password::{BadPassword, Password};
pub use postgres_url::{BadPostgresUrl, PostgresUrl};
pub use secrets::{BadSealingSecret, SealingSecret, TokenSecrets};
pub use service::secrets::BadSecrets as BadTokenSecrets;

use crate::attempts::Attempts;
use crate::delivery::{Courier, DeliveryConfig};
use crate::password::Hashing;
use crate::registry::Registry;
use crate::relay::Relay;
use crate::seal::Sealer;
use crate::tokens::Tokens;

/// Lists that are filtered by metadata at a time: each reads up to 100,000 rows, and look-ups of access must not wait.
const METADATA_LISTS_MAX: usize = 2;
/// Test deliveries at a time: an endpoint may take long.
const WEBHOOK_TESTS_MAX: usize = 16;

/// What it says of its routes.
pub fn described() -> openapi::Part {
    api::routes().part()
}

/// The control plane. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct ControlPlane(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    relay: Relay,
    tokens: Tokens,
    sealer: Arc<Sealer>,
    hashing: Hashing,
    attempts: Attempts,
    metadata_lists: Semaphore,
    purge_asked: Notify,
    sweep_asked: Notify,
    key_end_set: Notify,
    deliveries_asked: Arc<Notify>,
    webhook_tests: Semaphore,
    courier: Courier,
    metrics: ControlPlaneMetrics,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl ControlPlane {
    fn assemble(
        registry: Registry,
        Parts { feed, store, metrics, delivery_metrics }: Parts,
        tokens: Tokens,
        sealer: Sealer,
        deliveries: DeliveryConfig,
    ) -> Self {
        let (registry, sealer) = (Arc::new(registry), Arc::new(sealer));
        let asked = Arc::new(Notify::new());
        let courier = Courier::new(
            Arc::clone(&registry),
            Arc::clone(&sealer),
            deliveries,
            delivery_metrics,
            Arc::clone(&asked),
        );
        Self(Arc::new(Inner {
            registry,
            store,
            relay: Relay::new(feed, metrics.clone()),
            tokens,
            sealer,
            hashing: Hashing::new(),
            attempts: Attempts::new(),
            metadata_lists: Semaphore::new(METADATA_LISTS_MAX),
            purge_asked: Notify::new(),
            sweep_asked: Notify::new(),
            key_end_set: Notify::new(),
            deliveries_asked: asked,
            webhook_tests: Semaphore::new(WEBHOOK_TESTS_MAX),
            courier,
            metrics,
        }))
    }

    /// The routes of the API.
    pub fn router(&self) -> Router {
        api::routes().router().with_state(self.clone())
    }

    /// What the rest of the pipeline asks.
    pub fn authority(&self) -> Arc<dyn Authority> {
        Arc::new(self.clone())
    }

    /// What delivers to webhooks on this registry, for a process that does.
    pub fn courier(&self) -> &Courier {
        &self.0.courier
    }

    /// A key for another purpose, derived from this installation's sealing secret: the same after every start.
    pub fn derive_key(&self, purpose: &str) -> [u8; 32] {
        self.0.sealer.derive_key(purpose)
    }

    /// Whether the registry answers.
    pub async fn answers(&self) -> bool {
        self.0.registry.has_users().await.is_ok()
    }

    /// Has the metrics show what is cheaper to read off than to keep.
    pub fn show_state(&self) {
        self.0.metrics.password_hashes_waiting.set(self.0.hashing.waiting() as f64);
    }

    /// Closes the registry, once the requests in flight have ended.
    pub async fn close(&self) {
        if let Err(error) = self.0.registry.tidy_outbox().await {
            tracing::warn!(error = %Chain(&error), "published changes stay in the outbox until the next start");
        }
        self.0.registry.close().await;
    }

    fn metrics(&self) -> &ControlPlaneMetrics {
        &self.0.metrics
    }

    fn registry(&self) -> &Registry {
        &self.0.registry
    }

    fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    fn relay(&self) -> &Relay {
        &self.0.relay
    }

    fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    fn sealer(&self) -> &Sealer {
        &self.0.sealer
    }

    fn hashing(&self) -> &Hashing {
        &self.0.hashing
    }

    fn attempts(&self) -> &Attempts {
        &self.0.attempts
    }

    fn metadata_lists(&self) -> &Semaphore {
        &self.0.metadata_lists
    }

    fn purge_asked(&self) -> &Notify {
        &self.0.purge_asked
    }

    fn sweep_asked(&self) -> &Notify {
        &self.0.sweep_asked
    }

    fn key_end_set(&self) -> &Notify {
        &self.0.key_end_set
    }

    fn deliveries_asked(&self) -> &Notify {
        &self.0.deliveries_asked
    }

    fn webhook_tests(&self) -> &Semaphore {
        &self.0.webhook_tests
    }

    fn outbound_guard(&self) -> &outbound::Guard {
        self.0.courier.guard()
    }
}
