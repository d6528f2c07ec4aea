//! Opens the whole pipeline on one data directory, which belongs to this process.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use control_plane::delivery::DeliveryMetrics;
use control_plane::{ControlPlane, ControlPlaneMetrics, RegistryConfig};
use domain::{Position, ReceivedAt};
use ingest::IngestMetrics;
use instruments::Registry;
use log::{EmbeddedLog, Log, LogMetrics};
use reader::ReaderMetrics;
use service::access_cache::{AccessCache, AccessCacheConfig};
use service::clock::{self, ReceptionClock};
use service::consumer_status::ConsumerStatus;
use service::feed::Feed;
use service::metrics::{AccessMetrics, FeedMetrics};
use service::telemetry::Chain;
use store::{EmbeddedStore, Store};
use tokio_util::sync::CancellationToken;
use writer::WriterMetrics;

use super::deliveries;
use super::node::Node;
use crate::cli::Serve;
use crate::exit::Step;
use crate::operation::Operation;

/// How often the log looks for segments that it may delete.
const RETAIN_INTERVAL: Duration = Duration::from_secs(60);

/// Opens every part on the data directory.
pub(super) async fn open(settings: &Serve) -> anyhow::Result<Node> {
    let data = &settings.data_dir;
    std::fs::create_dir_all(data).with_context(|| Step::CreateData(data.clone()))?;
    let lock = lock(data)?;
    let mut operation = Operation::new();
    let registry = operation.registry.clone();
    let (embedded_log, store) = open_log_and_store(settings, &registry).await?;
    let log: Arc<dyn Log> = Arc::clone(&embedded_log) as _;
    let feed = Arc::new(Feed::measured(FeedMetrics::register(&registry)));
    let config = control_plane::Config {
        registry: RegistryConfig::Directory {
            directory: data.clone(),
            token_secrets: settings.token_secret.clone(),
        },
        admin_email: settings.admin_email.clone(),
        admin_password: settings.admin_password.clone(),
        deliveries: deliveries(settings),
    };
    let parts = control_plane::Parts {
        feed: Arc::clone(&feed) as _,
        store: Arc::clone(&store),
        metrics: ControlPlaneMetrics::register(&registry),
        delivery_metrics: DeliveryMetrics::register(&registry),
    };
    let (control_plane, first_start) = ControlPlane::open_with(config, parts)
        .await
        .with_context(|| format!("can't open the registry in {}", data.display()))?;
    let access = AccessCache::new(&AccessCacheConfig::default(), control_plane.authority(), &*feed);
    let access = Arc::new(access.measured(AccessMetrics::register(&registry)));
    let writer = writer::Parts {
        log: Arc::clone(&log),
        store: Arc::clone(&store),
        metrics: WriterMetrics::register(&registry),
        status: ConsumerStatus::default(),
    };
    operation.watch_log(&log);
    operation.show_log(&embedded_log);
    operation.watch_store(&store);
    operation.watch_registry(&control_plane);
    operation.watch_consumer("writer", &writer.status);
    let courier = control_plane.courier().clone();
    operation.watch_consumer("webhooks", &courier.status());
    operation.watch_access(&access);
    Ok(Node {
        ingest: Some(ingest::Parts {
            log: Arc::clone(&log),
            access,
            clock: Arc::new(ReceptionClock::behind(embedded_log.newest_received())),
            metrics: IngestMetrics::register(&registry),
        }),
        reader: Some(reader::Parts {
            store,
            authority: control_plane.authority(),
            cursor_key: store::planner::CursorKey::from_bytes(&control_plane.derive_key("cursor")),
            metrics: ReaderMetrics::register(&registry),
        }),
        writer: Some(writer),
        courier: Some(courier),
        upkeep: vec![Box::new(|stop| Box::pin(retain(embedded_log, stop)))],
        control_plane: Some(control_plane),
        internal: None,
        log: Some(log),
        operation,
        first_start,
        directory: Some(lock),
    })
}

/// The log alone, and the directory's lock. There has to be a directory: nobody wants a new one for its dead letters.
pub(super) async fn log(settings: &Serve) -> anyhow::Result<(Arc<dyn Log>, File)> {
    if !settings.data_dir.join("log").is_dir() {
        bail!("there is no log in {} (--data-dir, THALWEG_DATA_DIR)", settings.data_dir.display());
    }
    let lock = lock(&settings.data_dir)?;
    let (log, _store) = open_log_and_store(settings, &Registry::new()).await?;
    Ok((log, lock))
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
    registry: &Registry,
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
    let metrics = LogMetrics::register(registry);
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
