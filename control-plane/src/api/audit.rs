//! The audit: who did what.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::{ApiKeyId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use service::ApiError;
use service::extract::ApiQuery;
use uuid::Uuid;

use super::page::{limit, wrong};
use crate::ControlPlane;
use crate::access::{Action, Caller, Rights, What};
use crate::entity::refuse;
use crate::moment::Moment;
use crate::registry::audit::{AuditEntry, AuditQuery, Deed};
use crate::registry::entities::Kind;

/// Characters of a request's id.
pub(super) const REQUEST_CHARS_MAX: usize = 128;
/// Digits of the number of an entry.
pub(super) const NEXT_DIGITS_MAX: usize = 18;

/// The parameters as they came.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AuditParams {
    user: Option<String>,
    entity: Option<String>,
    org: Option<String>,
    action: Option<String>,
    request: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct AuditPage {
    limit: i64,
    entries: Vec<EntryView>,
    /// What to ask for the page behind this one with.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct EntryView {
    at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<ApiKeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl AuditParams {
    fn query(&self) -> Result<AuditQuery, ApiError> {
        let id = |field: &'static str, text: &Option<String>| -> Result<Option<Uuid>, ApiError> {
            let parse = |text: &String| text.parse().map_err(|_| wrong(field, "is no UUID"));
            text.as_ref().map(parse).transpose()
        };
        let time = |field: &'static str, text: &Option<String>| -> Result<Option<i64>, ApiError> {
            let parse = |text: &String| {
                let time = Timestamp::parse_bound(text).map_err(|error| wrong(field, &error.to_string()))?;
                Ok(-(-i128::from(time.as_nanos())).div_euclid(1_000) as i64)
            };
            text.as_ref().map(parse).transpose()
        };
        let deed = |text: &String| {
            let names: Vec<_> = Deed::ALL.iter().map(|deed| deed.name()).collect();
            Deed::named(text).ok_or_else(|| wrong("action", &format!("is not one of {}", names.join(", "))))
        };
        let request = |text: &String| match text {
            text if (1..=REQUEST_CHARS_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Ok(text.clone())
            }
            _ => Err(wrong("request", "is the id of no request")),
        };
        let before = |text: &String| {
            let is_number = text.len() <= NEXT_DIGITS_MAX && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = is_number.then(|| text.parse().ok()).flatten();
            number.ok_or_else(|| wrong("next", "is not what a page said to go on with"))
        };
        Ok(AuditQuery {
            author: id("user", &self.user)?,
            entity: id("entity", &self.entity)?,
            org: id("org", &self.org)?,
            deed: self.action.as_ref().map(deed).transpose()?,
            request: self.request.as_ref().map(request).transpose()?,
            from: time("from", &self.from)?,
            to: time("to", &self.to)?,
            before: self.next.as_ref().map(before).transpose()?,
            limit: limit(self.limit.as_deref())?,
        })
    }
}

/// `GET /audit`: what was done, newest first: all of it for admins; for who decides over an org's members what was done to
/// the org, its groups and their things.
pub(super) async fn list(
    State(app): State<ControlPlane>,
    caller: Caller,
    ApiQuery(params): ApiQuery<AuditParams>,
) -> Result<Response, ApiError> {
    let query = params.query()?;
    prove(&app, &caller, query.org).await?;
    let entries = app.registry().audit(&query).await?;
    let is_full = i64::try_from(entries.len()).is_ok_and(|count| count == query.limit);
    let next = entries.last().filter(|_| is_full).map(|last| last.seq.to_string());
    let entries = entries.into_iter().map(shown).collect();
    Ok(Json(AuditPage { limit: query.limit, entries, next }).into_response())
}

/// An admin may ask of an org that is gone.
async fn prove(app: &ControlPlane, caller: &Caller, org: Option<Uuid>) -> Result<(), ApiError> {
    if caller.is_admin {
        return Ok(());
    }
    let org = org.ok_or_else(|| {
        ApiError::forbidden("only an admin sees all of it: name an org that you are an admin of").field("org")
    })?;
    let ties = app.registry().ties(Kind::Org, org, caller.user).await?;
    Rights::of(caller, What::Org, &ties).decide(Action::Write).map_err(|denied| refuse(denied, "org"))
}

fn shown(entry: AuditEntry) -> EntryView {
    EntryView {
        at: Moment(entry.at),
        user: entry.user,
        key: entry.key,
        request: entry.request,
        action: entry.deed,
        entity: entry.done.entity,
        other: entry.done.other,
        detail: entry.done.detail,
    }
}
