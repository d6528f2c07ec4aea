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

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use domain::WebhookId;
use tokio::time::Instant;

use super::body::{BYTES_MAX, Piece, RECORDS_MAX};
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
    is_in_flight: bool,
    /// The try that is under way has one of the places of slow ones.
    has_slow_place: bool,
    /// Something was kept behind the try that is under way.
    is_waited_for: bool,
    /// The number that was left free then, before what was kept.
    number: Option<i64>,
    turn: Option<Pace>,
    /// The registry is being written to.
    is_spilling: bool,
    /// What it holds is kept although the registry may have nothing, because there is no room for it.
    is_over: bool,
    failed: Option<(Shipment, F)>,
    /// It was forgotten while something was under way, which is all that is left of it.
    is_forgotten: bool,
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
    /// Nothing yet. `places` is how many tries are made at a time.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            lines: HashMap::new(),
            quick_turns: VecDeque::new(),
            slow_turns: VecDeque::new(),
            slow_tries: 0,
            slow_tries_max: places_of_slow(places),
            unknown: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Something more for a webhook.
    pub(crate) fn push(&mut self, webhook: WebhookId, piece: Piece, now: Instant) {
        let line = self.lines.entry(webhook).or_insert_with(|| Line::new(now));
        line.is_forgotten = false;
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
            line.overflow(line.turn == Some(Pace::Slow));
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
            if line.standing == Standing::Direct && !line.is_in_flight {
                line.standing = Standing::Unknown;
                line.turn = None;
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

    /// The next delivery to try: of a slow one, if it may have a place.
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
            line.turn = None;
            if line.is_in_flight || line.standing != Standing::Direct {
                continue;
            }
            let before = line.bytes;
            let Some(shipment) = line.take(webhook) else { continue };
            self.bytes -= before - line.bytes;
            line.is_in_flight = true;
            line.has_slow_place = pace == Pace::Slow;
            self.slow_tries += usize::from(line.has_slow_place);
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
        let Some(line) = self.lines.get_mut(&webhook) else { return };
        line.is_in_flight = false;
        self.slow_tries -= usize::from(std::mem::take(&mut line.has_slow_place));
    }

    /// Lines with something to keep now, and whether it is certain that it has to be kept: else it may be delivered if the registry has
    /// nothing left.
    pub(crate) fn due(&self, now: Instant) -> Vec<(WebhookId, bool)> {
        let due = |line: &Line<F>| {
            let is_full = line.records >= RECORDS_MAX || line.bytes >= BYTES_MAX;
            let is_late = is_full || now - line.since >= COLLECT_FOR;
            let waits = line.standing == Standing::Behind && !line.queue.is_empty() && is_late;
            (!line.is_spilling && (line.failed.is_some() || waits))
                .then_some(line.failed.is_some() || line.is_in_flight || line.is_over)
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
        line.is_waited_for |= line.is_in_flight;
        let slow_for = line.slow_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let is_in_flight = line.is_in_flight;
        let leaves_number = is_in_flight && line.number.is_none();
        Some(Surplus { webhook, shipments, failure, number, is_in_flight, leaves_number, slow_for })
    }

    /// What was to be kept of a line is, with this number left free before it. Whether it waits for a try that has ended meanwhile.
    pub(crate) fn spilled(&mut self, webhook: WebhookId, number: Option<i64>) -> bool {
        let Some(line) = self.lines.get_mut(&webhook) else { return false };
        line.is_spilling = false;
        if line.is_in_flight || line.failed.is_some() {
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
        (line.bytes, line.records, line.turn, line.is_over) = (0, 0, None, false);
        line.standing = Standing::Unknown;
        line.is_forgotten = true;
        self.drop_if_done(webhook);
        tickets
    }

    fn drop_if_done(&mut self, webhook: WebhookId) {
        let is_done = |line: &Line<F>| line.is_forgotten && !line.is_in_flight && !line.is_spilling;
        if self.lines.get(&webhook).is_some_and(is_done) {
            self.lines.remove(&webhook);
        }
    }

    /// Whether more may come. Where not, lines that wait for an endpoint or for a place are behind from now on, so that room comes.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.bytes < LINES_BYTES_MAX {
            return true;
        }
        for line in self.lines.values_mut().filter(|line| !line.queue.is_empty()) {
            line.overflow(line.turn.is_some());
        }
        false
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
        let can_go = line.standing == Standing::Direct && !line.is_in_flight && !line.queue.is_empty();
        if can_go && line.turn.is_none() {
            let pace =
                if line.slow_until.is_some_and(|until| now < until) { Pace::Slow } else { Pace::Quick };
            line.turn = Some(pace);
            self.turns(pace).push_back(webhook);
        }
    }
}

impl<F> Line<F> {
    fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            records: 0,
            standing: Standing::Unknown,
            known_at: now,
            since: now,
            slow_until: None,
            is_in_flight: false,
            has_slow_place: false,
            is_waited_for: false,
            number: None,
            turn: None,
            is_spilling: false,
            is_over: false,
            failed: None,
            is_forgotten: false,
        }
    }

    /// It holds more than it may. While a try is under way it is behind, unless that ends before it is kept; if it waits
    /// for a place, it is kept in any case.
    fn overflow(&mut self, waits_for_place: bool) {
        if self.is_in_flight || waits_for_place {
            self.standing = Standing::Behind;
            self.turn = None;
            self.is_over |= waits_for_place;
        }
    }

    fn note_pace(&mut self, took: Duration, now: Instant) {
        if took >= SLOW {
            self.slow_until = Some(now + SLOW_FOR);
        }
    }

    /// Whether what was kept behind a try is to be let go now: the try has ended well, and what was kept is there.
    fn lets_go(&mut self) -> bool {
        let has_ended = !self.is_in_flight && !self.is_spilling && self.failed.is_none();
        has_ended && std::mem::take(&mut self.is_waited_for)
    }

    fn is_resting(&self) -> bool {
        self.queue.is_empty() && !self.is_in_flight && !self.is_spilling
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
mod tests {
    use super::*;
    use crate::delivery::body::tests::piece;

    fn webhook(number: u8) -> WebhookId {
        WebhookId::from_bytes([number; 16])
    }

    struct Desk {
        lines: Lines<&'static str>,
        now: Instant,
    }

    impl Desk {
        fn new() -> Self {
            Self::with_places(512)
        }

        fn with_places(places: usize) -> Self {
            Self { lines: Lines::new(places), now: Instant::now() }
        }

        fn wait(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        fn push(&mut self, number: u8, offset: u64, records: usize) {
            self.lines.push(webhook(number), piece(offset, records), self.now);
        }

        /// Of a webhook that has nothing in the registry.
        fn come(&mut self, number: u8, offset: u64, records: usize) {
            self.push(number, offset, records);
            for unknown in self.lines.unknown() {
                self.lines.known(unknown, 0, self.now);
            }
        }

        /// Webhook and offsets of what goes next.
        fn next(&mut self) -> Option<(u8, Vec<u64>)> {
            self.lines.next().map(|shipment| shown(&shipment))
        }

        /// Its try ends well, and quickly.
        fn deliver(&mut self, number: u8) -> bool {
            self.lines.delivered(webhook(number), Duration::ZERO, self.now)
        }

        fn fail(&mut self, shipment: Shipment) {
            assert!(self.lines.failed(shipment, "why", Duration::ZERO, self.now).is_none());
        }

        fn spill(&mut self, number: u8) -> Surplus<&'static str> {
            self.lines.spill(webhook(number), self.now).unwrap()
        }

        /// What goes next is tried, and takes so long; how many those are.
        fn deliver_all(&mut self, took: Duration) -> usize {
            let mut count = 0;
            while let Some(shipment) = self.lines.next() {
                self.lines.delivered(shipment.webhook, took, self.now);
                count += 1;
            }
            count
        }

        /// Begins as many tries as there may be; the webhooks.
        fn begin(&mut self, places: usize) -> Vec<u8> {
            std::iter::from_fn(|| self.next()).take(places).map(|(number, _)| number).collect()
        }
    }

    fn shown(shipment: &Shipment) -> (u8, Vec<u64>) {
        let offsets = shipment.pieces.iter().map(|piece| piece.ticket.offset);
        (shipment.webhook.as_bytes()[0], offsets.collect())
    }

    #[test]
    fn the_first_goes_at_once_and_what_comes_meanwhile_goes_together() {
        let mut desk = Desk::new();
        desk.come(1, 1, 1);
        assert_eq!(desk.next(), Some((1, vec![1])));
        for offset in 2..=4 {
            desk.come(1, offset, 400);
        }
        assert_eq!(desk.next(), None, "one try at a time");
        desk.deliver(1);
        assert_eq!(desk.next(), Some((1, vec![2, 3])), "a thousand records at most");
        desk.deliver(1);
        assert_eq!(desk.next(), Some((1, vec![4])));
        desk.deliver(1);
        assert_eq!((desk.next(), desk.lines.bytes()), (None, 0));
    }

    #[test]
    fn an_endpoint_that_hangs_holds_back_nobody_else_and_lines_take_turns() {
        let mut desk = Desk::new();
        desk.come(1, 1, 1);
        assert_eq!(desk.next(), Some((1, vec![1])));
        for offset in 2..10 {
            desk.come(1, offset, 1);
            desk.come(2, offset, 1000);
            desk.come(3, offset, 1000);
        }
        let mut order = Vec::new();
        while let Some((number, _)) = desk.next() {
            order.push(number);
            desk.deliver(number);
        }
        assert_eq!(order, [2, 3].repeat(8));
    }

    #[test]
    fn after_a_failure_everything_is_kept_in_order_until_the_registry_has_nothing_left() {
        let mut desk = Desk::new();
        desk.come(1, 1, 1);
        let first = desk.lines.next().unwrap();
        desk.come(1, 2, 1);
        desk.fail(first);
        assert_eq!(desk.lines.due(desk.now), [(webhook(1), true)]);
        let surplus = desk.spill(1);
        assert_eq!(surplus.shipments.iter().map(shown).collect::<Vec<_>>(), [(1, vec![1]), (1, vec![2])]);
        assert_eq!((surplus.failure, surplus.is_in_flight), (Some("why"), false));
        desk.wait(5);
        desk.push(1, 3, 1);
        assert!(desk.lines.due(desk.now).is_empty() && desk.next().is_none());
        desk.wait(1_000);
        assert!(desk.lines.due(desk.now).is_empty(), "one write at a time");
        desk.lines.known(webhook(1), 0, desk.now);
        assert_eq!(desk.next(), None, "what is being kept is not counted yet");
        desk.lines.spilled(webhook(1), None);
        assert_eq!(desk.lines.due(desk.now), [(webhook(1), false)]);
        desk.lines.known(webhook(1), 2, desk.now);
        let surplus = desk.spill(1);
        assert_eq!((shown(&surplus.shipments[0]), surplus.failure), ((1, vec![3]), None));
        desk.lines.spilled(webhook(1), None);
        desk.push(1, 4, 1);
        desk.lines.known(webhook(1), 0, desk.now);
        assert_eq!(desk.next(), Some((1, vec![4])), "it is no longer behind");
    }

    #[test]
    fn more_than_a_line_holds_is_kept_while_the_endpoint_is_slow() {
        let mut desk = Desk::new();
        desk.come(1, 0, 1);
        desk.next().unwrap();
        let mut offset = 0;
        while desk.lines.due(desk.now).is_empty() {
            offset += 1;
            desk.push(1, offset, 900);
            assert!(desk.lines.bytes() <= LINE_BYTES_MAX + 10_000);
        }
        assert_eq!(desk.lines.due(desk.now), [(webhook(1), true)]);
        let surplus = desk.spill(1);
        assert!(surplus.is_in_flight && surplus.shipments.len() as u64 == offset);
        assert_eq!(desk.lines.bytes(), 0);
        assert!(!desk.lines.spilled(webhook(1), Some(1)));
        assert!(desk.deliver(1), "what was kept waited for it");
        desk.push(1, 900, 1);
        assert_eq!(desk.next(), None, "what was kept goes first");
    }

    #[test]
    fn a_line_does_not_believe_for_long_what_others_may_have_changed() {
        let mut desk = Desk::new();
        desk.push(1, 1, 1);
        assert_eq!((desk.next(), desk.lines.unknown()), (None, vec![webhook(1)]));
        desk.lines.known(webhook(1), 0, desk.now);
        desk.next().unwrap();
        desk.deliver(1);
        desk.wait(9_000);
        desk.push(1, 2, 1);
        assert_eq!(desk.next(), Some((1, vec![2])));
        desk.deliver(1);
        desk.wait(11_000);
        desk.push(1, 3, 1);
        assert_eq!((desk.next(), desk.lines.unknown()), (None, vec![webhook(1)]));
        desk.lines.known(webhook(1), 0, desk.now);
        desk.lines.forget_standings();
        assert_eq!((desk.next(), desk.lines.unknown()), (None, vec![webhook(1)]));
    }

    #[test]
    fn a_forgotten_line_gives_back_what_it_held() {
        let mut desk = Desk::new();
        desk.come(1, 1, 1);
        let shipment = desk.lines.next().unwrap();
        desk.come(1, 2, 1);
        let tickets = desk.lines.forget(webhook(1));
        assert_eq!(tickets.iter().map(|ticket| ticket.offset).collect::<Vec<_>>(), [2]);
        let back = desk.lines.failed(shipment, "why", SLOW, desk.now);
        assert_eq!(back.map(|shipment| shown(&shipment)), Some((1, vec![1])));
        assert_eq!((desk.next(), desk.lines.bytes(), desk.lines.lines.len()), (None, 0, 0));
    }

    #[test]
    fn a_webhook_that_comes_again_during_a_try_has_no_second_one_beside_it() {
        let mut desk = Desk::new();
        desk.come(1, 1, 1);
        let shipment = desk.lines.next().unwrap();
        desk.lines.forget(webhook(1));
        desk.come(1, 2, 1);
        assert_eq!(desk.next(), None, "the try from before goes on");
        desk.fail(shipment);
        let surplus = desk.spill(1);
        assert_eq!(surplus.shipments.iter().map(shown).collect::<Vec<_>>(), [(1, vec![1]), (1, vec![2])]);
        desk.lines.forget(webhook(1));
        desk.come(1, 3, 1);
        assert_eq!(desk.next(), None, "what is being kept goes first");
        desk.lines.spilled(webhook(1), None);
        desk.lines.known(webhook(1), 0, desk.now);
        assert_eq!(desk.next(), Some((1, vec![3])));
        desk.lines.forget(webhook(1));
        assert!(!desk.deliver(1) && desk.lines.lines.is_empty(), "nothing is left of it");
    }

    #[test]
    fn what_fails_after_others_were_kept_behind_it_comes_before_them() {
        let mut desk = Desk::new();
        desk.come(1, 0, 1);
        let first = desk.lines.next().unwrap();
        desk.push(1, 1, 250_000);
        desk.wait(1_000);
        let surplus = desk.spill(1);
        assert!(surplus.leaves_number && surplus.number.is_none());
        desk.lines.spilled(webhook(1), Some(7));
        desk.push(1, 2, 250_000);
        desk.wait(1_000);
        assert!(!desk.spill(1).leaves_number, "one is enough");
        desk.fail(first);
        assert!(!desk.lines.spilled(webhook(1), None), "what failed says how long they wait");
        let surplus = desk.spill(1);
        assert_eq!((shown(&surplus.shipments[0]), surplus.number), ((1, vec![0]), Some(7)));
    }

    #[test]
    fn what_is_kept_when_its_try_ends_is_let_go_once_it_is_there() {
        let mut desk = Desk::new();
        desk.come(1, 0, 1);
        desk.next().unwrap();
        desk.push(1, 1, 250_000);
        desk.wait(1_000);
        desk.spill(1);
        assert!(!desk.deliver(1), "it is not there yet");
        assert!(desk.lines.spilled(webhook(1), Some(7)));
        desk.push(1, 2, 1);
        desk.lines.known(webhook(1), 0, desk.now);
        let next = desk.lines.next().unwrap();
        desk.fail(next);
        assert_eq!(desk.spill(1).number, None, "it was left for another try");
    }

    #[test]
    fn what_can_not_be_tried_now_goes_back_to_where_it_was() {
        let mut desk = Desk::new();
        desk.come(1, 1, 1);
        let shipment = desk.lines.next().unwrap();
        let bytes = {
            desk.come(1, 2, 1);
            desk.lines.bytes()
        };
        desk.lines.put_back(shipment);
        assert_eq!(desk.lines.bytes(), 2 * bytes);
        assert_eq!(desk.next(), None);
        desk.wait(1_000);
        assert_eq!(desk.lines.due(desk.now), [(webhook(1), false)]);
        desk.lines.known(webhook(1), 0, desk.now);
        assert_eq!(desk.next(), Some((1, vec![1, 2])));
        assert_eq!(desk.lines.bytes(), 0);
    }

    #[test]
    fn slow_endpoints_have_a_share_of_the_places_and_leave_the_others() {
        const PLACES: usize = 8;
        let mut desk = Desk::with_places(PLACES);
        for number in 0..20 {
            desk.come(number, 1, 1);
        }
        // Nobody knows them yet. They take their time, and succeed.
        assert_eq!(desk.deliver_all(Duration::from_secs(14)), 20);
        for number in 0..20 {
            desk.come(number, 2, 1);
        }
        assert_eq!(desk.begin(PLACES), [0, 1], "a quarter");
        desk.come(30, 1, 1);
        assert_eq!(desk.begin(PLACES), [30], "who is not slow has a place at once");
        assert!(!desk.deliver(0));
        assert_eq!(desk.begin(PLACES), [2], "slow ones take turns");
        // Quick once is not quick: it stays with the slow ones for a while.
        assert!(!desk.deliver(1));
        desk.come(1, 3, 1);
        assert_eq!(desk.begin(PLACES), [3]);
        for number in [2, 3, 30] {
            desk.deliver(number);
        }
        desk.deliver_all(Duration::ZERO);
        desk.wait(300_000);
        for number in 0..20 {
            desk.come(number, 4, 1);
        }
        assert_eq!(desk.begin(PLACES).len(), PLACES, "all are quick by now");
    }

    #[test]
    fn a_slow_try_that_fails_or_was_forgotten_gives_its_place_back() {
        let mut desk = Desk::with_places(4);
        for offset in 1..=4 {
            desk.come(1, offset, 1);
            let shipment = desk.lines.next().unwrap();
            if offset % 2 == 0 {
                desk.lines.forget(webhook(1));
                assert!(desk.lines.failed(shipment, "why", SLOW, desk.now).is_some());
            } else {
                desk.lines.put_back(shipment);
                desk.lines.known(webhook(1), 0, desk.now);
                let shipment = desk.lines.next().unwrap();
                desk.lines.delivered(shipment.webhook, SLOW, desk.now);
            }
            assert_eq!(desk.lines.slow_tries, 0);
        }
    }

    #[test]
    fn what_a_slow_endpoint_can_not_take_is_kept_while_it_waits_for_a_place() {
        let mut desk = Desk::with_places(4);
        for number in [1, 2] {
            desk.come(number, 1, 1);
        }
        desk.deliver_all(SLOW);
        for number in [1, 2] {
            desk.come(number, 2, 1);
        }
        assert_eq!(desk.begin(4), [1], "one of four");
        for offset in 3..6 {
            desk.come(2, offset, 90_000);
        }
        assert_eq!(desk.lines.due(desk.now), [(webhook(2), true)]);
        desk.lines.known(webhook(2), 0, desk.now);
        assert_eq!(desk.lines.due(desk.now), [(webhook(2), true)], "whatever the registry has");
        let surplus = desk.spill(2);
        assert_eq!(shown(&surplus.shipments[0]), (2, vec![2]));
        assert_eq!((surplus.is_in_flight, surplus.slow_for), (false, SLOW_FOR));
        assert!(!desk.lines.spilled(webhook(2), None));
    }

    #[test]
    fn a_line_that_was_behind_is_direct_again_also_where_more_comes_all_the_time() {
        let mut desk = Desk::new();
        desk.come(1, 0, 1);
        let first = desk.lines.next().unwrap();
        desk.fail(first);
        desk.spill(1);
        desk.lines.spilled(webhook(1), None);
        let mut asked = 0;
        for offset in 1..=40 {
            desk.wait(100);
            desk.push(1, offset, 1);
            let due = desk.lines.due(desk.now);
            if due == [(webhook(1), false)] {
                // The endpoint takes what was kept after the third time.
                asked += 1;
                desk.lines.known(webhook(1), i64::from(asked < 3), desk.now);
                if asked < 3 {
                    desk.spill(1);
                    desk.lines.spilled(webhook(1), None);
                } else {
                    assert!(desk.next().is_some(), "it goes on from memory");
                    return;
                }
            }
        }
        panic!("it stays behind");
    }

    #[test]
    fn what_all_lines_hold_is_bounded_and_room_comes_from_those_that_wait() {
        let mut desk = Desk::new();
        let mut offset = 0;
        for number in 0..=255 {
            desk.come(number, offset, 1);
        }
        while desk.next().is_some() {}
        while desk.lines.has_room() {
            offset += 1;
            for number in 0..=255 {
                desk.push(number, offset, 10_000);
            }
            // As if they had fewer bytes than a line holds.
        }
        desk.wait(1_000);
        let due = desk.lines.due(desk.now);
        assert_eq!(due.len(), 256);
        for (webhook, _) in due {
            desk.lines.spill(webhook, desk.now).unwrap();
        }
        assert!(desk.lines.has_room() && desk.lines.bytes() == 0);
    }

    #[test]
    fn room_comes_also_from_lines_that_wait_for_a_place() {
        let mut desk = Desk::new();
        let mut offset = 0;
        while desk.lines.has_room() {
            offset += 1;
            for number in 0..=255 {
                desk.come(number, offset, 10_000);
            }
        }
        desk.wait(1_000);
        let due = desk.lines.due(desk.now);
        assert!(due.len() == 256 && due.iter().all(|(_, is_certain)| *is_certain));
        assert_eq!(desk.next(), None);
        for (webhook, _) in due {
            assert!(!desk.lines.spill(webhook, desk.now).unwrap().is_in_flight);
        }
        assert!(desk.lines.has_room() && desk.lines.bytes() == 0);
    }
}
