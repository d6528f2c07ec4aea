//! Composes the pipeline: opens the parts of this process's roles, hands them to the services, and ends them in order.
//!
//! The only place that knows which implementations there are.

pub(crate) mod cluster;
mod embedded;
mod node;

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use control_plane::delivery::DeliveryConfig;
use log::{Log, LogMetrics};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::banner;
use crate::cli::Serve;
use crate::exit::Step;
use crate::open_files;

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
    let node = match settings.cluster.role.is_empty() {
        true => embedded::open(&settings).await?,
        false => cluster::open(&settings).await?,
    };
    let welcome =
        |first_start: &control_plane::FirstStart| welcome(address, &settings, first_start.random_password());
    node.run(&settings, listener, shutdown, welcome).await
}

/// How deliveries to webhooks are made.
fn deliveries(settings: &Serve) -> DeliveryConfig {
    DeliveryConfig { allow_private: settings.webhooks_allow_private, ..DeliveryConfig::default() }
}

/// A log without a server, and what keeps others from it meanwhile.
pub(crate) struct OpenedLog {
    pub(crate) log: Arc<dyn Log>,
    _directory: Option<File>,
}

/// Opens the log: Kafka where brokers are given, else that of the data directory.
pub(crate) async fn open_log(settings: &Serve) -> anyhow::Result<OpenedLog> {
    if settings.cluster.kafka_brokers.is_empty() {
        let (log, directory) = embedded::log(settings).await?;
        return Ok(OpenedLog { log, _directory: Some(directory) });
    }
    Ok(OpenedLog { log: cluster::log(settings, LogMetrics::default()).await?, _directory: None })
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
