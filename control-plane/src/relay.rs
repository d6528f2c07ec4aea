//! The relay: moves committed changes from the outbox to the change feed, each at least once, in one place at a time.
//!
//! A request that changes access runs it after its commit and answers only when it is done, so that an answered
//! revocation is in force. Rows that a crash left are published at the next start. Publishing a change again only makes
//! followers ask again.

use std::collections::BTreeSet;
use std::sync::Arc;

use service::feed::{Change, Feed};
use tokio::sync::{Mutex, Notify};

use crate::metrics::ControlPlaneMetrics;
use crate::registry::{Registry, RegistryError};

/// Unpublished rows that are read at a time.
const READ_MAX: usize = 1_000;
/// Published rows that are kept before they are deleted together: a deletion is a transaction of its own, and costs a
/// request as much as the change itself.
const PUBLISHED_MAX: usize = 1_000;

/// Publishes what is in the outbox.
#[derive(Debug)]
pub(crate) struct Relay {
    feed: Arc<Feed>,
    /// Rows that are published and not yet deleted. Known by number, not by a highest number: on engines with several
    /// writers a lower number may be committed after a higher one.
    published: Mutex<BTreeSet<i64>>,
    failed: Notify,
    metrics: ControlPlaneMetrics,
}

impl Relay {
    pub(crate) fn new(feed: Arc<Feed>, metrics: ControlPlaneMetrics) -> Self {
        Self { feed, published: Mutex::default(), failed: Notify::new(), metrics }
    }

    /// Publishes everything that is committed now. When it returns, every follower has applied it.
    pub(crate) async fn publish(&self, registry: &Registry) -> Result<(), RegistryError> {
        let done = self.publish_all(registry).await;
        if done.is_err() {
            self.metrics.publish_errors_total.increment(1);
            self.failed.notify_one();
        }
        done
    }

    async fn publish_all(&self, registry: &Registry) -> Result<(), RegistryError> {
        let mut published = self.published.lock().await;
        loop {
            let mut rows = registry.outbox(published.len() + READ_MAX).await?;
            rows.retain(|row| !published.contains(&row.seq));
            if rows.is_empty() {
                return Ok(());
            }
            let changes: Vec<Change> = rows.iter().map(|row| row.change).collect();
            let end = self.feed.publish(&changes);
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
