//! The relay: moves committed changes from the outbox to the change feed, each at least once, in one place at a time.
//!
//! A request that changes access runs it after its commit and answers only when it is done, so that an answered
//! revocation is in force, or within a second where the feed leads to other processes. Rows that a crash left are published at
//! the next start. Publishing a change again only makes followers ask again.

use std::sync::Arc;
use std::time::Duration;

use service::feed::{ChangePublisher, FeedError};
use tokio::sync::Notify;

use crate::metrics::ControlPlaneMetrics;
use crate::registry::{Registry, RegistryError};

/// How long a request waits for its turn and for what it publishes. Longer than the registry may be waited for, and than a
/// feed takes to say that it can't be reached; not so long for each of many that wait for one another.
const PUBLISH_WITHIN: Duration = Duration::from_secs(8);

/// Why changes that are made were not published. They stay in the outbox, and are tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("changes of access can't be read from the outbox")]
    Registry(#[from] RegistryError),
    #[error("changes of access can't be published")]
    Feed(#[from] FeedError),
    #[error("changes of access were not published within {PUBLISH_WITHIN:?}")]
    Late,
}

/// Publishes what is in the outbox.
pub(crate) struct Relay {
    feed: Arc<dyn ChangePublisher>,
    failed: Notify,
    metrics: ControlPlaneMetrics,
}

impl Relay {
    pub(crate) fn new(feed: Arc<dyn ChangePublisher>, metrics: ControlPlaneMetrics) -> Self {
        Self { feed, failed: Notify::new(), metrics }
    }

    /// Publishes everything that is committed now. When it returns, the feed has it.
    pub(crate) async fn publish(&self, registry: &Registry) -> Result<(), RelayError> {
        let done = tokio::time::timeout(PUBLISH_WITHIN, self.publish_all(registry)).await;
        let done = done.unwrap_or(Err(RelayError::Late));
        if done.is_err() {
            self.metrics.publish_errors_total.increment(1);
            self.failed.notify_one();
        }
        done
    }

    async fn publish_all(&self, registry: &Registry) -> Result<(), RelayError> {
        loop {
            let turn = registry.publishing().await?;
            let (changes, is_last) = (turn.changes(), turn.is_last());
            if !changes.is_empty() {
                let end = self.feed.publish(&changes).await?;
                self.metrics.changes_published_total.increment(changes.len() as u64);
                self.metrics.feed_position.set(end.0 as f64);
                turn.done().await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Waits until publishing failed: then nobody else may come to publish what is left.
    pub(crate) async fn failed(&self) {
        self.failed.notified().await;
    }
}
