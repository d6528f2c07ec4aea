//! The lanes that one consumer holds, and what has come of them and waits to be taken.
//!
//! Pure: it knows no client, no thread and no clock. What arrives of a lane that is not held is dropped, because whoever
//! holds it now has it too.

use std::collections::{BTreeMap, VecDeque};

use domain::{Lane, Position};

use crate::contract::{Batch, BatchLimits, Delivery, Undeliverable};

/// What a delivery takes in memory beside its pack, about: small packs must not make the buffer large.
const DELIVERY_BYTES: usize = 256;

/// Lanes and the buffer in front of the consumer.
#[derive(Debug)]
pub(crate) struct Lanes {
    held: BTreeMap<Lane, Held>,
    ready: VecDeque<Delivery>,
    /// Bytes of packs in `ready`.
    pack_bytes: usize,
    /// Bytes of memory that `ready` may take, but never less than one delivery.
    memory_bytes_max: usize,
}

/// Where one lane stands.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// The next offset that has to arrive. Nothing if the group has no place in the lane yet.
    expected: Option<u64>,
    /// The first offset that was not taken yet.
    next: u64,
    /// The first offset that is not committed, as far as is known.
    uncommitted: u64,
    /// The offset behind the lane's last entry, as far as is known.
    end: u64,
    /// Nothing from this offset on is delivered.
    withheld_from: Option<u64>,
}

/// Where a lane that was just given to this consumer begins.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LaneStart {
    /// The first offset that the group has neither committed nor kept beside its results.
    pub(crate) next: Option<u64>,
    /// The first offset that is not committed.
    pub(crate) uncommitted: Option<u64>,
    /// The lane's oldest offset and the one behind its last.
    pub(crate) extent: Option<(u64, u64)>,
}

/// What became of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It waits to be taken.
    Kept,
    /// The lane is withheld from there on, or not held: it makes no sense to fetch more of it.
    Refused,
}

impl Lanes {
    pub(crate) fn new(memory_bytes_max: usize) -> Self {
        Self { held: BTreeMap::new(), ready: VecDeque::new(), pack_bytes: 0, memory_bytes_max }
    }

    /// This consumer has the lane from now on.
    pub(crate) fn give(&mut self, lane: Lane, start: LaneStart) {
        let (oldest, end) = start.extent.unwrap_or_default();
        let next = start.next.unwrap_or(oldest);
        let held = Held {
            expected: start.next,
            next,
            uncommitted: start.uncommitted.unwrap_or(0),
            end: end.max(next),
            withheld_from: None,
        };
        self.held.insert(lane, held);
    }

    /// This consumer has lost the lane: what waits of it comes to another one.
    pub(crate) fn take_away(&mut self, lane: Lane) {
        self.held.remove(&lane);
        self.forget(|position| position.lane == lane);
    }

    /// Delivers nothing of the lane from this position on.
    pub(crate) fn withhold(&mut self, from: Position) {
        let Some(held) = self.held.get_mut(&from.lane) else { return };
        held.withheld_from = Some(from.offset);
        held.next = held.next.min(from.offset);
        self.forget(|waiting| waiting.lane == from.lane && waiting.offset >= from.offset);
    }

    /// Something has come from the log. Offsets of a lane follow each other: where some are missing, damage is put in
    /// their place.
    pub(crate) fn arrive(&mut self, delivery: Delivery) -> Arrival {
        let Position { lane, offset } = delivery.position;
        let Some(held) = self.held.get_mut(&lane) else { return Arrival::Refused };
        if held.withheld_from.is_some_and(|from| offset >= from) {
            return Arrival::Refused;
        }
        let missing = held.expected.filter(|&expected| expected < offset);
        if held.expected.is_none() {
            held.next = offset;
        }
        held.expected = Some(offset + 1);
        held.end = held.end.max(offset + 1);
        if let Some(from) = missing {
            let reason =
                format!("offsets {from} to {} were deleted before this group had read them", offset - 1);
            let position = Position { lane, offset: offset - 1 };
            self.ready.push_back(Delivery { position, entry: Err(Undeliverable::Damaged(reason)) });
        }
        self.pack_bytes += pack_bytes(&delivery);
        self.ready.push_back(delivery);
        Arrival::Kept
    }

    /// The lane's end, as the log tells it.
    pub(crate) fn end_is(&mut self, lane: Lane, end: u64) {
        if let Some(held) = self.held.get_mut(&lane) {
            held.end = held.end.max(end);
        }
    }

    /// Whether more would take too much memory.
    pub(crate) fn is_full(&self) -> bool {
        self.memory_bytes() >= self.memory_bytes_max
    }

    /// Whether there is so much room again that fetching should go on.
    pub(crate) fn has_room(&self) -> bool {
        self.memory_bytes() <= self.memory_bytes_max / 2
    }

    /// Whether waiting would not make a batch under these limits any larger.
    pub(crate) fn has_enough(&self, limits: &BatchLimits) -> bool {
        self.ready.len() >= limits.entries_max.max(1)
            || (!self.ready.is_empty() && self.pack_bytes >= limits.bytes_max)
            || self.is_full()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Takes what there is within the limits, and at least one delivery if there is any.
    pub(crate) fn take(&mut self, limits: &BatchLimits) -> Batch {
        let (mut deliveries, mut bytes) = (Vec::new(), 0);
        while let Some(first) = self.ready.front() {
            bytes += pack_bytes(first);
            let is_full = deliveries.len() >= limits.entries_max || bytes > limits.bytes_max;
            if is_full && !deliveries.is_empty() {
                break;
            }
            self.pack_bytes -= pack_bytes(first);
            if let Some(held) = self.held.get_mut(&first.position.lane) {
                held.next = first.position.offset + 1;
            }
            deliveries.extend(self.ready.pop_front());
        }
        Batch { deliveries }
    }

    /// Those of the positions that this consumer may commit and that would move the group on.
    pub(crate) fn to_commit(&self, positions: &[Position]) -> Vec<Position> {
        let moves_on = |position: &Position| {
            self.held.get(&position.lane).is_some_and(|held| held.uncommitted <= position.offset)
        };
        let mut last: BTreeMap<Lane, Position> = BTreeMap::new();
        for position in positions.iter().copied().filter(moves_on) {
            let kept = last.entry(position.lane).or_insert(position);
            *kept = position.max(*kept);
        }
        last.into_values().collect()
    }

    pub(crate) fn committed(&mut self, positions: &[Position]) {
        for position in positions {
            if let Some(held) = self.held.get_mut(&position.lane) {
                held.uncommitted = held.uncommitted.max(position.offset + 1);
            }
        }
    }

    /// Entries of the held lanes that are in the log and were not taken.
    pub(crate) fn backlog(&self) -> u64 {
        self.held.values().map(|held| held.end.saturating_sub(held.next)).sum()
    }

    fn memory_bytes(&self) -> usize {
        self.pack_bytes + self.ready.len() * DELIVERY_BYTES
    }

    fn forget(&mut self, what: impl Fn(Position) -> bool) {
        self.ready.retain(|delivery| !what(delivery.position));
        self.pack_bytes = self.ready.iter().map(pack_bytes).sum();
    }
}

fn pack_bytes(delivery: &Delivery) -> usize {
    delivery.entry.as_ref().map_or(0, |entry| entry.payload.len())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::senml::Format;
    use domain::{ChannelId, ChannelProfile, Entry, Protocol, ReceivedAt, Subtopic, ThingId};

    use super::*;

    const ALL: BatchLimits =
        BatchLimits { entries_max: 100, bytes_max: 1 << 20, linger: std::time::Duration::ZERO };

    fn at(lane: u32, offset: u64) -> Position {
        Position { lane: Lane(lane), offset }
    }

    fn arrival(lane: u32, offset: u64) -> Delivery {
        let entry = Entry {
            channel: ChannelId::from_bytes([1; 16]),
            profile: ChannelProfile::default(),
            publisher: ThingId::from_bytes([2; 16]),
            subtopic: Subtopic::default(),
            protocol: Protocol::Http,
            format: Format::Json,
            received: ReceivedAt::from_micros(1),
            payload: Bytes::from_static(b"[]"),
        };
        Delivery { position: at(lane, offset), entry: Ok(entry) }
    }

    fn holding(lanes: &[u32]) -> Lanes {
        let mut held = Lanes::new(1 << 20);
        let start = LaneStart { next: Some(0), uncommitted: Some(0), extent: Some((0, 10)) };
        lanes.iter().for_each(|&lane| held.give(Lane(lane), start));
        held
    }

    /// One word a delivery: `1:4` for an entry, `1:4!` for damage up to there.
    fn words(batch: &Batch) -> String {
        let word = |delivery: &Delivery| {
            let Position { lane, offset } = delivery.position;
            format!("{}:{offset}{}", lane.0, if delivery.entry.is_ok() { "" } else { "!" })
        };
        batch.deliveries.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_waits_of_a_lost_lane_is_not_delivered() {
        let mut lanes = holding(&[1, 2]);
        for position in [(1, 0), (2, 0), (1, 1)] {
            assert_eq!(lanes.arrive(arrival(position.0, position.1)), Arrival::Kept);
        }
        lanes.take_away(Lane(1));
        assert_eq!(lanes.arrive(arrival(1, 2)), Arrival::Refused);
        assert_eq!(words(&lanes.take(&ALL)), "2:0");
        assert_eq!(lanes.backlog(), 9);
    }

    #[test]
    fn only_held_lanes_are_committed_and_only_forwards() {
        let mut lanes = holding(&[1, 2]);
        assert_eq!(lanes.to_commit(&[at(1, 4), at(1, 2), at(2, 0), at(3, 7)]), [at(1, 4), at(2, 0)]);
        lanes.committed(&[at(1, 4)]);
        assert_eq!(lanes.to_commit(&[at(1, 4)]), []);
        assert_eq!(lanes.to_commit(&[at(1, 5)]), [at(1, 5)]);
        lanes.take_away(Lane(1));
        assert_eq!(lanes.to_commit(&[at(1, 9)]), []);
    }

    #[test]
    fn missing_offsets_are_delivered_as_damage() {
        let mut lanes = holding(&[1]);
        for offset in [0, 5, 6] {
            lanes.arrive(arrival(1, offset));
        }
        assert_eq!(words(&lanes.take(&ALL)), "1:0 1:4! 1:5 1:6");
    }

    #[test]
    fn a_group_without_a_place_begins_at_whatever_is_oldest() {
        let mut lanes = Lanes::new(1 << 20);
        lanes.give(Lane(1), LaneStart { extent: Some((5, 9)), ..LaneStart::default() });
        assert_eq!(lanes.backlog(), 4);
        lanes.arrive(arrival(1, 7));
        assert_eq!(lanes.backlog(), 2);
        assert_eq!(words(&lanes.take(&ALL)), "1:7");
        assert_eq!(lanes.backlog(), 1);
    }

    #[test]
    fn a_withheld_lane_delivers_nothing_from_there_on_and_keeps_its_backlog() {
        let mut lanes = holding(&[1, 2]);
        for (lane, offset) in [(1, 0), (1, 1), (2, 0), (1, 2)] {
            lanes.arrive(arrival(lane, offset));
        }
        lanes.withhold(at(1, 1));
        assert_eq!(lanes.arrive(arrival(1, 3)), Arrival::Refused);
        assert_eq!(words(&lanes.take(&ALL)), "1:0 2:0");
        assert_eq!(lanes.backlog(), 9 + 9);
        // Also when it was taken already.
        let mut lanes = holding(&[1]);
        lanes.arrive(arrival(1, 0));
        lanes.take(&ALL);
        lanes.withhold(at(1, 0));
        assert_eq!(lanes.backlog(), 10);
    }

    #[test]
    fn the_buffer_is_full_by_memory_and_has_room_at_half_of_it() {
        let mut lanes = Lanes::new(4 * (DELIVERY_BYTES + 2));
        lanes.give(Lane(1), LaneStart::default());
        for offset in 0..3 {
            lanes.arrive(arrival(1, offset));
        }
        assert!(!lanes.is_full() && !lanes.has_room());
        lanes.arrive(arrival(1, 3));
        assert!(lanes.is_full() && lanes.has_enough(&ALL), "a full buffer gets no fuller by waiting");
        assert_eq!(lanes.take(&BatchLimits { entries_max: 2, ..ALL }).deliveries.len(), 2);
        assert!(lanes.has_room());
    }
}
