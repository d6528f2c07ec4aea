//! Who may do what on which channel.
//!
//! Pure: no clock, no I/O. A decision is a function of a [`Grant`] and nothing else, so that ingest (cached grant) and
//! reader (fresh grant) cannot disagree. Fetching grants is `service::authority`.

use crate::channel::ChannelProfile;
use crate::id::ThingId;

/// What the registry says of a known thing key and one channel. An unknown key has no grant at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Whose key it is.
    pub thing: ThingId,
    /// The channel's profile, where the thing is connected to it. `None` for a channel that does not exist, too: a
    /// thing may not learn which channels do.
    pub connection: Option<ChannelProfile>,
}

/// What a thing wants to do on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Publish a pack.
    Publish,
    /// Read the channel's records.
    Read,
}

/// Why a known thing may not act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The thing is not connected to the channel, whether that exists or not.
    #[error("the thing is not connected to this channel")]
    NotConnected,
}

/// Decides whether the grant's thing may act on the grant's channel.
///
/// A connection allows both [actions](Action): the API connects a thing to a channel, not to a direction of it.
///
/// # Errors
/// [`Denied`] says why not.
pub fn decide(grant: &Grant, action: Action) -> Result<(ThingId, ChannelProfile), Denied> {
    match (grant.connection, action) {
        (Some(profile), Action::Publish | Action::Read) => Ok((grant.thing, profile)),
        (None, _) => Err(Denied::NotConnected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connected_thing_may_act() {
        let thing = ThingId::from_bytes([1; 16]);
        for action in [Action::Publish, Action::Read] {
            let connected = Grant { thing, connection: Some(ChannelProfile::default()) };
            assert_eq!(decide(&connected, action), Ok((thing, ChannelProfile::default())));
            assert_eq!(decide(&Grant { thing, connection: None }, action), Err(Denied::NotConnected));
        }
    }
}
