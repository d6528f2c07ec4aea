//! Channels.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::{BucketWidth, ChannelId, ChannelProfile, Retention};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use service::extract::{ApiJson, ApiQuery};
use service::{ApiError, clock};

use super::page::{ListParams, PageFields};
use super::things::external_id;
use super::{empty, location};
use crate::ControlPlane;
use crate::access::Caller;
use crate::author::Author;
use crate::entity::{Deletable, Readable, Writable, unknown};
use crate::fields::Fields;
use crate::metadata::Metadata;
use crate::registry::channels::Channel;
use crate::registry::entities::EntityUpdate;

#[derive(Debug, Serialize)]
struct ChannelView {
    id: ChannelId,
    name: String,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
    /// Only where it is not the default: the reference does not print it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket_width: Option<String>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<String>,
}

#[derive(Debug, Serialize)]
struct CreatedChannels {
    channels: Vec<ChannelView>,
}

#[derive(Debug, Serialize)]
struct ChannelsPage {
    #[serde(flatten)]
    page: PageFields,
    channels: Vec<ChannelView>,
}

/// `POST /channels`: creates all the channels of the array, or none. Of a single one it also answers the location.
pub(super) async fn create(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut seen = HashSet::new();
    let mut channels = Vec::new();
    for mut fields in Fields::many(body)? {
        let id = external_id(&mut fields, ChannelId::from_external, ChannelId::from_uuid)?;
        if !seen.insert(id) {
            return Err(fields.wrong("id", "is there twice"));
        }
        channels.push(Channel {
            id,
            owner: caller.user,
            name: fields.name()?.unwrap_or_default(),
            metadata: fields.metadata()?.unwrap_or_default(),
            profile: ChannelProfile::new(
                bucket_width(&mut fields)?.unwrap_or_default(),
                retention(&mut fields)?.unwrap_or_default(),
            ),
        });
    }
    app.registry().create_channels(&by, caller.user, &channels, clock::unix_micros()).await?;
    let single = match channels.as_slice() {
        [channel] => Some(location("/channels", channel.id)),
        _ => None,
    };
    let channels = channels.into_iter().map(shown).collect();
    let answer = (StatusCode::CREATED, Json(CreatedChannels { channels }));
    Ok(match single {
        Some(location) => (location, answer).into_response(),
        None => answer.into_response(),
    })
}

/// `GET /channels`: a page of the caller's channels, of everyone's for admins.
pub(super) async fn list(
    State(app): State<ControlPlane>,
    caller: Caller,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    let query = params.query()?;
    let _place = app.place_for_list(&query).await;
    let (total, channels) = app.registry().channels(caller.scope(), &query).await?;
    let channels = channels.into_iter().map(shown).collect();
    Ok(Json(ChannelsPage { page: params.page(&query, total), channels }).into_response())
}

/// `GET /channels/{channel}`.
pub(super) async fn view(channel: Readable<Channel>) -> Response {
    Json(shown(channel.entity)).into_response()
}

/// `PUT /channels/{channel}`: changes name, metadata and retention, or some of them. The bucket width can't be changed: stored
/// records lie where it says. A retention can't become longer: what has expired may be gone.
pub(super) async fn update(
    State(app): State<ControlPlane>,
    by: Author,
    Writable(channel): Writable<Channel>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut fields = Fields::one(body)?;
    if bucket_width(&mut fields)?.is_some_and(|width| width != channel.profile.bucket_width) {
        let problem = format!("can't be changed from {}", channel.profile.bucket_width);
        return Err(fields.wrong("bucket_width", problem));
    }
    let retention = retention(&mut fields)?.unwrap_or(channel.profile.retention);
    if channel.profile.shortened(retention).is_none() {
        let now = channel.profile.retention;
        let problem = format!("can't be lengthened from {now} to {retention}: what has expired may be gone");
        return Err(fields.wrong("retention", problem));
    }
    let update = EntityUpdate {
        name: fields.name()?,
        metadata: fields.metadata()?,
        retention: (retention < channel.profile.retention).then_some(retention),
        ..EntityUpdate::default()
    };
    if update.retention.is_some() {
        return shorten(&app, by, channel.id, update).await;
    }
    if !app.registry().update_channel(&by, channel.id, &update, clock::unix_micros()).await? {
        return Err(unknown("channel"));
    }
    Ok(empty(StatusCode::OK))
}

/// Makes the same changes, with a shorter retention, which is in force when it is answered.
async fn shorten(
    app: &ControlPlane,
    by: Author,
    channel: ChannelId,
    update: EntityUpdate,
) -> Result<Response, ApiError> {
    let shortening = app.clone();
    app.change_access(async move {
        let now = clock::unix_micros();
        let updated = shortening.registry().shorten_retention(&by, channel, &update, now).await?;
        shortening.sweep_asked().notify_one();
        if updated { Ok(()) } else { Err(unknown("channel")) }
    })
    .await?;
    Ok(empty(StatusCode::OK))
}

/// `DELETE /channels/{channel}`: the channel, its connections, and, soon after the answer, its records.
pub(super) async fn delete(
    State(app): State<ControlPlane>,
    by: Author,
    Deletable(channel): Deletable<Channel>,
) -> Result<Response, ApiError> {
    let deleting = app.clone();
    app.change_access(async move {
        let deleted = deleting.registry().delete_channel(&by, channel.id).await?;
        deleting.purge_asked().notify_one();
        if deleted { Ok(()) } else { Err(unknown("channel")) }
    })
    .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn bucket_width(fields: &mut Fields) -> Result<Option<BucketWidth>, ApiError> {
    let text = fields.text("bucket_width")?;
    let width = text.map(|text| text.parse()).transpose();
    width.map_err(|error| fields.wrong("bucket_width", error))
}

fn retention(fields: &mut Fields) -> Result<Option<Retention>, ApiError> {
    let text = fields.text("retention")?;
    let retention = text.map(|text| text.parse()).transpose();
    retention.map_err(|error| fields.wrong("retention", error))
}

fn shown(channel: Channel) -> ChannelView {
    let ChannelProfile { bucket_width: width, retention, .. } = channel.profile;
    ChannelView {
        id: channel.id,
        name: channel.name,
        metadata: channel.metadata,
        bucket_width: (width != BucketWidth::default()).then(|| width.to_string()),
        retention: (retention != Retention::default()).then(|| retention.to_string()),
    }
}
