//! Delivers what is kept in the registry: what failed before, and what came behind it.
//!
//! One process at a time has a webhook's kept deliveries, by a lease in the registry that it renews with what it writes there; so it does not matter
//! which one reads the thing's lane of the log. Each delivery is deleted after it was delivered, never before.

use std::sync::Arc;
use std::time::Duration;

use domain::WebhookId;
use service::clock;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::Delivery;
use super::endpoint::Endpoint;
use super::{Courier, Retry, TRY_MAX};
use crate::registry::RegistryError;
use crate::registry::deliveries::{Failure, Pending, Settled};
use crate::registry::webhooks::Webhook;

/// How often it is looked for what is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often what was tried for too long is given up, and the backlog is measured.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// Deliveries of a webhook that are loaded at once,
const CHUNK_MAX: i64 = 32;
/// their bytes,
const CHUNK_BYTES_MAX: i64 = 1 << 20;
/// and how long they are worked on before what came of them is written.
const CHUNK_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a webhook belongs to who took it: longer than a chunk with a try that hangs at its end.
const LEASE: Duration = Duration::from_secs(60);
/// How long one webhook is worked on before others that wait have their turn.
const TURN_MAX: Duration = Duration::from_secs(30);
/// How long a stop waits for tries that are under way.
pub(super) const GRACE: Duration = Duration::from_secs(3);

const _: () = assert!(
    CHUNK_TIME_MAX.as_secs() + 2 * TRY_MAX.as_secs() < LEASE.as_secs(),
    "nobody else begins before this one has written"
);

/// Until `shutdown`.
pub(super) async fn run(courier: Courier, shutdown: CancellationToken) {
    if !courier.registry().is_shared() {
        let mut retry = Retry::new();
        while let Err(error) = courier.registry().clear_webhook_leases().await {
            courier.trouble(&error, "leases of an earlier run can't be cleared");
            if !retry.pause(&shutdown).await {
                return;
            }
        }
    }
    tokio::join!(deliver(&courier, &shutdown), sweep(&courier, &shutdown));
}

async fn deliver(courier: &Courier, shutdown: &CancellationToken) {
    let places = Arc::new(Semaphore::new(courier.0.config.retries_max));
    let mut workers = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = courier.0.asked.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            // A place is free, and more may be due.
            Some(_) = workers.join_next(), if !workers.is_empty() => {}
        }
        match claim(courier, places.available_permits()).await {
            Ok(claimed) => {
                for webhook in claimed {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
                    let (courier, shutdown) = (courier.clone(), shutdown.clone());
                    workers.spawn(async move {
                        Worker { courier, shutdown, webhook: webhook.id, failures: 0 }.work(webhook).await;
                        drop(place);
                    });
                }
                courier.0.status.succeeded();
            }
            Err(error) => courier.trouble(&error, "kept deliveries can't be looked up"),
        }
    }
    // Each of them ends by itself within the grace.
    while workers.join_next().await.is_some() {}
}

async fn claim(courier: &Courier, places: usize) -> Result<Vec<Webhook>, RegistryError> {
    let now = clock::unix_micros();
    if places == 0 || !courier.registry().has_due_deliveries(now).await? {
        return Ok(Vec::new());
    }
    let limit = i64::try_from(places).unwrap_or(i64::MAX);
    let claimed = courier.registry().claim_webhooks(now, now + LEASE.as_micros() as i64, limit).await?;
    courier.registry().webhooks_of(&claimed).await
}

/// Who works on one webhook's kept deliveries.
struct Worker {
    courier: Courier,
    shutdown: CancellationToken,
    webhook: WebhookId,
    /// Tries in a row that failed.
    failures: i64,
}

/// What came of a chunk.
struct Done {
    settled: Settled,
    /// Whether there is no reason to stop here.
    goes_on: bool,
}

impl Worker {
    async fn work(mut self, webhook: Webhook) {
        let began = Instant::now();
        self.failures = webhook.counters.failures;
        let mut webhook = Some(webhook);
        loop {
            let done = match self.chunk(webhook.take(), began).await {
                Ok(done) => done,
                Err(error) => {
                    // The lease ends by itself.
                    self.courier.trouble(&error, "kept deliveries can't be read");
                    return;
                }
            };
            if !self.settle(&done.settled).await || !done.goes_on {
                return;
            }
        }
    }

    /// Tries some of the deliveries, in their order, until one fails.
    async fn chunk(&mut self, webhook: Option<Webhook>, began: Instant) -> Result<Done, RegistryError> {
        let registry = self.courier.registry();
        let webhook = match webhook {
            Some(webhook) => Some(webhook),
            // It may have been changed meanwhile.
            None => registry.webhooks_of(&[self.webhook]).await?.pop(),
        };
        let inner = &self.courier.0;
        let endpoint = webhook.and_then(|webhook| Endpoint::of(&webhook, &inner.sealer, &inner.guard));
        let now = clock::unix_micros();
        let mut settled = Settled {
            webhook: self.webhook,
            delivered: Vec::new(),
            failed: Vec::new(),
            failure: None,
            hold_until: now,
            all_step_aside: false,
            lease_until: 0,
        };
        let Some(endpoint) = endpoint else { return Ok(Done { settled, goes_on: false }) };
        let due = registry.due_deliveries(self.webhook, now, CHUNK_MAX, CHUNK_BYTES_MAX).await?;
        if due.is_empty() {
            settled.hold_until = registry.next_delivery_due(self.webhook).await?.unwrap_or(0);
            settled.all_step_aside = true;
            return Ok(Done { settled, goes_on: false });
        }
        let is_stopped = self.try_in_order(&endpoint, due, &mut settled).await;
        let goes_on = !is_stopped && began.elapsed() < TURN_MAX && !self.shutdown.is_cancelled();
        let now = clock::unix_micros();
        settled.hold_until = now;
        settled.lease_until = if goes_on { now + LEASE.as_micros() as i64 } else { 0 };
        Ok(Done { settled, goes_on })
    }

    /// Whether those behind the last that was tried have to wait.
    async fn try_in_order(&mut self, endpoint: &Endpoint, due: Vec<Pending>, settled: &mut Settled) -> bool {
        let chunk_began = Instant::now();
        for Pending { seq, id, format, body, records, attempts } in due {
            let delivery = Delivery { id, format, body: body.into(), records: records as usize };
            let tried = tokio::select! {
                tried = self.courier.attempt(endpoint, &delivery) => tried,
                () = grace(&self.shutdown) => return true,
            };
            if tried.outcome.is_delivered() {
                self.courier.note(tried.attempt(endpoint, &delivery, 0));
                (self.failures, settled.failure) = (0, None);
                settled.delivered.push(seq);
            } else {
                let next_try = clock::unix_micros() + tried.pause(self.failures).as_micros() as i64;
                let steps_aside = tried.outcome.steps_aside(attempts + 1, self.failures);
                let is_gone = tried.outcome == super::Outcome::Gone;
                self.courier.note(tried.attempt(endpoint, &delivery, if is_gone { 0 } else { next_try }));
                self.failures += 1;
                let hold_until = if steps_aside { 0 } else { next_try };
                settled.failed.push((seq, if steps_aside { next_try } else { 0 }));
                settled.failure = Some(Failure { hold_until, is_gone });
                if !steps_aside {
                    return true;
                }
            }
            if chunk_began.elapsed() > CHUNK_TIME_MAX || self.shutdown.is_cancelled() {
                return false;
            }
        }
        false
    }

    /// Whether it is written: else the lease ends by itself, and what was delivered is delivered again.
    async fn settle(&self, settled: &Settled) -> bool {
        let mut retry = Retry::new();
        loop {
            let now = clock::unix_micros();
            match self.courier.registry().settle_deliveries(settled, self.courier.bounds(), now).await {
                Ok(disabled) => {
                    if let Some(reason) = disabled {
                        self.courier.tell_disabled(self.webhook, reason);
                    }
                    return disabled.is_none();
                }
                Err(error) => self.courier.trouble(&error, "what was delivered can't be written down"),
            }
            if !retry.pause(&self.shutdown).await {
                return false;
            }
        }
    }
}

/// Ends a moment after shutdown.
pub(super) async fn grace(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Gives up what was tried for too long, deletes what could be replayed long enough, and measures what is left.
async fn sweep(courier: &Courier, shutdown: &CancellationToken) {
    loop {
        let swept = courier.registry().sweep_deliveries(courier.bounds(), clock::unix_micros()).await;
        let measured = match swept {
            Ok(true) if !shutdown.is_cancelled() => continue,
            Ok(_) => measure(courier).await,
            Err(error) => Err(error),
        };
        if let Err(error) = measured {
            courier.trouble(&error, "deliveries can't be given up");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
    }
}

async fn measure(courier: &Courier) -> Result<(), RegistryError> {
    let backlog = courier.registry().delivery_backlog().await?;
    let begun = backlog.first_end.map(|end| end - courier.bounds().give_up_after);
    let age = begun.map_or(0, |begun| (clock::unix_micros() - begun).max(0));
    courier.metrics().backlog_deliveries.set(backlog.deliveries as f64);
    courier.metrics().backlog_seconds.set(age as f64 / 1e6);
    Ok(())
}
