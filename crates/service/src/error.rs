//! The one shape of every refusal: a status and `{"error":"…"}`, with `code`, `record` and `field` where they help.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

/// A refusal on its way to the client.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    body: Body,
    retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Serialize)]
struct Body {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

impl ApiError {
    /// A refusal with a text that says what was wrong and, where it is the client's, how to mend it.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            body: Body { error: error.into(), code: None, record: None, field: None },
            retry_after: None,
        }
    }

    /// 400: the request can't be understood as it is.
    pub fn malformed(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// 401: no credential, or none that is valid.
    pub fn unauthenticated(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error)
    }

    /// 403: known, but not allowed.
    pub fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, error)
    }

    /// 404: no such entity, or none that the caller may know of.
    pub fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// 409: taken.
    pub fn conflict(error: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error)
    }

    /// 413: larger than we take.
    pub fn too_large(error: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, error).code("too_large")
    }

    /// 415: a content type or encoding that we do not read.
    pub fn unsupported_media_type(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error).code("unsupported_media_type")
    }

    /// 429 with `Retry-After`: too many requests of this kind.
    pub fn too_many_requests(error: impl Into<String>, wait: Duration) -> Self {
        let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, error).code("too_many_requests");
        refusal.retry_after = Some(wait);
        refusal
    }

    /// 503 with `Retry-After`: nothing is wrong with the request, and it may be sent again.
    pub fn unavailable(error: impl Into<String>) -> Self {
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, error);
        refusal.retry_after = Some(domain::limits::RETRY_AFTER);
        refusal
    }

    /// Names the refusal for programs.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.body.code = Some(code);
        self
    }

    /// Names the record of the pack, or the entity of the bulk request, that was wrong: its index, from 0.
    #[must_use]
    pub fn record(mut self, index: usize) -> Self {
        self.body.record = Some(index);
        self
    }

    /// Names the field or query parameter that was wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.body.field = Some(field.into());
        self
    }

    /// Whether it is the refusal that programs know by this name.
    pub fn has_code(&self, code: &str) -> bool {
        self.body.code == Some(code)
    }

    /// The status it will answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self.body)).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let schemes = HeaderValue::from_static("Bearer, Thing, Basic realm=\"thalweg\"");
            headers.insert(HeaderName::from_static("www-authenticate"), schemes);
        }
        response
    }
}
