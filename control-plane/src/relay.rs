//! The relay: moves committed changes from the outbox to the change feed, each at least once, in one place at a time.
//!
//! A request that changes access runs it after its commit and answers only when it is done, so that an answered
//! revocation is in force, or within a second where the feed leads to other processes. Rows that a crash left are published at
//! the next start, or by another process. Publishing a change again only makes followers ask again.
//!
//! What is published takes a round trip or several, so requests that come meanwhile wait and are answered together: one run
//! publishes what all of them committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use service::feed::{ChangePublisher, FeedError};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};

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
    #[error("changes of access were not published with those of others")]
    Together(#[source] Arc<RelayError>),
}

/// Publishes what is in the outbox.
pub(crate) struct Relay {
    feed: Arc<dyn ChangePublisher>,
    /// Calls of [`Relay::publish`] so far: their numbers, from 1.
    asked: AtomicU64,
    /// One run at a time.
    runs: Mutex<Runs>,
    failed: Notify,
    metrics: ControlPlaneMetrics,
}

/// How the newest runs ended. Each answers the calls that were made before it began: what they committed, it found.
#[derive(Default)]
struct Runs {
    /// The last call that a run answered well.
    published: u64,
    /// The last call that a run failed, and why it did.
    failed: Option<(u64, Arc<RelayError>)>,
}

impl Runs {
    fn answer(&self, call: u64) -> Option<Result<(), RelayError>> {
        match &self.failed {
            _ if self.published >= call => Some(Ok(())),
            Some((last, error)) if *last >= call => Some(Err(RelayError::Together(Arc::clone(error)))),
            _ => None,
        }
    }
}

impl Relay {
    pub(crate) fn new(feed: Arc<dyn ChangePublisher>, metrics: ControlPlaneMetrics) -> Self {
        Self { feed, asked: AtomicU64::new(0), runs: Mutex::default(), failed: Notify::new(), metrics }
    }

    /// Publishes everything that is committed now. When it returns, the feed has it.
    pub(crate) async fn publish(&self, registry: &Registry) -> Result<(), RelayError> {
        let call = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let deadline = Instant::now() + PUBLISH_WITHIN;
        let Ok(mut runs) = timeout_at(deadline, self.runs.lock()).await else { return Err(RelayError::Late) };
        if let Some(answer) = runs.answer(call) {
            return answer;
        }
        let last = self.asked.load(Ordering::SeqCst);
        let done = timeout_at(deadline, self.publish_all(registry)).await.unwrap_or(Err(RelayError::Late));
        match done {
            Ok(()) => {
                runs.published = last;
                Ok(())
            }
            Err(error) => {
                self.metrics.publish_errors_total.increment(1);
                self.failed.notify_one();
                let error = Arc::new(error);
                runs.failed = Some((last, Arc::clone(&error)));
                Err(RelayError::Together(error))
            }
        }
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
