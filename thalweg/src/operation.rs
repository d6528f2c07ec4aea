//! How this process is watched: the registry of its metrics, and what has to work for it to be ready.

use std::sync::Arc;

use control_plane::ControlPlane;
use domain::ReceivedAt;
use instruments::{Family, Gauge, Instrument as _, ProcessMetrics, Registry, declare, label};
use log::{EmbeddedLog, Log};
use service::access_cache::AccessCache;
use service::clock;
use service::consumer_status::ConsumerStatus;
use service::health::{self, Build, Health, Readiness};
use service::metrics::ConnectionMetrics;
use service::requests::{Answerer, HttpMetrics};
use store::Store;

/// Which build this is. The build script tells.
pub(crate) const BUILD: Build =
    Build { version: env!("CARGO_PKG_VERSION"), commit: env!("BUILD_COMMIT"), time: env!("BUILD_TIME") };

/// What is told of this process. Each part that is opened is added: its metrics to the registry, its check to `/readyz`.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) registry: Registry,
    pub(crate) readiness: Readiness,
    pub(crate) connections: ConnectionMetrics,
    health: Health,
}

label! {
    /// The consumer groups of the log.
    enum Group: "group" {
        Writer = "writer",
    }
}

declare! {
    /// What the log holds, read off before each scrape.
    struct LogState: "log" {
        /// Bytes that the log takes on disk, dead letters included.
        size_bytes: Gauge,
        /// Number of the oldest entry that is kept.
        oldest_offset: Gauge,
        /// Number that the next entry gets.
        end_offset: Gauge,
        /// When the newest entry was received, in seconds since the Unix epoch; 0 while there is none.
        newest_received_timestamp_seconds: Gauge,
        /// Bytes of entries that wait to be written and synced.
        waiting_bytes: Gauge,
        /// Entries that a consumer group has not committed.
        lag_entries: Family<Group, Gauge>,
        /// Whether the log takes entries: 0 once it is closed, or its disk has failed.
        writable: Gauge,
    }
}

impl Operation {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        ProcessMetrics::observe(&registry);
        let labels = vec![("version", BUILD.version.to_owned()), ("commit", BUILD.commit.to_owned())];
        Gauge::register(&registry, "thalweg_build_info", "The build that runs; always 1.", labels).set(1.0);
        let readiness = Readiness::default();
        Self {
            connections: ConnectionMetrics::register(&registry),
            health: Health::new(BUILD, readiness.clone()),
            registry,
            readiness,
        }
    }

    /// Counts requests, and knows whose routes are whose.
    pub(crate) fn http(&self) -> HttpMetrics {
        HttpMetrics::new(&self.registry, Answerer::ControlPlane)
            .with(Answerer::Ingest, ingest::ROUTES)
            .with(Answerer::Reader, reader::ROUTES)
            .with(Answerer::Operation, health::ROUTES)
            .with(Answerer::Operation, service::metrics::ROUTES)
            .with(Answerer::Operation, openapi::page::ROUTES)
    }

    /// Everything that has to work for this process to be ready.
    pub(crate) fn health(&self) -> Health {
        self.health.clone()
    }

    /// Has a check added to those of `/readyz`.
    fn check<F>(&mut self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = health::Outcome> + Send + 'static,
    {
        self.health = self.health.clone().with(name, check);
    }

    pub(crate) fn watch_log(&mut self, log: &Arc<dyn Log>) {
        let log = Arc::clone(log);
        self.check("log", move || {
            let log = Arc::clone(&log);
            async move { log.answers().await.map_err(|_| "takes no entries") }
        });
    }

    pub(crate) fn watch_store(&mut self, store: &Arc<dyn Store>) {
        let store = Arc::clone(store);
        self.check("store", move || {
            let store = Arc::clone(&store);
            async move { store.answers().await.map_err(|_| "can't be read") }
        });
    }

    pub(crate) fn watch_registry(&mut self, control_plane: &ControlPlane) {
        let watched = control_plane.clone();
        self.check("registry", move || {
            let control_plane = watched.clone();
            async move { control_plane.answers().await.then_some(()).ok_or("can't be asked") }
        });
        let shown = control_plane.clone();
        self.registry.before_scrape(move || shown.show_state());
    }

    pub(crate) fn watch_consumer(&mut self, name: &'static str, status: &ConsumerStatus) {
        let status = status.clone();
        self.check(name, move || {
            let problem = status.problem(ReceivedAt::from_micros(clock::unix_micros()));
            async move { problem.map_or(Ok(()), Err) }
        });
    }

    pub(crate) fn watch_access(&self, access: &Arc<AccessCache>) {
        let access = Arc::clone(access);
        self.registry.before_scrape(move || access.show_entries());
    }

    /// Shows what an embedded log holds.
    pub(crate) fn show_log(&self, log: &Arc<EmbeddedLog>) {
        let (state, log) = (LogState::register(&self.registry), Arc::clone(log));
        self.registry.before_scrape(move || state.show(&log));
    }
}

impl LogState {
    fn show(&self, log: &EmbeddedLog) {
        let end = log.end();
        self.size_bytes.set(log.bytes_on_disk() as f64);
        self.oldest_offset.set(log.oldest() as f64);
        self.end_offset.set(end as f64);
        if let Some(newest) = log.newest_received() {
            self.newest_received_timestamp_seconds.set(newest.as_micros() as f64 / 1e6);
        }
        self.waiting_bytes.set(log.waiting_bytes() as f64);
        let committed = log.committed(writer::GROUP).unwrap_or(0);
        self.lag_entries.of(Group::Writer).set(end.saturating_sub(committed) as f64);
        self.writable.set(f64::from(u8::from(log.is_writable())));
    }
}
