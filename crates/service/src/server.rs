//! The HTTP listener: connections, their limits, and their end.
//!
//! Knows no route. A slow, silent or surplus client costs a bounded amount, and a stop finishes what is in flight.

mod linger;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::{IntoResponse as _, Response};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;

use crate::ApiError;

/// How the listener treats its connections.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// How long a connection may take to send the head of a request, and how long it may be idle before one.
    pub header_timeout: Duration,
    /// Open connections; more wait in the system's backlog.
    pub connections_max: usize,
    /// How long a stop waits for requests in flight.
    pub drain_max: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            connections_max: 20_000,
            drain_max: Duration::from_secs(20),
        }
    }
}

/// Pause after an accept that failed for want of file descriptors or memory: they come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Completes a router for [`serve`]: what matches no route, no method, or panics, answers in our shape, too.
pub fn complete(router: Router) -> Router {
    router
        .fallback(async || ApiError::not_found("no such resource"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this resource does not take this method")
        })
        .layer(CatchPanicLayer::custom(|_| -> Response {
            tracing::error!("a request handler panicked");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
        }))
}

/// Serves the router on the listener until `shutdown`, then finishes the requests in flight.
pub async fn serve(listener: TcpListener, router: Router, config: ServerConfig, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(config.connections_max));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                tokio::spawn(connection(
                    stream,
                    peer,
                    place,
                    router.clone(),
                    config.header_timeout,
                    graceful.watcher(),
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(config.drain_max, graceful.shutdown()).await.is_err() {
        tracing::warn!(waited = ?config.drain_max, "some requests did not finish in time");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, place))
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    router: Router,
    header_timeout: Duration,
    watcher: Watcher,
) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let (mut request, rest) = linger::split(request);
        request.extensions_mut().insert(ConnectInfo(peer));
        let router = router.clone();
        async move {
            let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
            rest.discard().await;
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "connection ended early");
    }
    drop(place);
}
