//! What became of the packs that were published.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longer is counted as this long: an answer takes half a minute at most, and a pack may wait as long for its turn.
const LATENCY_MICROS_MAX: u64 = 60_000_000;

/// Counts of packs and the time that their answers took. Shared by all who publish.
#[derive(Debug)]
pub(super) struct Tally(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    sent: u64,
    acknowledged: u64,
    failed: u64,
    /// The newest problem, until a pack is acknowledged again, and since when there are problems only.
    problem: Option<(String, Instant)>,
    /// Microseconds.
    latencies: Histogram<u64>,
}

/// The counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Progress {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// The newest problem, and for how long there have been problems only.
    pub(super) problem: Option<(String, Duration)>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let latencies = Histogram::new_with_max(LATENCY_MICROS_MAX, 3).expect("the bounds are in range");
        Self(Mutex::new(Counts { sent: 0, acknowledged: 0, failed: 0, problem: None, latencies }))
    }

    pub(super) fn sent(&self) {
        self.counts().sent += 1;
    }

    /// A pack was acknowledged, this long after it was due.
    pub(super) fn acknowledged(&self, latency: Duration) {
        let mut counts = self.counts();
        counts.acknowledged += 1;
        counts.problem = None;
        counts.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// A pack was refused, or got no answer.
    pub(super) fn failed(&self, problem: String, now: Instant) {
        let mut counts = self.counts();
        counts.failed += 1;
        let since = counts.problem.take().map_or(now, |(_, since)| since);
        counts.problem = Some((problem, since));
    }

    pub(super) fn progress(&self, now: Instant) -> Progress {
        let counts = self.counts();
        let quantile = |q| Duration::from_micros(counts.latencies.value_at_quantile(q));
        Progress {
            sent: counts.sent,
            acknowledged: counts.acknowledged,
            failed: counts.failed,
            p50: quantile(0.5),
            p99: quantile(0.99),
            problem: counts
                .problem
                .as_ref()
                .map(|(problem, since)| (problem.clone(), now.saturating_duration_since(*since))),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_are_counted_and_a_problem_is_over_with_the_next_answer() {
        let (tally, began) = (Tally::new(), Instant::now());
        for latency in 1..=100 {
            tally.sent();
            tally.acknowledged(Duration::from_millis(latency));
        }
        tally.failed("first".to_owned(), began + Duration::from_secs(1));
        tally.failed("second".to_owned(), began + Duration::from_secs(4));
        let progress = tally.progress(began + Duration::from_secs(6));
        assert_eq!((progress.sent, progress.acknowledged, progress.failed), (100, 100, 2));
        assert_eq!(progress.problem, Some(("second".to_owned(), Duration::from_secs(5))));
        assert_eq!((progress.p50.as_millis(), progress.p99.as_millis()), (50, 99));
        tally.acknowledged(Duration::ZERO);
        assert_eq!(tally.progress(began).problem, None);
    }
}
