//! Request ids: one name for a request in its answer, in the logs here, and in those of whoever sent it.
//!
//! A client's own `X-Request-Id` is taken if it is 1 to 128 visible ASCII characters, else one is made. Inside a request the
//! id is known to the log ([`crate::telemetry`]) without a span: a span costs each request more than it tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue, Request};
use tokio::task::futures::TaskLocalFuture;
use tower_http::request_id::{MakeRequestId, RequestId};
use uuid::Uuid;

/// The header, in requests and answers.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of an id that is taken from a client.
const ID_CHARS_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: HeaderValue;
}

/// Makes ids that no other request has: a random number of this process, and a count.
#[derive(Debug, Clone)]
pub(crate) struct MakeId {
    process: u64,
    requests: Arc<AtomicU64>,
}

impl MakeId {
    pub(crate) fn new() -> Self {
        Self { process: Uuid::new_v4().as_u64_pair().0, requests: Arc::default() }
    }
}

impl MakeRequestId for MakeId {
    fn make_request_id<B>(&mut self, _: &Request<B>) -> Option<RequestId> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{number:x}", self.process);
        Some(RequestId::new(HeaderValue::try_from(id).expect("hexadecimal digits and a dash make a header")))
    }
}

/// Takes away an id that we do not take over, so that one is made.
pub(crate) fn drop_unusable<B>(mut request: Request<B>) -> Request<B> {
    let mut ids = request.headers().get_all(&HEADER).iter();
    let usable = match (ids.next(), ids.next()) {
        (None, _) => return request,
        (Some(id), None) => is_usable(id),
        (Some(_), Some(_)) => false,
    };
    if !usable {
        request.headers_mut().remove(&HEADER);
    }
    request
}

fn is_usable(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    (1..=ID_CHARS_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// Runs a future as part of the request with this id.
pub(crate) fn scope<F: Future>(id: HeaderValue, future: F) -> TaskLocalFuture<HeaderValue, F> {
    CURRENT.scope(id, future)
}

/// Makes a future part of the current request: for work that goes on in a task of its own.
pub fn carry<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let id = CURRENT.try_with(HeaderValue::clone).ok();
    async {
        match id {
            Some(id) => scope(id, future).await,
            None => future.await,
        }
    }
}

/// The id of the current request, if there is one.
pub fn current() -> Option<String> {
    with_current(|id| id.map(str::to_owned))
}

/// Calls with the id of the current request, if there is one.
pub(crate) fn with_current<T>(call: impl FnOnce(Option<&str>) -> T) -> T {
    let mut call = Some(call);
    let inside = CURRENT.try_with(|id| call.take().map(|call| call(id.to_str().ok())));
    match (inside, call) {
        (Ok(Some(value)), _) => value,
        (_, Some(call)) => call(None),
        _ => unreachable!("either the closure was called, or it is still there"),
    }
}
