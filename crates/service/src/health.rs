//! Whether this process lives, is ready for requests, and which build it is.
//!
//! `/livez` says that the process runs; `/readyz` that it takes requests: not before everything is open, and no longer
//! once it is told to stop. `/health` answers in the shape of Mainflux.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::header;
use serde_json::json;

use crate::ApiError;

/// Whether the process takes requests. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on `/readyz` answers 200, or 503.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.0.load(Ordering::Acquire) { Ok(()) } else { Err(ApiError::unavailable("not ready")) }
    }
}

/// The routes.
pub fn router(readiness: Readiness) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async |State(readiness): State<Readiness>| readiness.check().map(|()| "ok\n")))
        .route(
            "/version",
            get(async || Json(json!({"name": "thalweg", "version": env!("CARGO_PKG_VERSION")}))),
        )
        .with_state(readiness)
}

async fn health(State(readiness): State<Readiness>) -> Result<impl IntoResponse, ApiError> {
    readiness.check()?;
    let body = json!({
        "status": "pass",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "thalweg",
    });
    Ok(([(header::CONTENT_TYPE, "application/health+json")], body.to_string()))
}
