//! How often an address or a thing may ask: so many requests a second, with a burst. Off unless set.
//!
//! Says how much is left on every answer while a limit is on, with the header fields of
//! draft-ietf-httpapi-ratelimit-headers-06 (later drafts fold them into one structured field that few clients read). It never
//! looks at a body: a refused request is refused by its head.

mod limiter;
mod text;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use domain::ThingId;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;

use self::limiter::{Limiter, Refused, Standing};
pub use self::text::{Rate, RateError};
use crate::ApiError;
use crate::client_address::network;

/// Requests of the limit's whole burst.
pub(crate) const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What a script of another origin may read, besides what it always may.
pub(crate) const EXPOSED_HEADERS: &str =
    "Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy";

/// How often what is no longer counted is forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(10);

/// The limits of one server. Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    addresses: Option<Arc<Limiter<IpAddr>>>,
    things: Option<Arc<Limiter<ThingId>>>,
}

impl Rates {
    /// Limits of an address (an IPv6 network of 64 bits counts as one) and of a thing; none where there is no rate.
    pub fn new(per_address: Option<Rate>, per_thing: Option<Rate>) -> Self {
        Self {
            addresses: per_address.map(|rate| Arc::new(Limiter::new(rate))),
            things: per_thing.map(|rate| Arc::new(Limiter::new(rate))),
        }
    }

    /// Holds the routes to these limits. Without any it changes nothing.
    pub fn limit(&self, router: Router) -> Router {
        if self.addresses.is_none() && self.things.is_none() {
            return router;
        }
        router.layer(from_fn_with_state(self.clone(), limited))
    }

    /// Forgets, until `shutdown`, whoever has not asked for so long that it does not matter any more.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut every = tokio::time::interval(FORGET_INTERVAL);
        while shutdown.run_until_cancelled(every.tick()).await.is_some() {
            self.addresses.iter().for_each(|limiter| limiter.forget());
            self.things.iter().for_each(|limiter| limiter.forget());
        }
    }
}

/// Counts a request of a thing that has proven who it is; to be called before its body is read.
///
/// # Errors
/// 429 if it is one too many.
pub fn admit_thing(parts: &Parts, thing: ThingId) -> Result<(), ApiError> {
    let Some(ThingCount { limiter, seen }) = parts.extensions.get() else { return Ok(()) };
    let (standing, admitted) = match limiter.check(thing) {
        Ok(standing) => (standing, Ok(())),
        Err(refused) => (refused.standing, Err(refusal("this thing", &refused))),
    };
    // One thing per request, so it is not set yet.
    let _ = seen.set(standing);
    admitted
}

/// Lets an extractor count the thing, once it knows which one it is, and the answer tell what came of it.
#[derive(Debug, Clone)]
struct ThingCount {
    limiter: Arc<Limiter<ThingId>>,
    seen: Arc<OnceLock<Standing>>,
}

async fn limited(State(rates): State<Rates>, mut request: Request, next: Next) -> Response {
    let mut address = None;
    if let (Some(limiter), Some(client)) = (&rates.addresses, client(&request)) {
        match limiter.check(client) {
            Ok(standing) => address = Some(standing),
            Err(refused) => {
                let mut answer = refusal("this address", &refused).into_response();
                tell(answer.headers_mut(), refused.standing);
                return answer;
            }
        }
    }
    let seen = Arc::new(OnceLock::new());
    if let Some(limiter) = &rates.things {
        let count = ThingCount { limiter: Arc::clone(limiter), seen: Arc::clone(&seen) };
        request.extensions_mut().insert(count);
    }
    let mut answer = next.run(request).await;
    // Where both are counted the client is told of the one that it meets first.
    let tightest = seen.get().copied().into_iter().chain(address).min_by_key(|standing| standing.remaining);
    if let Some(standing) = tightest {
        tell(answer.headers_mut(), standing);
    }
    answer
}

fn client(request: &Request) -> Option<IpAddr> {
    let ConnectInfo(address) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(network(address.ip()))
}

fn refusal(whose: &str, refused: &Refused) -> ApiError {
    ApiError::too_many_requests(format!("too many requests of {whose}"), refused.wait)
}

/// Source: draft-ietf-httpapi-ratelimit-headers-06, section 5.
fn tell(headers: &mut HeaderMap, standing: Standing) {
    let Standing { burst, window_seconds, remaining, reset_seconds } = standing;
    headers.insert(LIMIT, HeaderValue::from(burst));
    headers.insert(REMAINING, HeaderValue::from(remaining));
    headers.insert(RESET, HeaderValue::from(reset_seconds));
    let policy = HeaderValue::try_from(format!("{burst};w={window_seconds}"));
    headers.insert(POLICY, policy.expect("digits are a header value"));
}
