//! Publishing over HTTP: checks the thing's key, validates the whole pack, and answers 202 once the log has it.
//!
//! Stateless. Never writes to the store, never asks the registry for what its cache knows, and never answers 202 for
//! anything that a crash could still take away.

mod app;
mod body;
mod described;
mod metrics;
mod publish;
mod publisher;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use domain::limits;
use domain::senml::PackLimits;
use log::Log;
use openapi::{Part, Routes};
use service::access_cache::AccessCache;
use service::clock::ReceptionClock;

use crate::app::App;
pub use metrics::{IngestMetrics, Outcome};

/// The routes of [`router`].
pub const ROUTES: &[&str] = &[
    "/http/channels/{channel}/messages",
    "/http/channels/{channel}/messages/",
    "/http/channels/{channel}/messages/{*subtopic}",
];

/// Settings of one ingest node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bytes of a body, before and after inflation.
    pub body_bytes_max: usize,
    /// Records of a pack.
    pub pack: PackLimits,
    /// Bytes of memory that publishes in flight may take, from the first byte of a body to the log's answer; past it
    /// they answer 503.
    pub in_flight_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_bytes_max: limits::BODY_BYTES_MAX,
            pack: PackLimits::default(),
            in_flight_bytes_max: 256 << 20,
        }
    }
}

/// What an ingest node works with.
#[derive(Clone)]
pub struct Parts {
    /// Where accepted packs go.
    pub log: Arc<dyn Log>,
    /// Who may publish.
    pub access: Arc<AccessCache>,
    /// What stamps receptions.
    pub clock: Arc<ReceptionClock>,
    /// What it measures.
    pub metrics: IngestMetrics,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// The routes of an ingest node.
pub fn router(config: Config, parts: Parts) -> Router {
    routes().router().with_state(Arc::new(app::App::new(config, parts)))
}

/// What they are described as.
pub fn described() -> Part {
    routes().part()
}

fn routes() -> Routes<Arc<App>> {
    Routes::default()
        .tag(described::TAG, "Publishing records, and reading them.")
        .schemas(described::shapes())
        .post(ROUTES[0], publish::publish, described::publish())
        .post(ROUTES[1], publish::publish, described::publish_with_slash())
        .post(ROUTES[2], publish::publish, described::publish_to_subtopic())
}
