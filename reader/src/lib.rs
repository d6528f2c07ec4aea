//! Serves a channel's records as time series: `GET /channels/{id}/messages`.
//!
//! Never writes, and never decides from a cache who may read: each request asks the authority. Never holds more than a few
//! large pages at once.

mod access;
mod described;
mod metrics;
mod page;
mod query;

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use domain::ReceivedAt;
use domain::limits::PAGE_BYTES_MAX;
use openapi::{Part, Routes};
use service::authority::{Authority, AuthorityError};
use service::telemetry::{Chain, Quiet};
use service::{ApiError, clock};
use store::planner::{self, Bounds, CursorKey, ReadError};
use store::{Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// Bytes of a page that is printed where requests are answered. A larger one would keep those waiting that come behind it, and is
/// printed elsewhere.
const PRINTED_AT_ONCE_BYTES: usize = 64 << 10;
/// Bytes of a page that is made at once. One that is larger takes a place first: nobody knows how large a page is before it was
/// read, and nearly all are far smaller.
const SMALL_PAGE_BYTES: usize = 1 << 20;
/// Large pages that are made at once. Each holds its rows and their print: twice [`PAGE_BYTES_MAX`].
const LARGE_PAGES_MAX: usize = 2;
/// How long a read waits for a place. A large page takes a fraction of a second.
const LARGE_PAGE_WAIT_MAX: Duration = Duration::from_secs(5);

/// A reader at work.
#[derive(Debug)]
struct App {
    parts: Parts,
    /// Places for large pages.
    large_pages: Arc<Semaphore>,
    /// While the authority is away, or the store, each read fails.
    access_failures: Quiet,
    store_failures: Quiet,
}

/// The routes of a reader.
pub fn router(parts: Parts) -> Router {
    let app = App {
        parts,
        large_pages: Arc::new(Semaphore::new(LARGE_PAGES_MAX)),
        access_failures: Quiet::default(),
        store_failures: Quiet::default(),
    };
    routes().router().with_state(Arc::new(app))
}

/// What they are described as.
pub fn described() -> Part {
    routes().part()
}

fn routes() -> Routes<Arc<App>> {
    Routes::default().schemas(described::shapes()).get(ROUTES[0], read_messages, described::read_messages())
}

/// `GET /channels/{channel}/messages`: one page of a channel's records.
async fn read_messages(
    State(app): State<Arc<App>>,
    reader: Result<ChannelReader, ApiError>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let answer = match reader {
        Ok(reader) => page(&app, reader, query).await,
        Err(refusal) => Err(refusal),
    };
    let outcome = match &answer {
        Ok(_) => Outcome::Page,
        Err(refusal) if refusal.status().is_client_error() => Outcome::Refused,
        Err(_) => Outcome::Failed,
    };
    app.parts.metrics.reads_total.of(outcome).increment(1);
    answer
}

async fn page(app: &App, reader: ChannelReader, query: Option<String>) -> Result<Response, ApiError> {
    let parts = &app.parts;
    let request = query::Request::parse(query.as_deref().unwrap_or(""))?;
    let limit = request.limit;
    let now = ReceivedAt::from_micros(clock::unix_micros());
    let query = request.into_query(reader.channel, reader.profile, now);
    let began = Instant::now();
    let within = |bytes_max| {
        let bounds = Bounds { bytes_max, ..Bounds::default() };
        planner::read_within(&*parts.store, &query, &parts.cursor_key, bounds)
    };
    let mut place = None;
    let page = match within(SMALL_PAGE_BYTES).await {
        Err(ReadError::PageTooLarge { .. }) => {
            place = Some(app.place_for_large_page().await?);
            within(PAGE_BYTES_MAX).await
        }
        page => page,
    };
    let page = page.map_err(|error| app.refusal(error))?;
    parts.metrics.page_seconds.record(began.elapsed());
    parts.metrics.records_total.increment(page.rows.len() as u64);
    if page.bytes <= PRINTED_AT_ONCE_BYTES {
        return Ok(page::render(reader.channel, limit, &page));
    }
    // The rows go there, too: to let go of many takes time. The place stays taken until they are gone, waited for or not.
    let print = move || {
        let answer = page::render(reader.channel, limit, &page);
        drop((page, place));
        answer
    };
    Ok(tokio::task::spawn_blocking(print).await.unwrap_or_else(|ended| resume_unwind(ended.into_panic())))
}

impl App {
    async fn place_for_large_page(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.large_pages).acquire_owned();
        let place = tokio::time::timeout(LARGE_PAGE_WAIT_MAX, place).await;
        let busy = |_| ApiError::unavailable("too many large pages are being read; ask again");
        Ok(place.map_err(busy)?.expect("the semaphore is never closed"))
    }

    fn access_failed(&self, error: AuthorityError) -> ApiError {
        if let Some(unlogged) = self.access_failures.speak() {
            tracing::warn!(error = %Chain(&error), unlogged, "access could not be looked up");
        }
        ApiError::unavailable("access can't be checked now; send the same request again")
    }

    fn store_failed(&self, error: &StoreError) -> ApiError {
        if let Some(unlogged) = self.store_failures.speak() {
            let damaged = matches!(error, StoreError::Damaged(_));
            tracing::error!(error = %Chain(error), damaged, unlogged, "records can't be read");
        }
        ApiError::unavailable("records can't be read now")
    }

    fn refusal(&self, error: ReadError) -> ApiError {
        match error {
            ReadError::BadCursor => ApiError::malformed(
                "next is not a cursor that this query was given: repeat the query it came with",
            )
            .field("next"),
            ReadError::OffsetTooDeep { .. } => ApiError::malformed(error.to_string()).field("offset"),
            ReadError::PageTooLarge { fitting, .. } => ApiError::malformed(format!(
                "the records of this page take more than {PAGE_BYTES_MAX} bytes: ask for fewer with limit, {fitting} of them fit"
            ))
            .code("page_too_large")
            .field("limit"),
            ReadError::Store(error) => self.store_failed(&error),
        }
    }
}
