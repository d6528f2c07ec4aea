//! `POST /http/channels/{channel}/messages[/subtopic…]`: one SenML pack into the log.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use domain::senml::{self, ErrorCode, Format, PackLimits, Scratch, SenmlError};
use domain::{Entry, Protocol, ReceivedAt};
use http::{HeaderMap, StatusCode, header};
use log::AppendError;
use service::ApiError;
use service::telemetry::Chain;

use crate::app::App;
use crate::body::{self, Encoding};
use crate::metrics::Outcome;
use crate::publisher::Publisher;

/// Appends one pack: 202 once it is durable. Nothing is appended if any part of the request is refused.
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    publisher: Result<Publisher, ApiError>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let accepted = match publisher {
        Ok(publisher) => accept(&app, publisher, &headers, body).await,
        Err(refusal) => Err(refusal),
    };
    let outcome = accepted.as_ref().map_or_else(Outcome::of, |()| Outcome::Accepted);
    app.parts.metrics.packs_total.of(outcome).increment(1);
    accepted.map(|()| StatusCode::ACCEPTED)
}

async fn accept(app: &App, publisher: Publisher, headers: &HeaderMap, body: Body) -> Result<(), ApiError> {
    let began = Instant::now();
    let format = format_of(headers)?;
    let encoding = Encoding::from_headers(headers)?;
    let bytes = bytes_needed(headers, encoding, app.config.body_bytes_max);
    let _reserved = app.reserve(bytes).ok_or_else(|| {
        ApiError::unavailable("too many packs are being received at once; send the same pack again")
    })?;
    let body = body::read(body, app.config.body_bytes_max).await?;
    let payload = body::inflate(encoding, body, app.config.body_bytes_max)?;
    let received = app.parts.clock.stamp();
    let limits = PackLimits { oldest: publisher.profile.cut_off(received), ..app.config.pack };
    let records = check(format, &payload, received, &limits)?;
    let payload_bytes = payload.len();
    let entry = Entry {
        channel: publisher.channel,
        profile: publisher.profile,
        publisher: publisher.thing,
        subtopic: publisher.subtopic,
        protocol: Protocol::Http,
        format,
        received,
        payload,
    };
    app.parts.log.append(vec![entry]).await.map_err(append_refusal)?;
    let metrics = &app.parts.metrics;
    metrics.records_total.increment(records as u64);
    metrics.bytes_total.increment(payload_bytes as u64);
    metrics.publish_seconds.record(began.elapsed());
    Ok(())
}

fn format_of(headers: &HeaderMap) -> Result<Format, ApiError> {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(Format::from_media_type)
        .ok_or_else(|| {
            ApiError::unsupported_media_type(
                "Content-Type is not one of: application/senml+json, application/json",
            )
        })
}

/// What a publish takes besides its body.
const PUBLISH_OVERHEAD_BYTES: usize = 4 << 10;

/// Memory to set aside for a body before it is read: what it says, or the most it may be. One that is past the limit
/// is refused while it is read.
fn bytes_needed(headers: &HeaderMap, encoding: Encoding, bytes_max: usize) -> u32 {
    let stated =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let body = stated.map_or(bytes_max, |bytes| bytes.min(bytes_max));
    let inflated = if encoding == Encoding::Identity { 0 } else { bytes_max };
    u32::try_from(PUBLISH_OVERHEAD_BYTES + body + inflated).unwrap_or(u32::MAX)
}

thread_local! {
    /// Parsing buffers, one set a worker thread: they are used between two awaits only.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn check(
    format: Format,
    payload: &Bytes,
    received: ReceivedAt,
    limits: &PackLimits,
) -> Result<usize, ApiError> {
    SCRATCH
        .with_borrow_mut(|scratch| senml::check(format, payload, received, limits, scratch))
        .map(|pack| pack.records)
        .map_err(|error| pack_refusal(&error))
}

fn pack_refusal(error: &SenmlError) -> ApiError {
    let mut refusal = match error.code() {
        ErrorCode::TooLarge => ApiError::too_large(error.to_string()),
        code => ApiError::malformed(error.to_string()).code(code.as_str()),
    };
    if let Some(record) = error.record() {
        refusal = refusal.record(record);
    }
    if let Some(field) = error.field() {
        refusal = refusal.field(field);
    }
    refusal
}

fn append_refusal(error: AppendError) -> ApiError {
    match error {
        AppendError::Busy => {
            ApiError::unavailable("more packs arrive than can be kept; send the same pack again")
        }
        AppendError::Closed => {
            ApiError::unavailable("this node takes no packs now; send the same pack again")
        }
        AppendError::Unknown { .. } => {
            tracing::error!(error = %Chain(&error), "the log could not say whether a pack was kept");
            ApiError::unavailable("it is not known whether the pack was kept; send the same pack again")
        }
    }
}
