//! Writes down tries, together, about once a second.
//!
//! Never holds up a delivery: where more comes than the registry takes, tries go unlisted, and a counter says so.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Courier, Retry};
use crate::registry::deliveries::Attempt;

/// Tries that wait to be written.
pub(super) const WAITING_MAX: usize = 16_384;
/// Tries that one transaction writes.
const AT_ONCE_MAX: usize = 4_096;
/// How long tries wait for others.
const COLLECT_FOR: Duration = Duration::from_secs(1);

/// Until `end`; then writes what is at hand.
pub(super) async fn run(courier: Courier, end: CancellationToken) {
    let made = courier.0.attempts_made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let Some(mut made) = made else { return };
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut due = Instant::now() + COLLECT_FOR;
    loop {
        tokio::select! {
            () = end.cancelled() => break,
            () = tokio::time::sleep_until(due), if !attempts.is_empty() => {
                write(&courier, &mut attempts, &end).await;
            }
            // The sender is in the courier: this ends with `end`.
            count = made.recv_many(&mut attempts, AT_ONCE_MAX) => {
                if attempts.len() == count {
                    due = Instant::now() + COLLECT_FOR;
                }
                if attempts.len() >= AT_ONCE_MAX {
                    write(&courier, &mut attempts, &end).await;
                }
            }
        }
    }
    while let Ok(attempt) = made.try_recv() {
        attempts.push(attempt);
    }
    write(&courier, &mut attempts, &end).await;
}

async fn write(courier: &Courier, attempts: &mut Vec<Attempt>, end: &CancellationToken) {
    let mut retry = Retry::new();
    while !attempts.is_empty() {
        match courier.registry().record_attempts(attempts).await {
            Ok(()) => attempts.clear(),
            Err(error) => {
                courier.trouble(&error, "tries can't be written down");
                if !retry.pause(end).await {
                    courier.metrics().unlisted_total.increment(attempts.len() as u64);
                    attempts.clear();
                }
            }
        }
    }
}
