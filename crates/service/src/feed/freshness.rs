//! Whether followers know everything that is on the feed.
//!
//! Decided where it is used, by the clock, and never by a flag that somebody has to set in time: a process that was frozen
//! must not go on with what was true before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;

/// The last moment as of which everything on the feed was applied. All moments are those of [`clock::since_boot`].
#[derive(Debug)]
pub struct Confirmations {
    as_of_nanos: AtomicU64,
    stale_after_nanos: u64,
}

impl Confirmations {
    /// Everything was applied as of this moment; that is good for `stale_after`.
    pub fn new(as_of: Duration, stale_after: Duration) -> Self {
        Self { as_of_nanos: AtomicU64::new(nanos(as_of)), stale_after_nanos: nanos(stale_after) }
    }

    /// Everything that was on the feed at this moment is applied now.
    pub fn confirm(&self, as_of: Duration) {
        self.as_of_nanos.fetch_max(nanos(as_of), Ordering::Release);
    }

    /// How long ago everything was applied, for certain.
    pub fn age(&self, now: Duration) -> Duration {
        Duration::from_nanos(self.age_nanos(now))
    }

    fn age_nanos(&self, now: Duration) -> u64 {
        nanos(now).saturating_sub(self.as_of_nanos.load(Ordering::Acquire))
    }

    /// Whether that is good enough.
    pub fn is_fresh(&self, now: Duration) -> bool {
        self.age_nanos(now) < self.stale_after_nanos
    }
}

/// Tells whether a follower was told everything that counts. Cheap to clone and to ask.
#[derive(Debug, Clone)]
pub struct Freshness(Option<Arc<Confirmations>>);

impl Freshness {
    /// Of a feed that tells its followers before it lets anybody go on.
    pub fn always() -> Self {
        Self(None)
    }

    /// As fresh as this confirms.
    pub fn by(confirmations: Arc<Confirmations>) -> Self {
        Self(Some(confirmations))
    }

    /// Whether it is so now.
    pub fn is_fresh(&self) -> bool {
        self.0.as_ref().is_none_or(|confirmations| confirmations.is_fresh(clock::since_boot()))
    }
}

/// 500 years fit in.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_confirmation_is_good_for_a_time_and_an_older_one_takes_nothing_back() {
        let confirmed = Confirmations::new(10 * SECOND, 5 * SECOND);
        assert!(confirmed.is_fresh(14 * SECOND) && !confirmed.is_fresh(15 * SECOND));
        confirmed.confirm(12 * SECOND);
        confirmed.confirm(11 * SECOND);
        assert_eq!(confirmed.age(14 * SECOND), 2 * SECOND);
        assert!(confirmed.is_fresh(16 * SECOND) && !confirmed.is_fresh(17 * SECOND));
    }

    #[test]
    fn time_goes_by_unasked() {
        let stale = Freshness::by(Arc::new(Confirmations::new(clock::since_boot(), Duration::ZERO)));
        let long = Confirmations::new(clock::since_boot(), Duration::MAX);
        assert!(
            !stale.is_fresh() && Freshness::by(Arc::new(long)).is_fresh() && Freshness::always().is_fresh()
        );
    }
}
