//! Webhooks of a thing, for its owner and admins: where its records are delivered to, and how that goes.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use domain::{ThingId, WebhookId};
use http::StatusCode;
use outbound::Target;
use outbound::signing::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service::extract::{ApiJson, ApiPath, ApiQuery};
use service::{ApiError, clock};
use uuid::Uuid;

use super::page::{self, number};
use super::{empty, optional_body};
use crate::ControlPlane;
use crate::author::Author;
use crate::delivery::{self, Outcome};
use crate::entity::{Owned, unknown};
use crate::fields::Fields;
use crate::moment::Moment;
use crate::registry::deliveries::{KeptState, ShownAttempt, ShownDelivery, Tally};
use crate::registry::things::Thing;
use crate::registry::webhooks::{
    Format, NewWebhook, Rotation, SECRETS_MAX, Uncreated, WEBHOOKS_PER_THING_MAX, Webhook, WebhookUpdate,
};

/// Bytes of a URL: what servers take.
pub(super) const URL_BYTES_MAX: usize = 2_048;
/// How long the secret before signs beside the new one.
const SECRET_OVERLAP: Duration = Duration::from_secs(86_400);

/// A webhook in the list, as the reference prints it, and what has to be known to use it.
#[derive(Debug, Serialize)]
struct ListedView {
    thing_id: ThingId,
    name: String,
    format: &'static str,
    url: String,
    id: WebhookId,
    secret: String,
}

#[derive(Debug, Serialize)]
struct WebhooksView {
    webhooks: Vec<ListedView>,
}

/// A webhook by itself.
#[derive(Debug, Serialize)]
struct WebhookView {
    #[serde(flatten)]
    webhook: ListedView,
    enabled: bool,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_secret_until: Option<Moment>,
    created_at: Moment,
    counters: CountersView,
}

#[derive(Debug, Serialize)]
struct CountersView {
    attempts: i64,
    delivered: i64,
    failed: i64,
    pending: i64,
    expired: i64,
    replayable: i64,
    dropped: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_delivered_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failed_at: Option<Moment>,
}

#[derive(Debug, Serialize)]
struct AttemptView {
    delivery: Uuid,
    at: Moment,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i64>,
    latency_seconds: f64,
    records: i64,
    bytes: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try: Option<Moment>,
    #[serde(skip_serializing_if = "String::is_empty")]
    excerpt: String,
}

#[derive(Debug, Serialize)]
struct DeliveryView {
    id: Uuid,
    records: i64,
    bytes: i64,
    attempts: i64,
    created_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try: Option<Moment>,
    expires_at: Moment,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct DeliveriesParams {
    state: Option<String>,
    offset: Option<String>,
    limit: Option<String>,
}

/// `POST /webhooks/{thing}`: creates all the webhooks of the array, or none.
pub(super) async fn create(
    State(app): State<ControlPlane>,
    by: Author,
    Owned(thing): Owned<Thing>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut webhooks = Vec::new();
    for mut fields in Fields::many(body)? {
        let id = WebhookId::from_uuid(Uuid::new_v4());
        let name = name(&mut fields)?.ok_or_else(|| fields.wrong("name", "is missing"))?;
        let format = format(&mut fields)?.ok_or_else(|| fields.wrong("format", "is missing"))?;
        let url = url(&app, &mut fields)?.ok_or_else(|| fields.wrong("url", "is missing"))?;
        let secret = secret(&mut fields)?.unwrap_or_else(new_secret);
        let sealed_secret = app.sealer().seal_text(id.as_bytes(), &secret);
        webhooks.push(NewWebhook { id, name, format, url, sealed_secret });
    }
    match app.registry().create_webhooks(&by, thing.id, &webhooks, clock::unix_micros()).await? {
        Ok(()) => Ok(empty(StatusCode::CREATED)),
        Err(Uncreated::NoThing) => Err(unknown("thing")),
        Err(Uncreated::TooMany) => {
            let error = format!("a thing has at most {WEBHOOKS_PER_THING_MAX} webhooks");
            Err(ApiError::conflict(error).code("too_many"))
        }
    }
}

/// `GET /webhooks/{thing}`: all of them; there are few.
pub(super) async fn list(
    State(app): State<ControlPlane>,
    Owned(thing): Owned<Thing>,
) -> Result<Response, ApiError> {
    let webhooks = app.registry().webhooks(thing.id).await?;
    let webhooks = webhooks.into_iter().map(|webhook| listed(&app, webhook)).collect::<Result<_, _>>()?;
    Ok(Json(WebhooksView { webhooks }).into_response())
}

/// `GET /webhooks/{thing}/{webhook}`: one, with how it stands.
pub(super) async fn view(
    State(app): State<ControlPlane>,
    Owned(thing): Owned<Thing>,
    path: ApiPath,
) -> Result<Response, ApiError> {
    let webhook = found(&app, &thing, &path).await?;
    let (counters, now) = (webhook.counters, clock::unix_micros());
    let at = |micros: i64| (micros > 0).then_some(Moment(micros));
    let view = WebhookView {
        enabled: webhook.disabled.is_none(),
        status: match (webhook.disabled, counters.failing_since) {
            (Some(_), _) => "disabled",
            (None, 0) => "ok",
            (None, _) => "failing",
        },
        disabled_reason: webhook.disabled.map(|reason| reason.name()),
        disabled_at: webhook.disabled.and(at(webhook.disabled_at)),
        failing_since: at(counters.failing_since),
        next_try: at(counters.hold_until).filter(|_| counters.pending > 0 && webhook.disabled.is_none()),
        old_secret_until: webhook
            .old_secrets
            .first()
            .map(|old| old.until)
            .filter(|until| *until > now)
            .map(Moment),
        created_at: Moment(webhook.created_at),
        counters: CountersView {
            attempts: counters.attempts,
            delivered: counters.delivered,
            failed: counters.failed,
            pending: counters.pending,
            expired: counters.expired,
            replayable: counters.replayable,
            dropped: counters.dropped,
            last_delivered_at: at(counters.last_delivered_at),
            last_failed_at: at(counters.last_failed_at),
        },
        webhook: listed(&app, webhook)?,
    };
    Ok(Json(view).into_response())
}

/// `PUT /webhooks/{thing}/{webhook}`: changes name, format, url, or some of them.
pub(super) async fn update(
    State(app): State<ControlPlane>,
    by: Author,
    Owned(thing): Owned<Thing>,
    path: ApiPath,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let webhook = found(&app, &thing, &path).await?;
    let mut fields = Fields::one(body)?;
    let update = WebhookUpdate {
        name: name(&mut fields)?,
        format: format(&mut fields)?,
        url: url(&app, &mut fields)?.filter(|url| *url != webhook.url),
    };
    made(app.registry().update_webhook(&by, &webhook, &update, clock::unix_micros()).await?)?;
    Ok(empty(StatusCode::OK))
}

/// `DELETE /webhooks/{thing}/{webhook}`: the webhook, and what waits to be delivered to it.
pub(super) async fn delete(
    State(app): State<ControlPlane>,
    by: Author,
    Owned(thing): Owned<Thing>,
    path: ApiPath,
) -> Result<Response, ApiError> {
    let webhook = found(&app, &thing, &path).await?;
    made(app.registry().delete_webhook(&by, &webhook).await?)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /webhooks/{thing}/{webhook}/enable`: what is received from now on is delivered, and what waits.
pub(super) async fn enable(
    State(app): State<ControlPlane>,
    by: Author,
    Owned(thing): Owned<Thing>,
    path: ApiPath,
) -> Result<Response, ApiError> {
    let webhook = found(&app, &thing, &path).await?;
    made(app.registry().enable_webhook(&by, &webhook, clock::unix_micros()).await?)?;
    Ok(empty(StatusCode::OK))
}

/// `POST /webhooks/{thing}/{webhook}/disable`: nothing is delivered.
pub(super) async fn disable(
    State(app): State<ControlPlane>,
    by: Author,
    Owned(thing): Owned<Thing>,
    path: ApiPath,
) -> Result<Response, ApiError> {
    let webhook = found(&app, &thing, &path).await?;
    made(app.registry().disable_webhook(&by, &webhook, clock::unix_micros()).await?)?;
    Ok(empty(StatusCode::OK))
}

/// `POST /webhooks/{thing}/{webhook}/secret`: another secret, that of the body or a new one. Each that was before signs beside
/// it for a day after it was replaced.
pub(super) async fn rotate(
    State(app): State<ControlPlane>,
    by: Author,
    Owned(thing): Owned<Thing>,
    path: ApiPath,
    request: Request,
) -> Result<Response, ApiError> {
    let webhook = found(&app, &thing, &path).await?;
    let given = match optional_body(request).await? {
        Some(mut fields) => secret(&mut fields)?,
        None => None,
    };
    let text = given.unwrap_or_else(new_secret);
    let now = clock::unix_micros();
    let old_until = now + SECRET_OVERLAP.as_micros() as i64;
    let sealed = app.sealer().seal_text(webhook.id.as_bytes(), &text);
    match app.registry().rotate_webhook_secret(&by, &webhook, &sealed, old_until, now).await? {
        Rotation::Done => {}
        Rotation::TooMany { until } => {
            let until = Moment(until);
            let error = format!(
                "{SECRETS_MAX} secrets of this webhook sign already; the first of them ends at {until}"
            );
            return Err(ApiError::conflict(error).code("too_many"));
        }
        Rotation::Gone => return Err(unknown("webhook")),
    }
    Ok(Json(json!({ "secret": text, "old_secret_until": Moment(old_until) })).into_response())
}

/// `POST /webhooks/{thing}/{webhook}/test`: delivers one made-up record now, and answers what came of it.
pub(super) async fn test(
    State(app): State<ControlPlane>,
    Owned(thing): Owned<Thing>,
    path: ApiPath,
) -> Result<Response, ApiError> {
    let webhook = found(&app, &thing, &path).await?;
    let _place = app
        .webhook_tests()
        .try_acquire()
        .map_err(|_| ApiError::unavailable("too many test deliveries are being made"))?;
    let attempt = delivery::test(&app, &webhook).await?;
    let answer = json!({
        "delivered": attempt.is_delivered,
        "outcome": outcome_name(attempt.outcome),
        "status": (attempt.status > 0).then_some(attempt.status),
        "latency_seconds": attempt.latency as f64 / 1e6,
        "excerpt": attempt.excerpt,
    });
    app.registry().record_attempts(&BTreeMap::from([(webhook.id, Tally::of(attempt))])).await?;
    Ok(Json(answer).into_response())
}

/// `GET /webhooks/{thing}/{webhook}/deliveries`: a page of the last tries, the newest first; with `state=pending` or
/// `state=expired`, of the deliveries that wait for another try, or were given up and can be replayed.
pub(super) async fn deliveries(
    State(app): State<ControlPlane>,
    Owned(thing): Owned<Thing>,
    path: ApiPath,
    ApiQuery(params): ApiQuery<DeliveriesParams>,
) -> Result<Response, ApiError> {
    let webhook = found(&app, &thing, &path).await?;
    let offset = number(params.offset.as_deref(), "offset", 0, 0, i64::MAX)?;
    let limit = page::limit(params.limit.as_deref())?;
    let state = match params.state.as_deref() {
        None | Some("") => {
            let (total, attempts) = app.registry().attempts(webhook.id, offset, limit).await?;
            let attempts: Vec<AttemptView> = attempts.into_iter().map(shown_attempt).collect();
            let page = json!({"total": total, "offset": offset, "limit": limit, "attempts": attempts});
            return Ok(Json(page).into_response());
        }
        Some("pending") => KeptState::Pending,
        Some("expired") => KeptState::Expired,
        Some(_) => return Err(ApiError::malformed("state is not one of pending, expired").field("state")),
    };
    let (total, kept) = app.registry().kept_deliveries(webhook.id, state, offset, limit).await?;
    let kept: Vec<DeliveryView> = kept.into_iter().map(shown_delivery).collect();
    Ok(Json(json!({"total": total, "offset": offset, "limit": limit, "deliveries": kept})).into_response())
}

/// `POST /webhooks/{thing}/{webhook}/replay`: has the deliveries that were given up tried again, oldest first; with
/// `{"delivery": id}` that one.
pub(super) async fn replay(
    State(app): State<ControlPlane>,
    by: Author,
    Owned(thing): Owned<Thing>,
    path: ApiPath,
    request: Request,
) -> Result<Response, ApiError> {
    let webhook = found(&app, &thing, &path).await?;
    let mut only = None;
    if let Some(mut fields) = optional_body(request).await?
        && let Some(text) = fields.text("delivery")?
    {
        let id = Uuid::try_parse(&text).map_err(|_| fields.wrong("delivery", "is not a UUID"))?;
        only = Some(id);
    }
    let bounds = delivery::BOUNDS;
    let replayed = app
        .registry()
        .replay_deliveries(&by, (thing.id, webhook.id), only, &bounds, clock::unix_micros())
        .await?;
    if only.is_some() && replayed == 0 {
        return Err(unknown("expired delivery"));
    }
    app.deliveries_asked().notify_one();
    Ok(Json(json!({ "replayed": replayed })).into_response())
}

async fn found(app: &ControlPlane, thing: &Thing, path: &ApiPath) -> Result<Webhook, ApiError> {
    let id: WebhookId = path.get("webhook").parse().map_err(|_| unknown("webhook"))?;
    app.registry().webhook(thing.id, id).await?.ok_or_else(|| unknown("webhook"))
}

fn made(is_there: bool) -> Result<(), ApiError> {
    if is_there { Ok(()) } else { Err(unknown("webhook")) }
}

fn name(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let name = fields.name()?;
    if name.as_ref().is_some_and(String::is_empty) { Err(fields.wrong("name", "is empty")) } else { Ok(name) }
}

fn format(fields: &mut Fields) -> Result<Option<Format>, ApiError> {
    let Some(text) = fields.text("format")? else { return Ok(None) };
    let format = Format::from_name(&text);
    format.map(Some).ok_or_else(|| fields.wrong("format", "is not one of senml, json"))
}

fn url(app: &ControlPlane, fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let Some(text) = fields.text("url")? else { return Ok(None) };
    if text.len() > URL_BYTES_MAX {
        return Err(fields.wrong("url", format_args!("is longer than {URL_BYTES_MAX} bytes")));
    }
    match Target::parse(&text, app.outbound_guard()) {
        Ok(_) => Ok(Some(text)),
        Err(bad) => Err(fields.wrong("url", bad)),
    }
}

fn secret(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let Some(text) = fields.text("secret")? else { return Ok(None) };
    match Secret::parse(&text) {
        Ok(_) => Ok(Some(text)),
        Err(bad) => Err(fields.wrong("secret", bad)),
    }
}

fn new_secret() -> String {
    Secret::generate().expose().to_string()
}

fn listed(app: &ControlPlane, webhook: Webhook) -> Result<ListedView, ApiError> {
    let secret = app.sealer().open_text(webhook.id.as_bytes(), &webhook.sealed_secret);
    Ok(ListedView {
        thing_id: webhook.thing,
        name: webhook.name,
        format: webhook.format.name(),
        url: webhook.url,
        id: webhook.id,
        secret: secret.ok_or(delivery::UNOPENED)?,
    })
}

fn shown_attempt(attempt: ShownAttempt) -> AttemptView {
    AttemptView {
        delivery: attempt.delivery_id,
        at: Moment(attempt.at),
        outcome: outcome_name(attempt.outcome),
        status: (attempt.status > 0).then_some(attempt.status),
        latency_seconds: attempt.latency as f64 / 1e6,
        records: attempt.records,
        bytes: attempt.bytes,
        next_try: (attempt.next_try_at > 0).then_some(Moment(attempt.next_try_at)),
        excerpt: attempt.excerpt,
    }
}

fn shown_delivery(delivery: ShownDelivery) -> DeliveryView {
    DeliveryView {
        id: delivery.id,
        records: delivery.records,
        bytes: delivery.bytes,
        attempts: delivery.attempts,
        created_at: Moment(delivery.created_at),
        next_try: (delivery.next_try_at > 0).then_some(Moment(delivery.next_try_at)),
        expires_at: Moment(delivery.expires_at),
    }
}

fn outcome_name(code: i64) -> &'static str {
    Outcome::from_code(code).map_or("unknown", instruments::Label::as_str)
}
