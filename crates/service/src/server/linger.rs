//! Reads on, for a while, when a request is refused before its body was read.
//!
//! A connection that is closed while its client still sends is reset, and a reset can overtake the refusal: the client
//! would see a broken pipe in place of a 413 or a 503 with its reason.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

/// A body up to this long is read by the connection itself before it goes on.
const SHORT_BYTES: u64 = 16 << 10;
/// Bytes that are read on at most: many times the largest body that is accepted anywhere, because who sends that much has
/// most to learn from the refusal. They are forgotten as they come.
const LINGER_BYTES_MAX: usize = 32 << 20;
/// Time that is read on at most.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// The body of a request, which its handler and [`Rest`] share.
#[derive(Clone)]
struct Shared(Arc<Mutex<Incoming>>);

/// What a handler left of a body.
pub(super) struct Rest(Option<Shared>);

/// Makes a request ready for a router, and keeps hold of its body if it is a long one.
pub(super) fn split(request: Request<Incoming>) -> (Request<Body>, Rest) {
    let long = request.body().size_hint().upper().is_none_or(|bytes| bytes > SHORT_BYTES);
    // A client that waits for `100 Continue` has not begun to send.
    if !long || request.headers().contains_key(header::EXPECT) {
        return (request.map(Body::new), Rest(None));
    }
    let (head, body) = request.into_parts();
    let body = Shared(Arc::new(Mutex::new(body)));
    (Request::from_parts(head, Body::new(body.clone())), Rest(Some(body)))
}

impl Rest {
    /// Reads what is left of the body, within bounds, and forgets it.
    pub(super) async fn discard(self) {
        let Some(mut body) = self.0.filter(|body| !body.is_end_stream()) else { return };
        let reading = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > LINGER_BYTES_MAX {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER_TIME_MAX, reading).await;
    }
}

impl Shared {
    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl hyper::body::Body for Shared {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.incoming()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming().size_hint()
    }
}
