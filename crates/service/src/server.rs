//! The HTTP listener: connections, their limits, and their end.
//!
//! Knows no route. A slow, silent or surplus client costs a bounded amount, and a stop finishes what is in flight.
//!
//! What a client can hold on to, and for how long:
//!
//! | it | ends after |
//! | --- | --- |
//! | says nothing, or half a head, however slowly | [`ServerConfig::header_timeout`], from the end of the answer before |
//! | sends a body, however slowly | [`ServerConfig::body_timeout`], with 408 |
//! | does not take its answer, or takes it by the byte | [`ServerConfig::write_timeout`] |
//! | asks for large pages and does not take them | the same; meanwhile others are answered 503 when all together take too much memory |
//! | opens connections | [`ServerConfig::connections_per_address_max`]: one more is closed at once |
//!
//! When all of [`ServerConfig::connections_max`] are open, more wait in the system's backlog; each of the above frees a place in
//! bounded time. Closing the newest instead would refuse as many honest clients, and they would come back at once.
//!
//! What is no HTTP (a broken request line, a head past its limits) hyper answers by itself, with 400, 414 or 431, an empty
//! body and a closed connection: there is no hook for another body.

mod admission;
mod answers;
mod budget;
mod deadline;
mod linger;
mod stream;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub use self::answers::{complete, method_not_allowed};
pub use self::deadline::BodyTimedOut;

use self::admission::{Admission, Place};
use self::stream::Impatient;
use crate::client_address::Proxies;
use crate::metrics::{ConnectionMetrics, Open};

/// How the listener treats its connections.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// How long a connection may take to send the head of a request, and how long it may be idle before one.
    pub header_timeout: Duration,
    /// How long a client may take to send the body of a request, all of it, from when it first keeps the server waiting.
    pub body_timeout: Duration,
    /// How long a client may take to take an answer, all of it, from when it first keeps the server waiting.
    pub write_timeout: Duration,
    /// Open connections; more wait in the system's backlog.
    pub connections_max: usize,
    /// Open connections of one address, an IPv6 network of 64 bits counting as one. Those of trusted proxies are not counted.
    pub connections_per_address_max: Option<usize>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Proxies,
    /// How long a stop waits for requests in flight.
    pub drain_max: Duration,
    /// What counts its connections.
    pub metrics: ConnectionMetrics,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            connections_max: 16_000,
            connections_per_address_max: None,
            trusted_proxies: Proxies::default(),
            drain_max: Duration::from_secs(20),
            metrics: ConnectionMetrics::default(),
        }
    }
}

/// Pause after an accept that failed for want of file descriptors or memory: they come back when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request's head, and of what a connection keeps to read into. Four times the longest query that has a use; with
/// hyper's own bound, half a head could hold 400 KiB on each connection.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Bytes of an answer that the system keeps for a connection whose client does not take it; it counts as much again for itself. Left
/// alone, it keeps up to 4 MiB of each.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// Connections that are still taken from the backlog when the server stops: what the system lets wait there by default.
const BACKLOG_MAX: usize = 4_096;
/// How long open connections go on to be served when the server stops, so that their clients learn of it by the `Connection: close`
/// of an answer. A connection that is closed while a request is on its way breaks that request.
const NOTICE: Duration = Duration::from_secs(1);

/// Serves the router on the listener until `shutdown`, then takes no more connections, and finishes the requests in flight.
/// When it returns, no request is under way any more.
pub async fn serve(listener: TcpListener, router: Router, config: ServerConfig, shutdown: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let abandon = CancellationToken::new();
    let (drain_max, metrics) = (config.drain_max, config.metrics.clone());
    let admission = Admission::new(config.connections_max, config.connections_per_address_max);
    let server = Arc::new(Server { router, config, stopping: shutdown.clone(), abandon: abandon.clone() });
    while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener, &admission)).await {
        match accepted {
            Ok(accepted) => server.take(accepted, &graceful),
            Err(error) => {
                metrics.accept_errors_total.increment(1);
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    match listener.into_std() {
        Ok(listener) => server.take_backlog(&listener, &admission, &graceful),
        Err(error) => tracing::warn!(%error, "who waits to be accepted is not served"),
    }
    let everyone_gone = admission.all_free();
    if tokio::time::timeout(NOTICE.min(drain_max), everyone_gone).await.is_ok() {
        return;
    }
    if tokio::time::timeout(drain_max.saturating_sub(NOTICE), graceful.shutdown()).await.is_err() {
        tracing::warn!(waited = ?drain_max, "some requests did not finish in time");
        abandon.cancel();
        admission.all_free().await;
    }
}

type Accepted = (TcpStream, SocketAddr, Place);

async fn accept(listener: &TcpListener, admission: &Admission) -> io::Result<Accepted> {
    let place = admission.place().await;
    let (stream, peer) = listener.accept().await?;
    set_up(&stream)?;
    Ok((stream, peer, place))
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    Ok(set_socket_send_buffer_size(stream, SEND_BUFFER_BYTES)?)
}

/// What all connections share.
struct Server {
    router: Router,
    config: ServerConfig,
    stopping: CancellationToken,
    abandon: CancellationToken,
}

impl Server {
    /// Serves a connection, unless its address has too many.
    fn take(self: &Arc<Self>, (stream, peer, place): Accepted, graceful: &GracefulShutdown) {
        if let Some(place) = place.for_peer(peer.ip(), &self.config.trusted_proxies) {
            let place = (place, self.config.metrics.opened());
            tokio::spawn(Arc::clone(self).connection(stream, peer, place, graceful.watcher()));
        }
    }

    /// Serves who is connected and was not accepted yet, and may have sent a request. The system itself is asked: the runtime
    /// knows only of those whom it has heard of, and has a task pause after so many.
    fn take_backlog(
        self: &Arc<Self>,
        listener: &std::net::TcpListener,
        admission: &Admission,
        graceful: &GracefulShutdown,
    ) {
        for place in iter::from_fn(|| admission.free_place()).take(BACKLOG_MAX) {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => continue,
            };
            let taken = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = taken.and_then(|stream| set_up(&stream).map(|()| stream)) {
                self.take((stream, peer, place), graceful);
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        place: (Place, Open),
        watcher: Watcher,
    ) {
        let server = Arc::clone(&self);
        // Boxed, because hyper sets room for this future aside on each connection, also on those that ask nothing.
        let answer = service_fn(move |request| -> Pin<Box<dyn Future<Output = _> + Send>> {
            Box::pin(Arc::clone(&server).answer(peer, request))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.header_timeout)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Impatient::new(stream, self.config.write_timeout)), answer);
        tokio::select! {
            ended = watcher.watch(connection) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                }
            }
            () = self.abandon.cancelled() => {}
        }
        drop(place);
    }

    async fn answer(
        self: Arc<Self>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let client = self.config.trusted_proxies.client(peer.ip(), request.headers());
        let keeps_alive = request.version() != Version::HTTP_10;
        let (request, rest) = linger::split(request);
        let mut request = request.map(|body| Body::new(deadline::Timed::new(body, self.config.body_timeout)));
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, peer.port())));
        let mut response = self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        rest.discard().await;
        if keeps_alive && self.stopping.is_cancelled() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// More than the runtime lets a task accept without a pause, and none that it has heard of.
    #[tokio::test]
    async fn whoever_waits_in_the_backlog_when_it_stops_is_served() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = |_| {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            client
        };
        let clients: Vec<_> = (0..100).map(connect).collect();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let router = Router::new().route("/", axum::routing::get(async || "served"));
        let answers = tokio::task::spawn_blocking(|| {
            let answer = |mut client: std::net::TcpStream| {
                let mut answer = String::new();
                client.read_to_string(&mut answer).map(|_| answer)
            };
            clients.into_iter().map(answer).collect::<Vec<_>>()
        });
        serve(listener, router, ServerConfig::default(), shutdown).await;
        for answer in answers.await.unwrap() {
            let answer = answer.unwrap();
            assert!(answer.contains("connection: close") && answer.ends_with("served"), "{answer:?}");
        }
    }
}
