//! Extractors whose type is the proof that the caller may do something with an entity.
//!
//! A handler that takes a [`Writable<Thing>`] can't be reached by a user who may not write it; one that forgets to ask
//! has nothing to write to.

use axum::extract::FromRequestParts;
use domain::UserId;
use http::request::Parts;
use service::ApiError;
use service::extract::ApiPath;

use crate::ControlPlane;
use crate::access::{Action, Caller, Denied, Rights};
use crate::registry::RegistryError;
use crate::registry::channels::Channel;
use crate::registry::things::Thing;

/// An entity that the caller may read.
#[derive(Debug)]
pub(crate) struct Readable<E> {
    pub(crate) entity: E,
    /// What else the caller may do with it.
    pub(crate) rights: Rights,
}

/// An entity that the caller may change.
#[derive(Debug)]
pub(crate) struct Writable<E>(pub(crate) E);

/// An entity that the caller may delete.
#[derive(Debug)]
pub(crate) struct Deletable<E>(pub(crate) E);

/// What has an owner and an id in a path.
pub(crate) trait Entity: Sized + Send {
    /// What it is called, and the path parameter that holds its id.
    const NAME: &'static str;

    /// Looks it up. A text that is no id is the id of nothing.
    fn find(app: &ControlPlane, id: &str)
    -> impl Future<Output = Result<Option<Self>, RegistryError>> + Send;

    /// Whose it is.
    fn owner(&self) -> UserId;
}

impl Entity for Thing {
    const NAME: &'static str = "thing";

    async fn find(app: &ControlPlane, id: &str) -> Result<Option<Self>, RegistryError> {
        let Ok(id) = id.parse() else { return Ok(None) };
        app.registry().thing(id).await
    }

    fn owner(&self) -> UserId {
        self.owner
    }
}

impl Entity for Channel {
    const NAME: &'static str = "channel";

    async fn find(app: &ControlPlane, id: &str) -> Result<Option<Self>, RegistryError> {
        let Ok(id) = id.parse() else { return Ok(None) };
        app.registry().channel(id).await
    }

    fn owner(&self) -> UserId {
        self.owner
    }
}

/// The refusal that says what the caller may know.
pub(crate) fn refuse(denied: Denied, name: &str) -> ApiError {
    match denied {
        Denied::Forbidden => ApiError::forbidden(format!("you may not do this with the {name}")),
        Denied::Hidden => unknown(name),
    }
}

/// 404.
pub(crate) fn unknown(name: &str) -> ApiError {
    ApiError::not_found(format!("no such {name}"))
}

async fn proven<E: Entity>(
    parts: &mut Parts,
    app: &ControlPlane,
    action: Action,
) -> Result<(E, Rights), ApiError> {
    let caller = Caller::from_request_parts(parts, app).await?;
    let path = ApiPath::from_request_parts(parts, app).await?;
    let entity = E::find(app, path.get(E::NAME)).await?.ok_or_else(|| unknown(E::NAME))?;
    let rights = Rights::of(&caller, entity.owner());
    rights.decide(action).map_err(|denied| refuse(denied, E::NAME))?;
    Ok((entity, rights))
}

impl<E: Entity> FromRequestParts<ControlPlane> for Readable<E> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        let (entity, rights) = proven(parts, app, Action::Read).await?;
        Ok(Self { entity, rights })
    }
}

impl<E: Entity> FromRequestParts<ControlPlane> for Writable<E> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        proven(parts, app, Action::Write).await.map(|(entity, _)| Self(entity))
    }
}

impl<E: Entity> FromRequestParts<ControlPlane> for Deletable<E> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        proven(parts, app, Action::Delete).await.map(|(entity, _)| Self(entity))
    }
}
