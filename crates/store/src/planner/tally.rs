//! How many rows a range holds, and which row comes after so many: from counts alone, but for the parts of a second.
//!
//! It never reads the rows of a window that lies within the range whole.

use domain::Timestamp;

use crate::contract::{CountLevel, Direction, Store, StoreError, TimeCount, TimeRange};

use super::walk::{Walk, narrow};
use super::{Filter, Query};

const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// Rows asked for in one call where they have to be counted one by one.
const ROWS_PER_CALL: usize = 1_024;

/// Counts of one query's channel.
pub(super) struct Tally<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) query: &'a Query,
}

/// Where to begin reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seek {
    /// The rest of the range.
    pub(super) range: TimeRange,
    /// Rows of it to leave out, all within one second.
    pub(super) skip: u64,
}

impl Tally<'_> {
    /// Rows within the range.
    pub(super) async fn total(&self, range: TimeRange) -> Result<u64, StoreError> {
        self.count(CountLevel::Coarsest, range).await
    }

    /// Where the row comes that has `offset` rows of the range before it, if there are so many.
    pub(super) async fn seek(&self, range: TimeRange, offset: u64) -> Result<Option<Seek>, StoreError> {
        let mut remaining = offset;
        let mut span = range;
        let mut level = CountLevel::Coarsest;
        loop {
            let mut found = None;
            for window in self.windows(level, span).await? {
                let rows = match window.part {
                    Part::Whole => window.rows,
                    Part::Some => self.count_part(level, window.range).await?,
                };
                if remaining < rows {
                    found = Some(window.range);
                    break;
                }
                remaining -= rows;
            }
            span = match (found, level) {
                (Some(window), _) => window,
                (None, CountLevel::Coarsest) => return Ok(None),
                // Rows of the window went away since it was counted: what comes behind it is next.
                (None, _) => {
                    return Ok(Some(Seek { range: behind(range, span, self.query.direction), skip: 0 }));
                }
            };
            let Some(finer) = level.finer() else {
                let mut rest = range;
                let near = match self.query.direction {
                    Direction::Ascending => span.from,
                    Direction::Descending => last_of(span),
                };
                narrow(&mut rest, self.query.direction, near);
                return Ok(Some(Seek { range: rest, skip: remaining }));
            };
            level = finer;
        }
    }

    /// Rows within a range, by windows of this level and finer ones at its ends.
    async fn count(&self, level: CountLevel, range: TimeRange) -> Result<u64, StoreError> {
        let mut total = 0;
        let mut parts = vec![(level, range)];
        while let Some((level, range)) = parts.pop() {
            for window in self.windows(level, range).await? {
                match (window.part, level.finer()) {
                    (Part::Whole, _) => total += window.rows,
                    (Part::Some, Some(finer)) => parts.push((finer, window.range)),
                    (Part::Some, None) => total += self.count_rows(window.range).await?,
                }
            }
        }
        Ok(total)
    }

    async fn count_part(&self, level: CountLevel, range: TimeRange) -> Result<u64, StoreError> {
        match level.finer() {
            Some(finer) => self.count(finer, range).await,
            None => self.count_rows(range).await,
        }
    }

    async fn count_rows(&self, range: TimeRange) -> Result<u64, StoreError> {
        let unfiltered = Query { filter: Filter::default(), ..self.query.clone() };
        let mut walk = Walk::new(self.store, &unfiltered, range, None, ROWS_PER_CALL);
        let mut rows = 0;
        while walk.next().await?.is_some() {
            rows += 1;
        }
        Ok(rows)
    }

    /// The windows that hold rows and have a part in the range, in the query's direction.
    async fn windows(&self, level: CountLevel, range: TimeRange) -> Result<Vec<Window>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let first = level.window_of(second_of(range.from));
        let last = level.window_of(second_of(last_of(range)));
        let counts = self.store.counts(self.query.channel, level, first..last + 1).await?;
        let mut windows: Vec<Window> =
            counts.into_iter().map(|count| Window::new(level, count, range)).collect();
        if self.query.direction == Direction::Descending {
            windows.reverse();
        }
        Ok(windows)
    }
}

/// How much of a window is in the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Some,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    /// Rows in all of it.
    rows: u64,
    part: Part,
    /// The part of it that is in the range.
    range: TimeRange,
}

impl Window {
    fn new(level: CountLevel, count: TimeCount, range: TimeRange) -> Self {
        let start = i128::from(count.start_seconds) * NANOS_PER_SECOND;
        let end = start + i128::from(level.seconds()) * NANOS_PER_SECOND;
        let whole = TimeRange {
            from: Timestamp::from_nanos(start.max(i128::from(i64::MIN)) as i64),
            to: i64::try_from(end).ok().map(Timestamp::from_nanos),
        };
        let part = TimeRange {
            from: whole.from.max(range.from),
            to: match (whole.to, range.to) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        };
        Self { rows: count.rows, part: if part == whole { Part::Whole } else { Part::Some }, range: part }
    }
}

fn second_of(time: Timestamp) -> i64 {
    time.as_nanos().div_euclid(NANOS_PER_SECOND as i64)
}

/// The last time of a range that is not empty.
fn last_of(range: TimeRange) -> Timestamp {
    range.to.map_or(Timestamp::MAX, |to| Timestamp::from_nanos(to.as_nanos().saturating_sub(1)))
}

/// What is left of a range behind a span of it, in the direction.
fn behind(range: TimeRange, span: TimeRange, direction: Direction) -> TimeRange {
    match (direction, span.to) {
        (Direction::Descending, _) => TimeRange { from: range.from, to: Some(span.from) },
        (Direction::Ascending, Some(to)) => TimeRange { from: to, to: range.to },
        (Direction::Ascending, None) => TimeRange { from: range.from, to: Some(range.from) },
    }
}
