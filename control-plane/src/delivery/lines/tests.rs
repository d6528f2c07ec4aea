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
        Self::with_places_of_host(places, places)
    }

    fn with_places_of_host(places: usize, places_of_host: usize) -> Self {
        Self { lines: Lines::new(places, places_of_host), now: Instant::now() }
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    fn push(&mut self, number: u8, offset: u64, records: usize) {
        self.push_to(&Arc::from("https://a.example"), number, offset, records);
    }

    fn push_to(&mut self, host: &Arc<str>, number: u8, offset: u64, records: usize) {
        self.lines.push(webhook(number), host, piece(offset, records), self.now);
    }

    /// Of a webhook that has nothing in the registry.
    fn come(&mut self, number: u8, offset: u64, records: usize) {
        self.push(number, offset, records);
        for unknown in self.lines.unknown() {
            self.lines.known(unknown, 0, self.now);
        }
    }

    /// Webhook and offsets of what goes next.
    /// Lets records of 256 webhooks come, until all lines together hold what they may.
    fn fill(&mut self, add: fn(&mut Self, u8, u64, usize)) {
        for offset in 1.. {
            if !self.lines.has_room() {
                return;
            }
            (0..=255).for_each(|number| add(self, number, offset, 10_000));
        }
    }

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
    for number in 0..=255 {
        desk.come(number, 0, 1);
    }
    while desk.next().is_some() {}
    desk.fill(Desk::push);
    desk.lines.make_room();
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
    desk.fill(Desk::come);
    desk.lines.make_room();
    desk.wait(1_000);
    let due = desk.lines.due(desk.now);
    assert!(due.len() == 256 && due.iter().all(|(_, is_certain)| *is_certain));
    assert_eq!(desk.next(), None);
    for (webhook, _) in due {
        assert!(!desk.lines.spill(webhook, desk.now).unwrap().is_in_flight);
    }
    assert!(desk.lines.has_room() && desk.lines.bytes() == 0);
}

/// Webhooks 1 to 4 have something for one host, which takes two at a time, and webhook 5 for another.
fn a_crowd_at_one_host() -> Desk {
    let mut desk = Desk::with_places_of_host(8, 2);
    let [crowded, other] = ["https://crowded.example", "https://other.example"].map(Arc::from);
    for number in 1..=5 {
        desk.push_to(if number == 5 { &other } else { &crowded }, number, 1, 1);
        desk.lines.known(webhook(number), 0, desk.now);
    }
    desk
}

#[test]
fn who_waits_for_a_host_takes_no_place_of_others_and_collects_meanwhile() {
    let mut desk = a_crowd_at_one_host();
    assert_eq!(desk.begin(8), [1, 2, 5], "two of one host");
    let crowded = Arc::from("https://crowded.example");
    desk.push_to(&crowded, 4, 2, 1);
    desk.push_to(&crowded, 2, 2, 1);
    desk.deliver(5);
    assert_eq!(desk.next(), None, "another host's place is no place of theirs");
    desk.deliver(2);
    assert_eq!(desk.next(), Some((3, vec![1])), "in the order they came: who has just been there comes last");
    desk.deliver(1);
    assert_eq!(desk.next(), Some((4, vec![1, 2])), "what came while it waited goes along");
    assert_eq!(desk.next(), None);
    desk.deliver(3);
    assert_eq!(desk.next(), Some((2, vec![2])));
    desk.deliver(2);
    desk.deliver(4);
    assert_eq!((desk.next(), desk.lines.bytes()), (None, 0));
}

#[test]
fn a_host_goes_on_when_all_who_were_called_are_forgotten() {
    let mut desk = a_crowd_at_one_host();
    assert_eq!(desk.begin(8), [1, 2, 5]);
    for number in [3, 1, 2] {
        desk.lines.forget(webhook(number));
        desk.deliver(number);
    }
    assert_eq!(desk.next(), Some((4, vec![1])));
    desk.deliver(4);
    assert_eq!(desk.next(), None);
}

#[test]
fn what_waits_for_a_host_is_kept_when_it_is_too_much_or_room_is_needed() {
    let mut desk = a_crowd_at_one_host();
    assert_eq!(desk.begin(8), [1, 2, 5]);
    for offset in 2..5 {
        desk.push_to(&Arc::from("https://crowded.example"), 3, offset, 90_000);
    }
    assert_eq!(desk.lines.due(desk.now), [(webhook(3), true)], "too much for a line");
    let surplus = desk.spill(3);
    assert_eq!((shown(&surplus.shipments[0]), surplus.is_in_flight), ((3, vec![1]), false));
    desk.lines.spilled(webhook(3), None);
    desk.deliver(1);
    assert_eq!(desk.next(), Some((4, vec![1])), "its turn is not waited for");
}
