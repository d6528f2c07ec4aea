//! What every answer has in common, whoever gave it: the shape of refusals, and what browsers of other origins may see.

use std::time::Duration;

use axum::Router;
use axum::middleware::{map_response, map_response_with_state};
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};

use super::budget::{self, Budget};
use crate::ApiError;
use crate::rate;

/// Completes a router for [`serve`](super::serve): what matches no route, no method, or panics, answers in our shape, too; and
/// browsers may use every route from any origin. A credential is sent by the page's script only, never by the browser itself,
/// so another origin can do nothing in a user's name.
pub fn complete(router: Router) -> Router {
    router
        .fallback(async || ApiError::not_found("no such resource"))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(|_| -> Response {
            tracing::error!("a request handler panicked");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
        }))
        .layer(map_response_with_state(Budget::default(), budget::hold))
        .layer(map_response(exposed))
        .layer(cross_origin())
}

/// 405, for a path that is there. The framework adds `Allow`.
pub async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this resource does not take this method")
}

/// How long a browser may remember a preflight answer: it depends on nothing but the version of the server.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

fn cross_origin() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ])
        // The star does not cover Authorization (Fetch, section 4.8), and older browsers do not know it at all.
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            CONTENT_ENCODING,
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("*"),
        ])
        .max_age(PREFLIGHT_AGE)
        // An answer does not depend on who asks.
        .vary([])
}

/// Tells browsers which headers scripts may read. `Location` alone and first is what the reference prints.
async fn exposed(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Location"));
    if tells_to_wait(headers) {
        let waiting = HeaderValue::from_static(rate::EXPOSED_HEADERS);
        headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, waiting);
    }
    answer
}

fn tells_to_wait(headers: &HeaderMap) -> bool {
    headers.contains_key(RETRY_AFTER) || headers.contains_key(rate::LIMIT)
}
