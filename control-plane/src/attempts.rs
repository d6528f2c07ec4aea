//! How often a login may fail: so often per email and per address that a person never notices, and a search is hopeless.
//!
//! Pure: the time is an argument. What is counted takes a fixed amount of memory, whoever tries whatever. It follows that
//! two emails may share a count: in each of [`ROWS`] tables another hash decides the place, and an email is refused only if
//! all of its places are full, so a stranger's failures refuse it with a chance of about one in a billion.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use service::client_address::network;

/// Failed logins within [`WINDOW_MICROS`] for one email.
const FAILURES_PER_EMAIL_MAX: u32 = 20;
/// Failed logins within [`WINDOW_MICROS`] from one address: many people may share one.
const FAILURES_PER_ADDRESS_MAX: u32 = 300;
/// How long a failure counts, at most: a window begins with its first.
const WINDOW_MICROS: i64 = 60_000_000;
/// Tables.
const ROWS: usize = 2;
/// Places in each table, 1 MiB in all.
const PLACES: usize = 1 << 15;

/// Counts of failed logins.
pub(crate) struct Attempts {
    tables: [(RandomState, Mutex<Vec<Window>>); ROWS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    began: i64,
    failures: u32,
}

/// Whose failures are counted.
#[derive(Debug, Clone, Copy, Hash)]
enum Who<'a> {
    Email(&'a str),
    Address(IpAddr),
}

impl<'a> Who<'a> {
    fn all(email: &'a str, address: Option<IpAddr>) -> impl Iterator<Item = Self> {
        [Some(Self::Email(email)), address.map(|address| Self::Address(network(address)))]
            .into_iter()
            .flatten()
    }

    const fn failures_max(self) -> u32 {
        match self {
            Self::Email(_) => FAILURES_PER_EMAIL_MAX,
            Self::Address(_) => FAILURES_PER_ADDRESS_MAX,
        }
    }
}

/// There were too many failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// When the next attempt is looked at.
    pub(crate) wait_seconds: u64,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        let table = || (RandomState::new(), Mutex::new(vec![Window::default(); PLACES]));
        Self { tables: [table(), table()] }
    }

    /// Counts an attempt as failed before it is made, so that attempts made at once can't pass together.
    ///
    /// # Errors
    /// [`TooMany`]: it may not be made, and does not count.
    pub(crate) fn begin(&self, email: &str, address: Option<IpAddr>, now: i64) -> Result<(), TooMany> {
        for who in Who::all(email, address) {
            self.check(who, now)?;
        }
        for who in Who::all(email, address) {
            self.change(who, now, |failures| failures.saturating_add(1));
        }
        Ok(())
    }

    /// Takes back what [`Self::begin`] counted: the attempt did not fail.
    pub(crate) fn succeeded(&self, email: &str, address: Option<IpAddr>, now: i64) {
        for who in Who::all(email, address) {
            self.change(who, now, |failures| failures.saturating_sub(1));
        }
    }

    fn check(&self, who: Who<'_>, now: i64) -> Result<(), TooMany> {
        let mut wait_micros = i64::MAX;
        for (hash, table) in &self.tables {
            let table = table.lock().unwrap_or_else(PoisonError::into_inner);
            let window = table[place(hash, who)];
            if window.failures_at(now) < who.failures_max() {
                return Ok(());
            }
            wait_micros = wait_micros.min(window.began + WINDOW_MICROS - now);
        }
        Err(TooMany { wait_seconds: u64::try_from(wait_micros).unwrap_or(0).div_ceil(1_000_000).max(1) })
    }

    fn change(&self, who: Who<'_>, now: i64, change: impl Fn(u32) -> u32) {
        for (hash, table) in &self.tables {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            let window = &mut table[place(hash, who)];
            if window.failures_at(now) == 0 {
                *window = Window { began: now, failures: 0 };
            }
            window.failures = change(window.failures);
        }
    }
}

impl Window {
    /// What still counts. A window from the future (the clock was set back) does not.
    fn failures_at(self, now: i64) -> u32 {
        if (self.began..self.began.saturating_add(WINDOW_MICROS)).contains(&now) { self.failures } else { 0 }
    }
}

fn place(hash: &RandomState, who: Who<'_>) -> usize {
    (hash.hash_one(who) % PLACES as u64) as usize
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attempts(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ann@example.com";
    const T: i64 = 1_700_000_000_000_000;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn an_email_is_refused_after_20_failures_for_the_rest_of_the_minute() {
        let attempts = Attempts::new();
        for i in 0..20 {
            assert_eq!(attempts.begin(ANN, address(i), T + i64::from(i)), Ok(()));
        }
        let refused = attempts.begin(ANN, address(99), T + 30_000_000);
        assert_eq!(refused, Err(TooMany { wait_seconds: 30 }));
        assert_eq!(attempts.begin("bob@example.com", address(99), T + 30_000_000), Ok(()));
        assert_eq!(attempts.begin(ANN, address(99), T + WINDOW_MICROS), Ok(()));
    }

    #[test]
    fn an_address_is_refused_after_300_failures_whatever_it_tries() {
        let attempts = Attempts::new();
        for i in 0..300 {
            assert_eq!(attempts.begin(&format!("user-{i}@example.com"), address(1), T), Ok(()));
        }
        assert!(attempts.begin(ANN, address(1), T).is_err());
        assert_eq!(attempts.begin(ANN, address(2), T), Ok(()));
        assert_eq!(attempts.begin(ANN, None, T), Ok(()));
    }

    #[test]
    fn logins_that_succeed_do_not_count() {
        let attempts = Attempts::new();
        for _ in 0..1_000 {
            assert_eq!(attempts.begin(ANN, address(1), T), Ok(()));
            attempts.succeeded(ANN, address(1), T);
        }
        for _ in 0..20 {
            assert_eq!(attempts.begin(ANN, address(1), T), Ok(()));
        }
        assert!(attempts.begin(ANN, address(1), T).is_err(), "and do not make room either");
    }
}
