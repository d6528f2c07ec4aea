//! From the log into the lines, and from there into the registry what failed or is too much; what is tried meanwhile: `dispatch`.
//!
//! Commits a position only when everything before it was delivered or is kept. A pack of a thing without webhooks costs a
//! look into a map. Reading never waits for an endpoint; it waits for the registry, where that is what everything needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::senml::{self, PackLimits, Scratch};
use domain::{Entry, WebhookId};
use log::{Batch, BatchLimits, Delivery as LogDelivery, Subscription, Undeliverable};
use service::clock;
use service::telemetry::Chain;
use store::Row;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::Delivery;
use super::body::{Fragment, Piece, fragments};
use super::dispatch::{Dispatch, delivery_of, let_go, tickets_of};
use super::endpoint::Endpoint;
use super::lines::Surplus;
use super::retries::GRACE;
use super::tracker::Ticket;
use super::{Courier, Retry, TRY_MAX, surely};
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

struct Intake {
    courier: Courier,
    subscription: Box<dyn Subscription>,
    dispatch: Dispatch,
    workers: JoinSet<()>,
    /// What is being kept, one transaction at a time.
    keeping: Option<JoinHandle<Vec<KeptOfLine>>>,
    shutdown: CancellationToken,
}

/// Until `shutdown`.
pub(super) async fn run(courier: Courier, subscription: Box<dyn Subscription>, shutdown: CancellationToken) {
    let mut intake = Intake {
        dispatch: Dispatch::new(courier.clone(), shutdown.clone()),
        courier,
        subscription,
        workers: JoinSet::new(),
        keeping: None,
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
        let (shutdown, dispatch) = (self.shutdown.clone(), self.dispatch.clone());
        loop {
            let has_room = dispatch.desk().has_room();
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(ended) = self.workers.join_next(), if !self.workers.is_empty() => {
                    unless_cancelled(ended);
                }
                () = dispatch.news() => {}
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
                }
            }
            dispatch.begin(&mut self.workers);
            self.keep();
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
        let came = self.arrived(batch);
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

    /// Tells the tracker what has come.
    fn arrived(&mut self, batch: Batch) -> Vec<(Ticket, Option<Entry>)> {
        let mut came: Vec<(Ticket, Option<Entry>)> = Vec::new();
        let mut came_again = false;
        let mut stopped: Vec<domain::Position> = Vec::new();
        let mut desk = self.dispatch.desk();
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
            let ticket = desk.tracker.arrived(position);
            came_again |= ticket.generation > 0;
            // Of damage, the writer tells.
            came.push((ticket, entry.ok()));
        }
        if came_again {
            desk.lines.forget_standings();
        }
        came
    }

    async fn read_changes(&mut self) -> Result<(), RegistryError> {
        let version = self.dispatch.desk().directory.version();
        let changes = self.courier.registry().webhook_changes(version).await?;
        if changes.version != version {
            let inner = &self.courier.0;
            let mut desk = self.dispatch.desk();
            for gone in desk.directory.apply(&changes, &inner.sealer, &inner.guard) {
                let tickets = desk.lines.forget(gone);
                desk.settle(tickets);
            }
            self.courier.metrics().enabled.set(desk.directory.len() as f64);
        }
        Ok(())
    }

    /// Encodes what packs hold, off the async threads, and gives it to the lines.
    async fn resolve(&mut self, came: Vec<(Ticket, Option<Entry>)>) {
        let mut wanted: Vec<(Ticket, Option<Wanted>)> = Vec::new();
        for (ticket, entry) in came {
            let desk = self.dispatch.desk();
            let with_endpoints = |entry: Entry| {
                let endpoints = desk.directory.of_thing(entry.publisher).iter();
                let endpoints: Vec<Arc<Endpoint>> =
                    endpoints.filter(|endpoint| endpoint.wants(entry.received)).cloned().collect();
                (!endpoints.is_empty()).then_some((entry, endpoints))
            };
            wanted.push((ticket, entry.and_then(with_endpoints)));
        }
        if wanted.iter().all(|(_, wanted)| wanted.is_none()) {
            let mut desk = self.dispatch.desk();
            for (ticket, _) in wanted {
                desk.tracker.wait_for(ticket, 0);
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
            // Of one entry at a time, so that no worker waits for long; and nothing of it is done before all of it is counted.
            let mut desk = self.dispatch.desk();
            if let Some((channel, publisher, received, endpoints, encoded)) = encoded {
                if encoded.is_none() {
                    self.courier.metrics().unreadable_total.increment(1);
                }
                let encoded = encoded.unwrap_or_default();
                for endpoint in endpoints {
                    for fragment in encoded.get(&endpoint.format).into_iter().flatten() {
                        let (format, fragment) = (endpoint.format, fragment.clone());
                        let piece = Piece { ticket, channel, publisher, received, format, fragment };
                        desk.lines.push(endpoint.id, &endpoint.host, piece, now);
                        count += 1;
                    }
                }
            }
            desk.tracker.wait_for(ticket, count);
        }
    }

    async fn ask_for_unknown(&mut self) -> Result<(), RegistryError> {
        let unknown = self.dispatch.desk().lines.unknown();
        self.ask_for(unknown).await
    }

    /// Asks what the registry has for these webhooks.
    async fn ask_for(&mut self, webhooks: Vec<WebhookId>) -> Result<(), RegistryError> {
        if webhooks.is_empty() {
            return Ok(());
        }
        let pending = self.courier.registry().pending_deliveries(&webhooks).await?;
        let (now, mut desk) = (Instant::now(), self.dispatch.desk());
        for webhook in webhooks {
            desk.lines.known(webhook, pending.get(&webhook).copied().unwrap_or(0), now);
        }
        Ok(())
    }

    /// Of lines that have collected enough: those whose webhooks have nothing kept any more are delivered directly again.
    async fn look(&mut self) -> Result<(), RegistryError> {
        self.courier.metrics().lag_entries.set(self.subscription.backlog() as f64);
        {
            let mut desk = self.dispatch.desk();
            self.courier.metrics().waiting_bytes.set(desk.lines.bytes() as f64);
            desk.lines.call_those_that_wait();
            desk.may_keep = true;
        }
        self.ask_for_unknown().await?;
        let due = self.dispatch.desk().lines.due(Instant::now());
        let is_doubtful = |(webhook, is_certain): (WebhookId, bool)| (!is_certain).then_some(webhook);
        self.ask_for(due.into_iter().filter_map(is_doubtful).collect()).await
    }

    /// Begins to keep what is due, if nothing is being kept.
    fn keep(&mut self) {
        let mut desk = self.dispatch.desk();
        // Looking costs more than most of what happens.
        if self.keeping.is_some() || !std::mem::take(&mut desk.may_keep) {
            return;
        }
        let lines = &mut desk.lines;
        // One that may have nothing in the registry any more is looked at before, and delivered directly then.
        let now = Instant::now();
        let mut due = lines.due(now);
        due.retain(|(webhook, is_certain)| *is_certain || lines.is_confirmed(*webhook, now));
        let due = due.into_iter().take(KEPT_AT_ONCE_MAX);
        let surplus: Vec<Surplus<Failure>> =
            due.filter_map(|(webhook, _)| lines.spill(webhook, now)).collect();
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
        let mut desk = self.dispatch.desk();
        for KeptOfLine { webhook, tickets, number } in kept {
            if desk.lines.spilled(webhook, number) {
                tokio::spawn(let_go(self.courier.clone(), webhook));
            }
            desk.settle(tickets);
        }
        desk.may_keep = true;
        self.courier.0.asked.notify_one();
    }

    async fn commit(&mut self) {
        let done = self.dispatch.desk().tracker.take_done();
        if done.is_empty() {
            return;
        }
        if let Err(error) = self.subscription.commit(&done).await {
            tracing::warn!(error = %Chain(&error), "the log can't commit, trying again later");
            self.courier.metrics().retries_total.increment(1);
            self.dispatch.desk().tracker.give_back(done);
        }
    }

    /// Waits a moment for what is under way, and tells the log what is done.
    async fn finish(mut self) {
        let tried_by = Instant::now() + GRACE;
        while let Ok(Some(ended)) = tokio::time::timeout_at(tried_by, self.workers.join_next()).await {
            unless_cancelled(ended);
        }
        let deadline = tried_by + Duration::from_secs(1);
        self.dispatch.desk().may_keep = true;
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
    surplus: Arc<Vec<Surplus<Failure>>>,
    shutdown: CancellationToken,
) -> Vec<KeptOfLine> {
    let now = clock::unix_micros();
    let later = |duration: Duration| now + duration.as_micros() as i64;
    let kept: Vec<Kept> = surplus
        .iter()
        .map(|surplus| Kept {
            webhook: surplus.webhook,
            deliveries: new_deliveries(surplus),
            failure: surplus.failure,
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
                let settled = |surplus: &Surplus<Failure>| KeptOfLine {
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
fn new_deliveries(surplus: &Surplus<Failure>) -> Vec<NewDelivery> {
    let shipments = surplus.shipments.iter().enumerate();
    let new = shipments.map(|(index, shipment)| {
        let Delivery { id, format, body, records } = delivery_of(shipment);
        let attempts = i64::from(index == 0 && surplus.failure.is_some());
        NewDelivery { id, format, body: body.to_vec(), records: records as i64, attempts }
    });
    new.collect()
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
