//! Whose key it is, and what it opens: asked by services that are not part of the pipeline, without a credential, as in
//! the reference. Who knows a key, or a thing's id and a channel's, learns nothing here that it could not try.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::access::{Denied, decide};
use domain::{Action, Grant, ThingId, ThingKey};
use http::StatusCode;
use serde_json::{Value, json};
use service::extract::{ApiJson, ApiPath, channel_in_path};
use service::{ApiError, clock};

use super::empty;
use crate::ControlPlane;
use crate::fields::Fields;

/// `POST /identify`: the thing that has this key.
pub(super) async fn identify(
    State(app): State<ControlPlane>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let key = key(body)?;
    let thing = app.registry().thing_of_key(&key.digest(), clock::unix_micros()).await?;
    let thing = thing.ok_or_else(unknown_key)?;
    Ok(Json(json!({ "id": thing })).into_response())
}

/// `POST /identify/channels/{channel}/access-by-key`: the thing that has this key, if it is connected to the channel.
pub(super) async fn access_by_key(
    State(app): State<ControlPlane>,
    path: ApiPath,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let channel = channel_in_path(path.get("channel"));
    let key = key(body)?;
    let grant = app.registry().grant(&key.digest(), channel, clock::unix_micros()).await?;
    let grant: Grant = grant.ok_or_else(unknown_key)?;
    let (thing, _) = decide(&grant, Action::Publish).map_err(denied)?;
    Ok(Json(json!({ "id": thing })).into_response())
}

/// `POST /identify/channels/{channel}/access-by-id`: whether the thing is connected to the channel.
pub(super) async fn access_by_id(
    State(app): State<ControlPlane>,
    path: ApiPath,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let channel = channel_in_path(path.get("channel"));
    let mut fields = Fields::one(body)?;
    let thing: ThingId =
        fields.required_text("thing_id")?.parse().map_err(|error| fields.wrong("thing_id", error))?;
    if !app.registry().is_connected(thing, channel).await? {
        return Err(denied(Denied::NotConnected));
    }
    Ok(empty(StatusCode::OK))
}

fn key(body: Value) -> Result<ThingKey, ApiError> {
    let token = Fields::one(body)?.required_text("token")?;
    ThingKey::from_presented(&token).map_err(|_| unknown_key())
}

fn unknown_key() -> ApiError {
    ApiError::unauthenticated("no thing has this key")
}

fn denied(denied: Denied) -> ApiError {
    ApiError::forbidden(denied.to_string())
}
