//! Extractors of the framework, with refusals in our shape: a JSON body, whatever was wrong.

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, RawPathParams, Request};
use axum::{Extension, Json};
use domain::ChannelId;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use crate::ApiError;
use crate::server::BodyTimedOut;

/// A JSON request body, up to the limit that the router has. Wants `Content-Type: application/json`, or of a type in JSON's
/// form (`application/senml+json`), with or without parameters.
#[derive(Debug)]
pub struct ApiJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::unsupported_media_type("send the body as Content-Type: application/json"));
        }
        let body = whole_body(request, state).await?;
        let Json(value) = Json::from_bytes(&body)
            .map_err(|rejection| ApiError::malformed(rejection.body_text()).code("malformed"))?;
        Ok(Self(value))
    }
}

/// Source: RFC 9110 section 5.6.6, which allows white space before a parameter, and RFC 6839 section 3.1.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(subtype) = essence.strip_prefix("application/") else { return false };
    subtype == "json" || subtype.strip_suffix("+json").is_some_and(|form| !form.is_empty())
}

/// Bytes that a body may have, for the error of a larger one.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(usize);

/// The layer of a router that limits its bodies.
pub fn body_limit(bytes_max: usize) -> (DefaultBodyLimit, Extension<BodyLimit>) {
    (DefaultBodyLimit::max(bytes_max), Extension(BodyLimit(bytes_max)))
}

/// A request's body, up to the limit that the router has, see [`body_limit`].
///
/// # Errors
/// 413 of a larger one, 408 of one that took too long.
pub async fn whole_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    let limit = request.extensions().get::<BodyLimit>().copied();
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return ApiError::too_large(match limit {
                Some(BodyLimit(bytes_max)) => format!("the body is larger than {bytes_max} bytes"),
                None => "the body is too large".to_owned(),
            });
        }
        late_body(&rejection).unwrap_or_else(|| ApiError::malformed(rejection.body_text()).code("malformed"))
    })
}

/// 408, if this is why a body could not be read.
pub fn late_body(error: &(dyn std::error::Error + 'static)) -> Option<ApiError> {
    BodyTimedOut::caused(error).map(|late| ApiError::new(StatusCode::REQUEST_TIMEOUT, late.to_string()))
}

/// The channel that a path of the data plane names.
///
/// A text that is no id is taken for the nil id, which is no channel's (ids are of version 4): it is answered as a channel
/// that nobody is connected to, so that a thing learns nothing about which channels there are.
pub fn channel_in_path(text: &str) -> ChannelId {
    text.parse().unwrap_or(ChannelId::from_bytes([0; 16]))
}

/// The parameters of a route's path, percent-decoded. One that is not UTF-8 then names nothing there is: 404.
#[derive(Debug)]
pub struct ApiPath(RawPathParams);

impl ApiPath {
    /// The parameter of this name; empty where the route has none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ApiPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        params.map(Self).map_err(|_| ApiError::not_found("no such resource"))
    }
}

/// Query parameters.
#[derive(Debug)]
pub struct ApiQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(bad_query(&rejection)),
        }
    }
}

/// Of a parameter that is there twice, the framework names it only in its text.
fn bad_query(rejection: &QueryRejection) -> ApiError {
    let text = rejection.body_text();
    let repeated = text.split_once("duplicate field `").and_then(|(_, rest)| rest.split_once('`'));
    match repeated {
        Some((name, _)) => ApiError::malformed(format!("{name} is there more than once")).field(name),
        None => ApiError::malformed(text),
    }
    .code("malformed")
}
