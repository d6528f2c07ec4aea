//! How far each lane of the log is done: everything before a position was delivered, or is kept in the registry.
//!
//! Pure. Never says that an entry is done before all that was made of it is.

use std::collections::{BTreeMap, VecDeque};

use domain::{Lane, Position};

/// An entry as it came: of two deliveries of the same one, each counts for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) lane: Lane,
    /// How often the lane has begun again.
    pub(crate) generation: u64,
    pub(crate) offset: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tracker {
    lanes: BTreeMap<Lane, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    generation: u64,
    /// The last offset that came.
    seen: Option<u64>,
    /// Offsets with what of them is not done, from the first that has something. A stretch that has nothing is one element.
    open: VecDeque<(u64, usize)>,
    /// Everything up to here is done, and was not told yet.
    done: Option<u64>,
}

impl Tracker {
    /// An entry has come. A lane that goes back has been somebody else's: what it had open is not ours to wait for.
    pub(crate) fn arrived(&mut self, position: Position) -> Ticket {
        let Position { lane, offset } = position;
        let progress = self.lanes.entry(lane).or_default();
        if progress.seen.is_some_and(|seen| offset <= seen) {
            progress.generation += 1;
            progress.open.clear();
            progress.done = None;
        }
        progress.seen = Some(offset);
        Ticket { lane, generation: progress.generation, offset }
    }

    /// So many things have to be settled before the entry is done. Entries are told in the order they came.
    pub(crate) fn wait_for(&mut self, ticket: Ticket, count: usize) {
        let Some(progress) = self.of(ticket) else { return };
        match progress.open.back_mut() {
            None if count == 0 => progress.done = Some(ticket.offset),
            Some((offset, 0)) if count == 0 => *offset = ticket.offset,
            _ => progress.open.push_back((ticket.offset, count)),
        }
    }

    /// One of the things that an entry waits for is done.
    pub(crate) fn settle(&mut self, ticket: Ticket) {
        let Some(progress) = self.of(ticket) else { return };
        if let Ok(index) = progress.open.binary_search_by_key(&ticket.offset, |(offset, _)| *offset) {
            let open = &mut progress.open[index].1;
            *open = open.saturating_sub(1);
        }
        while let Some((offset, _)) = progress.open.pop_front_if(|(_, open)| *open == 0) {
            progress.done = Some(offset);
        }
    }

    /// What can be committed and was not taken yet.
    pub(crate) fn take_done(&mut self) -> Vec<Position> {
        let lanes = self.lanes.iter_mut();
        let done = lanes.filter_map(|(lane, progress)| {
            progress.done.take().map(|offset| Position { lane: *lane, offset })
        });
        done.collect()
    }

    /// What was taken could not be committed: it is told again.
    pub(crate) fn give_back(&mut self, positions: Vec<Position>) {
        for Position { lane, offset } in positions {
            if let Some(progress) = self.lanes.get_mut(&lane)
                && progress.seen.is_some_and(|seen| offset <= seen)
            {
                progress.done = progress.done.max(Some(offset));
            }
        }
    }

    fn of(&mut self, ticket: Ticket) -> Option<&mut Progress> {
        self.lanes.get_mut(&ticket.lane).filter(|progress| progress.generation == ticket.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lane: u32, offset: u64) -> Position {
        Position { lane: Lane(lane), offset }
    }

    fn come(tracker: &mut Tracker, position: Position, count: usize) -> Ticket {
        let ticket = tracker.arrived(position);
        tracker.wait_for(ticket, count);
        ticket
    }

    #[test]
    fn only_what_is_done_without_a_gap_is_told() {
        let mut tracker = Tracker::default();
        come(&mut tracker, at(0, 1), 0);
        let two = come(&mut tracker, at(0, 2), 2);
        let three = come(&mut tracker, at(0, 3), 1);
        come(&mut tracker, at(0, 4), 0);
        come(&mut tracker, at(0, 5), 0);
        come(&mut tracker, at(1, 9), 0);
        assert_eq!(tracker.take_done(), [at(0, 1), at(1, 9)]);
        assert_eq!(tracker.take_done(), []);
        tracker.settle(three);
        tracker.settle(two);
        assert_eq!(tracker.take_done(), []);
        tracker.settle(two);
        assert_eq!(tracker.take_done(), [at(0, 5)]);
    }

    #[test]
    fn what_was_made_of_an_entry_before_its_lane_came_again_does_not_count() {
        let mut tracker = Tracker::default();
        let old = come(&mut tracker, at(0, 7), 2);
        let new = come(&mut tracker, at(0, 7), 2);
        tracker.settle(old);
        tracker.settle(new);
        assert_eq!(tracker.take_done(), []);
        tracker.settle(new);
        assert_eq!(tracker.take_done(), [at(0, 7)]);
    }

    #[test]
    fn entries_that_nothing_waits_for_take_no_memory() {
        let mut tracker = Tracker::default();
        let open = come(&mut tracker, at(0, 0), 1);
        for offset in 1..100_000 {
            come(&mut tracker, at(0, offset), 0);
        }
        assert_eq!(tracker.lanes[&Lane(0)].open.len(), 2);
        tracker.settle(open);
        assert_eq!(tracker.take_done(), [at(0, 99_999)]);
    }
}
