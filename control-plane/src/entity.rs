//! Extractors whose type is the proof that the caller may do something with an entity.
//!
//! A handler that takes a [`Writable<Thing>`] can't be reached by a user who may not write it; one that forgets to ask
//! has nothing to write to.

use axum::extract::FromRequestParts;
use domain::UserId;
use http::request::Parts;
use service::ApiError;
use service::extract::ApiPath;
use uuid::Uuid;

use crate::ControlPlane;
use crate::access::{Action, Caller, Denied, Rights, Tie, What};
use crate::registry::RegistryError;
use crate::registry::channels::Channel;
use crate::registry::entities::Kind;
use crate::registry::groups::Group;
use crate::registry::orgs::Org;
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

/// An entity that the caller may put others in.
#[derive(Debug)]
pub(crate) struct Assignable<E>(pub(crate) E);

/// An entity that the caller may delete.
#[derive(Debug)]
pub(crate) struct Deletable<E>(pub(crate) E);

/// An entity that is the caller's own, or whose owner the caller may stand in for: an admin.
#[derive(Debug)]
pub(crate) struct Owned<E>(pub(crate) E);

/// What has an owner and an id in a path.
pub(crate) trait Entity: Sized + Send + Sync {
    /// What it is called, and the path parameter that holds its id.
    const NAME: &'static str;
    /// What decisions about it are about, and what it is to the registry.
    const WHAT: (What, Kind);

    /// Looks it up. A text that is no id is the id of nothing.
    fn find(app: &ControlPlane, id: &str)
    -> impl Future<Output = Result<Option<Self>, RegistryError>> + Send;

    /// Its id.
    fn id(&self) -> Uuid;

    /// Whose it is.
    fn owner(&self) -> UserId;
}

impl Entity for Thing {
    const NAME: &'static str = "thing";
    const WHAT: (What, Kind) = (What::Thing, Kind::Thing);

    async fn find(app: &ControlPlane, id: &str) -> Result<Option<Self>, RegistryError> {
        let Ok(id) = id.parse() else { return Ok(None) };
        app.registry().thing(id).await
    }

    fn id(&self) -> Uuid {
        self.id.as_uuid()
    }

    fn owner(&self) -> UserId {
        self.owner
    }
}

impl Entity for Channel {
    const NAME: &'static str = "channel";
    const WHAT: (What, Kind) = (What::Channel, Kind::Channel);

    async fn find(app: &ControlPlane, id: &str) -> Result<Option<Self>, RegistryError> {
        let Ok(id) = id.parse() else { return Ok(None) };
        app.registry().channel(id).await
    }

    fn id(&self) -> Uuid {
        self.id.as_uuid()
    }

    fn owner(&self) -> UserId {
        self.owner
    }
}

impl Entity for Group {
    const NAME: &'static str = "group";
    const WHAT: (What, Kind) = (What::Group, Kind::Group);

    async fn find(app: &ControlPlane, id: &str) -> Result<Option<Self>, RegistryError> {
        let Ok(id) = id.parse() else { return Ok(None) };
        app.registry().group(id).await
    }

    fn id(&self) -> Uuid {
        self.0.id
    }

    fn owner(&self) -> UserId {
        self.0.owner
    }
}

impl Entity for Org {
    const NAME: &'static str = "org";
    const WHAT: (What, Kind) = (What::Org, Kind::Org);

    async fn find(app: &ControlPlane, id: &str) -> Result<Option<Self>, RegistryError> {
        let Ok(id) = id.parse() else { return Ok(None) };
        app.registry().org(id).await
    }

    fn id(&self) -> Uuid {
        self.0.id
    }

    fn owner(&self) -> UserId {
        self.0.owner
    }
}

impl ControlPlane {
    /// The caller's rights to an entity, as of now. Where the owner or an admin asks, nothing else is looked up.
    pub(crate) async fn rights<E: Entity>(
        &self,
        caller: &Caller,
        entity: &E,
    ) -> Result<Rights, RegistryError> {
        let (what, kind) = E::WHAT;
        let ties = if entity.owner() == caller.user {
            vec![Tie::Owner]
        } else if caller.is_admin {
            Vec::new()
        } else {
            self.registry().ties(kind, entity.id(), caller.user).await?
        };
        Ok(Rights::of(caller, what, &ties))
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

/// 404 to one of the ids in a field of a request.
pub(crate) fn unknown_id(name: &str, field: &str, id: Uuid) -> ApiError {
    ApiError::not_found(format!("no such {name}: {id}")).field(field)
}

/// Entities that a request names in one of its fields, and what ties the caller to each; to one that does not exist, nothing at
/// all.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) what: What,
    pub(crate) field: &'static str,
    pub(crate) ids: Vec<Uuid>,
    pub(crate) ties: Vec<Option<Vec<Tie>>>,
}

/// The caller has to be allowed to act on every one of the entities. What it may not know of is refused first, so that a refusal
/// tells nothing of an entity behind it.
pub(crate) fn prove_all(caller: &Caller, all: &[Named], action: Action) -> Result<(), ApiError> {
    let mut forbidden = None;
    for Named { what, field, ids, ties } in all {
        for (id, ties) in ids.iter().zip(ties) {
            let decided = match ties {
                Some(ties) => Rights::of(caller, *what, ties).decide(action),
                None => Err(Denied::Hidden),
            };
            match decided {
                Ok(()) => {}
                Err(Denied::Hidden) => return Err(unknown_id(what.name(), field, *id)),
                Err(Denied::Forbidden) => {
                    forbidden = forbidden.or_else(|| {
                        let error = format!("you may not do this with the {} {id}", what.name());
                        Some(ApiError::forbidden(error).field(*field))
                    });
                }
            }
        }
    }
    forbidden.map_or(Ok(()), Err)
}

async fn proven<E: Entity>(
    parts: &mut Parts,
    app: &ControlPlane,
    action: Action,
) -> Result<(E, Rights), ApiError> {
    let caller = Caller::from_request_parts(parts, app).await?;
    let path = ApiPath::from_request_parts(parts, app).await?;
    let entity = E::find(app, path.get(E::NAME)).await?.ok_or_else(|| unknown(E::NAME))?;
    let rights = app.rights(&caller, &entity).await?;
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

impl<E: Entity> FromRequestParts<ControlPlane> for Owned<E> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        let (entity, _): (E, Rights) = proven(parts, app, Action::Read).await?;
        let caller = Caller::from_request_parts(parts, app).await?;
        caller.owns(entity.owner()).map_err(|denied| refuse(denied, E::NAME))?;
        Ok(Self(entity))
    }
}

impl<E: Entity> FromRequestParts<ControlPlane> for Writable<E> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        proven(parts, app, Action::Write).await.map(|(entity, _)| Self(entity))
    }
}

impl<E: Entity> FromRequestParts<ControlPlane> for Assignable<E> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        proven(parts, app, Action::Assign).await.map(|(entity, _)| Self(entity))
    }
}

impl<E: Entity> FromRequestParts<ControlPlane> for Deletable<E> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        proven(parts, app, Action::Delete).await.map(|(entity, _)| Self(entity))
    }
}
