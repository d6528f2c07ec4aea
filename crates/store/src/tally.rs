//! How many rows a range holds, and where the row is that comes after so many: from counts, and within a second from
//! times.
//!
//! Pure: it says what it wants next and takes it, so that a store can answer all of it at once. It never wants the rows
//! of a window that lies within the range whole, and of a second that holds the row looked for it wants the times from
//! the end that is nearer to it.

use std::ops::Range;

use domain::Timestamp;

use crate::contract::{CountLevel, Direction, TimeCount, TimeRange};

const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// Rows that a reader may read only to leave them out; past more it goes by their times.
const READ_PAST_MAX: u64 = 32;
/// Times wanted at once: 8 bytes each.
const TIMES_MAX: u64 = 16_384;

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
    /// Rows of the second that is being looked at, from its far end up to the one looked for.
    from_far_end: u64,
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
    /// The times of the first rows of a range within a second: [`Tally::take_times`].
    Times {
        /// The range.
        range: TimeRange,
        /// From which end.
        direction: Direction,
        /// At most so many.
        limit: usize,
    },
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
            from_far_end: 0,
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

    /// The first second that is of interest among the windows it wants counts of: of the first of these, a count from there
    /// on is enough.
    pub(crate) fn first_second(&self) -> i64 {
        second_of(self.span.from)
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
            self.look_within(span, rows);
            return;
        }
        self.advance();
    }

    /// Takes the times it wanted, in the direction it wanted.
    pub fn take_times(&mut self, times: &[Timestamp]) {
        let Wants::Times { direction, .. } = self.wants else { return };
        match (direction == self.direction, times.last()) {
            // Rows went away since they were counted.
            (_, None) => self.wants = self.found(self.span, self.offset - self.passed),
            (true, Some(&last)) => self.pass_times(times, last),
            (false, _) => self.find_from_far_end(times),
        }
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
                None if window.whole => self.look_within(window.range, window.rows),
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

    /// Goes on within a second, or a part of one, that has so many rows and the one looked for among them.
    fn look_within(&mut self, second: TimeRange, rows: u64) {
        self.span = second;
        let skip = self.offset - self.passed;
        // Rows may have come or gone since the coarser windows were counted.
        self.from_far_end = rows.saturating_sub(skip).max(1);
        if skip <= READ_PAST_MAX {
            self.wants = self.found(second, skip);
        } else if self.from_far_end + READ_PAST_MAX < skip.min(TIMES_MAX) {
            let (direction, rows) = (self.direction.reversed(), self.from_far_end + READ_PAST_MAX);
            self.wants = Wants::Times { range: second, direction, limit: rows as usize };
        } else {
            self.want_times_from_near_end();
        }
    }

    fn want_times_from_near_end(&mut self) {
        let rows = (self.offset - self.passed + 1).min(TIMES_MAX);
        self.wants = Wants::Times { range: self.span, direction: self.direction, limit: rows as usize };
    }

    /// Passes the rows of all these times but the last, of which there may be more.
    fn pass_times(&mut self, times: &[Timestamp], last: Timestamp) {
        let passed = times.partition_point(|time| *time != last) as u64;
        self.passed += passed;
        self.span = self.span.starting_at(self.direction, last);
        let skip = self.offset - self.passed;
        if passed == 0 || skip <= READ_PAST_MAX || (times.len() as u64) < TIMES_MAX {
            self.wants = self.found(self.span, skip);
        } else {
            self.want_times_from_near_end();
        }
    }

    /// The row looked for is so many rows from the far end. Of its time there may be rows before it; where they are more
    /// than were asked for, it is looked for from the near end after all.
    fn find_from_far_end(&mut self, times: &[Timestamp]) {
        let place = usize::try_from(self.from_far_end - 1).ok();
        let Some(&time) = place.and_then(|place| times.get(place)) else {
            return self.want_times_from_near_end();
        };
        let up_to_it = times.iter().rposition(|other| *other == time).map_or(0, |last| last as u64 + 1);
        let before = up_to_it - self.from_far_end;
        if before >= READ_PAST_MAX {
            return self.want_times_from_near_end();
        }
        self.passed = self.offset - before;
        self.wants = self.found(self.span.starting_at(self.direction, time), before);
    }

    /// Where to begin reading, if the row looked for is `skip` rows into a part of the range.
    fn found(&self, part: TimeRange, skip: u64) -> Wants {
        let near = match self.direction {
            Direction::Ascending => part.from,
            Direction::Descending => last_of(part),
        };
        Wants::Found(Seek { range: self.range.starting_at(self.direction, near), skip })
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

    /// Answers what a tally wants out of rows at these times, in ascending order; how often it wanted something.
    fn run(tally: Tally, times: &[i64]) -> (Tally, usize) {
        let (tally, asked, _) = run_counting_times(tally, times);
        (tally, asked)
    }

    /// The same, and how many times it was given.
    fn run_counting_times(mut tally: Tally, times: &[i64]) -> (Tally, usize, usize) {
        let mut given = 0;
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
                Wants::Times { range, direction, limit } => {
                    assert!(limit <= TIMES_MAX as usize, "{limit} times at once");
                    let found = ordered(times, range, direction).into_iter().take(limit).collect::<Vec<_>>();
                    given += found.len();
                    tally.take_times(&found);
                }
                Wants::Nothing | Wants::Found(_) => return (tally, asked, given),
            }
        }
        unreachable!("a tally comes to an end")
    }

    /// Those of the times that are within a range, from one of its ends.
    fn ordered(times: &[i64], range: TimeRange, direction: Direction) -> Vec<Timestamp> {
        let times = times.iter().copied().map(Timestamp::from_nanos);
        let mut times: Vec<_> = times.filter(|time| range.contains(*time)).collect();
        if direction == Direction::Descending {
            times.reverse();
        }
        times
    }

    /// Where the tally says to begin, the row that is looked for comes after as many as it says.
    fn finds(times: &[i64], range: TimeRange, direction: Direction, offset: usize) -> usize {
        let expected = ordered(times, range, direction)[offset];
        let (tally, _, given) = run_counting_times(Tally::seek(range, direction, offset as u64), times);
        let Wants::Found(seek) = tally.wants() else { panic!("{tally:?}") };
        let rest = ordered(times, seek.range, direction);
        assert_eq!(rest[seek.skip as usize], expected, "{direction:?}, offset {offset}: {seek:?}");
        let ties = rest.iter().take_while(|time| **time == expected).count() as u64;
        assert!(
            seek.skip <= READ_PAST_MAX || seek.skip < ties,
            "{direction:?}, offset {offset}: {seek:?} passes rows by reading them"
        );
        given
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
    fn a_row_within_a_second_is_found_from_the_end_that_is_nearer() {
        // 1,000 rows of the second behind 7 s, and some around it.
        let second: Vec<i64> = (0..1_000).map(|n| 7_000_000_000 + n * 1_000_000).collect();
        let times: Vec<i64> =
            [6_500_000_000, 6_900_000_000].into_iter().chain(second).chain([8_000_000_000]).collect();
        for direction in [Direction::Ascending, Direction::Descending] {
            for offset in 0..times.len() {
                let given = finds(&times, TimeRange::ALL, direction, offset);
                assert!(
                    given <= 500 + READ_PAST_MAX as usize,
                    "{direction:?}, offset {offset}: {given} times"
                );
            }
            finds(&times, range(7_000_000_500, 7_900_000_000), direction, 870);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_row_is_found_whatever_is_tied_with_it(
            mut times in proptest::collection::vec((0_i64..4, 0_i64..12), 1..400),
            ascending: bool,
            offset: proptest::sample::Index,
            cut in 0_i64..12,
        ) {
            times.sort_unstable();
            let times: Vec<i64> = times.into_iter().map(|(s, part)| s * 1_000_000_000 + part * 80_000_000).collect();
            let direction = if ascending { Direction::Ascending } else { Direction::Descending };
            for within in [TimeRange::ALL, range(cut * 80_000_000, 3_000_000_000 + cut)] {
                let rows = ordered(&times, within, direction).len();
                if rows > 0 {
                    finds(&times, within, direction, offset.index(rows));
                }
            }
        }
    }

    #[test]
    fn many_rows_in_one_second_are_passed_in_bounded_steps() {
        let times: Vec<i64> = (0..100_000).map(|n| n * 10_000).collect();
        for offset in [0, 40_000, 60_000, 99_000, 99_999] {
            for direction in [Direction::Ascending, Direction::Descending] {
                finds(&times, TimeRange::ALL, direction, offset);
            }
        }
    }

    #[test]
    fn times_that_went_away_meanwhile_do_not_keep_a_tally_from_ending() {
        let rows = TimeCount { start_seconds: 0, rows: 1_000 };
        for (offset, times) in [(900, &[][..]), (900, &[1][..]), (400, &[][..]), (400, &[1, 2][..])] {
            let mut tally = Tally::seek(TimeRange::ALL, Direction::Ascending, offset);
            while let Wants::Counts { .. } = tally.wants() {
                tally.take_counts(vec![rows]);
            }
            let times: Vec<_> = times.iter().copied().map(Timestamp::from_nanos).collect();
            while let Wants::Times { .. } = tally.wants() {
                tally.take_times(&times);
            }
            assert!(matches!(tally.wants(), Wants::Found(_)), "{tally:?}");
        }
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
