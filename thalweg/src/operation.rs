//! How the running pipeline is watched: its metrics, put together, and what has to work for it to be ready.

use std::sync::Arc;

use control_plane::{ControlPlane, ControlPlaneMetrics};
use domain::ReceivedAt;
use ingest::IngestMetrics;
use instruments::{Family, Gauge, Instrument as _, ProcessMetrics, Registry, declare, label};
use log::{EmbeddedLog, LogMetrics};
use reader::ReaderMetrics;
use service::access_cache::AccessCache;
use service::clock;
use service::health::{self, Build, Health, Readiness};
use service::metrics::{AccessMetrics, ConnectionMetrics, FeedMetrics};
use service::requests::{Answerer, HttpMetrics};
use store::Store;
use writer::WriterMetrics;

/// Which build this is. The build script tells.
const BUILD: Build =
    Build { version: env!("CARGO_PKG_VERSION"), commit: env!("BUILD_COMMIT"), time: env!("BUILD_TIME") };

/// Every metric of the process.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    pub(crate) ingest: IngestMetrics,
    pub(crate) log: LogMetrics,
    pub(crate) writer: WriterMetrics,
    pub(crate) reader: ReaderMetrics,
    pub(crate) control_plane: ControlPlaneMetrics,
    pub(crate) access: AccessMetrics,
    pub(crate) feed: FeedMetrics,
    pub(crate) connections: ConnectionMetrics,
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

/// What is watched.
pub(crate) struct Subjects {
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) access: Arc<AccessCache>,
    pub(crate) writer: writer::Status,
}

impl Metrics {
    pub(crate) fn register() -> Self {
        let registry = Registry::new();
        ProcessMetrics::observe(&registry);
        let labels = vec![("version", BUILD.version.to_owned()), ("commit", BUILD.commit.to_owned())];
        Gauge::register(&registry, "thalweg_build_info", "The build that runs; always 1.", labels).set(1.0);
        Self {
            ingest: IngestMetrics::register(&registry),
            log: LogMetrics::register(&registry),
            writer: WriterMetrics::register(&registry),
            reader: ReaderMetrics::register(&registry),
            control_plane: ControlPlaneMetrics::register(&registry),
            access: AccessMetrics::register(&registry),
            feed: FeedMetrics::register(&registry),
            connections: ConnectionMetrics::register(&registry),
            registry,
        }
    }

    /// Counts requests, and knows whose routes are whose.
    pub(crate) fn http(&self) -> HttpMetrics {
        HttpMetrics::new(&self.registry, Answerer::ControlPlane)
            .with(Answerer::Ingest, ingest::ROUTES)
            .with(Answerer::Reader, reader::ROUTES)
            .with(Answerer::Operation, health::ROUTES)
            .with(Answerer::Operation, service::metrics::ROUTES)
    }

    pub(crate) fn show_before_scrape(&self, subjects: &Subjects) {
        let state = LogState::register(&self.registry);
        let log = Arc::clone(&subjects.log);
        let (access, control_plane) = (Arc::clone(&subjects.access), subjects.control_plane.clone());
        self.registry.before_scrape(move || {
            state.show(&log);
            access.show_entries();
            control_plane.show_state();
        });
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

/// What has to work for the pipeline to be ready.
pub(crate) fn health(readiness: Readiness, subjects: &Subjects) -> Health {
    let (log, store) = (Arc::clone(&subjects.log), Arc::clone(&subjects.store));
    let (control_plane, writer) = (subjects.control_plane.clone(), subjects.writer.clone());
    Health::new(BUILD, readiness)
        .with("log", move || {
            let writable = log.is_writable();
            async move { writable.then_some(()).ok_or("takes no entries until a restart") }
        })
        .with("store", move || {
            let store = Arc::clone(&store);
            async move { store.resume_after().await.map(|_| ()).map_err(|_| "can't be read") }
        })
        .with("registry", move || {
            let control_plane = control_plane.clone();
            async move { control_plane.answers().await.then_some(()).ok_or("can't be asked") }
        })
        .with("writer", move || {
            let problem = writer.problem(ReceivedAt::from_micros(clock::unix_micros()));
            async move { problem.map_or(Ok(()), Err) }
        })
}
