//! Extractors of the framework, with refusals in our shape: a JSON body, whatever was wrong.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use domain::ChannelId;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::ApiError;
use crate::server::BodyTimedOut;

/// A JSON request body. Wants `Content-Type: application/json`, with or without parameters.
#[derive(Debug)]
pub struct ApiJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                Err(ApiError::unsupported_media_type("send the body as Content-Type: application/json"))
            }
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ApiError::too_large("the body is larger than this endpoint takes"))
            }
            Err(rejection) => Err(late_body(&rejection)
                .unwrap_or_else(|| ApiError::malformed(rejection.body_text()).code("malformed"))),
        }
    }
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
            Err(rejection) => Err(ApiError::malformed(rejection.body_text()).code("malformed")),
        }
    }
}
