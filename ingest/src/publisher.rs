//! The proof that a request comes from a thing that may publish to the channel in its path.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use domain::{Action, ChannelId, ChannelProfile, Subtopic, ThingId, access};
use http::request::Parts;
use service::credentials::Credential;
use service::extract::{ApiPath, channel_in_path};
use service::{ApiError, rate};

use crate::app::App;

/// A thing whose key was known, on a channel it is connected to. Only the extractor makes one.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) thing: ThingId,
    pub(crate) channel: ChannelId,
    pub(crate) profile: ChannelProfile,
    pub(crate) subtopic: Subtopic,
}

impl FromRequestParts<Arc<App>> for Publisher {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Credential::Thing(key) = Credential::from_headers(&parts.headers)? else {
            return Err(ApiError::unauthenticated(
                "publishing takes a thing's key: Authorization: Thing <key>",
            ));
        };
        let path = ApiPath::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::malformed("the path is not UTF-8").code("bad_subtopic"))?;
        let channel = channel_in_path(path.get("channel"));
        let grant = app
            .parts
            .access
            .grant(key.digest(), channel)
            .await
            .map_err(|_logged| {
                ApiError::unavailable("access can't be checked now; send the same request again")
            })?
            .ok_or_else(|| ApiError::unauthenticated("unknown thing key"))?;
        let (thing, profile) = access::decide(&grant, Action::Publish)
            .map_err(|denied| ApiError::forbidden(denied.to_string()))?;
        rate::admit_thing(parts, thing)?;
        let subtopic = Subtopic::from_path(path.get("subtopic"))
            .map_err(|error| ApiError::malformed(error.to_string()).code("bad_subtopic"))?;
        Ok(Self { thing, channel, profile, subtopic })
    }
}
