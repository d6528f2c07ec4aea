//! The HTTP API: one table of routes, the headers of its answers, and how the registry's errors become refusals.

mod audit;
mod channels;
mod circles;
mod connections;
mod described;
mod groups;
mod identify;
mod keys;
mod orgs;
mod page;
mod policies;
mod things;
mod users;
mod webhooks;

use axum::body::Body;
use axum::extract::{FromRequest as _, Request};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use domain::limits::API_BODY_BYTES_MAX;
use http::{HeaderName, HeaderValue, StatusCode, header};
use openapi::Routes;
use serde_json::Value;
use service::extract::{ApiJson, body_limit, whole_body};
use service::server::method_not_allowed;
use service::telemetry::Chain;
use service::{ApiError, request_id};

use crate::ControlPlane;
use crate::fields::Fields;
use crate::registry::RegistryError;
use crate::registry::listing::{ListError, METADATA_EXAMINED_MAX};
use crate::registry::things::CreateError;
use crate::registry::users::CreateUserError;
use crate::relay::RelayError;

/// What browsers are told on answers about users, tokens and webhooks, as the reference prints it.
const USER_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000; includeSubdomains")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("*")),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*")),
];

/// What browsers are told on all other answers, as the reference prints it. The server adds it to every answer; where this API
/// is used without it the answers are the same.
const ENTITY_HEADERS: [(HeaderName, HeaderValue); 1] =
    [(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Location"))];

/// The whole API, with what the document says of each operation.
pub(crate) fn routes() -> Routes<ControlPlane> {
    let users = Routes::default()
        .post("/users", users::create, described::users::create())
        .get("/users", users::list, described::users::list())
        .put("/users", users::update, described::users::update())
        .get("/users/{user}", users::view, described::users::view())
        .delete("/users/{user}", users::delete, described::users::delete())
        .post("/tokens", users::log_in, described::users::log_in())
        .patch("/password", users::change_password, described::users::change_password())
        .map(|users| {
            users
                .method_not_allowed_fallback(method_not_allowed)
                .layer(map_response(async |answer: Response| with_headers(answer, USER_HEADERS)))
        });
    let entities = of_things()
        .merge(of_circles())
        .post("/policies", policies::add, described::circles::add_policies())
        .put("/policies", policies::take, described::circles::take_policies())
        .post("/keys", keys::issue, described::keys::issue())
        .get("/keys", keys::list, described::keys::list())
        .get("/keys/{key}", keys::view, described::keys::view())
        .delete("/keys/{key}", keys::revoke, described::keys::revoke())
        .get("/audit", audit::list, described::audit::list_entries())
        .map(|entities| {
            entities.layer(map_response(async |answer: Response| with_headers(answer, ENTITY_HEADERS)))
        });
    let all = users.merge(of_webhooks()).merge(entities).schemas(described::shapes::all());
    let all = described::TAGS.into_iter().fold(all, |all, (name, about)| all.tag(name, about));
    all.map(|all| all.layer(body_limit(API_BODY_BYTES_MAX)))
}

/// Things, channels, and what lies between them.
fn of_things() -> Routes<ControlPlane> {
    use described::things as described;
    Routes::default()
        .post("/things", things::create, described::create())
        .get("/things", things::list, described::list())
        .get("/things/{thing}", things::view, described::view())
        .put("/things/{thing}", things::update, described::update())
        .delete("/things/{thing}", things::delete, described::delete())
        .patch("/things/{thing}/key", things::replace_key, described::replace_key())
        .get("/things/{thing}/groups", groups::of_thing, described::groups())
        .post("/channels", channels::create, described::create_channels())
        .get("/channels", channels::list, described::list_channels())
        .get("/channels/{channel}", channels::view, described::view_channel())
        .put("/channels/{channel}", channels::update, described::update_channel())
        .delete("/channels/{channel}", channels::delete, described::delete_channel())
        .put("/channels/{channel}/things/{thing}", connections::connect_one, described::connect_one())
        .delete(
            "/channels/{channel}/things/{thing}",
            connections::disconnect_one,
            described::disconnect_one(),
        )
        .post("/connect", connections::connect, described::connect())
        .put("/disconnect", connections::disconnect, described::disconnect())
        .post("/identify", identify::identify, described::identify())
        .post(
            "/identify/channels/{channel}/access-by-key",
            identify::access_by_key,
            described::access_by_key(),
        )
        .post("/identify/channels/{channel}/access-by-id", identify::access_by_id, described::access_by_id())
}

/// Webhooks of things.
fn of_webhooks() -> Routes<ControlPlane> {
    use described::webhooks as described;
    Routes::default()
        .post("/webhooks/{thing}", webhooks::create, described::create())
        .get("/webhooks/{thing}", webhooks::list, described::list_all())
        .get("/webhooks/{thing}/{webhook}", webhooks::view, described::view())
        .put("/webhooks/{thing}/{webhook}", webhooks::update, described::update())
        .delete("/webhooks/{thing}/{webhook}", webhooks::delete, described::delete())
        .post("/webhooks/{thing}/{webhook}/enable", webhooks::enable, described::enable())
        .post("/webhooks/{thing}/{webhook}/disable", webhooks::disable, described::disable())
        .post("/webhooks/{thing}/{webhook}/secret", webhooks::rotate, described::rotate())
        .post("/webhooks/{thing}/{webhook}/test", webhooks::test, described::test())
        .get("/webhooks/{thing}/{webhook}/deliveries", webhooks::deliveries, described::deliveries())
        .post("/webhooks/{thing}/{webhook}/replay", webhooks::replay, described::replay())
        .map(|webhooks| {
            webhooks
                .method_not_allowed_fallback(method_not_allowed)
                .layer(map_response(async |answer: Response| with_headers(answer, USER_HEADERS)))
        })
}

/// Groups and orgs.
fn of_circles() -> Routes<ControlPlane> {
    use described::circles as described;
    Routes::default()
        .post("/groups", groups::create, described::create_group())
        .get("/groups", groups::list, described::list_groups())
        .get("/groups/{group}", groups::view, described::view_group())
        .put("/groups/{group}", groups::update, described::update_group())
        .delete("/groups/{group}", groups::delete, described::delete_group())
        .get("/groups/{group}/members", groups::members, described::group_members())
        .post("/groups/{group}/members", groups::assign, described::assign_to_group())
        .delete("/groups/{group}/members", groups::unassign, described::unassign_from_group())
        .post("/orgs", orgs::create, described::create_org())
        .get("/orgs", orgs::list, described::list_orgs())
        .get("/orgs/{org}", orgs::view, described::view_org())
        .put("/orgs/{org}", orgs::update, described::update_org())
        .delete("/orgs/{org}", orgs::delete, described::delete_org())
        .get("/orgs/{org}/members", orgs::members, described::org_members())
        .post("/orgs/{org}/members", orgs::assign_members, described::assign_to_org())
        .put("/orgs/{org}/members", orgs::update_members, described::update_org_members())
        .delete("/orgs/{org}/members", orgs::unassign_members, described::unassign_from_org())
        .get("/orgs/{org}/groups", orgs::list_groups, described::groups_of_org())
        .post("/orgs/{org}/groups", orgs::assign_groups, described::assign_groups())
        .delete("/orgs/{org}/groups", orgs::unassign_groups, described::unassign_groups())
        .get("/members/{user}/orgs", orgs::of_user, described::orgs_of_user())
}

fn with_headers<const N: usize>(mut answer: Response, headers: [(HeaderName, HeaderValue); N]) -> Response {
    answer.headers_mut().extend(headers);
    answer
}

/// An answer without a body. It names a content type all the same, as the reference prints it.
fn empty(status: StatusCode) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")]).into_response()
}

/// A JSON object, if there is a body at all.
async fn optional_body(request: Request) -> Result<Option<Fields>, ApiError> {
    let (parts, body) = request.into_parts();
    let body = whole_body(Request::from_parts(parts.clone(), body), &()).await?;
    if body.is_empty() {
        return Ok(None);
    }
    let whole = Request::from_parts(parts, Body::from(body));
    let ApiJson(body) = ApiJson::<Value>::from_request(whole, &()).await?;
    Fields::one(body).map(Some)
}

/// Where a new entity is.
fn location(path: &str, id: impl std::fmt::Display) -> [(HeaderName, String); 1] {
    [(header::LOCATION, format!("{path}/{id}"))]
}

impl ControlPlane {
    /// Makes a change of access and publishes it, whether or not the client waits for the answer: a change that is
    /// committed and not published would be in force nowhere. Where it can't be published, the answer says that the change is
    /// made and not yet in force.
    async fn change_access<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let app = self.clone();
        let whole = tokio::spawn(request_id::carry(async move {
            let changed = change.await?;
            app.relay().publish(app.registry()).await?;
            Ok(changed)
        }));
        match whole.await {
            Ok(answer) => answer,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(ApiError::unavailable("the server is stopping")),
            },
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match &error {
            RegistryError::Unavailable(_) => {
                tracing::warn!(error = %Chain(&error), "the registry did not answer");
                Self::unavailable("the registry can't be asked now")
            }
            RegistryError::Damaged(_) => {
                tracing::error!(error = %Chain(&error), "the registry can't be understood");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "what is stored about this is damaged")
            }
        }
    }
}

impl From<RelayError> for ApiError {
    fn from(error: RelayError) -> Self {
        tracing::warn!(error = %Chain(&error), "a change of access is made and not yet published");
        Self::unavailable(
            "the change is made, but not in force everywhere yet; it comes into force by itself",
        )
        .code("not_in_force")
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::IdTaken(index) => {
                let error = format!("id of record {index} is taken, now or by an entity that was deleted");
                Self::conflict(error).code("id_taken").record(index).field("id")
            }
            CreateError::Registry(error) => error.into(),
        }
    }
}

impl From<CreateUserError> for ApiError {
    fn from(error: CreateUserError) -> Self {
        match error {
            CreateUserError::EmailTaken => {
                Self::conflict("somebody has an account with this email").code("email_taken").field("email")
            }
            CreateUserError::Registry(error) => error.into(),
        }
    }
}

impl From<ListError> for ApiError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::TooMany => Self::malformed(format!(
                "a filter by metadata examines at most {METADATA_EXAMINED_MAX} entities: add a filter by name"
            ))
            .code("too_many")
            .field("metadata"),
            ListError::Registry(error) => error.into(),
        }
    }
}
