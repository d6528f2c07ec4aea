//! Serves a channel's records as time series: `GET /channels/{id}/messages`.
//!
//! Never writes, and never decides from a cache who may read: each request asks the authority.

mod access;
mod described;
mod metrics;
mod page;
mod query;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use domain::ReceivedAt;
use openapi::{Part, Routes};
use service::authority::Authority;
use service::telemetry::Chain;
use service::{ApiError, clock};
use store::planner::{self, CursorKey, ReadError};
use store::{Store, StoreError};

use crate::access::ChannelReader;
pub use crate::metrics::{Outcome, ReaderMetrics};

/// The routes of [`router`].
pub const ROUTES: &[&str] = &["/channels/{channel}/messages"];

/// What a reader works with.
#[derive(Clone)]
pub struct Parts {
    /// Where records are.
    pub store: Arc<dyn Store>,
    /// Who may read them.
    pub authority: Arc<dyn Authority>,
    /// What signs cursors. Readers that answer each other's cursors share it.
    pub cursor_key: CursorKey,
    /// What it measures.
    pub metrics: ReaderMetrics,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// The routes of a reader.
pub fn router(parts: Parts) -> Router {
    routes().router().with_state(Arc::new(parts))
}

/// What they are described as.
pub fn described() -> Part {
    routes().part()
}

fn routes() -> Routes<Arc<Parts>> {
    Routes::default().schemas(described::shapes()).get(ROUTES[0], read_messages, described::read_messages())
}

/// `GET /channels/{channel}/messages`: one page of a channel's records.
async fn read_messages(
    State(parts): State<Arc<Parts>>,
    reader: Result<ChannelReader, ApiError>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let answer = match reader {
        Ok(reader) => page(&parts, reader, query).await,
        Err(refusal) => Err(refusal),
    };
    let outcome = match &answer {
        Ok(_) => Outcome::Page,
        Err(refusal) if refusal.status().is_client_error() => Outcome::Refused,
        Err(_) => Outcome::Failed,
    };
    parts.metrics.reads_total.of(outcome).increment(1);
    answer
}

async fn page(parts: &Parts, reader: ChannelReader, query: Option<String>) -> Result<Response, ApiError> {
    let request = query::Request::parse(query.as_deref().unwrap_or(""))?;
    let limit = request.limit;
    let now = ReceivedAt::from_micros(clock::unix_micros());
    let query = request.into_query(reader.channel, reader.profile, now);
    let began = Instant::now();
    let page = planner::read(&*parts.store, &query, &parts.cursor_key).await.map_err(refusal)?;
    parts.metrics.page_seconds.record(began.elapsed());
    parts.metrics.records_total.increment(page.rows.len() as u64);
    Ok(page::render(reader.channel, limit, &page))
}

fn refusal(error: ReadError) -> ApiError {
    match error {
        ReadError::BadCursor => ApiError::malformed(
            "next is not a cursor that this query was given: repeat the query it came with",
        )
        .field("next"),
        ReadError::OffsetTooDeep { .. } => ApiError::malformed(error.to_string()).field("offset"),
        ReadError::Store(error) => {
            let damaged = matches!(error, StoreError::Damaged(_));
            tracing::error!(error = %Chain(&error), damaged, "records can't be read");
            ApiError::unavailable("records can't be read now")
        }
    }
}
