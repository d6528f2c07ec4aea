//! Connecting things to channels, and disconnecting them.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::{ChannelId, ThingId};
use http::StatusCode;
use serde_json::Value;
use service::ApiError;
use service::extract::ApiJson;

use super::empty;
use crate::ControlPlane;
use crate::access::{Action, Caller, What};
use crate::author::Author;
use crate::entity::{Named, Writable, prove_all};
use crate::fields::Fields;
use crate::registry::channels::Channel;
use crate::registry::connections::Connecting;
use crate::registry::things::Thing;

/// Connections that one request makes or ends: 10,000 take a fraction of a second, in which nobody else can write.
const CONNECTIONS_AT_ONCE_MAX: usize = 10_000;

/// What the reference says of the path that connects one thing.
const DEPRECATED: (&str, &str) = (
    "warning-deprecated",
    "This endpoint will be depreciated in v1.0.0. It will be replaced with the bulk endpoint found at /connect.",
);

#[derive(Debug, Clone, Copy)]
enum Change {
    Connect,
    Disconnect,
}

/// `POST /connect`: connects each of the things to each of the channels, all or none.
pub(super) async fn connect(
    State(app): State<ControlPlane>,
    caller: Caller,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    change(&app, caller, body, Change::Connect).await?;
    Ok(empty(StatusCode::OK))
}

/// `PUT /disconnect`: disconnects each of the things from each of the channels, all or none.
pub(super) async fn disconnect(
    State(app): State<ControlPlane>,
    caller: Caller,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    change(&app, caller, body, Change::Disconnect).await?;
    Ok(empty(StatusCode::OK))
}

/// `PUT /channels/{channel}/things/{thing}`: connects one thing to one channel.
pub(super) async fn connect_one(
    State(app): State<ControlPlane>,
    caller: Caller,
    Writable(channel): Writable<Channel>,
    Writable(thing): Writable<Thing>,
) -> Result<Response, ApiError> {
    apply(&app, caller, vec![thing.id], vec![channel.id], Change::Connect).await?;
    Ok(([DEPRECATED], empty(StatusCode::OK)).into_response())
}

/// `DELETE /channels/{channel}/things/{thing}`: disconnects one thing from one channel.
pub(super) async fn disconnect_one(
    State(app): State<ControlPlane>,
    caller: Caller,
    Writable(channel): Writable<Channel>,
    Writable(thing): Writable<Thing>,
) -> Result<Response, ApiError> {
    apply(&app, caller, vec![thing.id], vec![channel.id], Change::Disconnect).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn change(app: &ControlPlane, caller: Caller, body: Value, change: Change) -> Result<(), ApiError> {
    let mut fields = Fields::one(body)?;
    let channels: Vec<ChannelId> = fields.ids("channel_ids")?;
    let things: Vec<ThingId> = fields.ids("thing_ids")?;
    if channels.len() * things.len() > CONNECTIONS_AT_ONCE_MAX {
        let error = format!("{} things times {} channels", things.len(), channels.len());
        let error =
            format!("{error} are more than {CONNECTIONS_AT_ONCE_MAX} connections: send several requests");
        return Err(ApiError::malformed(error).code("too_many"));
    }
    apply(app, caller, things, channels, change).await
}

async fn apply(
    app: &ControlPlane,
    caller: Caller,
    things: Vec<ThingId>,
    channels: Vec<ChannelId>,
    change: Change,
) -> Result<(), ApiError> {
    let (changing, by) = (app.clone(), Author::of(&caller));
    app.change_access(async move {
        let mut connecting = changing.registry().connecting(&by, things, channels).await?;
        prove(&caller, &mut connecting).await?;
        match change {
            Change::Connect => connecting.connect().await?,
            Change::Disconnect => connecting.disconnect().await?,
        }
        Ok(())
    })
    .await
}

/// The caller has to be allowed to write every one of them.
async fn prove(caller: &Caller, connecting: &mut Connecting) -> Result<(), ApiError> {
    let things = Named {
        what: What::Thing,
        field: "thing_ids",
        ids: connecting.things(),
        ties: connecting.thing_ties(caller.user).await?,
    };
    let channels = Named {
        what: What::Channel,
        field: "channel_ids",
        ids: connecting.channels(),
        ties: connecting.channel_ties(caller.user).await?,
    };
    prove_all(caller, &[things, channels], Action::Write)
}
