//! Marks: where this instance touched a channel, and when, in flushes. Readers tell by them which counts still hold.
//!
//! A span may say that more was touched than was, never less. No clock of a machine takes part. The argument why this is
//! enough is `docs/adr/0008-counts-of-a-cql-store.md`.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::contract::StoreError;

/// Spans of one mark. With them merged by age, a reader that looks every few flushes finds what was touched since
/// within a factor of two or so.
const SPANS_MAX: usize = 16;
/// Bytes of a span as stored: first, last, number.
const SPAN_BYTES: usize = 24;

/// Seconds of record time, both inclusive, and the number of the last flush that touched any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) number: u64,
}

/// What all instances say of one channel.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// What each touched.
    pub(super) touched: Vec<(Uuid, Touched)>,
    /// Seconds, from and to, in which one may be writing: what is counted there counts once.
    pub(super) open: Vec<(i64, i64)>,
}

/// What an append touches of one channel.
#[derive(Debug)]
pub(super) struct Touch {
    pub(super) seconds: BTreeSet<i64>,
    pub(super) rows: usize,
    /// Whether all of the rows are of about the time at which they came.
    pub(super) is_of_now: bool,
}

/// What one instance touched of one channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// Number of the last flush; 0: none yet.
    pub(super) number: u64,
    /// In order of their first second. They may overlap.
    spans: Vec<Span>,
}

impl Touched {
    /// Seconds alone, from and to, in any order, of no flush.
    pub(super) fn of(seconds: impl Iterator<Item = (i64, i64)>) -> Self {
        let mut seconds: Vec<(i64, i64)> = seconds.collect();
        seconds.sort_unstable();
        let mut spans = runs(0, seconds.into_iter());
        compress(&mut spans, 0);
        Self { number: 0, spans }
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether all of the seconds of another one are within spans of this.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let within = |span: &Span| self.spans.iter().any(|s| s.first <= span.first && s.last >= span.last);
        other.spans.iter().all(within)
    }

    /// Whether anything of the seconds may have been touched.
    pub(super) fn reaches(&self, first: i64, last: i64) -> bool {
        self.spans.iter().any(|span| span.first <= last && span.last >= first)
    }

    /// Notes that a flush, whose number is above all before, touched these seconds, which are in ascending order.
    pub(super) fn touch(&mut self, number: u64, seconds: impl Iterator<Item = i64>) {
        debug_assert!(number > self.number, "numbers of flushes grow");
        self.number = number;
        let mut runs = runs(number, seconds.map(|second| (second, second)));
        compress(&mut runs, number);
        for run in runs {
            self.spans.retain_mut(|span| leave_out(span, run));
            let at = self.spans.partition_point(|span| span.first < run.first);
            self.spans.insert(at, run);
        }
        compress(&mut self.spans, number);
    }

    /// As stored: each span's first second, last second and number, 8 bytes each, big endian.
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = |span: &Span| {
            [span.first.to_be_bytes(), span.last.to_be_bytes(), span.number.to_be_bytes()].concat()
        };
        self.spans.iter().flat_map(numbers).collect()
    }

    /// Reads back what [`Touched::encode`] gave.
    pub(super) fn decode(number: i64, stored: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged(format!("a mark is malformed: {}", stored.escape_ascii()));
        let (spans, rest) = stored.as_chunks::<SPAN_BYTES>();
        let number = u64::try_from(number).map_err(|_| damaged())?;
        if !rest.is_empty() {
            return Err(damaged());
        }
        let spans = spans.iter().map(|bytes| {
            let part = |at: usize| bytes[at..at + 8].try_into().expect("a span has three of 8 bytes");
            Span {
                first: i64::from_be_bytes(part(0)),
                last: i64::from_be_bytes(part(8)),
                number: u64::from_be_bytes(part(16)),
            }
        });
        Ok(Self { number, spans: spans.collect() })
    }
}

/// Seconds, from and to, in order of the first: those that overlap or follow one another in one span.
fn runs(number: u64, seconds: impl Iterator<Item = (i64, i64)>) -> Vec<Span> {
    let mut runs: Vec<Span> = Vec::new();
    for (first, last) in seconds {
        match runs.last_mut() {
            Some(run) if first <= run.last.saturating_add(1) => run.last = run.last.max(last),
            _ => runs.push(Span { first, last, number }),
        }
    }
    runs
}

/// Takes what a later run says again out of an earlier span, where that leaves one piece; false if it leaves none.
fn leave_out(span: &mut Span, run: Span) -> bool {
    if span.first >= run.first && span.last <= run.last {
        return false;
    }
    if span.first < run.first && (run.first..=run.last).contains(&span.last) {
        span.last = run.first - 1;
    } else if span.last > run.last && (run.first..=run.last).contains(&span.first) {
        span.first = run.last + 1;
    }
    true
}

/// Merges neighbours until there are few enough: those first that are short for their age.
fn compress(spans: &mut Vec<Span>, number: u64) {
    while spans.len() > SPANS_MAX {
        let union = |a: Span, b: Span| Span {
            first: a.first,
            last: a.last.max(b.last),
            number: a.number.max(b.number),
        };
        let length_by_age = |at: &usize| {
            let merged = union(spans[*at], spans[at + 1]);
            let length = (i128::from(merged.last) - i128::from(merged.first) + 1) as u128;
            // A number of a span is at most that of the last flush; scaled, so that the division keeps its order.
            (length << 32) / u128::from(number - merged.number + 1)
        };
        let at = (0..spans.len() - 1).min_by_key(length_by_age).expect("there are at least two");
        spans[at] = union(spans[at], spans[at + 1]);
        spans.remove(at + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn a_span_never_says_too_little(
            flushes in proptest::collection::vec(
                proptest::collection::btree_set(prop_oneof![-40i64..400, any::<i64>()], 1..40), 1..40),
        ) {
            let mut touched = Touched::default();
            let mut last_touch = HashMap::new();
            for (number, seconds) in flushes.iter().enumerate() {
                let number = number as u64 + 1;
                touched.touch(number, seconds.iter().copied());
                last_touch.extend(seconds.iter().map(|second| (*second, number)));
                prop_assert!(touched.spans().len() <= SPANS_MAX);
                prop_assert!(touched.spans().is_sorted_by_key(|span| span.first));
                for (second, at) in &last_touch {
                    let said = touched.spans().iter().filter(|span| (span.first..=span.last).contains(second));
                    prop_assert!(said.map(|span| span.number).max() >= Some(*at), "{second} at {at}: {touched:?}");
                }
                let number = touched.number as i64;
                prop_assert_eq!(Touched::decode(number, &touched.encode()).unwrap(), touched.clone());
            }
        }
    }

    /// The seconds that a reader that saw `seen` has to count again.
    fn since(touched: &Touched, seen: u64) -> i64 {
        touched.spans().iter().filter(|span| span.number > seen).map(|span| span.last - span.first + 1).sum()
    }

    #[test]
    fn what_was_touched_lately_stays_precise() {
        let mut touched = Touched::default();
        for number in 1..=100_000u64 {
            touched.touch(number, [number as i64, number as i64 + 1].into_iter());
            for ago in [1, 10, 100, 1_000, 10_000].into_iter().filter(|ago| *ago < number) {
                let seconds = since(&touched, number - ago);
                let enough = ago as i64 + 1;
                assert!(
                    seconds >= enough && seconds <= 4 * enough,
                    "{seconds} s for {ago} flushes: {touched:?}"
                );
            }
        }
    }

    #[test]
    fn old_times_that_come_late_do_not_blur_new_ones() {
        let mut touched = Touched::default();
        for number in 1..=2_000u64 {
            let second = if number % 2 == 0 { number as i64 } else { 1_000_000_000 + number as i64 };
            touched.touch(number, std::iter::once(second));
        }
        let seconds = since(&touched, 1_990);
        assert!(seconds < 200, "{seconds}: {touched:?}");
    }

    #[test]
    fn bytes_that_are_no_mark_are_damage() {
        assert!(matches!(Touched::decode(1, &[0; 23]), Err(StoreError::Damaged(_))));
        assert!(matches!(Touched::decode(-1, &[]), Err(StoreError::Damaged(_))));
        assert_eq!(Touched::decode(0, &[]).unwrap(), Touched::default());
    }

    /// Written by the first release: this may never be changed to fit.
    #[test]
    fn a_mark_of_schema_1_stays_readable() {
        let mut touched = Touched::default();
        touched.touch(258, [-1, 0, 7].into_iter());
        let stored = b"\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\
            \0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\x01\x02";
        assert_eq!(touched.encode(), stored);
        assert_eq!(Touched::decode(258, stored).unwrap(), touched);
    }
}
