//! One consumer's way through the log on Kafka.

use std::sync::Arc;

use async_trait::async_trait;
use domain::Position;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::contract::{Batch, BatchLimits, LogError, Subscription};
use crate::kafka::member::{Commits, Member};

pub(crate) struct KafkaSubscription {
    pub(crate) member: Arc<Member>,
    pub(crate) commits: Commits,
    /// Ends the member; also cancelled when the log is closed.
    pub(crate) stop: CancellationToken,
}

impl KafkaSubscription {
    /// Waits until the group has given its lanes to this consumer, if only none.
    pub(crate) async fn joined(&self) -> Result<(), LogError> {
        loop {
            {
                let mut state = self.member.state();
                if let Some(failure) = state.failure.take() {
                    return Err(failure);
                }
                if state.joined {
                    return Ok(());
                }
                if state.ended || self.stop.is_cancelled() {
                    return Err(LogError::new("joining a consumer group", "the log is closed"));
                }
            }
            tokio::select! {
                () = self.member.changed.notified() => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// What there is, if it is time to return it.
    fn try_take(
        &self,
        limits: &BatchLimits,
        give_up: &mut Option<Instant>,
    ) -> Option<Result<Batch, LogError>> {
        if self.stop.is_cancelled() {
            return Some(Err(LogError::new("reading the log", "the log is closed")));
        }
        let mut state = self.member.state();
        state.wanted = *limits;
        if state.lanes.is_empty() {
            if let Some(failure) = state.failure.take() {
                return Some(Err(failure));
            }
            let ended = "the thread that reads it has ended";
            return state.ended.then(|| Err(LogError::new("reading the log", ended)));
        }
        let is_over = *give_up.get_or_insert_with(|| Instant::now() + limits.linger) <= Instant::now();
        if !is_over && !state.lanes.has_enough(limits) {
            return None;
        }
        let batch = state.lanes.take(limits);
        drop(state);
        self.member.has_taken();
        Some(Ok(batch))
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next_batch(&mut self, limits: &BatchLimits) -> Result<Batch, LogError> {
        let mut give_up = None;
        loop {
            if let Some(result) = self.try_take(limits, &mut give_up) {
                return result;
            }
            tokio::select! {
                () = self.member.changed.notified() => {}
                () = self.stop.cancelled() => {}
                () = until(give_up) => {}
            }
        }
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), LogError> {
        if self.stop.is_cancelled() {
            return Err(LogError::new("committing positions", "the log is closed"));
        }
        let (commits, positions) = (self.commits.clone(), positions.to_vec());
        tokio::task::spawn_blocking(move || commits.commit(&positions))
            .await
            .unwrap_or_else(|error| Err(LogError::new("committing positions", error)))
    }

    fn withhold(&mut self, from: Position) {
        self.member.state().lanes.withhold(from);
    }

    fn backlog(&self) -> u64 {
        self.member.state().lanes.backlog()
    }
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
