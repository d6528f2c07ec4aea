//! How many rows a range holds, and where the row is that comes after so many: from counts alone, but for parts of a
//! second.
//!
//! Pure: it says which counts it wants next and takes them, so that a store can answer all of it at once. It never
//! wants the rows of a window that lies within the range whole.

use std::ops::Range;

use domain::Timestamp;

use crate::contract::{CountLevel, Direction, TimeCount, TimeRange};

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A walk along the counted windows of a range, the coarsest first, into finer ones only where the range or the row
/// looked for cuts them.
#[derive(Debug, Clone)]
pub struct Tally {
    range: TimeRange,
    direction: Direction,
    /// Rows to pass.
    offset: u64,
    passed: u64,
    wants: Wants,
    /// What of the range is being looked at.
    span: TimeRange,
    /// Windows still to pass, of each level that was gone into.
    ahead: Vec<(CountLevel, std::vec::IntoIter<Window>)>,
}

/// What a [`Tally`] has to be given to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wants {
    /// The counts of a level's windows with these starts: [`Tally::take_counts`].
    Counts {
        /// The level.
        level: CountLevel,
        /// Starts of the windows, in seconds.
        starts: Range<i64>,
    },
    /// The number of rows within a part of a second: [`Tally::take_rows`].
    Rows(TimeRange),
    /// It is done: the range has no more rows.
    Nothing,
    /// It is done: the row looked for is in this second.
    Found(Seek),
}

/// Where to begin reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seek {
    /// The rest of the range.
    pub range: TimeRange,
    /// Rows of it to leave out, all within one second.
    pub skip: u64,
}

impl Tally {
    /// Counts the rows of a range.
    pub fn total(range: TimeRange) -> Self {
        Self::seek(range, Direction::Ascending, u64::MAX)
    }

    /// Looks for the row of a range that has `offset` rows before it in the direction.
    pub fn seek(range: TimeRange, direction: Direction, offset: u64) -> Self {
        let mut tally = Self {
            range,
            direction,
            offset,
            passed: 0,
            wants: Wants::Nothing,
            span: range,
            ahead: Vec::new(),
        };
        if !range.is_empty() {
            tally.look_into(CountLevel::Coarsest, range);
        }
        tally
    }

    /// What it needs next.
    pub fn wants(&self) -> &Wants {
        &self.wants
    }

    /// Rows before where it is; when it is done and nothing was found, all rows of the range.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Takes the counts it wanted, in ascending order.
    pub fn take_counts(&mut self, counts: Vec<TimeCount>) {
        let Wants::Counts { level, .. } = self.wants else { return };
        let mut windows: Vec<Window> =
            counts.into_iter().map(|count| Window::new(level, count, self.span)).collect();
        if self.direction == Direction::Descending {
            windows.reverse();
        }
        self.ahead.push((level, windows.into_iter()));
        self.advance();
    }

    /// Takes the number of rows it wanted.
    pub fn take_rows(&mut self, rows: u64) {
        let Wants::Rows(span) = self.wants else { return };
        if !self.pass(rows) {
            self.wants = self.found(span);
            return;
        }
        self.advance();
    }

    fn advance(&mut self) {
        self.wants = Wants::Nothing;
        while let Some((level, windows)) = self.ahead.last_mut() {
            let level = *level;
            let Some(window) = windows.next() else {
                self.ahead.pop();
                continue;
            };
            if window.whole && self.pass(window.rows) {
                continue;
            }
            match level.finer() {
                Some(finer) => self.look_into(finer, window.range),
                None if window.whole => self.wants = self.found(window.range),
                None => self.wants = Wants::Rows(window.range),
            }
            return;
        }
    }

    /// Passes rows, unless the one looked for is among them.
    fn pass(&mut self, rows: u64) -> bool {
        let passes = self.offset - self.passed >= rows;
        if passes {
            self.passed += rows;
        }
        passes
    }

    fn look_into(&mut self, level: CountLevel, span: TimeRange) {
        let first = level.window_of(second_of(span.from));
        let last = level.window_of(second_of(last_of(span)));
        self.span = span;
        self.wants = Wants::Counts { level, starts: first..last + 1 };
    }

    fn found(&self, second: TimeRange) -> Wants {
        let near = match self.direction {
            Direction::Ascending => second.from,
            Direction::Descending => last_of(second),
        };
        Wants::Found(Seek {
            range: self.range.starting_at(self.direction, near),
            skip: self.offset - self.passed,
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Window {
    /// Rows in all of it.
    rows: u64,
    /// Whether the range has all of it.
    whole: bool,
    /// The part of it that is in the range.
    range: TimeRange,
}

impl Window {
    fn new(level: CountLevel, count: TimeCount, range: TimeRange) -> Self {
        let start = i128::from(count.start_seconds) * NANOS_PER_SECOND;
        let end = start + i128::from(level.seconds()) * NANOS_PER_SECOND;
        let all = TimeRange {
            from: Timestamp::from_nanos(start.max(i128::from(i64::MIN)) as i64),
            to: i64::try_from(end).ok().map(Timestamp::from_nanos),
        };
        let part = TimeRange {
            from: all.from.max(range.from),
            to: match (all.to, range.to) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        };
        Self { rows: count.rows, whole: part == all, range: part }
    }
}

fn second_of(time: Timestamp) -> i64 {
    time.as_nanos().div_euclid(NANOS_PER_SECOND as i64)
}

/// The last time of a range that is not empty.
fn last_of(range: TimeRange) -> Timestamp {
    range.to.map_or(Timestamp::MAX, |to| Timestamp::from_nanos(to.as_nanos().saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange { from: Timestamp::from_nanos(from), to: Some(Timestamp::from_nanos(to)) }
    }

    /// Answers what a tally wants out of rows at these times; how often it wanted something.
    fn run(mut tally: Tally, times: &[i64]) -> (Tally, usize) {
        for asked in 0.. {
            match tally.wants().clone() {
                Wants::Counts { level, starts } => {
                    let mut counts = BTreeMap::<i64, u64>::new();
                    for time in times {
                        let start = level.window_of(time.div_euclid(1_000_000_000));
                        *counts.entry(start).or_default() += u64::from(starts.contains(&start));
                    }
                    let counts = counts.into_iter().filter(|(_, rows)| *rows > 0);
                    tally.take_counts(
                        counts.map(|(start_seconds, rows)| TimeCount { start_seconds, rows }).collect(),
                    );
                }
                Wants::Rows(part) => {
                    let within = times.iter().filter(|time| part.contains(Timestamp::from_nanos(**time)));
                    tally.take_rows(within.count() as u64);
                }
                Wants::Nothing | Wants::Found(_) => return (tally, asked),
            }
        }
        unreachable!("a tally comes to an end")
    }

    #[test]
    fn all_of_time_is_one_question() {
        let times: Vec<i64> = (0..1_000).map(|n| n * 86_400_000_000_000).collect();
        let (tally, asked) = run(Tally::total(TimeRange::ALL), &times);
        assert_eq!((tally.passed(), asked), (1_000, 1));
        let (tally, asked) = run(Tally::seek(TimeRange::ALL, Direction::Descending, 900), &times);
        assert!(matches!(tally.wants(), Wants::Found(Seek { skip: 0, .. })), "{tally:?}");
        assert_eq!(asked, 4);
    }

    #[test]
    fn rows_that_went_away_meanwhile_are_passed_by() {
        let mut tally = Tally::seek(TimeRange::ALL, Direction::Ascending, 5);
        let count = |start_seconds, rows| TimeCount { start_seconds, rows };
        tally.take_counts(vec![count(0, 10), count(1 << 21, 10)]);
        tally.take_counts(vec![count(0, 3)]);
        assert!(
            matches!(tally.wants(), Wants::Counts { level: CountLevel::Coarse, starts } if starts.start == 1 << 21)
        );
        assert_eq!(tally.passed(), 3);
    }

    #[test]
    fn an_empty_range_wants_nothing() {
        for empty in [range(5, 5), range(5, 4), range(i64::MIN, i64::MIN)] {
            assert_eq!(Tally::total(empty).wants(), &Wants::Nothing);
        }
    }
}
