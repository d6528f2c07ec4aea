//! What waits for each webhook in memory, and which goes next: the scheduler of first tries.
//!
//! Pure: no clock, no client, no registry. A webhook has a line of its own, and one try at a time; so its deliveries keep their
//! order, and an endpoint that does not answer holds back nobody but itself. Lines that are not being delivered take turns.
//!
//! While a try is under way, what comes is collected, and makes the next delivery: records that come seldom go at once, those
//! that come fast go together.
//!
//! A line is **behind** when its webhook has deliveries in the registry, because a try failed or more came than a line holds. From then
//! on everything goes there, behind what is there, until the registry has none left. What a line knows of that is believed for
//! [`KNOWN_FOR`]: another process may have kept something meanwhile.
//!
//! A webhook is **slow** for a while after a try that took long, whatever came of it: slow ones have a share of the places, and what is
//! beyond it waits, or is kept. So endpoints that all take their time leave the other places to the others.
//!
//! A host has so many places, too. What waits for one takes none of all places, and its time has not begun.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::WebhookId;
use tokio::time::Instant;

use super::body::{BYTES_MAX, Piece, RECORDS_MAX};
use super::hosts::Hosts;
use super::tracker::Ticket;

/// Bytes that one line holds before it is behind.
const LINE_BYTES_MAX: usize = 2 * BYTES_MAX;
/// Bytes that all lines hold before nothing more is read.
const LINES_BYTES_MAX: usize = 64 << 20;
/// How long records are collected for the registry.
const COLLECT_FOR: Duration = Duration::from_secs(1);
/// How long a line that rests is believed to have nothing in the registry.
const KNOWN_FOR: Duration = Duration::from_secs(10);
/// How long an answer of the registry is fresh enough to write behind what it has.
const CONFIRMED_FOR: Duration = Duration::from_millis(50);
/// A try that takes so long is slow,
pub(super) const SLOW: Duration = Duration::from_secs(2);
/// and its webhook for so long: an endpoint that is slow now and then takes a place of others that seldom.
pub(super) const SLOW_FOR: Duration = Duration::from_secs(300);
/// What part of all places those have that are slow.
const SLOW_PART: usize = 4;
/// What a piece takes beside its text.
const PIECE_BYTES: usize = 128;

/// Of so many places, how many may be taken by webhooks that are slow.
pub(super) fn places_of_slow(places: usize) -> usize {
    places.div_ceil(SLOW_PART)
}

/// Pieces that make one delivery.
#[derive(Debug)]
pub(crate) struct Shipment {
    pub(crate) webhook: WebhookId,
    pub(crate) pieces: Vec<Piece>,
}

impl Shipment {
    pub(crate) fn records(&self) -> usize {
        self.pieces.iter().map(|piece| piece.fragment.records).sum()
    }
}

/// What is to be kept of a line.
#[derive(Debug)]
pub(crate) struct Surplus<F> {
    pub(crate) webhook: WebhookId,
    /// In their order.
    pub(crate) shipments: Vec<Shipment>,
    /// If the first of them has just failed.
    pub(crate) failure: Option<F>,
    /// The number that was left free for that one, if what came behind it is kept already.
    pub(crate) number: Option<i64>,
    /// Whether a try is under way that these have to wait for.
    pub(crate) is_in_flight: bool,
    /// Whether a number has to be left free for what is being tried, because it comes before these.
    pub(crate) leaves_number: bool,
    /// How long the webhook is slow from now on.
    pub(crate) slow_for: Duration,
}

/// All lines. `F` is what a failure is, which lines only pass on.
#[derive(Debug)]
pub(crate) struct Lines<F> {
    lines: HashMap<WebhookId, Line<F>>,
    /// Lines with something to deliver, in the order they take their turns: those that are not slow,
    quick_turns: VecDeque<WebhookId>,
    /// and those that are.
    slow_turns: VecDeque<WebhookId>,
    /// Tries of slow ones that are under way,
    slow_tries: usize,
    /// and how many there may be.
    slow_tries_max: usize,
    hosts: Hosts,
    /// Lines of which the registry may have to be asked.
    unknown: BTreeSet<WebhookId>,
    bytes: usize,
}

#[derive(Debug)]
struct Line<F> {
    queue: VecDeque<Piece>,
    bytes: usize,
    records: usize,
    standing: Standing,
    /// When it was last known to have nothing in the registry.
    known_at: Instant,
    /// Since when the first of the queue waits.
    since: Instant,
    /// It is slow until then.
    slow_until: Option<Instant>,
    /// Where what comes is delivered to: its scheme, host and port.
    host: Arc<str>,
    /// The try that is under way.
    flight: Option<Flight>,
    /// Something was kept behind the try that is under way.
    is_waited_for: bool,
    /// The number that was left free then, before what was kept.
    number: Option<i64>,
    turn: Option<Pace>,
    /// Its turn has come, but its host has no place.
    waits_for_host: bool,
    /// The registry is being written to.
    is_spilling: bool,
    /// What it holds is kept although the registry may have nothing, because there is no room for it.
    is_over: bool,
    failed: Option<(Shipment, F)>,
    /// It was forgotten while something was under way, which is all that is left of it.
    is_forgotten: bool,
}

/// A try that is under way.
#[derive(Debug)]
struct Flight {
    /// The host that it has a place of.
    host: Arc<str>,
    /// It has one of the places of slow ones, too.
    is_slow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Quick,
    Slow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The registry has to be asked.
    Unknown,
    /// Nothing is in the registry.
    Direct,
    Behind,
}

impl<F> Lines<F> {
    /// Nothing yet. `places` is how many tries are made at a time, `places_of_host` how many of them to one host.
    pub(crate) fn new(places: usize, places_of_host: usize) -> Self {
        Self {
            lines: HashMap::new(),
            quick_turns: VecDeque::new(),
            slow_turns: VecDeque::new(),
            slow_tries: 0,
            slow_tries_max: places_of_slow(places),
            hosts: Hosts::new(places_of_host),
            unknown: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Something more for a webhook, whose endpoint is at `host`.
    pub(crate) fn push(&mut self, webhook: WebhookId, host: &Arc<str>, piece: Piece, now: Instant) {
        let line = self.lines.entry(webhook).or_insert_with(|| Line::new(Arc::clone(host), now));
        line.is_forgotten = false;
        if line.host != *host {
            line.host = Arc::clone(host);
        }
        if line.is_resting() && line.standing == Standing::Direct && now - line.known_at > KNOWN_FOR {
            line.standing = Standing::Unknown;
        }
        if line.queue.is_empty() {
            line.since = now;
            if line.standing == Standing::Unknown {
                self.unknown.insert(webhook);
            }
        }
        let bytes = piece.bytes() + PIECE_BYTES;
        line.bytes += bytes;
        self.bytes += bytes;
        line.records += piece.fragment.records;
        line.queue.push_back(piece);
        if line.standing == Standing::Direct && line.bytes > LINE_BYTES_MAX {
            line.overflow(line.waits_for_host || line.turn == Some(Pace::Slow));
        }
        self.give_turn(webhook, now);
    }

    /// Webhooks of which the registry has to be asked before anything is delivered to them.
    pub(crate) fn unknown(&mut self) -> Vec<WebhookId> {
        let unknown = |line: &Line<F>| line.standing == Standing::Unknown && !line.queue.is_empty();
        self.unknown.retain(|webhook| self.lines.get(webhook).is_some_and(unknown));
        self.unknown.iter().copied().collect()
    }

    /// The registry has so many deliveries for a webhook.
    pub(crate) fn known(&mut self, webhook: WebhookId, pending: i64, now: Instant) {
        let Some(line) = self.lines.get_mut(&webhook) else { return };
        // What is being kept may not be counted yet.
        let is_behind = pending > 0 || line.is_spilling || line.is_over || line.failed.is_some();
        line.standing = if is_behind { Standing::Behind } else { Standing::Direct };
        line.known_at = now;
        self.give_turn(webhook, now);
    }

    /// Nothing that lines know counts any more: others may have delivered for a while.
    pub(crate) fn forget_standings(&mut self) {
        for (webhook, line) in &mut self.lines {
            if line.standing == Standing::Direct && line.flight.is_none() {
                line.standing = Standing::Unknown;
                line.lose_turn();
                if !line.queue.is_empty() {
                    self.unknown.insert(*webhook);
                }
            }
        }
        let lines = &self.lines;
        let has_turn = |webhook: &WebhookId| lines.get(webhook).is_some_and(|line| line.turn.is_some());
        self.quick_turns.retain(has_turn);
        self.slow_turns.retain(has_turn);
    }

    /// The next delivery to try, if its host has a place: of a slow one, if it may have one of theirs.
    pub(crate) fn next(&mut self) -> Option<Shipment> {
        let slow = if self.slow_tries < self.slow_tries_max { self.take_turn(Pace::Slow) } else { None };
        slow.or_else(|| self.take_turn(Pace::Quick))
    }

    fn take_turn(&mut self, pace: Pace) -> Option<Shipment> {
        loop {
            let webhook = self.turns(pace).pop_front()?;
            let Some(line) = self.lines.get_mut(&webhook).filter(|line| line.turn == Some(pace)) else {
                continue;
            };
            if line.flight.is_some() || line.standing != Standing::Direct || line.queue.is_empty() {
                line.lose_turn();
                continue;
            }
            line.waits_for_host = !self.hosts.enter(&line.host, webhook);
            if line.waits_for_host {
                continue;
            }
            line.turn = None;
            let before = line.bytes;
            let shipment = line.take(webhook).expect("there is something in the queue");
            self.bytes -= before - line.bytes;
            let is_slow = pace == Pace::Slow;
            line.flight = Some(Flight { host: Arc::clone(&line.host), is_slow });
            self.slow_tries += usize::from(is_slow);
            return Some(shipment);
        }
    }

    /// What [`Self::next`] gave can't be tried, because what is kept for the webhook is being tried: it goes behind that.
    pub(crate) fn put_back(&mut self, shipment: Shipment) {
        self.end_flight(shipment.webhook);
        let Some(line) = self.lines.get_mut(&shipment.webhook) else { return };
        line.standing = Standing::Behind;
        let before = line.bytes;
        for piece in shipment.pieces.into_iter().rev() {
            line.bytes += piece.bytes() + PIECE_BYTES;
            line.records += piece.fragment.records;
            line.queue.push_front(piece);
        }
        self.bytes += line.bytes - before;
    }

    /// The webhook's try succeeded, after so long. Whether something was kept meanwhile that waits for it.
    pub(crate) fn delivered(&mut self, webhook: WebhookId, took: Duration, now: Instant) -> bool {
        self.end_flight(webhook);
        let Some(line) = self.lines.get_mut(&webhook) else { return false };
        line.note_pace(took, now);
        line.known_at = now;
        line.since = now;
        line.number = None;
        let lets_go = line.lets_go();
        self.give_turn(webhook, now);
        self.drop_if_done(webhook);
        lets_go
    }

    /// The webhook's try failed, after so long: it is behind, with this first. A line that is gone gives it back.
    pub(crate) fn failed(
        &mut self,
        shipment: Shipment,
        failure: F,
        took: Duration,
        now: Instant,
    ) -> Option<Shipment> {
        self.end_flight(shipment.webhook);
        let Some(line) = self.lines.get_mut(&shipment.webhook) else { return Some(shipment) };
        if line.is_forgotten {
            self.drop_if_done(shipment.webhook);
            return Some(shipment);
        }
        line.note_pace(took, now);
        line.is_waited_for = false;
        line.standing = Standing::Behind;
        line.failed = Some((shipment, failure));
        None
    }

    fn end_flight(&mut self, webhook: WebhookId) {
        let flight = self.lines.get_mut(&webhook).and_then(|line| line.flight.take());
        let Some(Flight { host, is_slow }) = flight else { return };
        self.slow_tries -= usize::from(is_slow);
        self.hosts.leave(&host);
        self.call_next(&host);
    }

    /// Where a host has a place, who waits for it goes on: the one that was called before may have been forgotten meanwhile.
    pub(crate) fn call_those_that_wait(&mut self) {
        for host in self.hosts.free() {
            self.call_next(&host);
        }
    }

    /// The turn of who has waited longest for a host comes next.
    fn call_next(&mut self, host: &Arc<str>) {
        while let Some(webhook) = self.hosts.call(host) {
            let Some(line) = self.lines.get_mut(&webhook).filter(|line| line.waits_for_host) else {
                continue;
            };
            line.waits_for_host = false;
            if let Some(pace) = line.turn {
                self.turns(pace).push_front(webhook);
                return;
            }
        }
    }

    /// Lines with something to keep now, and whether it is certain that it has to be kept: else it may be delivered if the registry has
    /// nothing left.
    pub(crate) fn due(&self, now: Instant) -> Vec<(WebhookId, bool)> {
        let due = |line: &Line<F>| {
            let is_full = line.records >= RECORDS_MAX || line.bytes >= BYTES_MAX;
            let is_late = is_full || now - line.since >= COLLECT_FOR;
            let waits = line.standing == Standing::Behind && !line.queue.is_empty() && is_late;
            (!line.is_spilling && (line.failed.is_some() || waits))
                .then_some(line.failed.is_some() || line.flight.is_some() || line.is_over)
        };
        self.lines.iter().filter_map(|(webhook, line)| due(line).map(|certain| (*webhook, certain))).collect()
    }

    /// Whether the registry was asked lately, and has something for the webhook.
    pub(crate) fn is_confirmed(&self, webhook: WebhookId, now: Instant) -> bool {
        self.lines.get(&webhook).is_some_and(|line| now - line.known_at < CONFIRMED_FOR)
    }

    /// Takes everything that a line that is behind holds, to be kept.
    pub(crate) fn spill(&mut self, webhook: WebhookId, now: Instant) -> Option<Surplus<F>> {
        let line = self.lines.get_mut(&webhook)?;
        if line.is_spilling || line.standing != Standing::Behind {
            return None;
        }
        let before = line.bytes;
        let (mut shipments, mut failure, mut number) = (Vec::new(), None, None);
        if let Some((shipment, why)) = line.failed.take() {
            shipments.push(shipment);
            (failure, number) = (Some(why), line.number.take());
        }
        while let Some(shipment) = line.take(webhook) {
            shipments.push(shipment);
        }
        self.bytes -= before - line.bytes;
        line.is_over = false;
        if shipments.is_empty() {
            return None;
        }
        line.is_spilling = true;
        line.is_waited_for |= line.flight.is_some();
        let slow_for = line.slow_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let is_in_flight = line.flight.is_some();
        let leaves_number = is_in_flight && line.number.is_none();
        Some(Surplus { webhook, shipments, failure, number, is_in_flight, leaves_number, slow_for })
    }

    /// What was to be kept of a line is, with this number left free before it. Whether it waits for a try that has ended meanwhile.
    pub(crate) fn spilled(&mut self, webhook: WebhookId, number: Option<i64>) -> bool {
        let Some(line) = self.lines.get_mut(&webhook) else { return false };
        line.is_spilling = false;
        if line.flight.is_some() || line.failed.is_some() {
            line.number = line.number.or(number);
        }
        let lets_go = line.lets_go();
        self.drop_if_done(webhook);
        lets_go
    }

    /// Forgets a webhook that nothing is delivered to any more; the tickets of what it held. That something is under way for it
    /// is not forgotten: it may be delivered to again before that has ended.
    pub(crate) fn forget(&mut self, webhook: WebhookId) -> Vec<Ticket> {
        let Some(line) = self.lines.get_mut(&webhook) else { return Vec::new() };
        self.bytes -= line.bytes;
        let queue = std::mem::take(&mut line.queue);
        let failed = line.failed.take().into_iter().flat_map(|(shipment, _)| shipment.pieces);
        let tickets = queue.into_iter().chain(failed).map(|piece| piece.ticket).collect();
        (line.bytes, line.records, line.is_over) = (0, 0, false);
        line.lose_turn();
        line.standing = Standing::Unknown;
        line.is_forgotten = true;
        self.drop_if_done(webhook);
        tickets
    }

    fn drop_if_done(&mut self, webhook: WebhookId) {
        let is_done = |line: &Line<F>| line.is_forgotten && line.flight.is_none() && !line.is_spilling;
        if self.lines.get(&webhook).is_some_and(is_done) {
            self.lines.remove(&webhook);
        }
    }

    /// Whether more may come.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < LINES_BYTES_MAX
    }

    /// Lines that wait for an endpoint or for a place are behind from now on: what they hold is kept, so that room comes.
    pub(crate) fn make_room(&mut self) {
        for line in self.lines.values_mut().filter(|line| !line.queue.is_empty()) {
            line.overflow(line.turn.is_some());
        }
    }

    /// Bytes that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn turns(&mut self, pace: Pace) -> &mut VecDeque<WebhookId> {
        match pace {
            Pace::Quick => &mut self.quick_turns,
            Pace::Slow => &mut self.slow_turns,
        }
    }

    fn give_turn(&mut self, webhook: WebhookId, now: Instant) {
        let Some(line) = self.lines.get_mut(&webhook) else { return };
        let can_go = line.standing == Standing::Direct && line.flight.is_none() && !line.queue.is_empty();
        if can_go && line.turn.is_none() {
            let pace =
                if line.slow_until.is_some_and(|until| now < until) { Pace::Slow } else { Pace::Quick };
            line.turn = Some(pace);
            self.turns(pace).push_back(webhook);
        }
    }
}

impl<F> Line<F> {
    fn new(host: Arc<str>, now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            records: 0,
            standing: Standing::Unknown,
            known_at: now,
            since: now,
            slow_until: None,
            host,
            flight: None,
            is_waited_for: false,
            number: None,
            turn: None,
            waits_for_host: false,
            is_spilling: false,
            is_over: false,
            failed: None,
            is_forgotten: false,
        }
    }

    /// It holds more than it may. While a try is under way it is behind, unless that ends before it is kept; if it waits
    /// for a place, it is kept in any case.
    fn overflow(&mut self, waits_for_place: bool) {
        if self.flight.is_some() || waits_for_place {
            self.standing = Standing::Behind;
            self.lose_turn();
            self.is_over |= waits_for_place;
        }
    }

    fn lose_turn(&mut self) {
        (self.turn, self.waits_for_host) = (None, false);
    }

    fn note_pace(&mut self, took: Duration, now: Instant) {
        if took >= SLOW {
            self.slow_until = Some(now + SLOW_FOR);
        }
    }

    /// Whether what was kept behind a try is to be let go now: the try has ended well, and what was kept is there.
    fn lets_go(&mut self) -> bool {
        let has_ended = self.flight.is_none() && !self.is_spilling && self.failed.is_none();
        has_ended && std::mem::take(&mut self.is_waited_for)
    }

    fn is_resting(&self) -> bool {
        self.queue.is_empty() && self.flight.is_none() && !self.is_spilling
    }

    /// The first of the queue that go together.
    fn take(&mut self, webhook: WebhookId) -> Option<Shipment> {
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        while let Some(piece) = self.queue.front() {
            records += piece.fragment.records;
            bytes += piece.bytes();
            let fits = pieces
                .first()
                .is_none_or(|first| first.goes_with(piece) && records <= RECORDS_MAX && bytes <= BYTES_MAX);
            if !fits {
                break;
            }
            self.records -= piece.fragment.records;
            self.bytes -= piece.bytes() + PIECE_BYTES;
            pieces.extend(self.queue.pop_front());
        }
        (!pieces.is_empty()).then_some(Shipment { webhook, pieces })
    }
}

#[cfg(test)]
mod tests;
