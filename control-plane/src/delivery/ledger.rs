//! Counts tries and lists them, and writes both down together, once a second.
//!
//! Never holds up a delivery, and never asks more of the registry than so many rows a second: every try is counted, but where more
//! come than that, some that succeeded are in no list, and a counter says so.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::WebhookId;
use tokio_util::sync::CancellationToken;

use super::{Courier, Retry};
use crate::registry::deliveries::{ATTEMPTS_KEPT, Attempt, Tally};

/// Tries that are listed at once. Those that failed may be as many again.
const LISTED_MAX: usize = 4_096;
/// How often they are written.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// What was not written yet.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Unwritten>);

#[derive(Debug, Default)]
struct Unwritten {
    tallies: BTreeMap<WebhookId, Tally>,
    listed: usize,
}

impl Ledger {
    /// Notes a try. How many tries are in no list for it.
    pub(super) fn note(&self, attempt: Attempt) -> u64 {
        self.lock().note(attempt)
    }

    fn take(&self) -> Unwritten {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Unwritten> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unwritten {
    fn note(&mut self, attempt: Attempt) -> u64 {
        let tally = self.tallies.entry(attempt.webhook).or_default();
        tally.count(&attempt);
        let limit = if attempt.is_delivered { LISTED_MAX } else { 2 * LISTED_MAX };
        // The newest are what is looked for: one takes the place of the oldest of its webhook, as it does in the registry.
        let takes_a_place = tally.listed.len() >= ATTEMPTS_KEPT as usize
            || (self.listed >= limit && tally.listed.front().is_some_and(|oldest| oldest.is_delivered));
        if takes_a_place {
            tally.listed.pop_front();
        } else if self.listed >= limit {
            return 1;
        } else {
            self.listed += 1;
        }
        tally.listed.push_back(attempt);
        u64::from(takes_a_place)
    }
}

/// Until `end`; then writes what is at hand.
pub(super) async fn run(courier: Courier, end: CancellationToken) {
    while !end.is_cancelled() {
        tokio::select! {
            () = end.cancelled() => {}
            () = tokio::time::sleep(WRITE_EVERY) => {}
        }
        write(&courier, courier.0.ledger.take(), &end).await;
    }
}

async fn write(courier: &Courier, unwritten: Unwritten, end: &CancellationToken) {
    let mut retry = Retry::new();
    while !unwritten.tallies.is_empty() {
        match courier.registry().record_attempts(&unwritten.tallies).await {
            Ok(()) => return,
            Err(error) => courier.trouble(&error, "tries can't be written down"),
        }
        if !retry.pause(end).await {
            courier.metrics().unlisted_total.increment(unwritten.listed as u64);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn attempt(webhook: u8, at: i64, is_delivered: bool) -> Attempt {
        Attempt {
            webhook: WebhookId::from_bytes([webhook; 16]),
            delivery: Uuid::nil(),
            at,
            outcome: 1,
            is_delivered,
            status: 200,
            latency: 0,
            next_try_at: 0,
            records: 1,
            bytes: 1,
            excerpt: String::new(),
        }
    }

    fn listed(unwritten: &Unwritten, webhook: u8) -> Vec<i64> {
        let tally = unwritten.tallies.get(&WebhookId::from_bytes([webhook; 16])).unwrap();
        tally.listed.iter().map(|attempt| attempt.at).collect()
    }

    #[test]
    fn of_one_webhook_the_last_are_listed_and_all_counted() {
        let mut unwritten = Unwritten::default();
        let many = ATTEMPTS_KEPT + 5;
        let unlisted: u64 = (0..many).map(|at| unwritten.note(attempt(1, at, at % 2 == 0))).sum();
        assert_eq!(unlisted, 5);
        assert_eq!(listed(&unwritten, 1), (5..many).collect::<Vec<_>>());
        let tally = unwritten.tallies.values().next().unwrap();
        assert_eq!((tally.attempts, tally.delivered), (many, 503));
        assert_eq!((tally.delivered_at, tally.failed_at), (many - 1, many - 2));
    }

    #[test]
    fn where_too_many_come_those_that_failed_are_listed_still() {
        let mut unwritten = Unwritten::default();
        for webhook in 0..8 {
            for at in 0..512 {
                assert_eq!(unwritten.note(attempt(webhook, at, true)), 0);
            }
        }
        assert_eq!(unwritten.note(attempt(1, 600, true)), 1, "in the place of an older one");
        assert_eq!(unwritten.note(attempt(9, 600, true)), 1, "there is no older one");
        assert_eq!(unwritten.note(attempt(9, 601, false)), 0);
        assert_eq!((listed(&unwritten, 1)[0], listed(&unwritten, 9)), (1, vec![601]));
        assert_eq!(unwritten.tallies[&WebhookId::from_bytes([9; 16])].attempts, 2);
        let failed = (0..2 * LISTED_MAX as i64).map(|at| unwritten.note(attempt(10, at, false))).sum::<u64>();
        assert_eq!(failed, 2 * LISTED_MAX as u64 - ATTEMPTS_KEPT as u64);
        assert!(unwritten.listed <= 2 * LISTED_MAX);
    }
}
