//! From the log to the endpoints: what is accepted is tried once, and kept in the registry where that fails.
//!
//! Commits a position only when everything before it was delivered or is kept. A pack of a thing without webhooks costs a
//! look into a map. Reading never waits for an endpoint; it waits for the registry, where that is what everything needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::senml::{self, PackLimits, Scratch};
use domain::{Entry, WebhookId};
use log::{Batch, BatchLimits, Delivery as LogDelivery, Subscription, Undeliverable};
use service::clock;
use service::telemetry::Chain;
use store::Row;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Delivery, Tried};
use super::body::{Fragment, Piece, delivery_id, fragments, join};
use super::endpoint::{Directory, Endpoint};
use super::lines::{Lines, Shipment, Surplus};
use super::retries::GRACE;
use super::tracker::{Ticket, Tracker};
use super::turns::Turn;
use super::{Courier, Outcome, Retry, TRY_MAX, surely};
use crate::registry::RegistryError;
use crate::registry::deliveries::{Failure, Keeping, Kept, NewDelivery};
use crate::registry::webhooks::Format;

/// What is taken from the log at once. Few entries are looked at, so the wait for more is what an alarm waits.
const BATCH: BatchLimits =
    BatchLimits { entries_max: 8_192, bytes_max: 1 << 20, linger: Duration::from_millis(5) };
/// How often the log is told how far it may forget.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked for lines that have collected enough for the registry.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Webhooks whose surplus one transaction keeps.
const KEPT_AT_ONCE_MAX: usize = 64;
/// How long what was kept behind a try waits for it at most: longer than the try takes, and than it takes to keep it, too.
const WAIT_FOR_TRY_MAX: Duration = Duration::from_secs(25);

const _: () = assert!(TRY_MAX.as_secs() < WAIT_FOR_TRY_MAX.as_secs(), "what came first goes first");

/// A first try that has ended.
struct Ended {
    endpoint: Arc<Endpoint>,
    shipment: Shipment,
    delivery: Delivery,
    tried: Tried,
    turn: Turn,
}

/// An entry with the webhooks that it goes to.
type Wanted = (Entry, Vec<Arc<Endpoint>>);

/// What of a webhook's line is kept.
struct KeptOfLine {
    webhook: WebhookId,
    /// Of the entries that it was made of.
    tickets: Vec<Ticket>,
    /// The number that was left free before it.
    number: Option<i64>,
}

/// What waits in a line after a try that failed, beside the pieces.
#[derive(Debug)]
struct Why {
    failure: Failure,
}

struct Intake {
    courier: Courier,
    subscription: Box<dyn Subscription>,
    directory: Directory,
    lines: Lines<Why>,
    tracker: Tracker,
    tries: JoinSet<Ended>,
    /// What is being kept, one transaction at a time.
    keeping: Option<JoinHandle<Vec<KeptOfLine>>>,
    /// Something may have to be kept that was not looked at yet.
    may_keep: bool,
    shutdown: CancellationToken,
}

/// Until `shutdown`.
pub(super) async fn run(courier: Courier, subscription: Box<dyn Subscription>, shutdown: CancellationToken) {
    let mut intake = Intake {
        lines: Lines::new(courier.0.config.first_tries_max),
        courier,
        subscription,
        directory: Directory::default(),
        tracker: Tracker::default(),
        tries: JoinSet::new(),
        keeping: None,
        may_keep: false,
        shutdown,
    };
    intake.work().await;
    intake.finish().await;
}

impl Intake {
    async fn work(&mut self) {
        let mut commit_due = Instant::now() + COMMIT_EVERY;
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        loop {
            let has_room = self.lines.has_room();
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(ended) = self.tries.join_next(), if !self.tries.is_empty() => {
                    self.ended(ended);
                    // Looking around costs more than an end: what is about to end is looked at together.
                    tokio::task::yield_now().await;
                    while let Some(ended) = self.tries.try_join_next() {
                        self.ended(ended);
                    }
                }
                kept = wait_for(&mut self.keeping) => self.kept(kept),
                batch = self.subscription.next_batch(&BATCH), if has_room => match batch {
                    Ok(batch) => {
                        if !self.take(batch).await {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::error!(error = %Chain(&error), "the log can't be read, trying again");
                        self.courier.metrics().retries_total.increment(1);
                        self.courier.0.status.failed(clock::unix_micros());
                        if !Retry::new().pause(&shutdown).await {
                            return;
                        }
                    }
                },
                _ = look.tick() => {
                    if let Err(error) = self.look().await {
                        self.courier.trouble(&error, "kept deliveries can't be counted");
                    }
                    self.may_keep = true;
                }
            }
            self.begin_tries();
            // Looking costs more than most of what happens.
            if std::mem::take(&mut self.may_keep) {
                self.keep();
            }
            if Instant::now() >= commit_due {
                self.commit().await;
                commit_due = Instant::now() + COMMIT_EVERY;
            }
        }
    }

    /// Puts a batch into the lines. `false`: stopped.
    async fn take(&mut self, batch: Batch) -> bool {
        let mut retry = Retry::new();
        while let Err(error) = self.read_changes().await {
            self.courier.trouble(&error, "webhooks can't be looked up");
            if !retry.pause(&self.shutdown).await {
                return false;
            }
        }
        self.courier.0.status.succeeded();
        let mut came: Vec<(Ticket, Option<Entry>)> = Vec::new();
        let mut came_again = false;
        let mut stopped: Vec<domain::Position> = Vec::new();
        for LogDelivery { position, entry } in batch.deliveries {
            if stopped.iter().any(|at| at.lane == position.lane) {
                continue;
            }
            if let Err(newer @ Undeliverable::UnknownVersion(_)) = &entry {
                tracing::error!(?position, obstacle = %newer, "deliveries of this lane stop here until this program is upgraded");
                self.subscription.withhold(position);
                self.courier.0.status.waits_for_upgrade();
                stopped.push(position);
                continue;
            }
            let ticket = self.tracker.arrived(position);
            came_again |= ticket.generation > 0;
            // Of damage, the writer tells.
            came.push((ticket, entry.ok()));
        }
        if came_again {
            self.lines.forget_standings();
        }
        self.resolve(came).await;
        let mut retry = Retry::new();
        while let Err(error) = self.ask_for_unknown().await {
            self.courier.trouble(&error, "kept deliveries can't be counted");
            if !retry.pause(&self.shutdown).await {
                return false;
            }
        }
        true
    }

    async fn read_changes(&mut self) -> Result<(), RegistryError> {
        let changes = self.courier.registry().webhook_changes(self.directory.version()).await?;
        if changes.version != self.directory.version() {
            let inner = &self.courier.0;
            for gone in self.directory.apply(&changes, &inner.sealer, &inner.guard) {
                for ticket in self.lines.forget(gone) {
                    self.tracker.settle(ticket);
                }
            }
            self.courier.metrics().enabled.set(self.directory.len() as f64);
        }
        Ok(())
    }

    /// Encodes what packs hold, off the async threads, and gives it to the lines.
    async fn resolve(&mut self, came: Vec<(Ticket, Option<Entry>)>) {
        let mut wanted: Vec<(Ticket, Option<Wanted>)> = Vec::new();
        for (ticket, entry) in came {
            let with_endpoints = |entry: Entry| {
                let endpoints = self.directory.of_thing(entry.publisher).iter();
                let endpoints: Vec<Arc<Endpoint>> =
                    endpoints.filter(|endpoint| endpoint.wants(entry.received)).cloned().collect();
                (!endpoints.is_empty()).then_some((entry, endpoints))
            };
            wanted.push((ticket, entry.and_then(with_endpoints)));
        }
        if wanted.iter().all(|(_, wanted)| wanted.is_none()) {
            for (ticket, _) in wanted {
                self.tracker.wait_for(ticket, 0);
            }
            return;
        }
        let encoded = tokio::task::spawn_blocking(move || {
            let mut scratch = Scratch::default();
            let mut encode = |(entry, endpoints): Wanted| {
                let encoded = encode(&entry, &endpoints, &mut scratch);
                (entry.channel, entry.publisher, entry.received, endpoints, encoded)
            };
            wanted.into_iter().map(|(ticket, wanted)| (ticket, wanted.map(&mut encode))).collect::<Vec<_>>()
        });
        let encoded = encoded.await.expect("encoding accepts any bytes without a panic");
        let now = Instant::now();
        for (ticket, encoded) in encoded {
            let mut count = 0;
            if let Some((channel, publisher, received, endpoints, encoded)) = encoded {
                if encoded.is_none() {
                    self.courier.metrics().unreadable_total.increment(1);
                }
                let encoded = encoded.unwrap_or_default();
                for endpoint in endpoints {
                    for fragment in encoded.get(&endpoint.format).into_iter().flatten() {
                        let (format, fragment) = (endpoint.format, fragment.clone());
                        self.lines.push(
                            endpoint.id,
                            Piece { ticket, channel, publisher, received, format, fragment },
                            now,
                        );
                        count += 1;
                    }
                }
            }
            self.tracker.wait_for(ticket, count);
        }
    }

    async fn ask_for_unknown(&mut self) -> Result<(), RegistryError> {
        let unknown = self.lines.unknown();
        if unknown.is_empty() {
            return Ok(());
        }
        let pending = self.courier.registry().pending_deliveries(&unknown).await?;
        let now = Instant::now();
        for webhook in unknown {
            self.lines.known(webhook, pending.get(&webhook).copied().unwrap_or(0), now);
        }
        Ok(())
    }

    /// Of lines that have collected enough: those whose webhooks have nothing kept any more are delivered directly again.
    async fn look(&mut self) -> Result<(), RegistryError> {
        self.courier.metrics().waiting_bytes.set(self.lines.bytes() as f64);
        self.courier.metrics().lag_entries.set(self.subscription.backlog() as f64);
        self.ask_for_unknown().await?;
        let due = self.lines.due(Instant::now());
        let doubtful: Vec<WebhookId> =
            due.iter().filter(|(_, is_certain)| !is_certain).map(|(webhook, _)| *webhook).collect();
        if doubtful.is_empty() {
            return Ok(());
        }
        let pending = self.courier.registry().pending_deliveries(&doubtful).await?;
        for webhook in doubtful {
            self.lines.known(webhook, pending.get(&webhook).copied().unwrap_or(0), Instant::now());
        }
        Ok(())
    }

    fn begin_tries(&mut self) {
        while self.tries.len() < self.courier.0.config.first_tries_max {
            let Some(shipment) = self.lines.next() else { return };
            let webhook = shipment.webhook;
            let Some(endpoint) = self.directory.get(webhook).cloned() else {
                self.lines.put_back(shipment);
                let tickets = self.lines.forget(webhook);
                self.settle(tickets);
                continue;
            };
            let Some(turn) = self.courier.turns().take(webhook) else {
                self.lines.put_back(shipment);
                continue;
            };
            let courier = self.courier.clone();
            self.tries.spawn(async move {
                let delivery = delivery_of(&shipment);
                let tried = courier.attempt(&endpoint, &delivery).await;
                Ended { endpoint, shipment, delivery, tried, turn }
            });
        }
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) {
        let Some(ended) = unless_cancelled(ended) else { return };
        // The next try begins when what came of this one is known here.
        let Ended { endpoint, shipment, delivery, tried, turn: _turn } = ended;
        let now = Instant::now();
        if tried.outcome.is_delivered() {
            self.courier.note(tried.attempt(&endpoint, &delivery, 0));
            self.measure(&shipment);
            if self.lines.delivered(shipment.webhook, tried.latency, now) {
                tokio::spawn(let_go(self.courier.clone(), shipment.webhook));
            }
            self.settle(tickets_of(&[shipment]));
            return;
        }
        let is_gone = tried.outcome == Outcome::Gone;
        let next_try = clock::unix_micros() + tried.pause(0).as_micros() as i64;
        self.courier.note(tried.attempt(&endpoint, &delivery, if is_gone { 0 } else { next_try }));
        self.may_keep = true;
        let why = Why { failure: Failure { hold_until: Some(next_try), is_gone } };
        if let Some(shipment) = self.lines.failed(shipment, why, tried.latency, now) {
            // The webhook is disabled or gone meanwhile.
            self.settle(tickets_of(&[shipment]));
        }
    }

    fn measure(&self, shipment: &Shipment) {
        let Some(first) = shipment.pieces.first() else { return };
        // A clock that was set back makes no time negative.
        let delay = clock::unix_micros().saturating_sub(first.received.as_micros()).max(0);
        let delay = Duration::from_micros(delay.unsigned_abs());
        self.courier.metrics().delivery_delay_seconds.record(delay);
    }

    /// Begins to keep what is due, if nothing is being kept.
    fn keep(&mut self) {
        if self.keeping.is_some() {
            return;
        }
        // One that may have nothing in the registry any more is looked at before, and delivered directly then.
        let now = Instant::now();
        let mut due = self.lines.due(now);
        due.retain(|(webhook, is_certain)| *is_certain || self.lines.is_confirmed(*webhook, now));
        if due.is_empty() {
            return;
        }
        let surplus: Vec<Surplus<Why>> = due
            .into_iter()
            .take(KEPT_AT_ONCE_MAX)
            .filter_map(|(webhook, _)| self.lines.spill(webhook, now))
            .collect();
        if !surplus.is_empty() {
            let (courier, surplus, shutdown) =
                (self.courier.clone(), Arc::new(surplus), self.shutdown.clone());
            self.keeping = Some(tokio::spawn(async move {
                let once = || keep(courier.clone(), Arc::clone(&surplus), shutdown.clone());
                surely(courier.status(), shutdown.clone(), once).await.unwrap_or_default()
            }));
        }
    }

    fn kept(&mut self, kept: Vec<KeptOfLine>) {
        for KeptOfLine { webhook, tickets, number } in kept {
            if self.lines.spilled(webhook, number) {
                tokio::spawn(let_go(self.courier.clone(), webhook));
            }
            self.settle(tickets);
        }
        self.may_keep = true;
        self.courier.0.asked.notify_one();
    }

    fn settle(&mut self, tickets: Vec<Ticket>) {
        for ticket in tickets {
            self.tracker.settle(ticket);
        }
    }

    async fn commit(&mut self) {
        let done = self.tracker.take_done();
        if done.is_empty() {
            return;
        }
        if let Err(error) = self.subscription.commit(&done).await {
            tracing::warn!(error = %Chain(&error), "the log can't commit, trying again later");
            self.courier.metrics().retries_total.increment(1);
            self.tracker.give_back(done);
        }
    }

    /// Waits a moment for what is under way, and tells the log what is done.
    async fn finish(mut self) {
        let tried_by = Instant::now() + GRACE;
        while let Ok(Some(ended)) = tokio::time::timeout_at(tried_by, self.tries.join_next()).await {
            self.ended(ended);
        }
        let deadline = tried_by + Duration::from_secs(1);
        self.keep();
        while self.keeping.is_some() {
            let Ok(kept) = tokio::time::timeout_at(deadline, wait_for(&mut self.keeping)).await else {
                break;
            };
            self.kept(kept);
            self.keep();
        }
        self.commit().await;
    }
}

/// What is being kept; for ever, if nothing is.
async fn wait_for(keeping: &mut Option<JoinHandle<Vec<KeptOfLine>>>) -> Vec<KeptOfLine> {
    let Some(task) = keeping else { return std::future::pending().await };
    let kept = task.await;
    *keeping = None;
    unless_cancelled(kept).unwrap_or_default()
}

/// What a task came to. What it can panic of it catches itself, so a panic is one of this role; it is cancelled by the end of the
/// process only.
fn unless_cancelled<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(ended) => Some(ended),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

/// Keeps surplus in the registry, as often as it takes; what is kept then. Nothing: stopped.
async fn keep(
    courier: Courier,
    surplus: Arc<Vec<Surplus<Why>>>,
    shutdown: CancellationToken,
) -> Vec<KeptOfLine> {
    let now = clock::unix_micros();
    let later = |duration: Duration| now + duration.as_micros() as i64;
    let kept: Vec<Kept> = surplus
        .iter()
        .map(|surplus| Kept {
            webhook: surplus.webhook,
            deliveries: new_deliveries(surplus),
            failure: surplus.failure.as_ref().map(|why| why.failure),
            number: surplus.number,
            leaves_number: surplus.leaves_number,
            // The try that is under way comes first.
            hold_until: surplus.is_in_flight.then(|| later(WAIT_FOR_TRY_MAX)),
            slow_until: (!surplus.slow_for.is_zero()).then(|| later(surplus.slow_for)),
        })
        .collect();
    let mut retry = Retry::new();
    loop {
        match courier.registry().keep_deliveries(&kept, courier.bounds(), clock::unix_micros()).await {
            Ok(Keeping { disabled, numbers }) => {
                for (webhook, reason) in disabled {
                    courier.tell_disabled(webhook, reason);
                }
                let settled = |surplus: &Surplus<Why>| KeptOfLine {
                    webhook: surplus.webhook,
                    tickets: tickets_of(&surplus.shipments),
                    number: numbers.get(&surplus.webhook).copied(),
                };
                return surplus.iter().map(settled).collect();
            }
            Err(error) => courier.trouble(&error, "deliveries can't be kept"),
        }
        if !retry.pause(&shutdown).await {
            return Vec::new();
        }
    }
}

/// What is to be kept of a line. The first has been tried, if there was a failure.
fn new_deliveries(surplus: &Surplus<Why>) -> Vec<NewDelivery> {
    let shipments = surplus.shipments.iter().enumerate();
    let new = shipments.map(|(index, shipment)| {
        let Delivery { id, format, body, records } = delivery_of(shipment);
        let attempts = i64::from(index == 0 && surplus.failure.is_some());
        NewDelivery { id, format, body: body.to_vec(), records: records as i64, attempts }
    });
    new.collect()
}

/// What was kept while a try was under way waits no longer for it. Where this fails, it waits until the try would have ended.
async fn let_go(courier: Courier, webhook: WebhookId) {
    if let Err(error) = courier.registry().let_deliveries_go(webhook).await {
        courier.trouble(&error, "kept deliveries can't be let go");
    }
    courier.0.asked.notify_one();
}

fn delivery_of(shipment: &Shipment) -> Delivery {
    let format = shipment.pieces.first().map_or(Format::Json, |piece| piece.format);
    Delivery {
        id: delivery_id(shipment.webhook, &shipment.pieces),
        format,
        body: Bytes::from(join(&shipment.pieces)),
        records: shipment.records(),
    }
}

fn tickets_of(shipments: &[Shipment]) -> Vec<Ticket> {
    shipments.iter().flat_map(|shipment| shipment.pieces.iter().map(|piece| piece.ticket)).collect()
}

/// A pack's records in each format that is wanted. Nothing, if it can't be read.
fn encode(
    entry: &Entry,
    endpoints: &[Arc<Endpoint>],
    scratch: &mut Scratch,
) -> Option<HashMap<Format, Vec<Fragment>>> {
    let limits = PackLimits { records_max: usize::MAX, ..PackLimits::default() };
    let records = senml::resolve(entry.format, &entry.payload, entry.received, &limits, scratch).ok()?;
    let row = |record| Row {
        publisher: entry.publisher,
        subtopic: entry.subtopic.clone(),
        protocol: entry.protocol,
        received: entry.received,
        record,
    };
    let rows: Vec<Row> = records.into_iter().map(row).collect();
    let mut encoded = HashMap::new();
    for endpoint in endpoints {
        encoded.entry(endpoint.format).or_insert_with(|| fragments(entry.channel, &rows, endpoint.format));
    }
    Some(encoded)
}
