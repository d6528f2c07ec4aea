//! Who makes a change, and by which request: what the audit tells of it.

use axum::extract::FromRequestParts;
use domain::{ApiKeyId, UserId};
use http::request::Parts;
use service::{ApiError, clock, request_id};

use crate::ControlPlane;
use crate::access::Caller;

/// Who makes a change. No change of the registry begins without one, but for the upkeep that follows from changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Author {
    /// Nobody, if sign-up is open and somebody makes an account, or the server makes the first.
    pub(crate) user: Option<UserId>,
    /// The API key that it came with, if it did.
    pub(crate) key: Option<ApiKeyId>,
    /// The id of the request, if it has one.
    pub(crate) request: Option<String>,
    /// When, in microseconds since the epoch.
    pub(crate) at: i64,
}

impl Author {
    /// The caller of the request at hand.
    pub(crate) fn of(caller: &Caller) -> Self {
        Self { user: Some(caller.user), key: caller.key, ..Self::nobody() }
    }

    /// Somebody without an account, by the request at hand; the server itself, if there is none.
    pub(crate) fn nobody() -> Self {
        Self { user: None, key: None, request: request_id::current(), at: clock::unix_micros() }
    }
}

impl FromRequestParts<ControlPlane> for Author {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &ControlPlane) -> Result<Self, ApiError> {
        Ok(Self::of(&Caller::from_request_parts(parts, app).await?))
    }
}
