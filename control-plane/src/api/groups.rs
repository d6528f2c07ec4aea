//! Groups, and the things and users in them.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::{GroupId, ThingId, UserId};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use service::extract::{ApiJson, ApiPath, ApiQuery};
use service::{ApiError, clock};
use uuid::Uuid;

use super::circles::{self, CircleView};
use super::page::{ListParams, NamedPageFields};
use super::things::{self, ThingView};
use super::{empty, location};
use crate::ControlPlane;
use crate::access::{Action, Caller, Rights, Tie, What};
use crate::author::Author;
use crate::entity::{
    Assignable, Deletable, Named, Readable, Writable, prove_all, refuse, unknown, unknown_id,
};
use crate::fields::Fields;
use crate::registry::entities::Scope;
use crate::registry::groups::{Gathering, Group, MemberKind};
use crate::registry::listing::Within;
use crate::registry::things::Thing;

#[derive(Debug, Serialize)]
pub(super) struct GroupsPage {
    #[serde(flatten)]
    pub(super) page: NamedPageFields,
    pub(super) groups: Vec<CircleView>,
}

#[derive(Debug, Serialize)]
struct MembersPage<M> {
    #[serde(flatten)]
    page: NamedPageFields,
    members: Vec<M>,
}

#[derive(Debug, Serialize)]
struct UserMemberView {
    id: UserId,
    email: String,
}

/// `POST /groups`.
pub(super) async fn create(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let new = circles::new(body, caller.user)?;
    let id = app.registry().create_group(&by, &new, clock::unix_micros()).await?;
    Ok((location("/groups", id), empty(StatusCode::CREATED)).into_response())
}

/// `GET /groups`: a page of the groups that the caller is in, itself or by an org; of all for admins.
pub(super) async fn list(
    State(app): State<ControlPlane>,
    caller: Caller,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    page(&app, caller.scope(), Within::Anything, &params).await
}

/// `GET /things/{thing}/groups`: the groups that the thing is in, all of them for its owner.
pub(super) async fn of_thing(
    State(app): State<ControlPlane>,
    caller: Caller,
    thing: Readable<Thing>,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    let Thing { id, owner, .. } = thing.entity;
    let scope = if owner == caller.user { Scope::All } else { caller.scope() };
    page(&app, scope, Within::Thing(id), &params).await
}

/// A page of groups.
pub(super) async fn page(
    app: &ControlPlane,
    scope: Scope,
    within: Within,
    params: &ListParams,
) -> Result<Response, ApiError> {
    let query = params.query()?;
    let _place = app.place_for_list(&query).await;
    let (total, groups) = app.registry().groups(scope, within, &query).await?;
    let groups = groups.into_iter().map(circles::shown).collect();
    Ok(Json(GroupsPage { page: params.named_page(&query, total), groups }).into_response())
}

/// `GET /groups/{group}`.
pub(super) async fn view(group: Readable<Group>) -> Response {
    Json(circles::shown(group.entity.0)).into_response()
}

/// `PUT /groups/{group}`: changes name, description and metadata, or some of them.
pub(super) async fn update(
    State(app): State<ControlPlane>,
    by: Author,
    Writable(group): Writable<Group>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let update = circles::update(body)?;
    if !app.registry().update_group(&by, group.id(), &update, clock::unix_micros()).await? {
        return Err(unknown("group"));
    }
    Ok(empty(StatusCode::OK))
}

/// `DELETE /groups/{group}`: the group, not what is in it.
pub(super) async fn delete(
    State(app): State<ControlPlane>,
    by: Author,
    Deletable(group): Deletable<Group>,
) -> Result<Response, ApiError> {
    if !app.registry().delete_group(&by, group.id()).await? {
        return Err(unknown("group"));
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /groups/{group}/members`: the things in it, or with `type=users` the users.
pub(super) async fn members(
    State(app): State<ControlPlane>,
    caller: Caller,
    group: Readable<Group>,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    let within = Within::Group(group.entity.id());
    match params.member_kind()?.unwrap_or(MemberKind::Thing) {
        MemberKind::Thing => {
            let query = params.query()?;
            let _place = app.place_for_list(&query).await;
            let (total, things) = app.registry().things(Scope::All, within, &query, caller.user).await?;
            let members: Vec<ThingView> = things::listed(&app, &caller, things)?;
            Ok(Json(MembersPage { page: params.named_page(&query, total), members }).into_response())
        }
        MemberKind::User => {
            let query = params.users_query()?;
            let _place = app.place_for_list(&query).await;
            let (total, users) = app.registry().users(Scope::All, within, &query).await?;
            let members =
                users.into_iter().map(|user| UserMemberView { id: user.id, email: user.email }).collect();
            Ok(Json(MembersPage { page: params.named_page(&query, total), members }).into_response())
        }
    }
}

/// `POST /groups/{group}/members`: puts things and users in the group, all or none. It takes write access to the things.
pub(super) async fn assign(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    Assignable(group): Assignable<Group>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let Members { ids, kind } = Members::read(body)?;
    let mut change = gathering(&app, &by, group.id()).await?;
    let (users, things): (Vec<Uuid>, Vec<Uuid>) = match kind {
        Some(MemberKind::Thing) => (Vec::new(), ids),
        Some(MemberKind::User) => (ids, Vec::new()),
        None => {
            let users = change.existing(MemberKind::User, &ids).await?;
            ids.into_iter().partition(|id| users.contains(id))
        }
    };
    prove_things(&caller, &mut change, &things).await?;
    if !users.is_empty() {
        let known = change.existing(MemberKind::User, &users).await?;
        if let Some(nobody) = users.iter().find(|user| !known.contains(user)) {
            return Err(unknown_id("user", "members", *nobody));
        }
    }
    for (kind, ids) in [(MemberKind::Thing, things), (MemberKind::User, users)] {
        if let Some(member) = change.members(kind, &ids).await?.into_iter().next() {
            return Err(ApiError::conflict(format!("{member} is a member already")).field("members"));
        }
        change.add(kind, &ids).await?;
    }
    change.commit().await?;
    Ok(empty(StatusCode::OK))
}

/// `DELETE /groups/{group}/members`: takes things and users out of the group. What is not in it stays so. Who owns a thing may
/// take it out of any group.
pub(super) async fn unassign(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    path: ApiPath,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let group: GroupId = path.get("group").parse().map_err(|_| unknown("group"))?;
    let Members { ids, kind } = Members::read(body)?;
    let mut change = gathering(&app, &by, group).await?;
    let rights = Rights::of(&caller, What::Group, &change.ties(caller.user).await?);
    if let Err(denied) = rights.decide(Action::Assign) {
        let owns_all = kind != Some(MemberKind::User) && owns_things(&caller, &mut change, &ids).await?;
        if !owns_all {
            return Err(refuse(denied, "group"));
        }
        change.remove(MemberKind::Thing, &ids).await?;
    } else {
        if kind != Some(MemberKind::User) {
            change.remove(MemberKind::Thing, &ids).await?;
        }
        if kind != Some(MemberKind::Thing) {
            if change.has_owner(&ids) {
                return Err(ApiError::conflict("a group's owner stays its member").field("members"));
            }
            change.remove(MemberKind::User, &ids).await?;
        }
    }
    change.commit().await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The body of a change of members.
struct Members {
    ids: Vec<Uuid>,
    /// Without one the ids decide.
    kind: Option<MemberKind>,
}

impl Members {
    fn read(body: Value) -> Result<Self, ApiError> {
        let mut fields = Fields::one(body)?;
        let kind = match fields.text("type")? {
            None => None,
            Some(text) => Some(member_kind(&text).ok_or_else(|| fields.wrong("type", NO_KIND))?),
        };
        // Whose ids they are is not known yet: all of them are written alike.
        let ids: Vec<ThingId> = fields.ids("members")?;
        Ok(Self { ids: ids.into_iter().map(|id| id.as_uuid()).collect(), kind })
    }
}

/// What is wrong with a kind of members that is none.
pub(super) const NO_KIND: &str = "is not one of things, users";

pub(super) fn member_kind(text: &str) -> Option<MemberKind> {
    match text {
        "things" => Some(MemberKind::Thing),
        "users" => Some(MemberKind::User),
        _ => None,
    }
}

async fn gathering(app: &ControlPlane, by: &Author, group: GroupId) -> Result<Gathering, ApiError> {
    app.registry().gathering(by, group).await?.ok_or_else(|| unknown("group"))
}

async fn prove_things(caller: &Caller, change: &mut Gathering, things: &[Uuid]) -> Result<(), ApiError> {
    if things.is_empty() {
        return Ok(());
    }
    let ties = change.thing_ties(things, caller.user).await?;
    let named = Named { what: What::Thing, field: "members", ids: things.to_vec(), ties };
    prove_all(caller, &[named], Action::Write)
}

/// Whether all of the ids are of things of the caller that are in the group.
async fn owns_things(caller: &Caller, change: &mut Gathering, ids: &[Uuid]) -> Result<bool, ApiError> {
    let ties = change.thing_ties(ids, caller.user).await?;
    let owns_all = ties.iter().flatten().filter(|ties| ties.contains(&Tie::Owner)).count() == ids.len();
    Ok(owns_all && change.members(MemberKind::Thing, ids).await?.len() == ids.len())
}
