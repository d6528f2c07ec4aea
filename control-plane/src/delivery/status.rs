//! How deliveries are doing, for whoever asks whether the process is ready.
//!
//! An endpoint that fails is no trouble of ours: only what keeps every delivery back is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use domain::ReceivedAt;
use tokio::sync::watch;

/// How long the log or the registry may fail before this counts as stuck: longer than they take to restart.
const TROUBLE_MAX: Duration = Duration::from_secs(30);

/// Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct DeliveryStatus(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_running: watch::Sender<bool>,
    waits_for_upgrade: AtomicBool,
    /// Since when every try has failed, in microseconds since the epoch; 0 while none has.
    fails_since: AtomicI64,
}

/// Deliveries are made. Dropped with it, however it ends.
pub(crate) struct Running(DeliveryStatus);

impl DeliveryStatus {
    /// What keeps deliveries from being made, at this time.
    pub fn problem(&self, now: ReceivedAt) -> Option<&'static str> {
        let fails_since = self.0.fails_since.load(Ordering::Acquire);
        let fails_for = now.as_micros().saturating_sub(fails_since);
        if !*self.0.is_running.borrow() {
            Some("do not run")
        } else if self.0.waits_for_upgrade.load(Ordering::Acquire) {
            Some("stopped at an entry that a newer build wrote")
        } else if fails_since != 0 && fails_for.unsigned_abs() > TROUBLE_MAX.as_micros() as u64 {
            Some("can't use the log or the registry for 30 s or longer")
        } else {
            None
        }
    }

    /// Waits until what is accepted is delivered.
    pub async fn running(&self) {
        let mut is_running = self.0.is_running.subscribe();
        is_running.wait_for(|running| *running).await.expect("this status keeps the sender");
    }

    pub(crate) fn run(&self) -> Running {
        self.0.is_running.send_replace(true);
        Running(self.clone())
    }

    pub(crate) fn waits_for_upgrade(&self) {
        self.0.waits_for_upgrade.store(true, Ordering::Release);
    }

    pub(crate) fn failed(&self, now: i64) {
        let _ = self.0.fails_since.compare_exchange(0, now.max(1), Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn succeeded(&self) {
        self.0.fails_since.store(0, Ordering::Release);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.is_running.send_replace(false);
    }
}
