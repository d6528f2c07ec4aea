//! Work that no request waits for: purging the records of what was deleted, deleting those that have expired and what the audit
//! has of long ago, ending old keys, and publishing what a request failed to publish.
//!
//! What is to be done stands in the registry, so a restart goes on with it, and where several processes work on one registry,
//! another of them. Then they may do the same at the same time, which costs twice and does no harm: a purge may be done
//! again, keys end in one transaction or the other, and a change that is published again is asked for again.

use std::time::Duration;

use domain::{ChannelId, ChannelProfile, ReceivedAt};
use service::clock;
use service::telemetry::Chain;
use store::StoreError;
use tokio_util::sync::CancellationToken;

use crate::ControlPlane;
use crate::registry::RegistryError;
use crate::relay::RelayError;

/// Pause after a failure, doubled after each further one up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// The longest pause between two tries to publish: what takes access away is waited for.
const PUBLISH_RETRY_MAX: Duration = Duration::from_secs(2);
/// Purges that one round takes on; what fails does not keep the others waiting.
const PURGES_PER_ROUND_MAX: i64 = 10_000;
/// The longest sleep until a key ends: the system's clock may be set meanwhile.
const KEY_SLEEP_MAX: Duration = Duration::from_secs(60);
/// How often expired records are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// How often entries of the audit that are too old are looked for.
const AUDIT_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long records have to have expired before they are deleted: more than the clocks of nodes are apart, and than a read
/// takes that began before.
const SWEEP_MARGIN: Duration = Duration::from_secs(3_600);
/// Channels that are read from the registry at a time.
const SWEEP_CHANNELS: i64 = 500;

/// How often a shared registry is looked at for what other processes did not come to do: purges, which nobody waits for;
const OTHERS_PURGES_EVERY: Duration = Duration::from_secs(5);
/// ends of keys, which are to be in force within a second or two;
const OTHERS_KEYS_EVERY: Duration = Duration::from_secs(1);
/// and changes that are committed and not published, the same.
const OTHERS_CHANGES_EVERY: Duration = Duration::from_millis(500);

impl ControlPlane {
    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let work = async {
            tokio::join!(
                self.purge_deleted(),
                self.sweep_expired(),
                self.forget_old_audit(),
                self.end_old_keys(),
                self.publish_leftovers()
            )
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = work => {}
        }
    }

    async fn purge_deleted(&self) {
        let mut pause = RETRY_MIN;
        loop {
            match self.purge_round().await {
                Ok(Round::Idle) => {
                    pause = RETRY_MIN;
                    tokio::select! {
                        () = self.purge_asked().notified() => {}
                        () = self.others_turn(OTHERS_PURGES_EVERY) => {}
                    }
                }
                Ok(Round::Done) => pause = RETRY_MIN,
                Ok(Round::Failed) => back_off(&mut pause).await,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "purges can't be looked up, trying again");
                    back_off(&mut pause).await;
                }
            }
        }
    }

    async fn purge_round(&self) -> Result<Round, RegistryError> {
        let targets = self.registry().purges(PURGES_PER_ROUND_MAX).await?;
        let pending = &self.metrics().purges_pending;
        pending.set(targets.len() as f64);
        let mut round = if targets.is_empty() { Round::Idle } else { Round::Done };
        for target in targets {
            match self.store().purge(target).await {
                Ok(()) => {
                    self.registry().forget_purge(target).await?;
                    pending.decrement(1.0);
                }
                Err(error) => {
                    tracing::warn!(?target, error = %Chain(&error), "records can't be purged, trying again");
                    round = Round::Failed;
                }
            }
        }
        Ok(round)
    }

    async fn sweep_expired(&self) {
        let mut pause = RETRY_MIN;
        loop {
            match self.sweep_round().await {
                Ok(true) => pause = RETRY_MIN,
                Ok(false) => {
                    pause = RETRY_MIN;
                    self.metrics().last_sweep_timestamp_seconds.set(clock::unix_seconds() as f64);
                    tokio::select! {
                        () = tokio::time::sleep(SWEEP_INTERVAL) => {}
                        () = self.sweep_asked().notified() => {}
                    }
                }
                Err(error) => {
                    self.metrics().sweep_errors_total.increment(1);
                    tracing::warn!(error = %Chain(&error), "expired records can't be deleted, trying again");
                    back_off(&mut pause).await;
                }
            }
        }
    }

    /// Deletes some of what has expired in each channel; whether there is more.
    async fn sweep_round(&self) -> Result<bool, SweepError> {
        let (mut after, mut more) = (ChannelId::from_bytes([0; 16]), false);
        loop {
            let channels = self.registry().expiring_channels(after, SWEEP_CHANNELS).await?;
            let Some((last, _)) = channels.last() else { return Ok(more) };
            after = *last;
            for (channel, profile) in channels {
                match self.expire(channel, profile).await {
                    Ok(there_is_more) => more |= there_is_more,
                    Err(error @ StoreError::Unavailable(_)) => return Err(error.into()),
                    // What is wrong with one channel keeps no other from being swept.
                    Err(error) => {
                        self.metrics().sweep_errors_total.increment(1);
                        tracing::error!(%channel, error = %Chain(&error), "expired records can't be deleted");
                    }
                }
            }
        }
    }

    async fn expire(&self, channel: ChannelId, profile: ChannelProfile) -> Result<bool, StoreError> {
        let since = clock::unix_micros() - SWEEP_MARGIN.as_micros() as i64;
        let before = profile.cut_off(ReceivedAt::from_micros(since));
        let expired = self.store().expire(channel, profile, before).await?;
        self.metrics().expired_blocks_total.increment(expired.blocks);
        Ok(expired.more)
    }

    async fn forget_old_audit(&self) {
        loop {
            match self.registry().forget_old_audit(clock::unix_micros()).await {
                Ok(true) => {}
                Ok(false) => tokio::time::sleep(AUDIT_INTERVAL).await,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "old entries of the audit can't be deleted, trying again");
                    tokio::time::sleep(RETRY_MAX).await;
                }
            }
        }
    }

    async fn end_old_keys(&self) {
        let mut pause = RETRY_MIN;
        loop {
            match self.end_keys_round().await {
                Ok(sleep) => {
                    pause = RETRY_MIN;
                    tokio::select! {
                        () = tokio::time::sleep(sleep) => {}
                        () = self.key_end_set().notified() => {}
                        () = self.others_turn(OTHERS_KEYS_EVERY) => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "old keys can't be ended, trying again");
                    back_off(&mut pause).await;
                }
            }
        }
    }

    /// Ends what has come to its end; how long until the next.
    async fn end_keys_round(&self) -> Result<Duration, RelayError> {
        loop {
            let now = clock::unix_micros();
            let Some(end) = self.registry().next_key_end().await? else { return Ok(KEY_SLEEP_MAX) };
            if end > now {
                let sleep = Duration::from_micros((end - now).unsigned_abs());
                return Ok(sleep.min(KEY_SLEEP_MAX));
            }
            self.registry().end_keys(now).await?;
            self.relay().publish(self.registry()).await?;
        }
    }

    async fn publish_leftovers(&self) {
        let mut pause = RETRY_MIN;
        loop {
            tokio::select! {
                () = self.relay().failed() => {}
                () = self.others_left_changes() => {}
            }
            while let Err(error) = self.relay().publish(self.registry()).await {
                tracing::error!(error = %Chain(&error), "a change of access can't be published, trying again");
                back_off(&mut pause).await;
                pause = pause.min(PUBLISH_RETRY_MAX);
            }
            pause = RETRY_MIN;
        }
    }

    /// Waits until there are changes that another process committed and may have died before it published them.
    async fn others_left_changes(&self) {
        let mut pause = RETRY_MIN;
        loop {
            self.others_turn(OTHERS_CHANGES_EVERY).await;
            match self.registry().has_outgoing().await {
                Ok(true) => return,
                Ok(false) => pause = RETRY_MIN,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "changes can't be looked for, trying again");
                    back_off(&mut pause).await;
                }
            }
        }
    }

    /// Waits until it is time to look for what others left; for ever, if there are no others.
    async fn others_turn(&self, every: Duration) {
        if self.registry().is_shared() {
            tokio::time::sleep(every).await;
        } else {
            std::future::pending().await
        }
    }
}

/// Why a round of the sweep was cut short.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error("channels can't be looked up")]
    Registry(#[from] RegistryError),
    #[error("the store does not delete")]
    Store(#[from] StoreError),
}

/// How a round of purges ended.
enum Round {
    /// There was nothing to do.
    Idle,
    /// All of them were done; there may be more.
    Done,
    /// Some of them have to be tried again.
    Failed,
}

async fn back_off(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(RETRY_MAX);
}
