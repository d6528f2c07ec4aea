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

use std::collections::{HashMap, VecDeque};
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
/// What a piece takes beside its text.
const PIECE_BYTES: usize = 128;

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
    /// Whether a try is under way that these have to wait for.
    pub(crate) is_in_flight: bool,
}

/// All lines. `F` is what a failure is, which lines only pass on.
#[derive(Debug)]
pub(crate) struct Lines<F> {
    lines: HashMap<WebhookId, Line<F>>,
    /// Lines with something to deliver, in the order they take their turns.
    turns: VecDeque<WebhookId>,
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
    is_in_flight: bool,
    /// Something was kept behind the try that is under way.
    is_waited_for: bool,
    has_turn: bool,
    /// The registry is being written to.
    is_spilling: bool,
    failed: Option<(Shipment, F)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The registry has to be asked.
    Unknown,
    /// Nothing is in the registry.
    Direct,
    Behind,
}

impl<F> Default for Lines<F> {
    fn default() -> Self {
        Self { lines: HashMap::new(), turns: VecDeque::new(), bytes: 0 }
    }
}

impl<F> Lines<F> {
    /// Something more for a webhook.
    pub(crate) fn push(&mut self, webhook: WebhookId, piece: Piece, now: Instant) {
        let line = self.lines.entry(webhook).or_insert_with(|| Line::new(now));
        if line.is_resting() && line.standing == Standing::Direct && now - line.known_at > KNOWN_FOR {
            line.standing = Standing::Unknown;
        }
        if line.queue.is_empty() {
            line.since = now;
        }
        let bytes = piece.bytes() + PIECE_BYTES;
        line.bytes += bytes;
        self.bytes += bytes;
        line.records += piece.fragment.records;
        line.queue.push_back(piece);
        if line.standing == Standing::Direct && line.bytes > LINE_BYTES_MAX && line.is_in_flight {
            line.standing = Standing::Behind;
        }
        self.give_turn(webhook);
    }

    /// Webhooks of which the registry has to be asked before anything is delivered to them.
    pub(crate) fn unknown(&self) -> Vec<WebhookId> {
        let unknown = |line: &Line<F>| line.standing == Standing::Unknown && !line.queue.is_empty();
        self.lines.iter().filter(|(_, line)| unknown(line)).map(|(webhook, _)| *webhook).collect()
    }

    /// The registry has so many deliveries for a webhook.
    pub(crate) fn known(&mut self, webhook: WebhookId, pending: i64, now: Instant) {
        let Some(line) = self.lines.get_mut(&webhook) else { return };
        // What is being kept may not be counted yet.
        let is_behind = pending > 0 || line.is_spilling || line.failed.is_some();
        line.standing = if is_behind { Standing::Behind } else { Standing::Direct };
        line.known_at = now;
        self.give_turn(webhook);
    }

    /// Nothing that lines know counts any more: others may have delivered for a while.
    pub(crate) fn forget_standings(&mut self) {
        for line in self.lines.values_mut() {
            if line.standing == Standing::Direct && !line.is_in_flight {
                line.standing = Standing::Unknown;
                line.has_turn = false;
            }
        }
        let lines = &self.lines;
        self.turns.retain(|webhook| lines.get(webhook).is_some_and(|line| line.has_turn));
    }

    /// The next delivery to try.
    pub(crate) fn next(&mut self) -> Option<Shipment> {
        loop {
            let webhook = self.turns.pop_front()?;
            let Some(line) = self.lines.get_mut(&webhook) else { continue };
            line.has_turn = false;
            if line.is_in_flight || line.standing != Standing::Direct {
                continue;
            }
            let before = line.bytes;
            let Some(shipment) = line.take(webhook) else { continue };
            self.bytes -= before - line.bytes;
            line.is_in_flight = true;
            return Some(shipment);
        }
    }

    /// The webhook's try succeeded. Whether something was kept meanwhile that waits for it.
    pub(crate) fn delivered(&mut self, webhook: WebhookId, now: Instant) -> bool {
        let Some(line) = self.lines.get_mut(&webhook) else { return false };
        line.is_in_flight = false;
        line.known_at = now;
        line.since = now;
        let is_waited_for = std::mem::take(&mut line.is_waited_for);
        self.give_turn(webhook);
        is_waited_for
    }

    /// The webhook's try failed: it is behind, with this first. A line that is gone gives it back.
    pub(crate) fn failed(&mut self, shipment: Shipment, failure: F) -> Option<Shipment> {
        let Some(line) = self.lines.get_mut(&shipment.webhook) else { return Some(shipment) };
        line.is_in_flight = false;
        line.is_waited_for = false;
        line.standing = Standing::Behind;
        line.failed = Some((shipment, failure));
        None
    }

    /// Lines with something to keep now, and whether it is certain that it has to be kept: else it may be delivered if the registry has
    /// nothing left.
    pub(crate) fn due(&self, now: Instant) -> Vec<(WebhookId, bool)> {
        let due = |line: &Line<F>| {
            let is_full = line.records >= RECORDS_MAX || line.bytes >= BYTES_MAX;
            let is_late = is_full || now - line.since >= COLLECT_FOR;
            let waits = line.standing == Standing::Behind && !line.queue.is_empty() && is_late;
            (!line.is_spilling && (line.failed.is_some() || waits))
                .then_some(line.failed.is_some() || line.is_in_flight)
        };
        self.lines.iter().filter_map(|(webhook, line)| due(line).map(|certain| (*webhook, certain))).collect()
    }

    /// Whether the registry was asked lately, and has something for the webhook.
    pub(crate) fn is_confirmed(&self, webhook: WebhookId, now: Instant) -> bool {
        self.lines.get(&webhook).is_some_and(|line| now - line.known_at < CONFIRMED_FOR)
    }

    /// Takes everything that a line that is behind holds, to be kept.
    pub(crate) fn spill(&mut self, webhook: WebhookId) -> Option<Surplus<F>> {
        let line = self.lines.get_mut(&webhook)?;
        if line.is_spilling || line.standing != Standing::Behind {
            return None;
        }
        let before = line.bytes;
        let (mut shipments, mut failure) = (Vec::new(), None);
        if let Some((shipment, why)) = line.failed.take() {
            shipments.push(shipment);
            failure = Some(why);
        }
        while let Some(shipment) = line.take(webhook) {
            shipments.push(shipment);
        }
        self.bytes -= before - line.bytes;
        if shipments.is_empty() {
            return None;
        }
        line.is_spilling = true;
        line.is_waited_for |= line.is_in_flight;
        Some(Surplus { webhook, shipments, failure, is_in_flight: line.is_in_flight })
    }

    /// What was to be kept of a line is.
    pub(crate) fn spilled(&mut self, webhook: WebhookId) {
        if let Some(line) = self.lines.get_mut(&webhook) {
            line.is_spilling = false;
        }
    }

    /// Forgets a webhook that nothing is delivered to any more; the tickets of what it held.
    pub(crate) fn forget(&mut self, webhook: WebhookId) -> Vec<Ticket> {
        let Some(line) = self.lines.remove(&webhook) else { return Vec::new() };
        self.bytes -= line.bytes;
        let failed = line.failed.into_iter().flat_map(|(shipment, _)| shipment.pieces);
        line.queue.into_iter().chain(failed).map(|piece| piece.ticket).collect()
    }

    /// Whether more may come. Where not, lines that wait for an endpoint are behind from now on, so that room comes.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.bytes < LINES_BYTES_MAX {
            return true;
        }
        for line in self.lines.values_mut() {
            if line.is_in_flight && !line.queue.is_empty() {
                line.standing = Standing::Behind;
            }
        }
        false
    }

    /// Bytes that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn give_turn(&mut self, webhook: WebhookId) {
        let Some(line) = self.lines.get_mut(&webhook) else { return };
        let can_go = line.standing == Standing::Direct && !line.is_in_flight && !line.queue.is_empty();
        if can_go && !line.has_turn {
            line.has_turn = true;
            self.turns.push_back(webhook);
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
            is_in_flight: false,
            is_waited_for: false,
            has_turn: false,
            is_spilling: false,
            failed: None,
        }
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
            Self { lines: Lines::default(), now: Instant::now() }
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

        fn fail(&mut self, shipment: Shipment) {
            assert!(self.lines.failed(shipment, "why").is_none());
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
        desk.lines.delivered(webhook(1), desk.now);
        assert_eq!(desk.next(), Some((1, vec![2, 3])), "a thousand records at most");
        desk.lines.delivered(webhook(1), desk.now);
        assert_eq!(desk.next(), Some((1, vec![4])));
        desk.lines.delivered(webhook(1), desk.now);
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
            desk.lines.delivered(webhook(number), desk.now);
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
        let surplus = desk.lines.spill(webhook(1)).unwrap();
        assert_eq!(surplus.shipments.iter().map(shown).collect::<Vec<_>>(), [(1, vec![1]), (1, vec![2])]);
        assert_eq!((surplus.failure, surplus.is_in_flight), (Some("why"), false));
        desk.wait(5);
        desk.push(1, 3, 1);
        assert!(desk.lines.due(desk.now).is_empty() && desk.next().is_none());
        desk.wait(1_000);
        assert!(desk.lines.due(desk.now).is_empty(), "one write at a time");
        desk.lines.known(webhook(1), 0, desk.now);
        assert_eq!(desk.next(), None, "what is being kept is not counted yet");
        desk.lines.spilled(webhook(1));
        assert_eq!(desk.lines.due(desk.now), [(webhook(1), false)]);
        desk.lines.known(webhook(1), 2, desk.now);
        let surplus = desk.lines.spill(webhook(1)).unwrap();
        assert_eq!((shown(&surplus.shipments[0]), surplus.failure), ((1, vec![3]), None));
        desk.lines.spilled(webhook(1));
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
        let surplus = desk.lines.spill(webhook(1)).unwrap();
        assert!(surplus.is_in_flight && surplus.shipments.len() as u64 == offset);
        assert_eq!(desk.lines.bytes(), 0);
        desk.lines.spilled(webhook(1));
        assert!(desk.lines.delivered(webhook(1), desk.now), "what was kept waited for it");
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
        desk.lines.delivered(webhook(1), desk.now);
        desk.wait(9_000);
        desk.push(1, 2, 1);
        assert_eq!(desk.next(), Some((1, vec![2])));
        desk.lines.delivered(webhook(1), desk.now);
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
        assert_eq!(desk.lines.failed(shipment, "why").map(|shipment| shown(&shipment)), Some((1, vec![1])));
        assert_eq!((desk.next(), desk.lines.bytes()), (None, 0));
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
            desk.lines.spill(webhook).unwrap();
        }
        assert!(desk.lines.has_room() && desk.lines.bytes() == 0);
    }
}
