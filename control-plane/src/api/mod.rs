//! The HTTP API: one table of routes, the headers of its answers, and how the registry's errors become refusals.

mod audit;
mod channels;
mod circles;
mod connections;
mod groups;
mod identify;
mod keys;
mod orgs;
mod page;
mod policies;
mod things;
mod users;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use domain::limits::API_BODY_BYTES_MAX;
use http::{HeaderName, HeaderValue, StatusCode, header};
use service::server::method_not_allowed;
use service::telemetry::Chain;
use service::{ApiError, request_id};

use crate::ControlPlane;
use crate::registry::RegistryError;
use crate::registry::listing::{ListError, METADATA_EXAMINED_MAX};
use crate::registry::things::CreateError;
use crate::registry::users::CreateUserError;
use crate::relay::RelayError;

/// What browsers are told on answers about users and tokens, as the reference prints it.
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

pub(crate) fn router(app: ControlPlane) -> Router {
    let users = Router::new()
        .route("/users", post(users::create).get(users::list).put(users::update))
        .route("/users/{user}", get(users::view).delete(users::delete))
        .route("/tokens", post(users::log_in))
        .route("/password", patch(users::change_password))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(map_response(async |answer: Response| with_headers(answer, USER_HEADERS)));
    let entities = Router::new()
        .route("/things", post(things::create).get(things::list))
        .route("/things/{thing}", get(things::view).put(things::update).delete(things::delete))
        .route("/things/{thing}/key", patch(things::replace_key))
        .route("/things/{thing}/groups", get(groups::of_thing))
        .route("/groups", post(groups::create).get(groups::list))
        .route("/groups/{group}", get(groups::view).put(groups::update).delete(groups::delete))
        .route("/groups/{group}/members", get(groups::members).post(groups::assign).delete(groups::unassign))
        .route("/orgs", post(orgs::create).get(orgs::list))
        .route("/orgs/{org}", get(orgs::view).put(orgs::update).delete(orgs::delete))
        .route(
            "/orgs/{org}/members",
            get(orgs::members)
                .post(orgs::assign_members)
                .put(orgs::update_members)
                .delete(orgs::unassign_members),
        )
        .route(
            "/orgs/{org}/groups",
            get(orgs::list_groups).post(orgs::assign_groups).delete(orgs::unassign_groups),
        )
        .route("/members/{user}/orgs", get(orgs::of_user))
        .route("/policies", post(policies::add).put(policies::take))
        .route("/keys", post(keys::issue).get(keys::list))
        .route("/keys/{key}", get(keys::view).delete(keys::revoke))
        .route("/audit", get(audit::list))
        .route("/channels", post(channels::create).get(channels::list))
        .route("/channels/{channel}", get(channels::view).put(channels::update).delete(channels::delete))
        .route(
            "/channels/{channel}/things/{thing}",
            put(connections::connect_one).delete(connections::disconnect_one),
        )
        .route("/connect", post(connections::connect))
        .route("/disconnect", put(connections::disconnect))
        .route("/identify", post(identify::identify))
        .route("/identify/channels/{channel}/access-by-key", post(identify::access_by_key))
        .route("/identify/channels/{channel}/access-by-id", post(identify::access_by_id))
        .layer(map_response(async |answer: Response| with_headers(answer, ENTITY_HEADERS)));
    users.merge(entities).layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX)).with_state(app)
}

fn with_headers<const N: usize>(mut answer: Response, headers: [(HeaderName, HeaderValue); N]) -> Response {
    answer.headers_mut().extend(headers);
    answer
}

/// An answer without a body. It names a content type all the same, as the reference prints it.
fn empty(status: StatusCode) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")]).into_response()
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
