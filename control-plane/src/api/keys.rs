//! API keys: tokens for programs, which their user can revoke.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::{ApiKeyId, UserId};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use service::extract::{ApiJson, ApiPath, ApiQuery};
use service::{ApiError, clock};
use uuid::Uuid;

use super::empty;
use super::page::ListParams;
use crate::ControlPlane;
use crate::access::Caller;
use crate::author::Author;
use crate::caller::LoggedIn;
use crate::entity::unknown;
use crate::fields::{Fields, whole};
use crate::moment::Moment;
use crate::registry::api_keys::{API_KEYS_MAX, ApiKey, NewApiKey};
use crate::tokens::{API_KEY, KeyToken};

/// The longest that a key lives, if it does not live for ever: 100 years, in seconds.
pub(super) const DURATION_SECONDS_MAX: i64 = 100 * 366 * 86_400;

#[derive(Debug, Serialize)]
struct IssuedView {
    id: ApiKeyId,
    value: String,
    issued_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Moment>,
}

#[derive(Debug, Serialize)]
struct KeyView {
    id: ApiKeyId,
    issuer_id: UserId,
    subject: String,
    r#type: u8,
    issued_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Moment>,
}

#[derive(Debug, Serialize)]
struct KeysPage {
    total: i64,
    offset: i64,
    limit: i64,
    keys: Vec<KeyView>,
}

/// `POST /keys`: issues a key, which is shown this once.
pub(super) async fn issue(
    State(app): State<ControlPlane>,
    LoggedIn(caller): LoggedIn,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut fields = Fields::one(body)?;
    if fields.value("type").and_then(|value| whole(&value)) != Some(i64::from(API_KEY)) {
        return Err(fields.wrong("type", format_args!("has to be {API_KEY}: an API key")));
    }
    let duration_seconds = duration(&mut fields)?;
    let account = app.registry().account(caller.user).await?.ok_or_else(|| unknown("user"))?;
    let now = clock::unix_micros();
    let key = NewApiKey {
        id: ApiKeyId::from_uuid(Uuid::new_v4()),
        user: caller.user,
        issued_at: now,
        expires_at: duration_seconds.map(|seconds| now + seconds * 1_000_000),
    };
    if !app.registry().issue_key(&Author::of(&caller), key).await? {
        let error = format!("{API_KEYS_MAX} keys are in force: revoke some that are not needed");
        return Err(ApiError::conflict(error).code("too_many"));
    }
    let issued_at = now.div_euclid(1_000_000);
    let token = KeyToken {
        key: key.id,
        user: key.user,
        issued_at,
        expires_at: duration_seconds.map(|seconds| issued_at + seconds),
    };
    let issued = IssuedView {
        id: key.id,
        value: app.tokens().issue_key(token, &account.email),
        issued_at: Moment(now),
        expires_at: key.expires_at.map(Moment),
    };
    Ok((StatusCode::CREATED, Json(issued)).into_response())
}

/// `GET /keys`: a page of the caller's keys that are in force.
pub(super) async fn list(
    State(app): State<ControlPlane>,
    caller: Caller,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    let query = params.keys_query()?;
    let (total, keys) = app.registry().keys(caller.user, &query, clock::unix_micros()).await?;
    let keys = keys.into_iter().map(shown).collect();
    Ok(Json(KeysPage { total, offset: query.offset, limit: query.limit, keys }).into_response())
}

/// `GET /keys/{key}`: one of the caller's keys that are in force, of anyone's for admins.
pub(super) async fn view(
    State(app): State<ControlPlane>,
    caller: Caller,
    path: ApiPath,
) -> Result<Response, ApiError> {
    let id: ApiKeyId = path.get("key").parse().map_err(|_| unknown("key"))?;
    let key = app.registry().key(caller.scope(), id, clock::unix_micros()).await?;
    Ok(Json(shown(key.ok_or_else(|| unknown("key"))?)).into_response())
}

/// `DELETE /keys/{key}`: the key is not in force any more when this is answered, because each request that comes with it asks the
/// registry.
pub(super) async fn revoke(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    path: ApiPath,
) -> Result<Response, ApiError> {
    let id: ApiKeyId = path.get("key").parse().map_err(|_| unknown("key"))?;
    if !app.registry().revoke_key(&by, caller.scope(), id, clock::unix_micros()).await? {
        return Err(unknown("key"));
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// None: for ever.
fn duration(fields: &mut Fields) -> Result<Option<i64>, ApiError> {
    Ok(fields.seconds("duration", DURATION_SECONDS_MAX)?.filter(|seconds| *seconds > 0))
}

fn shown(key: ApiKey) -> KeyView {
    KeyView {
        id: key.id,
        issuer_id: key.user,
        subject: key.email,
        r#type: API_KEY,
        issued_at: Moment(key.issued_at),
        expires_at: key.expires_at.map(Moment),
    }
}
