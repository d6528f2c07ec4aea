//! The change feed: every change that can take access away, in order, to every node that caches access.
//!
//! The publisher is the control plane's relay; a follower is an access cache. In one process publishing applies the
//! change to every follower before it returns, so that an answered revocation is in force.

use std::sync::{Arc, Mutex, PoisonError};

use domain::{ChannelId, ThingId};
use serde::{Deserialize, Serialize};

/// A change that can take access away, or give it where its absence may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The thing's key or its connections changed, or it is gone.
    Thing(ThingId),
    /// The channel's connections changed, or it is gone.
    Channel(ChannelId),
}

/// A place in the feed: the number of changes published up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FeedPosition(pub u64);

/// Applies changes, in order, each exactly once.
pub trait Follower: Send + Sync + 'static {
    /// Puts a change into force before it returns.
    fn apply(&self, change: Change, at: FeedPosition);
}

/// The feed of one process.
#[derive(Default)]
pub struct Feed {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    end: FeedPosition,
    followers: Vec<Arc<dyn Follower>>,
}

impl Feed {
    /// Adds a follower and returns the feed's end: what comes later, it is told.
    pub fn follow(&self, follower: Arc<dyn Follower>) -> FeedPosition {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.followers.push(follower);
        state.end
    }

    /// Publishes changes in their order. When it returns, every follower has applied them.
    pub fn publish(&self, changes: &[Change]) -> FeedPosition {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for &change in changes {
            state.end.0 += 1;
            for follower in &state.followers {
                follower.apply(change, state.end);
            }
        }
        state.end
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Feed").field("end", &state.end).field("followers", &state.followers.len()).finish()
    }
}
