//! The change feed between processes: a topic of one partition, so that there is one order.
//!
//! * Published is what every broker in sync has. Who publishes is told within `delivery_timeout`, also when no broker answers.
//! * A process reads from the feed's end, taken before it caches anything, and belongs to no group: each reads all of it.
//! * Twice a second it asks where the feed ends, and is confirmed as of the moment *before* it asked once it has applied that
//!   much. So silence is no staleness, nor is a control plane that is down; brokers that don't answer are.
//! * What it can't read (a newer build's changes, what is no change, what was deleted before it was read) lets it distrust
//!   everything it had cached.
//!
//! It keeps nothing on this machine, and publishes nothing by itself.

mod config;
mod follower;
mod message;
mod place;
mod publisher;
mod topic;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::KafkaFeedConfig;
pub use publisher::KafkaPublisher;

use super::{ChangeFeed, FeedError, Follower, Following, Freshness};
use crate::clock;
use crate::metrics::FeedMetrics;
use follower::{Reading, Shared};

/// A change feed on Kafka, as one process follows it.
pub struct KafkaFeed {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl KafkaFeed {
    /// Finds the feed's end, and follows it from there. Makes the topic where it is missing.
    ///
    /// # Errors
    /// [`FeedError`] if no broker answers, or the topic can't be this feed.
    pub async fn open(config: KafkaFeedConfig, metrics: FeedMetrics) -> Result<Self, FeedError> {
        config.check()?;
        topic::ensure(&config).await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let token = tasks.token();
        let reading = tokio::task::spawn_blocking({
            let stop = stop.clone();
            move || Reading::at_end(config, metrics, stop, token)
        });
        let reading = reading.await.map_err(|error| FeedError::unavailable("finding its end", error))??;
        let shared = Arc::clone(&reading.shared);
        reading.start(&tasks)?;
        Ok(Self { shared, stop, tasks })
    }

    /// Whether this process knows everything that is on the feed.
    pub fn freshness(&self) -> Freshness {
        Freshness::by(Arc::clone(&self.shared.confirmations))
    }

    /// How long ago it did, for certain.
    pub fn unconfirmed(&self) -> Duration {
        self.shared.confirmations.age(clock::since_boot())
    }

    /// Has the metrics show where it stands now.
    pub fn show_state(&self) {
        self.shared.show_state();
    }

    /// Stops to follow: what was cached is stale a little later.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl ChangeFeed for KafkaFeed {
    fn follow(&self, follower: Arc<dyn Follower>) -> Following {
        Following { from: self.shared.follow(follower), freshness: self.freshness() }
    }
}

/// What reads a feed that is dropped without being closed ends by itself.
impl Drop for KafkaFeed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for KafkaFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaFeed").field("unconfirmed", &self.unconfirmed()).finish_non_exhaustive()
    }
}
