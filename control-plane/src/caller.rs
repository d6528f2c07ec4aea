//! Who calls: the user behind a bearer token, asked of the registry at every request.

use axum::extract::FromRequestParts;
use http::request::Parts;
use service::credentials::Credential;
use service::{ApiError, clock};

use crate::ControlPlane;
use crate::access::Caller;
use crate::registry::RegistryError;

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
        let login = self.tokens().verify(token, clock::unix_seconds()).map_err(|_| NoCaller::InvalidToken)?;
        match self.registry().standing(login.user).await? {
            Some(standing) if standing.token_generation == login.generation => {
                Ok(Caller { user: login.user, is_admin: standing.is_admin })
            }
            _ => Err(NoCaller::InvalidToken),
        }
    }
}

impl FromRequestParts<ControlPlane> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        let Credential::Bearer(token) = Credential::from_headers(&parts.headers)? else {
            return Err(ApiError::unauthenticated(
                "this takes a user's token: Authorization: Bearer <token>",
            ));
        };
        app.caller(&token).await.map_err(|error| match error {
            NoCaller::InvalidToken => ApiError::unauthenticated("the token is not valid, or no longer"),
            NoCaller::Registry(error) => error.into(),
        })
    }
}
