//! The change feed: every change that can take access away, in order, to every node that caches access.
//!
//! The publisher is the control plane's relay; a follower is an access cache. In one process ([`Feed`]) publishing applies
//! the change to every follower before it returns, so that an answered revocation is in force. Between processes
//! ([`kafka`]) followers read on by themselves, and know how long ago they had read everything: see [`Freshness`].
//!
//! A follower is never passed over in silence: what can't be read is told as [`Follower::everything_changed`].

mod freshness;
pub mod kafka;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use domain::{ChannelId, ThingId};
use serde::{Deserialize, Serialize};

pub use freshness::{Confirmations, Freshness};

use crate::metrics::FeedMetrics;

/// A change that can take access away, or give it where its absence may be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The thing's key or its connections changed, or it is gone.
    Thing(ThingId),
    /// The channel's connections changed, or it is gone.
    Channel(ChannelId),
}

/// A place in the feed. Later places are greater; nothing else is to be read from the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FeedPosition(pub u64);

/// Puts changes on the feed.
#[async_trait]
pub trait ChangePublisher: Send + Sync + 'static {
    /// Publishes changes in their order, and returns the place behind the last. When it returns they are on the feed for
    /// good; followers in this process have applied them, others read them within a second.
    ///
    /// # Errors
    /// [`FeedError`] if it is not known that all of them are on the feed. Publishing them again is harmless.
    async fn publish(&self, changes: &[Change]) -> Result<FeedPosition, FeedError>;
}

/// Where changes come from.
pub trait ChangeFeed: Send + Sync {
    /// Adds a follower. What comes behind the place that is returned, it is told.
    fn follow(&self, follower: Arc<dyn Follower>) -> Following;
}

/// Where a follower begins, and how it knows that it was told everything.
#[derive(Debug, Clone)]
pub struct Following {
    /// The feed's end, as far as this process has read it.
    pub from: FeedPosition,
    /// Whether what was told is all there is.
    pub freshness: Freshness,
}

/// Applies changes, in order, each exactly once, at places that only grow.
pub trait Follower: Send + Sync + 'static {
    /// Puts a change into force before it returns.
    fn apply(&self, change: Change, at: FeedPosition);

    /// Anything may have changed up to this place: whatever was asked before it is to be asked again.
    fn everything_changed(&self, at: FeedPosition);
}

/// Why the feed can't be published to, or followed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// It does not answer. It may later.
    #[error("the change feed does not answer: {doing} failed")]
    Unavailable {
        /// What was tried.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is there, or was configured, can't be the change feed: a person has to look.
    #[error("the change feed can't be used: {0}")]
    Unusable(String),
}

impl FeedError {
    fn unavailable(
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { doing: doing.into(), source: source.into() }
    }
}

/// The feed of one process: never stale.
#[derive(Default)]
pub struct Feed {
    state: Mutex<State>,
    metrics: FeedMetrics,
}

#[derive(Default)]
struct State {
    end: FeedPosition,
    followers: Vec<Arc<dyn Follower>>,
}

impl Feed {
    /// One that counts what it applies.
    pub fn measured(metrics: FeedMetrics) -> Self {
        Self { metrics, ..Self::default() }
    }
}

#[async_trait]
impl ChangePublisher for Feed {
    async fn publish(&self, changes: &[Change]) -> Result<FeedPosition, FeedError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for &change in changes {
            state.end.0 += 1;
            for follower in &state.followers {
                follower.apply(change, state.end);
            }
        }
        self.metrics.applied_total.increment(changes.len() as u64);
        Ok(state.end)
    }
}

impl ChangeFeed for Feed {
    fn follow(&self, follower: Arc<dyn Follower>) -> Following {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.followers.push(follower);
        Following { from: state.end, freshness: Freshness::always() }
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Feed").field("end", &state.end).field("followers", &state.followers.len()).finish()
    }
}
