//! The relay: moves committed changes from the outbox to the change feed, each at least once, in one place at a time.
//!
//! A request that changes access runs it after its commit and answers only when it is done, so that an answered
//! revocation is in force, or within a second where the feed leads to other processes. Rows that a crash left are published at
//! the next start. Publishing a change again only makes followers ask again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use service::feed::{Change, ChangePublisher, FeedError};
use tokio::sync::{Mutex, Notify};

use crate::metrics::ControlPlaneMetrics;
use crate::registry::{Registry, RegistryError};

/// Unpublished rows that are read at a time.
const READ_MAX: usize = 1_000;
/// Published rows that are kept before they are deleted together: a deletion is a transaction of its own, and costs a
/// request as much as the change itself.
const PUBLISHED_MAX: usize = 1_000;
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
    /// Rows that are published and not yet deleted. Known by number, not by a highest number: on engines with several
    /// writers a lower number may be committed after a higher one.
    published: Mutex<BTreeSet<i64>>,
    failed: Notify,
    metrics: ControlPlaneMetrics,
}

impl Relay {
    pub(crate) fn new(feed: Arc<dyn ChangePublisher>, metrics: ControlPlaneMetrics) -> Self {
        Self { feed, published: Mutex::default(), failed: Notify::new(), metrics }
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
        let mut published = self.published.lock().await;
        loop {
            let mut rows = registry.outbox(published.len() + READ_MAX).await?;
            rows.retain(|row| !published.contains(&row.seq));
            if rows.is_empty() {
                return Ok(());
            }
            let changes: Vec<Change> = rows.iter().map(|row| row.change).collect();
            let end = self.feed.publish(&changes).await?;
            self.metrics.changes_published_total.increment(changes.len() as u64);
            self.metrics.feed_position.set(end.0 as f64);
            published.extend(rows.iter().map(|row| row.seq));
            if published.len() >= PUBLISHED_MAX {
                forget(&mut published, registry).await?;
            }
        }
    }

    /// Deletes the rows that are published.
    pub(crate) async fn tidy(&self, registry: &Registry) -> Result<(), RegistryError> {
        forget(&mut *self.published.lock().await, registry).await
    }

    /// Waits until publishing failed: then nobody else may come to publish what is left.
    pub(crate) async fn failed(&self) {
        self.failed.notified().await;
    }
}

async fn forget(published: &mut BTreeSet<i64>, registry: &Registry) -> Result<(), RegistryError> {
    if !published.is_empty() {
        let seqs: Vec<i64> = published.iter().copied().collect();
        registry.forget_published(&seqs).await?;
        published.clear();
    }
    Ok(())
}
