//! The proof that a request may read the channel in its path.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use domain::{Action, ChannelId, ChannelProfile, access};
use http::request::Parts as RequestParts;
use service::authority::ReadDenied;
use service::credentials::Credential;
use service::extract::{ApiPath, channel_in_path};
use service::{ApiError, rate};

use crate::App;

/// A connected thing, or a user who may read the channel. Only the extractor makes one.
#[derive(Debug)]
pub(crate) struct ChannelReader {
    pub(crate) channel: ChannelId,
    pub(crate) profile: ChannelProfile,
}

impl FromRequestParts<Arc<App>> for ChannelReader {
    type Rejection = ApiError;

    async fn from_request_parts(request: &mut RequestParts, app: &Arc<App>) -> Result<Self, ApiError> {
        let credential = Credential::from_headers(&request.headers)?;
        let path = ApiPath::from_request_parts(request, app).await?;
        let channel = channel_in_path(path.get("channel"));
        let profile = match credential {
            Credential::Thing(key) => {
                let grant = app.parts.authority.grant(&key.digest(), channel).await;
                let grant = grant.map_err(|error| app.access_failed(error))?;
                let grant = grant.ok_or_else(|| ApiError::unauthenticated("unknown thing key"))?;
                let allowed = access::decide(&grant, Action::Read);
                let (thing, profile) = allowed.map_err(|denied| ApiError::forbidden(denied.to_string()))?;
                rate::admit_thing(request, thing)?;
                profile
            }
            Credential::Bearer(token) => {
                app.parts.authority.user_read(&token, channel).await.map_err(|denied| match denied {
                    ReadDenied::InvalidToken => ApiError::unauthenticated(denied.to_string()),
                    ReadDenied::UnknownChannel => ApiError::not_found(denied.to_string()),
                    ReadDenied::Unavailable(error) => app.access_failed(error),
                })?
            }
        };
        Ok(Self { channel, profile })
    }
}
