//! The one place that reads the system's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::ReceivedAt;
use rustix::time::{ClockId, clock_gettime};

/// Seconds since the Unix epoch, for tokens and their expiry.
pub fn unix_seconds() -> i64 {
    unix_micros().div_euclid(1_000_000)
}

/// Microseconds since the Unix epoch, negative before it.
#[expect(clippy::disallowed_methods, reason = "this is the place that the lint points to")]
pub fn unix_micros() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

/// Time since this machine was started. Nobody sets it, and it goes on while the machine sleeps: what must not be believed for
/// longer than a time is measured by it.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Stamps receptions: the system's time, but strictly later than every stamp before.
///
/// A clock that is set back must not make newer packs lose against older ones, so a stamp never goes back; it is
/// started behind the newest reception in the log.
#[derive(Debug)]
pub struct ReceptionClock {
    last_micros: AtomicI64,
}

impl ReceptionClock {
    /// A clock whose stamps are all later than `newest`.
    pub fn behind(newest: Option<ReceivedAt>) -> Self {
        Self { last_micros: AtomicI64::new(newest.map_or(0, ReceivedAt::as_micros)) }
    }

    /// The time of a reception, now.
    pub fn stamp(&self) -> ReceivedAt {
        let now = unix_micros();
        let advance = |last: i64| Some(now.max(last + 1));
        let last = self.last_micros.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance);
        let last = last.expect("advance always gives a value");
        ReceivedAt::from_micros(now.max(last + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_only_grow_even_behind_a_log_from_the_future() {
        let future = ReceivedAt::from_micros(unix_micros() + 3_600_000_000);
        let clock = ReceptionClock::behind(Some(future));
        let stamps: Vec<_> = (0..100).map(|_| clock.stamp()).collect();
        assert!(stamps[0] > future && stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
    }
}
