//! Users, logins and passwords.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use domain::UserId;
use http::request::Parts;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use service::extract::{ApiJson, ApiPath, ApiQuery};
use service::{ApiError, clock};

use super::page::ListParams;
use super::{empty, location};
use crate::ControlPlane;
use crate::access::Caller;
use crate::author::Author;
use crate::caller::PlatformAdmin;
use crate::email::Email;
use crate::entity::unknown;
use crate::fields::Fields;
use crate::metadata::Metadata;
use crate::metrics::PasswordCheck;
use crate::password::{Busy, Password};
use crate::registry::listing::Within;
use crate::registry::users::{Account, NewUser, User};
use crate::tokens::Login;

#[derive(Debug, Serialize)]
struct UserView {
    id: UserId,
    email: String,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
}

#[derive(Debug, Serialize)]
struct UsersPage {
    total: i64,
    offset: i64,
    limit: i64,
    /// The reference prints it with a capital.
    #[serde(rename = "Users")]
    users: Vec<UserView>,
}

/// Where a request comes from, if the server knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientAddress(Option<IpAddr>);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(address.map(|ConnectInfo(address)| address.ip())))
    }
}

/// The proof that whoever asks may create an account: anyone, until an admin takes away the policy that says so.
#[derive(Debug)]
pub(super) struct AccountMaker(Author);

impl FromRequestParts<ControlPlane> for AccountMaker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        if app.registry().may_create_users(None).await? {
            return Ok(Self(Author::nobody()));
        }
        if !parts.headers.contains_key(header::AUTHORIZATION) {
            return Err(ApiError::unauthenticated("sign-up is closed: this takes the token of an admin"));
        }
        let caller = Caller::from_request_parts(parts, app).await?;
        if caller.is_admin || app.registry().may_create_users(Some(caller.user)).await? {
            return Ok(Self(Author::of(&caller)));
        }
        Err(ApiError::forbidden("sign-up is closed: only an admin may create accounts"))
    }
}

/// `POST /users`: makes an account.
pub(super) async fn create(
    State(app): State<ControlPlane>,
    AccountMaker(by): AccountMaker,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut fields = Fields::one(body)?;
    let email = fields.required_text("email")?;
    let email = Email::parse(&email).map_err(|error| fields.wrong("email", error))?;
    let password = fields.required_text("password")?;
    let password = Password::new(password).map_err(|error| fields.wrong("password", error))?;
    let metadata = fields.metadata()?.unwrap_or_default();
    let password_hash = app.hashing().hash(password).await.map_err(busy)?;
    let user = NewUser { email: &email, password_hash: &password_hash, metadata: &metadata, is_admin: false };
    let id = app.registry().create_user(&by, user, clock::unix_micros()).await?;
    Ok((location("/users", id), empty(StatusCode::CREATED)).into_response())
}

/// `POST /tokens`: logs in. A wrong password and an unknown email get the same answer in the same time.
pub(super) async fn log_in(
    State(app): State<ControlPlane>,
    address: ClientAddress,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut fields = Fields::one(body)?;
    let email = fields.required_text("email")?.to_lowercase();
    let password = fields.required_text("password")?;
    let account = app.registry().account_by_email(&email).await?;
    if !verified(&app, &email, address, password, account.as_ref()).await? {
        return Err(ApiError::unauthenticated("wrong email or password"));
    }
    let account = account.expect("nobody has no password");
    let login = Login { user: account.id, generation: account.token_generation };
    let token = app.tokens().issue(login, &account.email, clock::unix_seconds());
    Ok((StatusCode::CREATED, Json(json!({ "token": token }))).into_response())
}

/// `GET /users/{user}`: oneself, those who share an org or a group with oneself, and for admins everyone.
pub(super) async fn view(
    State(app): State<ControlPlane>,
    caller: Caller,
    path: ApiPath,
) -> Result<Response, ApiError> {
    let id: UserId = path.get("user").parse().map_err(|_| unknown("user"))?;
    let user = app.registry().user(caller.scope(), id).await?.ok_or_else(|| unknown("user"))?;
    Ok(Json(shown(user)).into_response())
}

/// `GET /users`: admins see all, others themselves and those who share an org or a group with them.
pub(super) async fn list(
    State(app): State<ControlPlane>,
    caller: Caller,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Response, ApiError> {
    let query = params.users_query()?;
    let _place = app.place_for_list(&query).await;
    let (total, users) = app.registry().users(caller.scope(), Within::Anything, &query).await?;
    let users = users.into_iter().map(shown).collect();
    Ok(Json(UsersPage { total, offset: query.offset, limit: query.limit, users }).into_response())
}

/// `DELETE /users/{user}`: the account, its keys, memberships and policies. What it owned is from then on the admin's who deletes
/// it.
pub(super) async fn delete(
    State(app): State<ControlPlane>,
    by: Author,
    PlatformAdmin(admin): PlatformAdmin,
    path: ApiPath,
) -> Result<Response, ApiError> {
    let id: UserId = path.get("user").parse().map_err(|_| unknown("user"))?;
    if id == admin.user {
        return Err(ApiError::conflict(
            "another admin has to delete this account: what it owns passes to it",
        ));
    }
    if !app.registry().delete_user(&by, id, admin.user).await? {
        return Err(unknown("user"));
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `PUT /users`: replaces the caller's metadata.
pub(super) async fn update(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let metadata = Fields::one(body)?.metadata()?;
    if let Some(metadata) = metadata {
        app.registry().set_user_metadata(&by, caller.user, &metadata, clock::unix_micros()).await?;
    }
    Ok(empty(StatusCode::OK))
}

/// `PATCH /password`: replaces the caller's password, and ends the login tokens issued so far.
pub(super) async fn change_password(
    State(app): State<ControlPlane>,
    by: Author,
    caller: Caller,
    address: ClientAddress,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let mut fields = Fields::one(body)?;
    let old_password = fields.required_text("old_password")?;
    let password = fields.required_text("password")?;
    let password = Password::new(password).map_err(|error| fields.wrong("password", error))?;
    let account = app.registry().account(caller.user).await?.ok_or_else(|| unknown("user"))?;
    let email = account.email.to_lowercase();
    if !verified(&app, &email, address, old_password, Some(&account)).await? {
        return Err(ApiError::forbidden("old_password is not the password").field("old_password"));
    }
    let hash = app.hashing().hash(password).await.map_err(busy)?;
    if !app.registry().set_password(&by, &account, &hash, clock::unix_micros()).await? {
        return Err(ApiError::conflict("the password was changed by another request"));
    }
    Ok((StatusCode::CREATED, Json(json!({ "msg": "" }))).into_response())
}

/// Whether it is the account's password, unless there were too many failures. An attempt that was not made does not count.
async fn verified(
    app: &ControlPlane,
    email: &str,
    ClientAddress(address): ClientAddress,
    password: String,
    account: Option<&Account>,
) -> Result<bool, ApiError> {
    let checked = check(app, email, address, password, account).await;
    let outcome = match &checked {
        Ok(true) => PasswordCheck::Passed,
        Ok(false) => PasswordCheck::Failed,
        Err(refusal) if refusal.status() == StatusCode::TOO_MANY_REQUESTS => PasswordCheck::Limited,
        Err(_) => PasswordCheck::Busy,
    };
    app.metrics().password_checks_total.of(outcome).increment(1);
    checked
}

async fn check(
    app: &ControlPlane,
    email: &str,
    address: Option<IpAddr>,
    password: String,
    account: Option<&Account>,
) -> Result<bool, ApiError> {
    app.attempts().begin(email, address, clock::unix_micros()).map_err(|refused| {
        let wait = Duration::from_secs(refused.wait_seconds);
        ApiError::too_many_requests("too many failed logins, try again later", wait)
    })?;
    let Ok(password) = Password::presented(password) else { return Ok(false) };
    let hash = account.map(|account| account.password_hash.clone());
    let verified = app.hashing().verify(password, hash).await.map_err(busy);
    if !matches!(verified, Ok(false)) {
        app.attempts().succeeded(email, address, clock::unix_micros());
    }
    verified
}

fn shown(user: User) -> UserView {
    UserView { id: user.id, email: user.email, metadata: user.metadata }
}

fn busy(Busy: Busy) -> ApiError {
    ApiError::unavailable("too many passwords are being checked, try again")
}
