//! A body has to arrive within a time, on every route, however slowly it trickles.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Sleep;

/// A body was not sent within its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body was not sent within {} s", timeout.as_secs_f64())]
pub struct BodyTimedOut {
    timeout: Duration,
}

impl BodyTimedOut {
    /// Whether this is why a body could not be read.
    pub fn caused(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(|error| error.downcast_ref())
            .copied()
    }
}

/// A body that ends in [`BodyTimedOut`] when it takes too long in all.
pub(super) struct Timed {
    body: Body,
    timeout: Duration,
    /// Set when the client first keeps us waiting: a body that is there costs no timer.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    pub(super) fn new(body: Body, timeout: Duration) -> Self {
        Self { body, timeout, deadline: None }
    }
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let timed = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut timed.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let timeout = timed.timeout;
        let deadline = timed.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        deadline.as_mut().poll(context).map(|()| Some(Err(BodyTimedOut { timeout }.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_trickle_that_never_stands_still_ends_at_the_deadline() {
        let byte = async |_| {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Bytes::from_static(b" "))
        };
        let trickle = futures::stream::iter(0..).then(byte);
        let timeout = Duration::from_millis(50);
        let mut body = Body::new(Timed::new(Body::from_stream(trickle), timeout));
        let ended = loop {
            if let Err(error) = body.frame().await.expect("the body has no end") {
                break error;
            }
        };
        assert_eq!(BodyTimedOut::caused(&ended), Some(BodyTimedOut { timeout }));
    }
}
