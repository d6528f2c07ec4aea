//! Sends a request and says what came of it, within its time, whoever answers.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use crate::address::{Guard, NotPublic};
use crate::answer::Answer;
use crate::connect::{ConnectError, Connector, RootCertStore, Unreachable, system_roots};
use crate::resolve::{Resolve, SystemResolver};
use crate::slots::{REQUESTS_PER_HOST_MAX, Slots};
use crate::target::Target;

/// Who asks.
const AGENT: &str = concat!("Thalweg-Webhooks/", env!("CARGO_PKG_VERSION"));
/// How long a connection is kept for the next request: shorter than most servers do, and than a name keeps what was checked of it.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Lines of an answer's head.
const HEADERS_MAX: usize = 100;

/// Sends requests to where users want them. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    slots: Arc<Slots>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Nothing was sent: no address that the host has may be dialled. The text does not name one: who gave the URL need not learn
    /// what a name means inside this network.
    #[error("the host has no address that may be dialled: it is {kind}")]
    Refused {
        /// One of them, for those who run this.
        address: IpAddr,
        /// What it is.
        kind: NotPublic,
    },
    /// Nothing was sent: there was no connection.
    #[error("no connection")]
    Unreachable(#[source] Unreachable),
    /// The time was over. What was sent may have been taken.
    #[error("no answer in time")]
    TimedOut,
    /// What came back is not HTTP, or it ended too early. What was sent may have been taken.
    #[error("no answer that can be understood")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Client {
    /// A client that asks the system for the addresses of names, and trusts whom the system trusts.
    pub fn new(guard: Guard) -> Self {
        Self::with(guard, Arc::new(SystemResolver::default()), system_roots())
    }

    /// A client that asks `resolver` for the addresses of names, and trusts the authorities in `roots`.
    pub fn with(guard: Guard, resolver: Arc<dyn Resolve>, roots: RootCertStore) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(REQUESTS_PER_HOST_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http1_max_headers(HEADERS_MAX)
            .build(Connector::new(guard, resolver, roots));
        Self { http, slots: Arc::default() }
    }

    /// Sends `body` and waits for the answer. All of it, from the look-up of the name to the answer's end, takes `timeout` at most. It is sent
    /// once: again only if a kept connection turned out to be closed before anything was sent.
    ///
    /// # Errors
    /// There is no answer. An answer that says no is none of them: its status tells.
    pub async fn post(
        &self,
        target: &Target,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Answer, PostError> {
        let deadline = Instant::now() + timeout;
        // One timer for all of it: most tries have none of their own to wait for.
        let asked = async {
            let slot = self.slots.enter(target.origin()).await;
            (slot, self.http.request(request(target, headers, body)).await)
        };
        let (_slot, response) = timeout_at(deadline, asked).await.map_err(|_| PostError::TimedOut)?;
        let response: Response<Incoming> = response.map_err(failure)?;
        Ok(Answer::read(response, deadline).await)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("slots", &self.slots).finish_non_exhaustive()
    }
}

fn request(target: &Target, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.uri().clone();
    *request.headers_mut() = headers;
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
    request
}

fn failure(error: legacy::Error) -> PostError {
    let connecting =
        std::error::Error::source(&error).and_then(|source| source.downcast_ref::<ConnectError>());
    match connecting {
        Some(ConnectError::Refused { address, kind }) => {
            PostError::Refused { address: *address, kind: *kind }
        }
        Some(ConnectError::Unreachable(unreachable)) => PostError::Unreachable(unreachable.clone()),
        Some(ConnectError::Late) => PostError::TimedOut,
        None => PostError::Broken(Box::new(error)),
    }
}
