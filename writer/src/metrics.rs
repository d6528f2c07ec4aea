//! What a writer measures, and whether it is in trouble.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use domain::ReceivedAt;
use domain::senml::ErrorCode;
use instruments::{Counter, Family, Gauge, Histogram, Label, declare, label};
use tokio::sync::watch;

label! {
    /// A step that is tried again until it succeeds.
    pub enum Step: "step" {
        /// Reading the log.
        Read = "read",
        /// Keeping dead letters.
        Bury = "bury",
        /// Storing records.
        Append = "append",
        /// Making the store durable.
        Persist = "persist",
        /// Telling the log how far it may forget.
        Commit = "commit",
    }
}

/// Why an entry can never be stored: the code of its fault.
#[derive(Debug, Clone, Copy)]
pub struct Reason(pub ErrorCode);

impl Label for Reason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &{
        let mut all = [Self(ErrorCode::ALL[0]); ErrorCode::ALL.len()];
        let mut next = 1;
        while next < all.len() {
            all[next] = Self(ErrorCode::ALL[next]);
            next += 1;
        }
        all
    };

    fn as_str(self) -> &'static str {
        self.0.as_str()
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

declare! {
    /// One addition a batch, not a record.
    pub struct WriterMetrics: "writer" {
        /// Batches stored.
        pub(crate) batches_total: Counter,
        /// Records stored, those included that replaced a row.
        pub(crate) records_total: Counter,
        /// Time from having read a batch to having stored it, tries that failed included.
        pub(crate) batch_seconds: Histogram,
        /// Time from the reception of the oldest pack of a batch until the batch is stored.
        pub(crate) store_delay_seconds: Histogram,
        /// Steps that failed and are tried again.
        pub(crate) retries_total: Family<Step, Counter>,
        /// Entries that can never be stored and were kept as dead letters.
        pub(crate) dead_letters_total: Family<Reason, Counter>,
        /// Times that all that was not committed was read and stored again, because the store may have forgotten it.
        pub(crate) rewinds_total: Counter,
        /// Stretches of the log that were damaged and passed over.
        pub(crate) damaged_total: Counter,
        /// When the log was last told how far it may forget, in seconds since the Unix epoch; 0 before the first time.
        pub(crate) last_commit_timestamp_seconds: Gauge,
    }
}

/// How long a writer may fail at one step before it counts as stuck: longer than a store takes to restart.
const TROUBLE_MAX: Duration = Duration::from_secs(30);

/// How a writer is doing, for whoever asks whether the process is ready. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Status(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_running: watch::Sender<bool>,
    waits_for_upgrade: AtomicBool,
    /// Since when every try has failed, in microseconds since the epoch; 0 while none has.
    fails_since: AtomicI64,
}

/// A writer that runs. Dropped with it, however it ends.
pub(crate) struct Running(Status);

impl Status {
    /// What keeps the writer from storing, at this time; nothing if it stores what comes.
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

    pub(crate) fn run(&self) -> Running {
        self.0.is_running.send_replace(true);
        Running(self.clone())
    }

    /// Waits until the writer takes what comes.
    pub async fn running(&self) {
        let mut is_running = self.0.is_running.subscribe();
        is_running.wait_for(|running| *running).await.expect("this status keeps the sender");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_reason_in_its_place() {
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason:?}");
        }
    }

    #[test]
    fn a_writer_is_stuck_once_it_has_failed_for_long() {
        let at = |seconds: i64| ReceivedAt::from_micros(1_000_000 * seconds);
        let status = Status::default();
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
