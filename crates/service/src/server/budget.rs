//! Memory that large answers take, until their clients have taken them.
//!
//! Pages are made at once and taken slowly: without a bound, a thousand clients that ask for the largest page and do not read it
//! would hold a gigabyte.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ApiError;

/// Bytes of large answers at once: two hundred of the largest pages.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// An answer up to this long is not counted: a connection takes as much anyway.
const SMALL_BYTES: u64 = 16 << 10;

/// What is left for large answers. All clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ANSWER_BYTES_MAX)))
    }
}

/// Counts a large answer as long as any of it is in memory; 503 in its place, if there is no room.
pub(super) async fn hold(State(Budget(budget)): State<Budget>, answer: Response) -> Response {
    let Some(bytes) = answer.body().size_hint().exact().filter(|bytes| *bytes > SMALL_BYTES) else {
        return answer;
    };
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    match budget.try_acquire_many_owned(bytes) {
        Ok(permit) => answer.map(|body| Body::new(Counted { body, permit: Arc::new(permit) })),
        Err(_) => {
            ApiError::unavailable("too many large answers are waiting to be taken; ask again").into_response()
        }
    }
}

struct Counted {
    body: Body,
    permit: Arc<OwnedSemaphorePermit>,
}

/// A piece of an answer. It outlives the body that it came from: the connection writes it out later.
struct Piece {
    bytes: Bytes,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let counted = |bytes| Bytes::from_owner(Piece { bytes, _permit: Arc::clone(&self.permit) });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(counted))))
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
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_counted_until_the_last_of_its_bytes_is_gone() {
        let budget = Budget(Arc::new(Semaphore::new(100_000)));
        let ask = async |bytes: usize| hold(State(budget.clone()), vec![b'x'; bytes].into_response()).await;
        let first = ask(60_000).await;
        assert_eq!(first.body().size_hint().exact(), Some(60_000));
        assert_eq!(ask(60_000).await.status(), 503);
        assert_eq!(ask(1_000).await.status(), 200, "small ones pass");
        let bytes = first.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(bytes.len(), 60_000);
        assert_eq!(ask(60_000).await.status(), 503, "the body is gone, its bytes are not");
        drop(bytes);
        assert_eq!(ask(60_000).await.status(), 200);
    }
}
