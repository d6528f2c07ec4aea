//! What is seen of every request: its id, its count and time in the metrics, and a line in the log.
//!
//! Sees routes, never paths: a path holds ids, and a query string may hold anything.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::MatchedPath;
use axum::response::Response;
use http::{HeaderValue, Request, StatusCode};
use instruments::{Counter, Histogram, Instrument as _, Label as _, Registry, label};
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tower::{Layer, Service, ServiceBuilder};
use tower_http::request_id::{PropagateRequestIdLayer, RequestId, SetRequestIdLayer};

use crate::request_id::{self, MakeId};
use crate::telemetry::Quiet;

label! {
    /// Who answers a route.
    pub enum Answerer: "service" {
        /// Publishing.
        Ingest = "ingest",
        /// Reading.
        Reader = "reader",
        /// Users, things, channels and their connections.
        ControlPlane = "control_plane",
        /// Health and metrics.
        Operation = "operation",
        /// Nobody: there is no such route.
        Nobody = "none",
    }
}

label! {
    enum Method: "method" {
        Get = "GET",
        Post = "POST",
        Put = "PUT",
        Patch = "PATCH",
        Delete = "DELETE",
        Head = "HEAD",
        Options = "OPTIONS",
        Other = "other",
    }
}

label! {
    enum StatusClass: "status" {
        Informational = "1xx",
        Success = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
    }
}

const METHODS: usize = Method::ALL.len();
const STATUS_CLASSES: usize = StatusClass::ALL.len();

/// The route of a request that matched none.
const NO_ROUTE: &str = "none";

/// Metrics of requests, and whose routes are whose.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    registry: Registry,
    routes: Vec<(Answerer, &'static [&'static str])>,
    rest: Answerer,
}

impl HttpMetrics {
    /// Counts on this registry; routes that are nobody else's are this service's.
    pub fn new(registry: &Registry, rest: Answerer) -> Self {
        Self { registry: registry.clone(), routes: Vec::new(), rest }
    }

    /// These routes are this service's.
    #[must_use]
    pub fn with(mut self, answerer: Answerer, routes: &'static [&'static str]) -> Self {
        self.routes.push((answerer, routes));
        self
    }

    fn answerer(&self, route: &str) -> Answerer {
        let known = self.routes.iter().find(|(_, routes)| routes.contains(&route));
        match known {
            _ if route == NO_ROUTE => Answerer::Nobody,
            Some((answerer, _)) => *answerer,
            None => self.rest,
        }
    }
}

/// Gives every request of a complete router its id, counts it, and logs it.
pub fn observed(router: Router, metrics: HttpMetrics) -> Router {
    let layers = ServiceBuilder::new()
        .map_request(request_id::drop_unusable::<Body>)
        .layer(SetRequestIdLayer::new(request_id::HEADER, MakeId::new()))
        .layer(PropagateRequestIdLayer::new(request_id::HEADER))
        .layer(ObserveLayer(Arc::new(metrics)));
    // With its state a router builds each endpoint once, and the endpoint keeps its handles.
    router.with_state::<()>(()).layer(layers)
}

#[derive(Debug, Clone)]
struct ObserveLayer(Arc<HttpMetrics>);

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        let endpoint = Endpoint {
            metrics: Arc::clone(&self.0),
            route: OnceLock::new(),
            requests: Default::default(),
            seconds: Default::default(),
            unavailable: Quiet::default(),
        };
        Observe { inner, endpoint: Arc::new(endpoint) }
    }
}

/// One endpoint of the router, observed.
#[derive(Debug, Clone)]
struct Observe<S> {
    inner: S,
    endpoint: Arc<Endpoint>,
}

/// The handles of one endpoint: each is looked up once, then used without a lock.
#[derive(Debug)]
struct Endpoint {
    metrics: Arc<HttpMetrics>,
    route: OnceLock<Option<MatchedPath>>,
    requests: [[OnceLock<Counter>; STATUS_CLASSES]; METHODS],
    seconds: [OnceLock<Histogram>; METHODS],
    unavailable: Quiet,
}

impl<S> Service<Request<Body>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = TaskLocalFuture<HeaderValue, Observed<S::Future>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let id = request.extensions().get::<RequestId>().map(|id| id.header_value().clone());
        let id = id.unwrap_or_else(|| HeaderValue::from_static("none"));
        self.endpoint.route.get_or_init(|| request.extensions().get::<MatchedPath>().cloned());
        let observed = Observed {
            method: method(request.method()),
            request_bytes: request.body().size_hint().exact(),
            endpoint: Arc::clone(&self.endpoint),
            began: Instant::now(),
            inner: self.inner.call(request),
        };
        request_id::scope(id, observed)
    }
}

pin_project! {
    /// A request under way.
    struct Observed<F> {
        endpoint: Arc<Endpoint>,
        method: Method,
        request_bytes: Option<u64>,
        began: Instant,
        #[pin]
        inner: F,
    }
}

impl<F, E> Future for Observed<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(context));
        if let Ok(answer) = &answer {
            this.endpoint.answered(*this.method, answer, *this.request_bytes, this.began.elapsed());
        }
        Poll::Ready(answer)
    }
}

impl Endpoint {
    fn answered(&self, method: Method, answer: &Response, request_bytes: Option<u64>, took: Duration) {
        let status = answer.status();
        self.requests(method, class(status)).increment(1);
        self.seconds(method).record(took);
        let (method, route, status) = (method.as_str(), self.route(), status.as_u16());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            if let Some(unlogged) = self.unavailable.speak() {
                tracing::warn!(method, route, status, ?took, unlogged, "not available now");
            }
        } else if status >= 500 {
            tracing::error!(method, route, status, ?took, "a request failed");
        }
        let answer_bytes = answer.body().size_hint().exact();
        tracing::debug!(method, route, status, ?took, request_bytes, answer_bytes, "request answered");
    }

    fn route(&self) -> &str {
        self.route.get().and_then(Option::as_ref).map_or(NO_ROUTE, MatchedPath::as_str)
    }

    fn requests(&self, method: Method, class: StatusClass) -> &Counter {
        self.requests[method.index()][class.index()].get_or_init(|| {
            let mut labels = self.labels(method);
            labels.push((StatusClass::NAME, class.as_str().to_owned()));
            let help = "Requests answered.";
            Counter::register(&self.metrics.registry, "http_requests_total", help, labels)
        })
    }

    fn seconds(&self, method: Method) -> &Histogram {
        self.seconds[method.index()].get_or_init(|| {
            let help = "Time from a request's head to the head of its answer.";
            let name = "http_request_duration_seconds";
            Histogram::register(&self.metrics.registry, name, help, self.labels(method))
        })
    }

    fn labels(&self, method: Method) -> instruments::Labels {
        let route = self.route();
        vec![
            (Answerer::NAME, self.metrics.answerer(route).as_str().to_owned()),
            ("route", route.to_owned()),
            (Method::NAME, method.as_str().to_owned()),
        ]
    }
}

fn method(method: &http::Method) -> Method {
    let known = Method::ALL.iter().find(|known| known.as_str() == method.as_str());
    known.copied().unwrap_or(Method::Other)
}

fn class(status: StatusCode) -> StatusClass {
    match status.as_u16() {
        ..200 => StatusClass::Informational,
        200..300 => StatusClass::Success,
        300..400 => StatusClass::Redirection,
        400..500 => StatusClass::ClientError,
        500.. => StatusClass::ServerError,
    }
}

#[cfg(test)]
mod tests;
