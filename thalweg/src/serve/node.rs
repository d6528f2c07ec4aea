//! What one process has of the pipeline, and how it runs and ends it.
//!
//! Knows the services and no implementation of what they work with: those are opened by its siblings.

use std::fs::File;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use control_plane::delivery::Courier;
use control_plane::{ControlPlane, FirstStart};
use domain::senml::PackLimits;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use log::Log;
use service::health;
use service::rate::Rates;
use service::requests;
use service::server::{self, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::cli::Serve;
use crate::described;
use crate::operation::Operation;

/// Work that goes on until it is told to stop.
pub(super) type Upkeep = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>;

/// The parts of the roles of this process, opened, and nothing else.
pub(super) struct Node {
    pub(super) operation: Operation,
    pub(super) ingest: Option<ingest::Parts>,
    pub(super) reader: Option<reader::Parts>,
    pub(super) writer: Option<writer::Parts>,
    /// Delivers what is on the log.
    pub(super) courier: Option<Courier>,
    pub(super) control_plane: Option<ControlPlane>,
    pub(super) internal: Option<Internal>,
    /// Closed last, when nothing appends any more.
    pub(super) log: Option<Arc<dyn Log>>,
    pub(super) upkeep: Vec<Upkeep>,
    pub(super) first_start: FirstStart,
    /// Held as long as any part is open: the directory that this process has to itself, if it has one.
    pub(super) directory: Option<File>,
}

/// Where other roles ask, and what they are answered.
pub(super) struct Internal {
    pub(super) listener: TcpListener,
    pub(super) router: Router,
}

impl Node {
    /// Runs it until `shutdown`; then takes no more requests, finishes those in flight, stores what is at hand, and closes.
    /// `welcome` is told once requests are taken.
    pub(super) async fn run(
        mut self,
        settings: &Serve,
        listener: TcpListener,
        shutdown: CancellationToken,
        welcome: impl FnOnce(&FirstStart) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let rates = Rates::new(settings.rate_per_address, settings.rate_per_thing);
        let router = self.router(settings, &rates);
        // What goes on in the background outlives the listener: what the last requests appended is stored, too.
        let background = CancellationToken::new();
        let mut upkeep = JoinSet::new();
        for work in std::mem::take(&mut self.upkeep) {
            upkeep.spawn(work(background.clone()));
        }
        if let Some(control_plane) = self.control_plane.clone() {
            upkeep.spawn(control_plane.run(background.clone()));
        }
        upkeep.spawn(rates.run(background.clone()));
        upkeep.spawn(service::metrics::upkeep(self.operation.registry.clone(), background.clone()));
        let mut writer = Worker::of_writer(self.writer.take(), &background);
        let mut courier = Worker::of_courier(self.courier.clone(), self.log.clone(), &background);

        let config = server_config(settings, &self.operation);
        let refuse_connections = CancellationToken::new();
        let internal = self.internal.take().map(|Internal { listener, router }| {
            let config = ServerConfig { drain_max: settings.drain_timeout, ..ServerConfig::default() };
            tokio::spawn(server::serve(listener, router, config, refuse_connections.clone()))
        });
        let mut serving = std::pin::pin!(server::serve(listener, router, config, refuse_connections.clone()));
        let run = async {
            writer.began().await?;
            courier.began().await?;
            self.operation.readiness.set(true);
            welcome(&self.first_start)?;
            tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                ended = writer.ended() => ended,
                ended = courier.ended() => ended,
            }
        };
        let ended = tokio::select! {
            ended = run => ended,
            () = &mut serving => Ok(()),
        };
        // Whoever asks during the stop is told that this server is not ready before it is refused a connection.
        self.operation.readiness.set(false);
        refuse_connections.cancel();
        serving.await;
        if let Some(internal) = internal {
            internal.await.context("the internal listener failed")?;
        }
        background.cancel();
        let (written, delivered) = tokio::join!(writer.finish(), courier.finish());
        while let Some(ended) = upkeep.join_next().await {
            ended.context("work in the background failed")?;
        }
        if let Some(log) = self.log {
            log.close().await;
        }
        match (self.control_plane, self.courier) {
            (Some(control_plane), _) => control_plane.close().await,
            (None, Some(courier)) => courier.close().await,
            (None, None) => {}
        }
        drop(self.directory);
        ended.and(written).and(delivered)?;
        tracing::info!("stopped");
        Ok(())
    }

    fn router(&self, settings: &Serve, rates: &Rates) -> Router {
        let mut api = Router::new();
        if let Some(parts) = &self.ingest {
            let config = ingest::Config {
                body_bytes_max: settings.body_bytes_max,
                pack: PackLimits { records_max: settings.records_per_pack_max, ..PackLimits::default() },
                in_flight_bytes_max: settings.in_flight_bytes_max,
            };
            api = api.merge(ingest::router(config, parts.clone()));
        }
        if let Some(parts) = &self.reader {
            api = api.merge(reader::router(parts.clone()));
        }
        if let Some(control_plane) = &self.control_plane {
            api = api.merge(control_plane.router());
        }
        // Whoever watches over the server is not counted against a rate.
        let watching = health::router(self.operation.health())
            .merge(service::metrics::router(self.operation.registry.clone()))
            .merge(described::router());
        let routes = server::complete(watching.merge(rates.limit(api)));
        requests::observed(routes, self.operation.http())
    }
}

fn server_config(settings: &Serve, operation: &Operation) -> ServerConfig {
    ServerConfig {
        header_timeout: settings.header_timeout,
        body_timeout: settings.body_timeout,
        write_timeout: settings.write_timeout,
        connections_max: settings.connections_max,
        connections_per_address_max: settings.connections_per_address_max,
        trusted_proxies: settings.trusted_proxies.iter().copied().collect(),
        drain_max: settings.drain_timeout,
        metrics: operation.connections.clone(),
    }
}

/// What works on the log until it is told to stop: a task, where this process has it.
struct Worker {
    task: Option<JoinHandle<anyhow::Result<()>>>,
    began: BoxFuture<'static, ()>,
}

impl Worker {
    fn of_writer(parts: Option<writer::Parts>, stop: &CancellationToken) -> Self {
        let status = parts.as_ref().map(|parts| parts.status.clone()).unwrap_or_default();
        let work = parts.map(|parts| writer::run(writer::Config::default(), parts, stop.clone()));
        let work = work.map(|work| async { work.await.context("the writer can't run") }.boxed());
        Self { task: work.map(tokio::spawn), began: async move { status.running().await }.boxed() }
    }

    fn of_courier(courier: Option<Courier>, log: Option<Arc<dyn Log>>, stop: &CancellationToken) -> Self {
        let status = courier.as_ref().map(Courier::status).unwrap_or_default();
        let work = courier.zip(log).map(|(courier, log)| courier.run(log, stop.clone()));
        let work = work.map(|work| async { work.await.context("webhooks can't be delivered to") }.boxed());
        Self { task: work.map(tokio::spawn), began: async move { status.running().await }.boxed() }
    }

    /// Waits until it takes what comes.
    async fn began(&mut self) -> anyhow::Result<()> {
        let Self { task: Some(task), began } = self else { return Ok(()) };
        let ended = tokio::select! {
            ended = task => ended,
            () = began => return Ok(()),
        };
        self.task = None;
        ended.context("what works on the log failed")?
    }

    /// Waits until it ends, which it does by itself only if it can't begin. Where there is none: for ever.
    async fn ended(&mut self) -> anyhow::Result<()> {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        let ended = task.await;
        self.task = None;
        ended.context("what works on the log failed")?
    }

    /// Waits until it is done with what is at hand.
    async fn finish(&mut self) -> anyhow::Result<()> {
        if self.task.is_some() { self.ended().await } else { Ok(()) }
    }
}
