//! Composes the pipeline in one process: opens each part on its directory, hands it to the services, and ends them in
//! order.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use control_plane::{ControlPlane, FirstStart, RegistryConfig};
use domain::senml::PackLimits;
use domain::{Position, ReceivedAt};
use log::{EmbeddedLog, Log};
use service::access_cache::{AccessCache, AccessCacheConfig};
use service::clock::{self, ReceptionClock};
use service::feed::Feed;
use service::health::{self, Readiness};
use service::rate::Rates;
use service::requests;
use service::server::{self, ServerConfig};
use service::telemetry::Chain;
use store::{EmbeddedStore, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::banner;
use crate::cli::Serve;
use crate::exit::Step;
use crate::open_files;
use crate::operation::{self, Metrics};

/// How often the log looks for segments that it may delete.
const RETAIN_INTERVAL: Duration = Duration::from_secs(60);

/// Runs everything until `shutdown`; then stops taking requests, finishes those in flight, stores what is at hand, and
/// closes.
pub(crate) async fn run(settings: Serve, shutdown: CancellationToken) -> anyhow::Result<()> {
    run_and_tell(settings, shutdown, banner::print).await
}

/// The same, for who has another use for what the welcome says: it is told once requests are taken.
pub(crate) async fn run_and_tell(
    settings: Serve,
    shutdown: CancellationToken,
    welcome: impl FnOnce(SocketAddr, &Serve, Option<&str>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    open_files::raise_limit(settings.connections_max);
    let listener = TcpListener::bind(settings.listen).await.context(Step::Listen(settings.listen))?;
    let address = listener.local_addr()?;
    let parts = Parts::open(&settings).await?;
    let router = parts.router(&settings);

    // The writer outlives the listener: what the last requests appended is stored, too.
    let background = CancellationToken::new();
    let writer = writer::Parts {
        log: Arc::clone(&parts.log) as _,
        store: Arc::clone(&parts.store),
        metrics: parts.metrics.writer.clone(),
        status: parts.writer_status.clone(),
    };
    let writer = tokio::spawn(writer::run(writer::Config::default(), writer, background.clone()));
    let purges = tokio::spawn(parts.control_plane.clone().run(background.clone()));
    tokio::spawn(parts.rates.clone().run(background.clone()));
    let upkeep = parts.metrics.registry.clone();
    tokio::spawn(service::metrics::upkeep(upkeep, background.clone()));
    let retention = tokio::spawn(retain(Arc::clone(&parts.log), background.clone()));

    parts.readiness.set(true);
    welcome(address, &settings, parts.first_start.random_password())?;
    let config = ServerConfig { metrics: parts.metrics.connections.clone(), ..server_config(&settings) };
    // Whoever asks during the stop is told that this server is not ready before it is refused a connection.
    let refuse_connections = CancellationToken::new();
    let stopping = {
        let (readiness, refuse_connections) = (parts.readiness.clone(), refuse_connections.clone());
        async move {
            shutdown.cancelled().await;
            readiness.set(false);
            refuse_connections.cancel();
        }
    };
    let not_ready = tokio::spawn(stopping);
    let serving = server::serve(listener, router, config, refuse_connections);
    let mut writer = std::pin::pin!(writer);
    let ended_early = tokio::select! {
        () = serving => None,
        ended = &mut writer => Some(ended),
    };
    background.cancel();
    let written = match ended_early {
        Some(ended) => ended,
        None => writer.await,
    };
    purges.await.context("the purge worker failed")?;
    retention.await.context("the log's retention failed")?;
    parts.log.close().await;
    parts.control_plane.close().await;
    not_ready.abort();
    written.context("the writer failed")?.context("the writer can't run")?;
    tracing::info!("stopped");
    Ok(())
}

fn server_config(settings: &Serve) -> ServerConfig {
    ServerConfig {
        header_timeout: settings.header_timeout,
        body_timeout: settings.body_timeout,
        write_timeout: settings.write_timeout,
        connections_max: settings.connections_max,
        connections_per_address_max: settings.connections_per_address_max,
        trusted_proxies: settings.trusted_proxies.iter().copied().collect(),
        drain_max: settings.drain_timeout,
        ..ServerConfig::default()
    }
}

/// Everything that is opened once and shared.
struct Parts {
    log: Arc<EmbeddedLog>,
    store: Arc<dyn Store>,
    control_plane: ControlPlane,
    first_start: FirstStart,
    access: Arc<AccessCache>,
    clock: Arc<ReceptionClock>,
    rates: Rates,
    readiness: Readiness,
    metrics: Metrics,
    writer_status: writer::Status,
    /// Held as long as any part is open.
    _lock: File,
}

impl Parts {
    async fn open(settings: &Serve) -> anyhow::Result<Self> {
        let data = &settings.data_dir;
        std::fs::create_dir_all(data).with_context(|| Step::CreateData(data.clone()))?;
        let lock = lock(data)?;
        let metrics = Metrics::register();
        let (log, store) = open_log_and_store(settings, &metrics).await?;
        let feed = Arc::new(Feed::measured(metrics.feed.clone()));
        let (email, password) = (settings.admin_email.clone(), settings.admin_password.clone());
        let config = control_plane::Config {
            registry: RegistryConfig::Directory {
                directory: data.clone(),
                token_secrets: settings.token_secret.clone(),
            },
            admin_email: email,
            admin_password: password,
        };
        let measured = control_plane::Parts {
            feed: Arc::clone(&feed) as _,
            store: Arc::clone(&store),
            metrics: metrics.control_plane.clone(),
        };
        let (control_plane, first_start) = ControlPlane::open_with(config, measured)
            .await
            .with_context(|| format!("can't open the registry in {}", data.display()))?;
        let access = AccessCache::new(&AccessCacheConfig::default(), control_plane.authority(), &*feed);
        let access = access.measured(metrics.access.clone());
        let clock = ReceptionClock::behind(log.newest_received());
        Ok(Self {
            log,
            store,
            control_plane,
            first_start,
            access: Arc::new(access),
            clock: Arc::new(clock),
            rates: Rates::new(settings.rate_per_address, settings.rate_per_thing),
            readiness: Readiness::default(),
            metrics,
            writer_status: writer::Status::default(),
            _lock: lock,
        })
    }

    fn router(&self, settings: &Serve) -> Router {
        let ingest = ingest::Config {
            body_bytes_max: settings.body_bytes_max,
            pack: PackLimits { records_max: settings.records_per_pack_max, ..PackLimits::default() },
            in_flight_bytes_max: settings.in_flight_bytes_max,
        };
        let publish = ingest::Parts {
            log: Arc::clone(&self.log) as _,
            access: Arc::clone(&self.access),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.ingest.clone(),
        };
        let read = reader::Parts {
            store: Arc::clone(&self.store),
            authority: self.control_plane.authority(),
            cursor_key: store::planner::CursorKey::from_bytes(&self.control_plane.derive_key("cursor")),
            metrics: self.metrics.reader.clone(),
        };
        let subjects = operation::Subjects {
            log: Arc::clone(&self.log),
            store: Arc::clone(&self.store),
            control_plane: self.control_plane.clone(),
            access: Arc::clone(&self.access),
            writer: self.writer_status.clone(),
        };
        self.metrics.show_before_scrape(&subjects);
        let api =
            ingest::router(ingest, publish).merge(reader::router(read)).merge(self.control_plane.router());
        // Whoever watches over the server is not counted against a rate.
        let watching = health::router(operation::health(self.readiness.clone(), &subjects))
            .merge(service::metrics::router(self.metrics.registry.clone()));
        let routes = server::complete(watching.merge(self.rates.limit(api)));
        requests::observed(routes, self.metrics.http())
    }
}

/// Makes the directory this process's own, before anything in it is looked at. The system lets go of it when the process
/// ends, however it ends.
fn lock(data: &Path) -> anyhow::Result<File> {
    let file = File::create(data.join("lock"))
        .with_context(|| format!("can't write in {} (--data-dir, THALWEG_DATA_DIR)", data.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(anyhow::Error::msg(Step::Lock(data.to_owned()))),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("can't lock {}", data.display()))
        }
    }
}

/// The store first: the log must not give an offset that the store has come past.
async fn open_log_and_store(
    settings: &Serve,
    metrics: &Metrics,
) -> anyhow::Result<(Arc<EmbeddedLog>, Arc<dyn Store>)> {
    let (log_dir, store_dir) = (settings.data_dir.join("log"), settings.data_dir.join("store"));
    let store = tokio::task::spawn_blocking(move || {
        EmbeddedStore::open(&store_dir, store::EmbeddedConfig::default())
    })
    .await?
    .with_context(|| format!("can't open the store in {}", settings.data_dir.display()))?;
    let stored: Vec<Position> =
        store.resume_after().await.context("the store does not say how far it has come")?;
    let config = log::EmbeddedConfig {
        retention_bytes: settings.log_retention_bytes,
        retention_age: settings.log_retention_age,
        ..log::EmbeddedConfig::default()
    };
    let metrics = metrics.log.clone();
    let open = move || EmbeddedLog::open_measured(&log_dir, config, &stored, metrics);
    let (log, _report) = tokio::task::spawn_blocking(open)
        .await?
        .with_context(|| format!("can't open the log in {}", settings.data_dir.display()))?;
    Ok((Arc::new(log), Arc::new(store)))
}

async fn retain(log: Arc<EmbeddedLog>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETAIN_INTERVAL) => {}
        }
        let log = Arc::clone(&log);
        let now = ReceivedAt::from_micros(clock::unix_micros());
        match tokio::task::spawn_blocking(move || log.retain(now)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %Chain(&error), "old segments can't be deleted, trying again later")
            }
            Err(error) => tracing::error!(%error, "the log's retention failed, trying again later"),
        }
    }
}

/// Cancels on SIGTERM or SIGINT; a second signal ends the process at once.
pub(crate) async fn cancel_on_signal(shutdown: CancellationToken) {
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("signals can't be handled: the server has to be killed");
        return;
    };
    for stop in [false, true] {
        let kind = tokio::select! {
            _ = term.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        };
        if stop {
            // As a shell says it of a process that a signal ended.
            std::process::exit(128 + kind.as_raw_value());
        }
        tracing::info!("stopping: finishing what is in flight");
        shutdown.cancel();
    }
}
