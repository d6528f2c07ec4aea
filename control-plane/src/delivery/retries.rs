//! Delivers what is kept in the registry: what failed before, and what came behind it.
//!
//! One process at a time has a webhook's kept deliveries, by a lease in the registry that it renews with what it writes there; so it does not matter
//! which one reads the thing's lane of the log. Each delivery is deleted after it was delivered, never before. Who has lost the lease
//! writes nothing but what was delivered, and stops.

use std::collections::BTreeMap;
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
use super::lines::{SLOW, SLOW_FOR, places_of_slow};
use super::{Courier, Retry, TRY_MAX};
use crate::registry::RegistryError;
use crate::registry::deliveries::{Claimed, Failure, Lease, Pending, Places, Settled, Settling, Then};
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
    let places = courier.0.config.retries_max;
    // Of all, and of those that are slow.
    let free = [places, places_of_slow(places)].map(|places| Arc::new(Semaphore::new(places)));
    let mut workers = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = courier.0.asked.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            // A place is free, and more may be due.
            Some(_) = workers.join_next(), if !workers.is_empty() => {}
        }
        let [all, slow] = free.each_ref().map(|free| free.available_permits());
        match claim(courier, Places { all, slow }).await {
            Ok(workers_to_be) => {
                for (worker, webhook) in workers_to_be {
                    let taken = free.iter().take(1 + usize::from(worker.is_slow));
                    let taken: Vec<_> = taken.map(|free| Arc::clone(free).try_acquire_owned()).collect();
                    let shutdown = shutdown.clone();
                    workers.spawn(async move {
                        worker.work(webhook, shutdown).await;
                        drop(taken);
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

async fn claim(courier: &Courier, places: Places) -> Result<Vec<(Worker, Webhook)>, RegistryError> {
    let now = clock::unix_micros();
    let lease = lease_from(now);
    let claimed = courier.registry().claim_webhooks(now, lease, places).await?;
    let ids: Vec<WebhookId> = claimed.iter().map(|claimed| claimed.webhook).collect();
    let mut webhooks: BTreeMap<WebhookId, Webhook> = BTreeMap::new();
    webhooks
        .extend(courier.registry().webhooks_of(&ids).await?.into_iter().map(|webhook| (webhook.id, webhook)));
    let worker = |Claimed { webhook: id, is_slow }| {
        let webhook = webhooks.remove(&id)?;
        let failures = webhook.counters.failures;
        Some((Worker { courier: courier.clone(), webhook: id, lease, is_slow, failures }, webhook))
    };
    Ok(claimed.into_iter().filter_map(worker).collect())
}

fn lease_from(now: i64) -> Lease {
    Lease(now + LEASE.as_micros() as i64)
}

/// Who works on one webhook's kept deliveries.
struct Worker {
    courier: Courier,
    webhook: WebhookId,
    lease: Lease,
    /// Whether it has one of the places of slow ones.
    is_slow: bool,
    /// Tries in a row that failed.
    failures: i64,
}

/// Why no more is tried for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// Those behind the last that was tried have to wait, or there is no time.
    Stop,
    /// What came of it has to be written, and then it goes on.
    Write,
}

impl Worker {
    async fn work(mut self, webhook: Webhook, shutdown: CancellationToken) {
        let began = Instant::now();
        let turn = self.courier.turns().take(self.webhook);
        if turn.is_none() {
            // A first try is under way; it is looked again in a moment.
            let settled = self.settled(Then::LetGo);
            self.settle(&settled, &shutdown).await;
            return;
        }
        let mut webhook = Some(webhook);
        loop {
            let settled = match self.chunk(webhook.take(), began, &shutdown).await {
                Ok(settled) => settled,
                Err(error) => {
                    // The lease ends by itself.
                    self.courier.trouble(&error, "kept deliveries can't be read");
                    return;
                }
            };
            if !self.settle(&settled, &shutdown).await {
                return;
            }
            let Then::GoOn(lease) = settled.then else { return };
            self.lease = lease;
        }
    }

    /// Nothing was tried.
    fn settled(&self, then: Then) -> Settled {
        Settled {
            webhook: self.webhook,
            lease: self.lease,
            delivered: Vec::new(),
            failed: Vec::new(),
            failure: None,
            slow_until: None,
            then,
        }
    }

    /// Tries some of the deliveries, in their order, until one fails.
    async fn chunk(
        &mut self,
        webhook: Option<Webhook>,
        began: Instant,
        shutdown: &CancellationToken,
    ) -> Result<Settled, RegistryError> {
        let registry = self.courier.registry();
        let webhook = match webhook {
            Some(webhook) => Some(webhook),
            // It may have been changed meanwhile.
            None => registry.webhooks_of(&[self.webhook]).await?.pop(),
        };
        let inner = &self.courier.0;
        let endpoint = webhook.and_then(|webhook| Endpoint::of(&webhook, &inner.sealer, &inner.guard));
        let Some(endpoint) = endpoint else { return Ok(self.settled(Then::LetGo)) };
        let now = clock::unix_micros();
        let due = registry.due_deliveries(self.webhook, now, CHUNK_MAX, CHUNK_BYTES_MAX).await?;
        if due.is_empty() {
            return Ok(self.settled(Then::Rest));
        }
        let mut settled = self.settled(Then::LetGo);
        let pause = self.try_in_order(&endpoint, due, &mut settled, shutdown).await;
        if pause == Pause::Write && began.elapsed() < TURN_MAX && !shutdown.is_cancelled() {
            settled.then = Then::GoOn(lease_from(clock::unix_micros()));
        }
        Ok(settled)
    }

    async fn try_in_order(
        &mut self,
        endpoint: &Endpoint,
        due: Vec<Pending>,
        settled: &mut Settled,
        shutdown: &CancellationToken,
    ) -> Pause {
        let chunk_began = Instant::now();
        for Pending { seq, id, format, body, records, attempts } in due {
            let delivery = Delivery { id, format, body: body.into(), records: records as usize };
            let tried = tokio::select! {
                tried = self.courier.attempt(endpoint, &delivery) => tried,
                () = grace(shutdown) => return Pause::Stop,
            };
            let now = clock::unix_micros();
            if tried.outcome.is_delivered() {
                self.courier.note(tried.attempt(endpoint, &delivery, 0));
                (self.failures, settled.failure) = (0, None);
                settled.delivered.push(seq);
            } else {
                let next_try = now + tried.pause(self.failures).as_micros() as i64;
                let steps_aside = tried.outcome.steps_aside(attempts + 1, self.failures);
                let is_gone = tried.outcome == super::Outcome::Gone;
                self.courier.note(tried.attempt(endpoint, &delivery, if is_gone { 0 } else { next_try }));
                self.failures += 1;
                settled.failed.push((seq, if steps_aside { next_try } else { 0 }));
                settled.failure = Some(Failure { hold_until: (!steps_aside).then_some(next_try), is_gone });
                if !steps_aside {
                    note_pace(settled, tried.latency, now);
                    return Pause::Stop;
                }
            }
            if note_pace(settled, tried.latency, now) && !self.is_slow {
                // It goes on in a place of the slow ones.
                return Pause::Stop;
            }
            if chunk_began.elapsed() > CHUNK_TIME_MAX || shutdown.is_cancelled() {
                return Pause::Write;
            }
        }
        Pause::Write
    }

    /// Whether it is written, and may go on: else the lease ends by itself, and what was delivered is delivered again.
    async fn settle(&self, settled: &Settled, shutdown: &CancellationToken) -> bool {
        let mut retry = Retry::new();
        loop {
            let now = clock::unix_micros();
            match self.courier.registry().settle_deliveries(settled, self.courier.bounds(), now).await {
                Ok(Settling::Written) => return true,
                Ok(Settling::Disabled(reason)) => {
                    self.courier.tell_disabled(self.webhook, reason);
                    return false;
                }
                Ok(Settling::TooLate) => {
                    tracing::warn!(webhook = %self.webhook, "what failed was not written down in time; others go on");
                    return false;
                }
                Err(error) => self.courier.trouble(&error, "what was delivered can't be written down"),
            }
            if !retry.pause(shutdown).await {
                return false;
            }
        }
    }
}

/// Whether the try was slow; then the webhook is, for a while.
fn note_pace(settled: &mut Settled, took: Duration, now: i64) -> bool {
    let is_slow = took >= SLOW;
    if is_slow {
        settled.slow_until = Some(now + SLOW_FOR.as_micros() as i64);
    }
    is_slow
}

/// Ends a moment after shutdown.
async fn grace(shutdown: &CancellationToken) {
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
