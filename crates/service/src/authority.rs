//! Who may do what, asked of whoever keeps the registry.
//!
//! In one process the control plane answers directly; as roles of a cluster, over its internal listener.

use async_trait::async_trait;
use domain::{ChannelId, ChannelProfile, Grant, KeyDigest};

/// Answers questions of access from the registry itself, never from a cache.
#[async_trait]
pub trait Authority: Send + Sync + 'static {
    /// What the thing with this key may do on this channel. `None`: no thing has this key.
    ///
    /// # Errors
    /// [`AuthorityError`] if the registry can't be asked.
    async fn grant(&self, key: &KeyDigest, channel: ChannelId) -> Result<Option<Grant>, AuthorityError>;

    /// Whether the user behind a bearer token may read the channel, and the channel's profile.
    ///
    /// # Errors
    /// [`ReadDenied`] says why not.
    async fn user_read(&self, bearer_token: &str, channel: ChannelId) -> Result<ChannelProfile, ReadDenied>;
}

/// The registry can't be asked now.
#[derive(Debug, thiserror::Error)]
#[error("the registry can't be asked")]
pub struct AuthorityError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why a user may not read a channel.
#[derive(Debug, thiserror::Error)]
pub enum ReadDenied {
    /// The token is not valid, or no longer.
    #[error("the token is not valid")]
    InvalidToken,
    /// There is no such channel, or none that the user may know of.
    #[error("no such channel")]
    UnknownChannel,
    /// The registry can't be asked.
    #[error(transparent)]
    Unavailable(#[from] AuthorityError),
}
