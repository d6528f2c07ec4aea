//! How far a process has read the feed, and since when it knows that this is all.
//!
//! Pure: offsets and moments are arguments.

use std::collections::VecDeque;
use std::time::Duration;

use crate::feed::FeedPosition;

/// Questions where the feed ends whose answer is not reached yet. Twice a second one is added; what is much older than staleness
/// helps nobody.
const ASKED_MAX: usize = 32;

/// The place of one process in the feed.
#[derive(Debug)]
pub(super) struct Place {
    /// What is added to an offset to make a position: more than before whenever offsets begin anew.
    shift: u64,
    /// The offset that comes next.
    next: u64,
    /// The offset behind the last message, as far as is known.
    end: u64,
    asked: VecDeque<Asked>,
    /// How often offsets began anew.
    era: u64,
}

/// Where does the feed end? With what was known when it was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    at: Duration,
    next: u64,
    era: u64,
}

/// The feed ended here, or further on, when it was asked.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Duration,
    end: u64,
}

/// What a message is, by its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The next one.
    Next,
    /// Read before.
    Old,
    /// The next one that there is; some before it are missing.
    BehindAGap,
}

/// The feed is not what was read: messages are gone, or it was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

impl Place {
    /// At the end, which is here.
    pub(super) fn at(end: u64) -> Self {
        Self { shift: 0, next: end, end, asked: VecDeque::new(), era: 0 }
    }

    /// What everything up to here is known by.
    pub(super) fn position(&self) -> FeedPosition {
        FeedPosition(self.shift + self.next)
    }

    /// The offset that comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Messages that are known to be there, and were not read.
    pub(super) fn lag(&self) -> u64 {
        self.end - self.next
    }

    /// A message has come. It is read when [`Self::read`] is told.
    pub(super) fn arrival(&self, offset: u64) -> Arrival {
        match offset.cmp(&self.next) {
            std::cmp::Ordering::Less => Arrival::Old,
            std::cmp::Ordering::Equal => Arrival::Next,
            std::cmp::Ordering::Greater => Arrival::BehindAGap,
        }
    }

    /// The position of the message with this offset, which is to be read now.
    pub(super) fn position_behind(&self, offset: u64) -> FeedPosition {
        FeedPosition(self.shift + offset + 1)
    }

    /// The message with this offset is applied.
    pub(super) fn read(&mut self, offset: u64) {
        self.next = offset + 1;
        self.end = self.end.max(self.next);
    }

    /// What an answer to a question that is asked at this moment will be held against.
    pub(super) fn question(&self, at: Duration) -> Question {
        Question { at, next: self.next, era: self.era }
    }

    /// A broker answered. More may have been read since it was asked.
    pub(super) fn told(&mut self, question: Question, oldest: u64, end: u64) -> Result<(), Lost> {
        if question.era != self.era {
            return Ok(());
        }
        if end < question.next || oldest > self.next {
            return Err(Lost);
        }
        self.end = self.end.max(end);
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { at: question.at, end });
        Ok(())
    }

    /// The last moment as of which everything is read, if there is a new one.
    pub(super) fn confirmed(&mut self) -> Option<Duration> {
        let mut as_of = None;
        while let Some(asked) = self.asked.front().filter(|asked| asked.end <= self.next) {
            as_of = as_of.max(Some(asked.at));
            self.asked.pop_front();
        }
        as_of
    }

    /// Goes on at this end, whatever was in between: everything up to the position that is returned is unknown. It is behind
    /// every position before.
    pub(super) fn go_to(&mut self, end: u64) -> FeedPosition {
        let behind = self.shift + self.next + 1;
        self.shift = self.shift.max(behind.saturating_sub(end));
        (self.next, self.end) = (end, end);
        self.asked.clear();
        self.era += 1;
        self.position()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tell(place: &mut Place, at: Duration, oldest: u64, end: u64) -> Result<(), Lost> {
        let question = place.question(at);
        place.told(question, oldest, end)
    }

    #[test]
    fn it_is_confirmed_as_of_the_last_question_whose_answer_is_reached() {
        let mut place = Place::at(10);
        assert_eq!((place.position(), place.lag(), place.confirmed()), (FeedPosition(10), 0, None));
        tell(&mut place, SECOND, 0, 10).unwrap();
        assert_eq!(place.confirmed(), Some(SECOND), "nothing new: silence is good");
        tell(&mut place, 2 * SECOND, 0, 12).unwrap();
        tell(&mut place, 3 * SECOND, 0, 12).unwrap();
        tell(&mut place, 4 * SECOND, 0, 13).unwrap();
        assert_eq!((place.confirmed(), place.lag()), (None, 3));
        place.read(10);
        assert_eq!(place.confirmed(), None);
        place.read(11);
        assert_eq!(place.confirmed(), Some(3 * SECOND));
        place.read(12);
        assert_eq!((place.confirmed(), place.lag()), (Some(4 * SECOND), 0));
        assert_eq!(place.confirmed(), None, "once");
    }

    /// A busy feed has always moved on when its end is told; that must not keep it from being confirmed.
    #[test]
    fn one_who_is_always_a_little_behind_is_confirmed_all_the_same() {
        let mut place = Place::at(0);
        let mut confirmed = Duration::ZERO;
        for second in 1..100 {
            tell(&mut place, second * SECOND, 0, u64::from(second) * 10).unwrap();
            while place.lag() > 5 {
                place.read(place.next());
            }
            confirmed = place.confirmed().unwrap_or(confirmed);
        }
        assert_eq!(confirmed, 98 * SECOND);
        for second in 100..1_000 {
            tell(&mut place, second * SECOND, 0, 10_000).unwrap();
        }
        assert!(place.asked.len() <= ASKED_MAX);
    }

    #[test]
    fn what_comes_again_is_old_and_what_is_missing_is_noticed() {
        let mut place = Place::at(5);
        assert_eq!(place.arrival(5), Arrival::Next);
        assert_eq!(place.position_behind(5), FeedPosition(6));
        place.read(5);
        assert_eq!(place.position(), FeedPosition(6));
        assert_eq!([4, 5, 6, 7].map(|offset| place.arrival(offset)), {
            [Arrival::Old, Arrival::Old, Arrival::Next, Arrival::BehindAGap]
        });
    }

    #[test]
    fn an_answer_may_be_late() {
        let mut place = Place::at(10);
        let question = place.question(SECOND);
        place.read(10);
        place.read(11);
        place.told(question, 0, 10).unwrap();
        assert_eq!((place.confirmed(), place.lag()), (Some(SECOND), 0));
        assert_eq!(
            place.told(place.question(SECOND), 0, 11),
            Err(Lost),
            "what was read was there when it was asked"
        );
    }

    #[test]
    fn a_feed_that_lost_something_is_gone_on_with_behind_every_position() {
        let mut place = Place::at(100);
        assert_eq!(tell(&mut place, SECOND, 101, 200), Err(Lost), "deleted before it was read");
        assert_eq!(
            tell(&mut place, SECOND, 0, 99),
            Err(Lost),
            "another feed, or brokers that lost something"
        );
        assert_eq!(place.confirmed(), None);
        for end in [200, 0, 150, 151, 3] {
            let before = place.position();
            let (question, next) = (place.question(SECOND), place.next());
            place.told(question, 0, next).unwrap();
            let position = place.go_to(end);
            assert!(position > before, "{end}: {position:?} {before:?}");
            assert_eq!((place.next(), place.position(), place.lag()), (end, position, 0));
            place.told(question, 0, 0).unwrap();
            place.told(question, next, next + 1_000).unwrap();
            assert_eq!(place.confirmed(), None, "what was asked of the feed before says nothing");
            assert_eq!(place.lag(), 0);
            place.read(end);
            assert_eq!(place.position(), FeedPosition(position.0 + 1));
        }
    }
}
