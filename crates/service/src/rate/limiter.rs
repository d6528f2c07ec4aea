//! Counts by key, in bounded memory.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::Rate;

/// Keys that are counted each by itself, about 16 MiB of them. Only those that asked in the last burst's worth of time are
/// kept, so it takes as many different clients at once to come to it.
const KEYS_MAX: usize = 256 << 10;
/// Counts that are shared by the keys beyond.
const CROWDS: u64 = 1 << 10;
/// Requests between two looks at how many keys there are: the look takes locks.
const CHECKS_PER_LOOK: u32 = 1 << 10;

/// A limit for each key.
pub(super) struct Limiter<K: Hash + Eq + Clone> {
    rate: Rate,
    counts: DefaultKeyedRateLimiter<Who<K>, StateInformationMiddleware>,
    clock: DefaultClock,
    crowds: RandomState,
    checks: AtomicU32,
    is_full: AtomicBool,
}

/// Who is counted: one key, or all that came when there was no room for more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who<K> {
    One(K),
    Crowd(u64),
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) burst: u32,
    /// Time in which a whole burst comes back.
    pub(super) window_seconds: u64,
    pub(super) remaining: u32,
    /// Time until the whole burst is there again.
    pub(super) reset_seconds: u64,
}

/// A request was one too many, and does not count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    pub(super) standing: Standing,
    /// When the next one is let through. Rounded up to whole seconds: a client that waits so long is not refused again.
    pub(super) wait: Duration,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    pub(super) fn new(rate: Rate) -> Self {
        let quota = Quota::with_period(Duration::from_secs_f64(1.0 / rate.per_second()))
            .expect("a rate is at most a million a second, so its period is not zero")
            .allow_burst(rate.burst());
        Self {
            rate,
            counts: DefaultKeyedRateLimiter::keyed(quota).with_middleware(),
            clock: DefaultClock::default(),
            crowds: RandomState::new(),
            checks: AtomicU32::new(0),
            is_full: AtomicBool::new(false),
        }
    }

    /// Counts one request.
    pub(super) fn check(&self, key: K) -> Result<Standing, Refused> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CHECKS_PER_LOOK == CHECKS_PER_LOOK - 1 {
            self.look();
        }
        let who = if self.is_full.load(Ordering::Relaxed) {
            Who::Crowd(self.crowds.hash_one(key) % CROWDS)
        } else {
            Who::One(key)
        };
        match self.counts.check_key(&who) {
            Ok(snapshot) => Ok(self.standing(&snapshot)),
            Err(refused) => {
                let wait = refused.wait_time_from(self.clock.now());
                let wait = Duration::from_secs(seconds_up(wait.as_secs_f64()).max(1));
                Err(Refused { standing: self.standing_at(0, wait), wait })
            }
        }
    }

    /// Forgets the keys that have their whole burst again.
    pub(super) fn forget(&self) {
        self.counts.retain_recent();
        self.counts.shrink_to_fit();
        self.look();
    }

    fn look(&self) {
        self.is_full.store(self.counts.len() >= KEYS_MAX, Ordering::Relaxed);
    }

    fn standing(&self, snapshot: &StateSnapshot) -> Standing {
        self.standing_at(snapshot.remaining_burst_capacity(), Duration::ZERO)
    }

    fn standing_at(&self, remaining: u32, wait: Duration) -> Standing {
        let burst = self.rate.burst().get();
        let used = burst - remaining.min(burst);
        let per_second = self.rate.per_second();
        Standing {
            burst,
            window_seconds: seconds_up(f64::from(burst) / per_second).max(1),
            remaining,
            reset_seconds: seconds_up(f64::from(used) / per_second).max(wait.as_secs()),
        }
    }
}

fn seconds_up(seconds: f64) -> u64 {
    seconds.ceil() as u64
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("rate", &self.rate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(rate: &str) -> Limiter<u32> {
        Limiter::new(rate.parse().unwrap())
    }

    #[test]
    fn a_burst_passes_and_what_is_left_is_told() {
        // So slow that nothing comes back while the test runs.
        let limiter = limiter("0.001:3");
        for remaining in [2, 1, 0] {
            let standing = limiter.check(1).unwrap();
            let reset_seconds = u64::from(3 - remaining) * 1_000;
            assert_eq!(standing, Standing { burst: 3, window_seconds: 3_000, remaining, reset_seconds });
        }
        let refused = limiter.check(1).unwrap_err();
        assert!((1..=1_000).contains(&refused.wait.as_secs()), "{refused:?}");
        assert_eq!(refused.standing.remaining, 0);
        assert!(limiter.check(2).is_ok(), "another key has a count of its own");
    }

    #[test]
    fn a_wait_is_at_least_a_second() {
        let limiter = limiter("100000:1");
        let refused = std::iter::repeat_with(|| limiter.check(1)).find_map(Result::err).unwrap();
        assert_eq!(refused.wait, Duration::from_secs(1));
    }

    #[test]
    fn keys_beyond_the_bound_share_counts_and_make_no_more() {
        let limiter = limiter("0.001:1");
        for key in 0..KEYS_MAX as u32 + 10 * CHECKS_PER_LOOK {
            let _ = limiter.check(key);
        }
        let most = KEYS_MAX + CHECKS_PER_LOOK as usize + CROWDS as usize;
        assert!(limiter.counts.len() <= most, "{} keys", limiter.counts.len());
        assert!(limiter.check(u32::MAX).is_err(), "its crowd has had its turn");
    }

    #[test]
    fn who_has_the_whole_burst_again_is_forgotten() {
        let limiter = limiter("1000000:1");
        for key in 0..1_000 {
            limiter.check(key).unwrap();
        }
        while !limiter.counts.is_empty() {
            limiter.forget();
        }
        assert!(!limiter.is_full.load(Ordering::Relaxed));
    }
}
