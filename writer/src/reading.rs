//! Reads the log one batch ahead of what is being stored.
//!
//! While a batch is stored, the next one is read and resolved, so that with a backlog the store waits for neither. Only a whole
//! batch is taken ahead: what comes in while the store is busy gathers to one batch.

use std::convert::Infallible;
use std::time::Duration;

use domain::senml::PackLimits;
use log::{BatchLimits, LogError, Subscription};

use crate::resolve::{Resolved, Resolving};

/// Longer than a batch takes to be stored: whoever lingers for so long gets whole batches only.
const UNTIL_WHOLE: Duration = Duration::from_secs(24 * 3600);

/// A consumer's place in the log, and what it has read ahead.
pub(crate) struct Reading {
    pub(crate) subscription: Box<dyn Subscription>,
    batch: BatchLimits,
    pack: PackLimits,
    ahead: Option<Result<Resolving, LogError>>,
}

impl Reading {
    pub(crate) fn new(subscription: Box<dyn Subscription>, batch: BatchLimits, pack: PackLimits) -> Self {
        Self { subscription, batch, pack, ahead: None }
    }

    /// The batch that was read ahead, or else what there is. Cancel-safe.
    ///
    /// # Errors
    /// [`LogError`] if the log can't be read; the next call tries the same place again.
    pub(crate) async fn next(&mut self) -> Result<Resolving, LogError> {
        match self.ahead.take() {
            Some(read) => read,
            None => self.read(self.batch).await,
        }
    }

    /// What a batch comes to. Nothing more is read of lanes that may not be gone on with.
    pub(crate) async fn resolved(&mut self, batch: Resolving) -> Resolved {
        let resolved = batch.resolved().await;
        for (position, _) in &resolved.obstacles {
            self.subscription.withhold(*position);
        }
        resolved
    }

    /// Reads a whole batch ahead as soon as there is one. Never ends, and may be dropped at any time.
    pub(crate) async fn ahead(&mut self) -> Infallible {
        if self.ahead.is_none() {
            self.ahead = Some(self.read(BatchLimits { linger: UNTIL_WHOLE, ..self.batch }).await);
        }
        std::future::pending().await
    }

    async fn read(&mut self, limits: BatchLimits) -> Result<Resolving, LogError> {
        let batch = self.subscription.next_batch(&limits).await?;
        Ok(Resolving::begin(batch, self.pack))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GROUP;
    use crate::resolve::tests::{GOOD, entry};
    use log::{EmbeddedLog, Log};

    const WHOLE: usize = 10;

    async fn log_and_reading(directory: &tempfile::TempDir) -> (EmbeddedLog, Reading) {
        let (log, _) = EmbeddedLog::open(directory.path(), Default::default(), &[]).unwrap();
        let subscription = log.subscribe(GROUP, &[]).await.unwrap();
        let batch = BatchLimits { entries_max: WHOLE, bytes_max: 1 << 20, linger: Duration::ZERO };
        (log, Reading::new(subscription, batch, PackLimits::default()))
    }

    async fn append(log: &EmbeddedLog, entries: usize) {
        log.append(vec![entry(GOOD); entries]).await.unwrap();
    }

    /// The offset of the last entry of the next batch.
    async fn next(reading: &mut Reading) -> u64 {
        let batch = reading.next().await.unwrap();
        reading.resolved(batch).await.positions[0].offset
    }

    /// Reads ahead while something else goes on.
    async fn meanwhile<T>(reading: &mut Reading, other: impl Future<Output = T>) -> T {
        tokio::select! {
            never = reading.ahead() => match never {},
            done = other => done,
        }
    }

    /// Reads ahead until it has done so.
    async fn read_ahead(reading: &mut Reading) {
        while reading.ahead.is_none() {
            meanwhile(reading, tokio::task::yield_now()).await;
        }
    }

    #[tokio::test]
    async fn one_whole_batch_is_read_ahead_and_comes_next() {
        let directory = tempfile::tempdir().unwrap();
        let (log, mut reading) = log_and_reading(&directory).await;
        append(&log, 3 * WHOLE).await;
        assert_eq!(next(&mut reading).await, 9);
        read_ahead(&mut reading).await;
        assert_eq!(reading.subscription.backlog(), 10, "one batch ahead");
        meanwhile(&mut reading, append(&log, WHOLE)).await;
        assert_eq!(reading.subscription.backlog(), 20, "and not another one");
        for last in [19, 29, 39] {
            assert_eq!(next(&mut reading).await, last);
        }
        log.close().await;
    }

    #[tokio::test]
    async fn what_comes_in_meanwhile_gathers_to_one_batch() {
        let directory = tempfile::tempdir().unwrap();
        let (log, mut reading) = log_and_reading(&directory).await;
        for _ in 0..WHOLE - 1 {
            meanwhile(&mut reading, append(&log, 1)).await;
        }
        assert_eq!(next(&mut reading).await, 8);
        log.close().await;
    }

    #[tokio::test]
    async fn a_log_that_can_not_be_read_ahead_is_told_next() {
        let directory = tempfile::tempdir().unwrap();
        let (log, mut reading) = log_and_reading(&directory).await;
        log.close().await;
        read_ahead(&mut reading).await;
        assert!(reading.next().await.is_err());
    }
}
