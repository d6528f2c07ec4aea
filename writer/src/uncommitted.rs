//! How far a writer has stored each lane, and how far the log may be told.

use std::collections::VecDeque;

use domain::Position;
use tokio::time::Instant;

/// Stretches that are told apart. Of more than these, which takes a store that makes nothing durable, the later ones go together.
const STRETCHES_MAX: usize = 64;

/// Positions whose records are stored, and that are not committed yet. In each list a lane has one.
#[derive(Debug, Default)]
pub(crate) struct Uncommitted {
    /// Stored lately.
    lately: Vec<Position>,
    /// Stored before, by when the last append of a stretch had ended.
    stretches: VecDeque<(Instant, Vec<Position>)>,
    /// Durable in the store.
    durable: Vec<Position>,
}

impl Uncommitted {
    pub(crate) fn is_empty(&self) -> bool {
        self.lately.is_empty() && self.stretches.is_empty() && self.durable.is_empty()
    }

    /// The appends of these positions have ended.
    pub(crate) fn stored(&mut self, positions: Vec<Position>) {
        advance(&mut self.lately, positions);
    }

    /// What was stored until now is told apart from what will be.
    pub(crate) fn mark(&mut self, now: Instant) {
        let lately = std::mem::take(&mut self.lately);
        if lately.is_empty() {
            return;
        }
        if self.stretches.len() >= STRETCHES_MAX
            && let Some((ended, positions)) = self.stretches.back_mut()
        {
            *ended = now;
            advance(positions, lately);
        } else {
            self.stretches.push_back((now, lately));
        }
    }

    /// What had ended by then is durable.
    pub(crate) fn settle(&mut self, ended_by: Instant) {
        while let Some((_, positions)) = self.stretches.pop_front_if(|(ended, _)| *ended <= ended_by) {
            advance(&mut self.durable, positions);
        }
    }

    /// What the log may be told.
    pub(crate) fn durable(&self) -> &[Position] {
        &self.durable
    }

    /// The log was told.
    pub(crate) fn committed(&mut self) {
        self.durable.clear();
    }
}

/// Sets each lane to its later position.
pub(crate) fn advance(places: &mut Vec<Position>, later: Vec<Position>) {
    for position in later {
        match places.iter_mut().find(|place| place.lane == position.lane) {
            Some(place) => *place = position,
            None => places.push(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::Lane;

    use super::*;

    fn position(lane: u32, offset: u64) -> Position {
        Position { lane: Lane(lane), offset }
    }

    #[test]
    fn only_what_had_ended_by_then_may_be_told_and_of_a_lane_the_last() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut uncommitted = Uncommitted::default();
        assert!(uncommitted.is_empty());
        uncommitted.stored(vec![position(0, 1), position(1, 5)]);
        uncommitted.stored(vec![position(0, 2)]);
        uncommitted.mark(at(1));
        uncommitted.stored(vec![position(0, 9)]);
        uncommitted.mark(at(2));
        uncommitted.stored(vec![position(1, 6)]);
        uncommitted.settle(at(0));
        assert_eq!(uncommitted.durable(), []);
        uncommitted.settle(at(1));
        assert_eq!(uncommitted.durable(), [position(0, 2), position(1, 5)]);
        uncommitted.settle(at(9));
        assert_eq!(uncommitted.durable(), [position(0, 9), position(1, 5)], "what is not marked is not told");
        uncommitted.committed();
        assert!(!uncommitted.is_empty());
        uncommitted.mark(at(9));
        uncommitted.settle(at(9));
        assert_eq!(uncommitted.durable(), [position(1, 6)]);
        uncommitted.committed();
        assert!(uncommitted.is_empty());
    }

    #[test]
    fn stretches_are_bounded_and_none_is_told_early() {
        let begin = Instant::now();
        let mut uncommitted = Uncommitted::default();
        let stretches = 10 * STRETCHES_MAX as u64;
        for number in 0..stretches {
            uncommitted.stored(vec![position(0, number)]);
            uncommitted.mark(begin + Duration::from_secs(number));
            assert!(uncommitted.stretches.len() <= STRETCHES_MAX);
        }
        for number in 0..stretches {
            uncommitted.settle(begin + Duration::from_secs(number));
            assert!(uncommitted.durable().iter().all(|durable| durable.offset <= number));
        }
        assert_eq!(uncommitted.durable(), [position(0, stretches - 1)]);
    }
}
