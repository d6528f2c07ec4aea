//! From the lines to the endpoints: workers that each try one delivery after another, until nothing waits for one.
//!
//! A worker goes on by itself with what comes next, whichever webhook it is of: no task is begun or asked between two tries, so a
//! delivery costs little more than its request. Reading the log, keeping what failed, and committing are `intake`'s.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::WebhookId;
use service::clock;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::{Delivery, Tried};
use super::body::{delivery_id, join};
use super::endpoint::{Directory, Endpoint};
use super::lines::{Lines, Shipment};
use super::tracker::{Ticket, Tracker};
use super::turns::Turn;
use super::{Courier, Outcome};
use crate::registry::deliveries::Failure;
use crate::registry::webhooks::Format;

/// What is known of what came: looked at by one at a time, and never for long.
pub(super) struct Desk {
    pub(super) directory: Directory,
    pub(super) lines: Lines<Failure>,
    pub(super) tracker: Tracker,
    /// Something may have to be kept that was not looked at yet.
    pub(super) may_keep: bool,
    /// Nothing is read from the log, until lines have room.
    pub(super) is_full: bool,
}

/// Has deliveries tried. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(super) struct Dispatch {
    courier: Courier,
    desk: Arc<Mutex<Desk>>,
    /// There is something to keep, or room again.
    news: Arc<Notify>,
    shutdown: CancellationToken,
}

/// A try that begins.
struct Begun {
    endpoint: Arc<Endpoint>,
    shipment: Shipment,
    turn: Turn,
}

impl Desk {
    pub(super) fn settle(&mut self, tickets: Vec<Ticket>) {
        for ticket in tickets {
            self.tracker.settle(ticket);
        }
    }

    /// Whether more may come. Where not, room is made.
    pub(super) fn has_room(&mut self) -> bool {
        self.is_full = !self.lines.has_room();
        if self.is_full {
            self.lines.make_room();
        }
        !self.is_full
    }
}

impl Dispatch {
    pub(super) fn new(courier: Courier, shutdown: CancellationToken) -> Self {
        let desk = Desk {
            directory: Directory::default(),
            lines: Lines::new(courier.0.config.first_tries_max, outbound::REQUESTS_PER_HOST_MAX),
            tracker: Tracker::default(),
            may_keep: false,
            is_full: false,
        };
        Self { courier, desk: Arc::new(Mutex::new(desk)), news: Arc::default(), shutdown }
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there may be something to keep, or room again.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Begins as many workers as there is something to try for, and places.
    pub(super) fn begin(&self, workers: &mut JoinSet<()>) {
        while workers.len() < self.courier.0.config.first_tries_max {
            let Some(begun) = self.next(&mut self.desk()) else { return };
            workers.spawn(self.clone().work(begun));
        }
    }

    async fn work(self, first: Begun) {
        let mut next = Some(first);
        while let Some(begun) = next {
            let delivery = delivery_of(&begun.shipment);
            let tried = self.courier.attempt(&begun.endpoint, &delivery).await;
            next = self.ended(begun, &delivery, &tried);
        }
    }

    /// What is to be tried next. Nothing begins on shutdown.
    fn next(&self, desk: &mut Desk) -> Option<Begun> {
        while !self.shutdown.is_cancelled() {
            let shipment = desk.lines.next()?;
            let webhook = shipment.webhook;
            let Some(endpoint) = desk.directory.get(webhook).cloned() else {
                desk.lines.put_back(shipment);
                let tickets = desk.lines.forget(webhook);
                desk.settle(tickets);
                continue;
            };
            if let Some(turn) = self.courier.turns().take(webhook) {
                return Some(Begun { endpoint, shipment, turn });
            }
            desk.lines.put_back(shipment);
        }
        None
    }

    /// Takes note of what came of a try. What is tried next begins when that is known.
    fn ended(&self, begun: Begun, delivery: &Delivery, tried: &Tried) -> Option<Begun> {
        let Begun { endpoint, shipment, turn } = begun;
        let mut desk = if tried.outcome.is_delivered() {
            self.courier.note(tried.attempt(&endpoint, delivery, 0));
            self.measure(&shipment);
            self.delivered(shipment, tried)
        } else {
            let is_gone = tried.outcome == Outcome::Gone;
            let next_try = clock::unix_micros() + tried.pause(0).as_micros() as i64;
            self.courier.note(tried.attempt(&endpoint, delivery, if is_gone { 0 } else { next_try }));
            self.failed(shipment, Failure { hold_until: Some(next_try), is_gone }, tried)
        };
        drop(turn);
        self.next(&mut desk)
    }

    fn delivered(&self, shipment: Shipment, tried: &Tried) -> MutexGuard<'_, Desk> {
        let mut desk = self.desk();
        if desk.lines.delivered(shipment.webhook, tried.latency, Instant::now()) {
            tokio::spawn(let_go(self.courier.clone(), shipment.webhook));
        }
        desk.settle(tickets_of(&[shipment]));
        if desk.is_full && desk.lines.has_room() {
            self.news.notify_one();
        }
        desk
    }

    fn failed(&self, shipment: Shipment, failure: Failure, tried: &Tried) -> MutexGuard<'_, Desk> {
        let mut desk = self.desk();
        if let Some(shipment) = desk.lines.failed(shipment, failure, tried.latency, Instant::now()) {
            // The webhook is disabled or gone meanwhile.
            desk.settle(tickets_of(&[shipment]));
        }
        desk.may_keep = true;
        self.news.notify_one();
        desk
    }

    fn measure(&self, shipment: &Shipment) {
        let Some(first) = shipment.pieces.first() else { return };
        // A clock that was set back makes no time negative.
        let delay = clock::unix_micros().saturating_sub(first.received.as_micros()).max(0);
        let delay = Duration::from_micros(delay.unsigned_abs());
        self.courier.metrics().delivery_delay_seconds.record(delay);
    }
}

/// What was kept while a try was under way waits no longer for it. Where this fails, it waits until the try would have ended.
pub(super) async fn let_go(courier: Courier, webhook: WebhookId) {
    if let Err(error) = courier.registry().let_deliveries_go(webhook).await {
        courier.trouble(&error, "kept deliveries can't be let go");
    }
    courier.0.asked.notify_one();
}

pub(super) fn delivery_of(shipment: &Shipment) -> Delivery {
    let format = shipment.pieces.first().map_or(Format::Json, |piece| piece.format);
    Delivery {
        id: delivery_id(shipment.webhook, &shipment.pieces),
        format,
        body: Bytes::from(join(&shipment.pieces)),
        records: shipment.records(),
    }
}

pub(super) fn tickets_of(shipments: &[Shipment]) -> Vec<Ticket> {
    shipments.iter().flat_map(|shipment| shipment.pieces.iter().map(|piece| piece.ticket)).collect()
}
