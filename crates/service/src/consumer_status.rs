//! How a consumer of the log is doing, for whoever asks whether the process is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use domain::ReceivedAt;
use tokio::sync::watch;

/// How long the log, or what the consumer works with, may fail before that counts as stuck: longer than they take to restart.
const TROUBLE_MAX: Duration = Duration::from_secs(30);

/// Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ConsumerStatus(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_running: watch::Sender<bool>,
    waits_for_upgrade: AtomicBool,
    /// Since when every try has failed, in microseconds since the epoch; 0 while none has.
    fails_since: AtomicI64,
}

/// A consumer that runs. Dropped with it, however it ends.
#[derive(Debug)]
pub struct Running(ConsumerStatus);

impl ConsumerStatus {
    /// What keeps the consumer from its work, at this time.
    pub fn problem(&self, now: ReceivedAt) -> Option<&'static str> {
        let fails_since = self.0.fails_since.load(Ordering::Acquire);
        let fails_for = now.as_micros().saturating_sub(fails_since);
        if !*self.0.is_running.borrow() {
            Some("does not run")
        } else if self.0.waits_for_upgrade.load(Ordering::Acquire) {
            Some("stopped at an entry that a newer build wrote")
        } else if fails_since != 0 && fails_for.unsigned_abs() > TROUBLE_MAX.as_micros() as u64 {
            Some("has failed for 30 s or longer")
        } else {
            None
        }
    }

    /// Waits until the consumer takes what comes.
    pub async fn running(&self) {
        let mut is_running = self.0.is_running.subscribe();
        is_running.wait_for(|running| *running).await.expect("this status keeps the sender");
    }

    /// The consumer runs from now on.
    pub fn run(&self) -> Running {
        self.0.is_running.send_replace(true);
        Running(self.clone())
    }

    /// It stopped, until a newer build takes its place.
    pub fn waits_for_upgrade(&self) {
        self.0.waits_for_upgrade.store(true, Ordering::Release);
    }

    /// A try failed, in microseconds since the epoch.
    pub fn failed(&self, now: i64) {
        let _ = self.0.fails_since.compare_exchange(0, now.max(1), Ordering::AcqRel, Ordering::Acquire);
    }

    /// A try did not fail.
    pub fn succeeded(&self) {
        self.0.fails_since.store(0, Ordering::Release);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.is_running.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_stuck_once_it_has_failed_for_long() {
        let at = |seconds: i64| ReceivedAt::from_micros(1_000_000 * seconds);
        let status = ConsumerStatus::default();
        assert_eq!(status.problem(at(1)), Some("does not run"));
        let running = status.run();
        assert_eq!(status.problem(at(1)), None);
        status.failed(at(100).as_micros());
        status.failed(at(129).as_micros());
        assert_eq!(status.problem(at(130)), None);
        assert!(status.problem(at(131)).is_some());
        status.succeeded();
        assert_eq!(status.problem(at(131)), None);
        status.waits_for_upgrade();
        assert!(status.problem(at(131)).is_some());
        drop(running);
        assert_eq!(status.problem(at(131)), Some("does not run"));
    }
}
