//! Who calls: the user behind a bearer token, asked of the registry at every request.

use axum::extract::FromRequestParts;
use http::request::Parts;
use service::credentials::Credential;
use service::{ApiError, clock};

use crate::ControlPlane;
use crate::access::Caller;
use crate::registry::RegistryError;
use crate::registry::users::{KeyStanding, Standing};
use crate::tokens::{Login, Verified};

/// Why a token gives no caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoCaller {
    #[error("the token is not valid")]
    InvalidToken,
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl ControlPlane {
    /// The user behind a token that is in force.
    pub(crate) async fn caller(&self, token: &str) -> Result<Caller, NoCaller> {
        let verified = self.tokens().verify(token, clock::unix_seconds());
        match verified.map_err(|_| NoCaller::InvalidToken)? {
            Verified::Login(Login { user, generation }) => match self.registry().standing(user).await? {
                Some(Standing { token_generation, is_admin }) if token_generation == generation => {
                    Ok(Caller { user, is_admin, key: None })
                }
                _ => Err(NoCaller::InvalidToken),
            },
            Verified::Key { key, user } => {
                let standing = self.registry().key_standing(user, key, clock::unix_micros()).await?;
                let KeyStanding { is_admin } = standing.ok_or(NoCaller::InvalidToken)?;
                Ok(Caller { user, is_admin, key: Some(key) })
            }
        }
    }
}

impl FromRequestParts<ControlPlane> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(*caller);
        }
        let Credential::Bearer(token) = Credential::from_headers(&parts.headers)? else {
            return Err(ApiError::unauthenticated(
                "this takes a user's token: Authorization: Bearer <token>",
            ));
        };
        let caller = app.caller(&token).await.map_err(|error| match error {
            NoCaller::InvalidToken => ApiError::unauthenticated("the token is not valid, or no longer"),
            NoCaller::Registry(error) => error.into(),
        })?;
        // Several extractors of one request ask once.
        parts.extensions.insert(caller);
        Ok(caller)
    }
}

/// A caller who has logged in: what an API key may not do takes this.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoggedIn(pub(crate) Caller);

impl FromRequestParts<ControlPlane> for LoggedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        match Caller::from_request_parts(parts, app).await? {
            Caller { key: Some(_), .. } => {
                Err(ApiError::forbidden("this takes the token of a login: an API key can't issue keys"))
            }
            caller => Ok(Self(caller)),
        }
    }
}

/// A caller who is a platform admin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlatformAdmin(pub(crate) Caller);

impl FromRequestParts<ControlPlane> for PlatformAdmin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        match Caller::from_request_parts(parts, app).await? {
            caller if caller.is_admin => Ok(Self(caller)),
            _ => Err(ApiError::forbidden("only an admin may do this")),
        }
    }
}
