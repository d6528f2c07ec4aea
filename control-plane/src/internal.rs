//! The internal listener's routes: what ingest and reader nodes ask, many questions in one request.
//!
//! Nobody without an internal secret learns more than that there is something. None of the public routes is here, and none
//! of these is there. What is taken on at a time is bounded; who comes beyond that is told to come again.

use std::sync::Arc;

use axum::extract::{FromRequest as _, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use domain::{ChannelId, KeyDigest};
use http::StatusCode;
use serde::de::DeserializeOwned;
use service::ApiError;
use service::authority::{Authority as _, AuthorityError, ReadDenied};
use service::extract::{ApiJson, body_limit};
use service::internal::wire::{
    BODY_BYTES_MAX, BUSY, GRANTS, Granted, GrantsAnswer, GrantsRequest, QUESTIONS_MAX, USER_READ,
    UserReadAnswer, UserReadRequest,
};
use service::internal::{Gate, InternalSecrets};
use service::server::method_not_allowed;
use service::telemetry::{Chain, Quiet};

use crate::ControlPlane;

/// Batches of questions that are answered at a time: as many as there are connections that read.
const BATCHES_AT_ONCE: usize = 4;
/// Batches that wait for it, each with the bytes of its body. At tens of milliseconds each, the last one waits less than its
/// asker does.
const BATCHES_WAITING_MAX: usize = 64;
/// Questions about users that are answered at a time.
const READS_AT_ONCE: usize = 16;
/// Questions about users that wait for it.
const READS_WAITING_MAX: usize = 1_024;

/// What the routes share.
#[derive(Debug)]
struct Desk {
    app: ControlPlane,
    batches: Gate,
    reads: Gate,
    /// While the registry is away, each question fails.
    failures: Quiet,
}

impl ControlPlane {
    /// The routes of the internal listener, for who has one of these secrets. They are complete as they are: no page of a
    /// browser has any business here.
    pub fn internal_router(&self, secrets: InternalSecrets) -> Router {
        let desk = Desk {
            app: self.clone(),
            batches: Gate::new(BATCHES_AT_ONCE, BATCHES_WAITING_MAX),
            reads: Gate::new(READS_AT_ONCE, READS_WAITING_MAX),
            failures: Quiet::default(),
        };
        Router::new()
            .route(GRANTS, post(grants))
            .route(USER_READ, post(user_read))
            .fallback(async || ApiError::not_found("no such resource"))
            .method_not_allowed_fallback(method_not_allowed)
            .layer(body_limit(BODY_BYTES_MAX))
            .layer(from_fn_with_state(secrets, admit))
            .with_state(Arc::new(desk))
    }
}

impl Desk {
    fn unavailable(&self, error: AuthorityError) -> ApiError {
        if let Some(unlogged) = self.failures.speak() {
            tracing::warn!(error = %Chain(&error), unlogged, "the registry did not answer");
        }
        ApiError::unavailable("the registry can't be asked now")
    }
}

/// Before anything else is looked at.
async fn admit(State(secrets): State<InternalSecrets>, request: Request, next: Next) -> Response {
    if secrets.admit(request.headers()) {
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

/// `POST /grants`: what things may do, in the order of the questions.
async fn grants(State(desk): State<Arc<Desk>>, request: Request) -> Result<Json<GrantsAnswer>, ApiError> {
    let place = desk.batches.enter().ok_or_else(busy)?;
    let GrantsRequest { questions } = body(request).await?;
    if questions.len() > QUESTIONS_MAX {
        let error =
            format!("{} questions are more than {QUESTIONS_MAX}: send several requests", questions.len());
        return Err(ApiError::malformed(error).code("too_many"));
    }
    let questions: Vec<(KeyDigest, ChannelId)> =
        questions.iter().map(|question| (question.key, question.channel)).collect();
    let _turn = place.turn().await;
    let grants = desk.app.grants(&questions).await.map_err(|error| desk.unavailable(error))?;
    Ok(Json(GrantsAnswer { grants: grants.into_iter().map(|grant| grant.map(Granted::from)).collect() }))
}

/// `POST /user-read`: whether a user may read a channel.
async fn user_read(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Json<UserReadAnswer>, ApiError> {
    let place = desk.reads.enter().ok_or_else(busy)?;
    let UserReadRequest { token, channel } = body(request).await?;
    let _turn = place.turn().await;
    Ok(Json(match desk.app.user_read(&token, channel).await {
        Ok(profile) => UserReadAnswer::Profile(profile.into()),
        Err(ReadDenied::InvalidToken) => UserReadAnswer::InvalidToken,
        Err(ReadDenied::UnknownChannel) => UserReadAnswer::UnknownChannel,
        Err(ReadDenied::Unavailable(error)) => return Err(desk.unavailable(error)),
    }))
}

/// Read only once there is a place for it.
async fn body<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    ApiJson::from_request(request, &()).await.map(|ApiJson(body)| body)
}

fn busy() -> ApiError {
    ApiError::unavailable("too many questions wait for an answer; ask again").code(BUSY)
}
