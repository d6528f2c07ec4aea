//! Things.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use domain::key::KEY_RANDOM_BYTES;
use domain::{ThingId, ThingKey};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use service::extract::{ApiJson, ApiQuery};
use service::{ApiError, clock};
use uuid::Uuid;

use super::page::{ListParams, PageFields};
use super::{empty, optional_body};
use crate::ControlPlane;
use crate::access::{Caller, Rights, Tie, What};
use crate::author::Author;
use crate::entity::{Deletable, Readable, Writable, unknown};
use crate::fields::Fields;
use crate::metadata::Metadata;
use crate::registry::RegistryError;
use crate::registry::entities::EntityUpdate;
use crate::registry::listing::Within;
use crate::registry::things::{NewThing, Thing};
use crate::secrets;

/// The longest time for which a replaced key goes on to work.
pub(super) const OVERLAP_SECONDS_MAX: i64 = 7 * 86_400;

#[derive(Debug, Serialize)]
pub(super) struct ThingView {
    id: ThingId,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<ShownKey>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
}

#[derive(Debug)]
struct ShownKey(ThingKey);

impl Serialize for ShownKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

#[derive(Debug, Serialize)]
struct CreatedThings {
    things: Vec<ThingView>,
}

#[derive(Debug, Serialize)]
struct ThingsPage {
    #[serde(flatten)]
    page: PageFields,
    things: Vec<ThingView>,
}

/// `POST /things`: creates all the things of the array, or none.
pub(super) async fn create(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut seen = HashSet::new();
    let mut created = Vec::new();
    let mut shown = Vec::new();
    for mut fields in Fields::many(body)? {
        let id = external_id(&mut fields, ThingId::from_external, ThingId::from_uuid)?;
        if !seen.insert(id) {
            return Err(fields.wrong("id", "is there twice"));
        }
        if fields.value("key").is_some() {
            return Err(fields.wrong("key", "is made by the server: leave it out"));
        }
        let name = fields.name()?.unwrap_or_default();
        let metadata = fields.metadata()?.unwrap_or_default();
        let key = new_key();
        created.push(NewThing {
            id,
            name: name.clone(),
            metadata: metadata.clone(),
            digest: key.digest(),
            sealed_key: app.sealer().seal(id, &key),
        });
        shown.push(ThingView { id, name, key: Some(ShownKey(key)), metadata });
    }
    app.registry().create_things(&by, caller.user, &created, clock::unix_micros()).await?;
    Ok((StatusCode::CREATED, Json(CreatedThings { things: shown })).into_response())
}

/// `GET /things`: a page of the things that the caller may read, of all for admins.
pub(super) async fn list(
    State(app): State<ControlPlane>,
    caller: Caller,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    let query = params.query()?;
    let _place = app.place_for_list(&query).await;
    let (total, things) =
        app.registry().things(caller.scope(), Within::Anything, &query, caller.user).await?;
    let things = listed(&app, &caller, things)?;
    Ok(Json(ThingsPage { page: params.page(&query, total), things }).into_response())
}

/// Things of a page, as the caller may see them.
pub(super) fn listed(
    app: &ControlPlane,
    caller: &Caller,
    things: Vec<(Thing, Vec<Tie>)>,
) -> Result<Vec<ThingView>, RegistryError> {
    let view = |(thing, ties): (Thing, Vec<Tie>)| {
        let rights = Rights::of(caller, What::Thing, &ties);
        shown(app, thing, rights)
    };
    things.into_iter().map(view).collect()
}

/// `GET /things/{thing}`.
pub(super) async fn view(
    State(app): State<ControlPlane>,
    thing: Readable<Thing>,
) -> Result<Response, ApiError> {
    Ok(Json(shown(&app, thing.entity, thing.rights)?).into_response())
}

/// `PUT /things/{thing}`: changes name, metadata, or both.
pub(super) async fn update(
    State(app): State<ControlPlane>,
    by: Author,
    Writable(thing): Writable<Thing>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut fields = Fields::one(body)?;
    let update =
        EntityUpdate { name: fields.name()?, metadata: fields.metadata()?, ..EntityUpdate::default() };
    if !app.registry().update_thing(&by, thing.id, &update, clock::unix_micros()).await? {
        return Err(unknown("thing"));
    }
    Ok(empty(StatusCode::OK))
}

/// `DELETE /things/{thing}`: the thing, its keys, its connections, and, soon after the answer, its records.
pub(super) async fn delete(
    State(app): State<ControlPlane>,
    by: Author,
    Deletable(thing): Deletable<Thing>,
) -> Result<Response, ApiError> {
    let deleting = app.clone();
    app.change_access(async move {
        let deleted = deleting.registry().delete_thing(&by, thing.id).await?;
        deleting.purge_asked().notify_one();
        if deleted { Ok(()) } else { Err(unknown("thing")) }
    })
    .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `PATCH /things/{thing}/key`: gives the thing another key. With `{"overlap": seconds}` the old ones go on to work so long,
/// so that a device can be told of the new one.
pub(super) async fn replace_key(
    State(app): State<ControlPlane>,
    by: Author,
    Writable(thing): Writable<Thing>,
    request: Request,
) -> Result<Response, ApiError> {
    let overlap_seconds = overlap(request).await?;
    let key = new_key();
    let (digest, sealed) = (key.digest(), app.sealer().seal(thing.id, &key));
    let replacing = app.clone();
    app.change_access(async move {
        let now = clock::unix_micros();
        let old_until = (overlap_seconds > 0).then(|| now + overlap_seconds * 1_000_000);
        let replaced =
            replacing.registry().replace_key(&by, thing.id, digest, &sealed, old_until, now).await?;
        replacing.key_end_set().notify_one();
        if replaced { Ok(()) } else { Err(unknown("thing")) }
    })
    .await?;
    Ok(Json(json!({ "key": ShownKey(key) })).into_response())
}

/// The body may be left out.
async fn overlap(request: Request) -> Result<i64, ApiError> {
    let Some(mut fields) = optional_body(request).await? else { return Ok(0) };
    if fields.value("key").is_some() {
        return Err(fields.wrong("key", "is made by the server: leave it out"));
    }
    Ok(fields.seconds("overlap", OVERLAP_SECONDS_MAX)?.unwrap_or(0))
}

fn shown(app: &ControlPlane, thing: Thing, rights: Rights) -> Result<ThingView, RegistryError> {
    let opened = || {
        let key = app.sealer().open(thing.id, &thing.sealed_key);
        key.map(ShownKey).ok_or(RegistryError::Damaged("a thing's sealed key does not open"))
    };
    let key = rights.write.then(opened).transpose()?;
    Ok(ThingView { id: thing.id, name: thing.name, key, metadata: thing.metadata })
}

fn new_key() -> ThingKey {
    ThingKey::from_random(secrets::random::<KEY_RANDOM_BYTES>())
}

/// The id that the caller chose, or a new one.
pub(super) fn external_id<I>(
    fields: &mut Fields,
    parse: impl Fn(&str) -> Result<I, domain::id::IdError>,
    make: impl Fn(Uuid) -> I,
) -> Result<I, ApiError> {
    match fields.text("id")? {
        None => Ok(make(Uuid::new_v4())),
        Some(text) => parse(&text).map_err(|error| fields.wrong("id", error)),
    }
}
