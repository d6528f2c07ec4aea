//! Orgs, their members, and the groups in them.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::{GroupId, OrgId, UserId};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use service::extract::{ApiJson, ApiPath, ApiQuery};
use service::{ApiError, clock};

use super::circles::{self, CircleView};
use super::groups;
use super::page::{ListParams, NamedPageFields};
use super::{empty, location};
use crate::ControlPlane;
use crate::access::{Action, Caller, NoRole, Rights, Role, Tie, What};
use crate::author::Author;
use crate::entity::{Assignable, Deletable, Named, Readable, Writable, prove_all, refuse, unknown};
use crate::fields::Fields;
use crate::registry::entities::Scope;
use crate::registry::listing::Within;
use crate::registry::orgs::{Member, Org, Staffing};

#[derive(Debug, Serialize)]
struct OrgsPage {
    #[serde(flatten)]
    page: NamedPageFields,
    orgs: Vec<CircleView>,
}

#[derive(Debug, Serialize)]
struct MembersPage {
    #[serde(flatten)]
    page: NamedPageFields,
    members: Vec<MemberView>,
}

#[derive(Debug, Serialize)]
struct MemberView {
    id: UserId,
    email: String,
    role: &'static str,
}

/// `POST /orgs`.
pub(super) async fn create(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let new = circles::new(body, caller.user)?;
    let id = app.registry().create_org(&by, &new, clock::unix_micros()).await?;
    Ok((location("/orgs", id), empty(StatusCode::CREATED)).into_response())
}

/// `GET /orgs`: a page of the orgs that the caller is a member of, of all for admins.
pub(super) async fn list(
    State(app): State<ControlPlane>,
    caller: Caller,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    page(&app, caller.scope(), Within::Anything, &params).await
}

/// `GET /members/{user}/orgs`: the orgs that the user is a member of, as far as the caller sees them.
pub(super) async fn of_user(
    State(app): State<ControlPlane>,
    caller: Caller,
    path: ApiPath,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    let user: UserId = path.get("user").parse().map_err(|_| unknown("user"))?;
    app.registry().user(caller.scope(), user).await?.ok_or_else(|| unknown("user"))?;
    page(&app, caller.scope(), Within::User(user), &params).await
}

async fn page(
    app: &ControlPlane,
    scope: Scope,
    within: Within,
    params: &ListParams,
) -> Result<Response, ApiError> {
    let query = params.query()?;
    let _place = app.place_for_list(&query).await;
    let (total, orgs) = app.registry().orgs(scope, within, &query).await?;
    let orgs = orgs.into_iter().map(circles::shown).collect();
    Ok(Json(OrgsPage { page: params.named_page(&query, total), orgs }).into_response())
}

/// `GET /orgs/{org}`.
pub(super) async fn view(org: Readable<Org>) -> Response {
    Json(circles::shown(org.entity.0)).into_response()
}

/// `PUT /orgs/{org}`: changes name, description and metadata, or some of them.
pub(super) async fn update(
    State(app): State<ControlPlane>,
    by: Author,
    Writable(org): Writable<Org>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let update = circles::update(body)?;
    if !app.registry().update_org(&by, org.id(), &update, clock::unix_micros()).await? {
        return Err(unknown("org"));
    }
    Ok(empty(StatusCode::OK))
}

/// `DELETE /orgs/{org}`: the org, not what is in it.
pub(super) async fn delete(
    State(app): State<ControlPlane>,
    by: Author,
    Deletable(org): Deletable<Org>,
) -> Result<Response, ApiError> {
    if !app.registry().delete_org(&by, org.id()).await? {
        return Err(unknown("org"));
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /orgs/{org}/members`.
pub(super) async fn members(
    State(app): State<ControlPlane>,
    org: Readable<Org>,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    let query = params.users_query()?;
    let _place = app.place_for_list(&query).await;
    let (total, members) = app.registry().org_members(org.entity.id(), &query).await?;
    let shown = |Member { id, email, role }| MemberView { id, email, role: role.name() };
    let members = members.into_iter().map(shown).collect();
    Ok(Json(MembersPage { page: params.named_page(&query, total), members }).into_response())
}

/// `POST /orgs/{org}/members`: makes users members, all or none.
pub(super) async fn assign_members(
    State(app): State<ControlPlane>,
    by: Author,
    Writable(org): Writable<Org>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut change = staffing(&app, &by, org.id()).await?;
    let members = members_of(&mut change, body).await?;
    let roles = change.roles(&members.iter().map(|(user, _)| *user).collect::<Vec<_>>()).await?;
    if let Some(index) = members.iter().position(|(user, _)| roles.contains_key(user)) {
        let error = format!("the user with the email of record {index} is a member already");
        return Err(ApiError::conflict(error).record(index).field("email"));
    }
    change.set_roles(&members).await?;
    change.commit().await?;
    Ok(empty(StatusCode::OK))
}

/// `PUT /orgs/{org}/members`: gives members other roles, all or none.
pub(super) async fn update_members(
    State(app): State<ControlPlane>,
    by: Author,
    Writable(org): Writable<Org>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut change = staffing(&app, &by, org.id()).await?;
    let members = members_of(&mut change, body).await?;
    let roles = change.roles(&members.iter().map(|(user, _)| *user).collect::<Vec<_>>()).await?;
    for (index, (user, _)) in members.iter().enumerate() {
        match roles.get(user) {
            None => {
                let error = format!("the user with the email of record {index} is no member");
                return Err(ApiError::not_found(error).record(index).field("email"));
            }
            Some(Role::Owner) => return Err(owner_stays().record(index).field("email")),
            Some(_) => {}
        }
    }
    change.set_roles(&members).await?;
    change.commit().await?;
    Ok(empty(StatusCode::OK))
}

/// `DELETE /orgs/{org}/members`: ends memberships. Who is no member stays so.
pub(super) async fn unassign_members(
    State(app): State<ControlPlane>,
    by: Author,
    Writable(org): Writable<Org>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let users: Vec<UserId> = Fields::one(body)?.ids("member_ids")?;
    let mut change = staffing(&app, &by, org.id()).await?;
    if change.roles(&users).await?.values().any(|role| *role == Role::Owner) {
        return Err(owner_stays().field("member_ids"));
    }
    change.remove_members(&users).await?;
    change.commit().await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /orgs/{org}/groups`.
pub(super) async fn list_groups(
    State(app): State<ControlPlane>,
    org: Readable<Org>,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    groups::page(&app, Scope::All, Within::Org(org.entity.id()), &params).await
}

/// `POST /orgs/{org}/groups`: puts groups in the org, all or none. It takes ownership of the groups.
pub(super) async fn assign_groups(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    Assignable(org): Assignable<Org>,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let groups: Vec<GroupId> = Fields::one(body)?.ids("group_ids")?;
    let mut change = staffing(&app, &by, org.id()).await?;
    let ties = change.group_ties(&groups, caller.user).await?;
    let ids = groups.iter().map(GroupId::as_uuid).collect();
    let named = Named { what: What::Group, field: "group_ids", ids, ties };
    prove_all(&caller, &[named], Action::Write)?;
    if let Some(group) = change.groups(&groups).await?.into_iter().next() {
        return Err(ApiError::conflict(format!("{group} is in the org already")).field("group_ids"));
    }
    change.add_groups(&groups).await?;
    change.commit().await?;
    Ok(empty(StatusCode::OK))
}

/// `DELETE /orgs/{org}/groups`: takes groups out of the org. What is not in it stays so. Who owns a group may take it out of any
/// org.
pub(super) async fn unassign_groups(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    path: ApiPath,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let org: OrgId = path.get("org").parse().map_err(|_| unknown("org"))?;
    let groups: Vec<GroupId> = Fields::one(body)?.ids("group_ids")?;
    let mut change = staffing(&app, &by, org).await?;
    let rights = Rights::of(&caller, What::Org, &change.ties(caller.user).await?);
    if let Err(denied) = rights.decide(Action::Assign) {
        let ties = change.group_ties(&groups, caller.user).await?;
        let owned = ties.iter().flatten().filter(|ties| ties.contains(&Tie::Owner)).count();
        if owned < groups.len() || change.groups(&groups).await?.len() < groups.len() {
            return Err(refuse(denied, "org"));
        }
    }
    change.remove_groups(&groups).await?;
    change.commit().await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The users and roles of a body, in its order.
async fn members_of(change: &mut Staffing, body: Value) -> Result<Vec<(UserId, Role)>, ApiError> {
    let mut wanted = Vec::new();
    let mut seen = HashSet::new();
    for mut fields in Fields::one(body)?.objects("members")? {
        let email = fields.required_text("email")?.to_lowercase();
        let role = fields.required_text("role")?.parse().map_err(|error| fields.wrong("role", error))?;
        if role == Role::Owner {
            return Err(fields.wrong("role", NoRole));
        }
        if !seen.insert(email.clone()) {
            return Err(fields.wrong("email", "is there twice"));
        }
        wanted.push((email, role));
    }
    let emails: Vec<String> = wanted.iter().map(|(email, _)| email.clone()).collect();
    let users = change.users(&emails).await?;
    let known = |(index, (email, role)): (usize, (String, Role))| match users.get(&email) {
        Some(user) => Ok((*user, role)),
        None => {
            let error = format!("nobody has an account with the email of record {index}");
            Err(ApiError::not_found(error).record(index).field("email"))
        }
    };
    wanted.into_iter().enumerate().map(known).collect()
}

async fn staffing(app: &ControlPlane, by: &Author, org: OrgId) -> Result<Staffing, ApiError> {
    app.registry().staffing(by, org).await?.ok_or_else(|| unknown("org"))
}

fn owner_stays() -> ApiError {
    ApiError::conflict("an org's owner stays its member and its owner")
}
