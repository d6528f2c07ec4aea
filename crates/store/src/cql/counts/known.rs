//! What a reader knows of a channel's counts, and what it has to read again. Pure: it neither reads nor waits.
//!
//! A number it gives is never older than the marks it was last shown.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::ranges::Ranges;
use crate::contract::{CountLevel, StoreError};
use crate::cql::marks::Marks;

/// Parts that a window is counted in. A window's are of [`CountLevel::Fine`], a dense part's are seconds.
const PARTS: i64 = 128;
/// Seconds of a window.
pub(super) const WINDOW_SECONDS: i64 = CountLevel::Coarse.seconds();
/// Seconds of a window's part.
const PART_SECONDS: i64 = CountLevel::Fine.seconds();
const _: () =
    assert!(WINDOW_SECONDS == PARTS * PART_SECONDS && PART_SECONDS == PARTS, "windows are cut in 128 parts");

/// Rows from which on a part's seconds are remembered, too: fewer are as quickly read again.
const DENSE_ROWS: u64 = 2_048;
/// Dense parts remembered of one channel, 640 bytes each: the last two hours of a busy one.
const DENSE_MAX: usize = 64;
/// Rows that a window has to be read for until it is worth being kept again: so many, and this part of what it holds. Less
/// than that is left for the next reader to read again.
const KEPT_FROM_ROWS: u64 = 64;
const KEPT_FROM_PART: u64 = 8;
/// Bytes that a remembered window takes beside its parts.
const WINDOW_BYTES: usize = 120;

/// How many rows each of 128 parts holds, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    /// A bit for each part whose rows have to be counted.
    unknown: u128,
    /// The parts that hold any: number (u8) and rows (u32, big endian), in ascending order.
    packed: Vec<u8>,
}

const PACKED_BYTES: usize = 5;

impl Parts {
    fn unknown() -> Self {
        Self { unknown: u128::MAX, packed: Vec::new() }
    }

    pub(super) fn is_known(&self) -> bool {
        self.unknown == 0
    }

    fn forget(&mut self, parts: u128) {
        self.unknown |= parts;
    }

    fn knows(&self, parts: u128) -> bool {
        self.unknown & parts == 0
    }

    /// Takes numbers of parts in ascending order, of which those left out are 0.
    fn learn(&mut self, parts: u128, rows: impl Iterator<Item = (u8, u64)>) {
        let mut all: BTreeMap<u8, u64> = self.iter().filter(|(part, _)| parts & 1 << part == 0).collect();
        all.extend(rows.filter(|(part, rows)| parts & 1 << part != 0 && *rows > 0));
        let pack = |(part, rows): (u8, u64)| {
            let [a, b, c, d] = u32::try_from(rows).unwrap_or(u32::MAX).to_be_bytes();
            [part, a, b, c, d]
        };
        self.packed = all.into_iter().flat_map(pack).collect();
        self.unknown &= !parts;
    }

    /// The parts that hold any rows, and how many.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, u64)> {
        let (parts, _) = self.packed.as_chunks::<PACKED_BYTES>();
        parts.iter().map(|&[part, a, b, c, d]| (part, u64::from(u32::from_be_bytes([a, b, c, d]))))
    }

    /// As stored; only for what is known whole.
    pub(super) fn encode(&self) -> &[u8] {
        debug_assert!(self.is_known(), "what is not known is not kept");
        &self.packed
    }

    pub(super) fn decode(stored: Vec<u8>) -> Result<Self, StoreError> {
        let (parts, rest) = stored.as_chunks::<PACKED_BYTES>();
        let numbers = || parts.iter().map(|part| i64::from(part[0]));
        if !rest.is_empty() || !numbers().is_sorted_by(|a, b| a < b) || numbers().any(|part| part >= PARTS) {
            return Err(StoreError::Damaged(format!("kept counts are malformed: {}", stored.escape_ascii())));
        }
        Ok(Self { unknown: 0, packed: stored })
    }
}

/// The bits of parts from one to another, both inclusive and cut to those there are.
fn bits(first: i64, last: i64) -> u128 {
    let (first, last) = (first.max(0), last.min(PARTS - 1));
    if first > last {
        return 0;
    }
    let all = u128::MAX >> (PARTS - 1 - (last - first));
    all << first
}

/// The numbers of set bits, as ranges that are inclusive.
fn runs(bits: u128) -> impl Iterator<Item = (i64, i64)> {
    let mut rest = bits;
    let mut at = 0;
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let skipped = rest.trailing_zeros();
        rest >>= skipped;
        let length = rest.trailing_ones();
        rest = rest.checked_shr(length).unwrap_or(0);
        let first = at + i64::from(skipped);
        at = first + i64::from(length);
        Some((first, at - 1))
    })
}

/// A window whose counts are remembered.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) parts: Parts,
    /// Rows that were read for it and would be read again if it were not kept.
    pub(super) unkept: u64,
}

impl Window {
    /// Whether reading it again would be more work than keeping it.
    pub(super) fn is_worth_keeping(&self) -> bool {
        let rows: u64 = self.parts.iter().map(|(_, rows)| rows).sum();
        self.unkept >= KEPT_FROM_ROWS.max(rows / KEPT_FROM_PART)
    }
}

/// What is known of a channel.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The last flush of each instance that everything here has taken into account.
    seen: HashMap<Uuid, u64>,
    /// The numbers of windows of which all that may hold rows are in `windows`.
    listed: Ranges,
    windows: BTreeMap<i64, Window>,
    /// Seconds of dense parts, by the part's number since the epoch.
    dense: BTreeMap<i64, Parts>,
}

impl Known {
    /// Takes a channel's marks as they are now: what was touched since the last ones, or is open, is no longer known.
    pub(super) fn look_at(&mut self, marks: &Marks) {
        for (instance, touched) in &marks.touched {
            let seen = self.seen.get(instance).copied().unwrap_or(0);
            for span in touched.spans().iter().filter(|span| span.number > seen) {
                self.forget(span.first, span.last);
            }
        }
        for &(first, last) in &marks.open {
            self.forget(first, last);
        }
        self.seen = marks.touched.iter().map(|(instance, touched)| (*instance, touched.number)).collect();
    }

    fn forget(&mut self, first: i64, last: i64) {
        let (first_window, last_window) = (window_of(first), window_of(last));
        let mut known_windows = 0;
        for (&window, known) in self.windows.range_mut(first_window..=last_window) {
            known.parts.forget(parts_within(window, first, last));
            known_windows += 1;
        }
        // One that is known already is not to be found again.
        if known_windows <= last_window - first_window {
            self.listed.remove(first_window, last_window);
        }
        let dense = self.dense.range_mut(first.div_euclid(PART_SECONDS)..=last.div_euclid(PART_SECONDS));
        for (&part, seconds) in dense {
            seconds.forget(seconds_within(part, first, last));
        }
    }

    /// The windows from one to another of which it is not known which hold rows.
    pub(super) fn not_listed(&self, first: i64, last: i64) -> Vec<(i64, i64)> {
        self.listed.gaps(first, last)
    }

    pub(super) fn has(&self, window: i64) -> bool {
        self.windows.contains_key(&window)
    }

    /// Takes all windows of a range that may hold rows and are not there yet, and their counts where they were kept.
    pub(super) fn list(
        &mut self,
        (first, last): (i64, i64),
        windows: impl Iterator<Item = (i64, Option<Parts>)>,
    ) {
        for (window, kept) in windows {
            // Not even a window without rows is to be looked through again by the next reader.
            let unkept = if kept.is_some() { 0 } else { KEPT_FROM_ROWS };
            let parts = kept.unwrap_or_else(Parts::unknown);
            self.windows.entry(window).or_insert(Window { parts, unkept });
        }
        self.listed.add(first, last);
    }

    /// The windows from one to another that have to be counted, in whole or in part.
    pub(super) fn unknown(&self, first: i64, last: i64) -> Vec<i64> {
        let windows = self.windows.range(first..=last).filter(|(_, window)| !window.parts.is_known());
        windows.map(|(&window, _)| window).collect()
    }

    /// The seconds of a window whose rows have to be counted, as ranges that are inclusive.
    pub(super) fn to_read(&self, window: i64) -> Vec<(i64, i64)> {
        let Some(known) = self.windows.get(&window) else { return Vec::new() };
        let mut seconds: Vec<(i64, i64)> = Vec::new();
        for part in part_numbers(window, known.parts.unknown) {
            let start = part * PART_SECONDS;
            let unknown = self.dense.get(&part).map_or(u128::MAX, |seconds| seconds.unknown);
            for (first, last) in runs(unknown) {
                match seconds.last_mut() {
                    Some(run) if run.1 + 1 == start + first => run.1 = start + last,
                    _ => seconds.push((start + first, start + last)),
                }
            }
        }
        seconds
    }

    /// Takes the rows of the seconds that [`Known::to_read`] gave, those without any left out.
    pub(super) fn counted(&mut self, window: i64, rows: &BTreeMap<i64, u64>) {
        let Some(known) = self.windows.get_mut(&window) else { return };
        let unknown = known.parts.unknown;
        let mut totals = Vec::new();
        for part in part_numbers(window, unknown) {
            let start = part * PART_SECONDS;
            let within = rows.range(start..start + PART_SECONDS);
            let within = within.map(|(second, rows)| ((second - start) as u8, *rows));
            let total = match self.dense.get_mut(&part) {
                Some(seconds) => {
                    seconds.learn(seconds.unknown, within);
                    seconds.iter().map(|(_, rows)| rows).sum()
                }
                None => {
                    let total = within.clone().map(|(_, rows)| rows).sum();
                    if total >= DENSE_ROWS {
                        let mut seconds = Parts::unknown();
                        seconds.learn(u128::MAX, within);
                        self.dense.insert(part, seconds);
                    }
                    total
                }
            };
            totals.push((part.rem_euclid(PARTS) as u8, total));
        }
        known.parts.learn(unknown, totals.into_iter());
        known.unkept += rows.values().sum::<u64>();
    }

    /// Forgets what is too much. Not between [`Known::to_read`] and [`Known::counted`]: what is read rests on the rest.
    pub(super) fn trim(&mut self) {
        while self.dense.len() > DENSE_MAX {
            self.dense.pop_first();
        }
    }

    /// Rows of the seconds of a range, if they are remembered.
    pub(super) fn seconds(&self, first: i64, last: i64) -> Option<Vec<(i64, u64)>> {
        let part = first.div_euclid(PART_SECONDS);
        let seconds = self.dense.get(&part).filter(|_| last.div_euclid(PART_SECONDS) == part)?;
        let wanted = seconds_within(part, first, last);
        let start = part * PART_SECONDS;
        let rows = || seconds.iter().filter(|(second, _)| wanted & 1 << second != 0);
        seconds
            .knows(wanted)
            .then(|| rows().map(|(second, rows)| (start + i64::from(second), rows)).collect())
    }

    /// The windows from one to another; all of them have to be known.
    pub(super) fn windows(&self, first: i64, last: i64) -> impl Iterator<Item = (i64, &Parts)> {
        self.windows.range(first..=last).map(|(&window, known)| (window, &known.parts))
    }

    pub(super) fn window_mut(&mut self, window: i64) -> Option<&mut Window> {
        self.windows.get_mut(&window)
    }

    /// About the bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let windows = self.windows.values().map(|window| &window.parts);
        windows.chain(self.dense.values()).map(|parts| WINDOW_BYTES + parts.packed.capacity()).sum()
    }
}

/// What a kept count is worth under the marks there are now: what was touched since it was made, or is open, is not known.
pub(super) fn recall(window: i64, mut kept: Parts, seen: &HashMap<Uuid, u64>, marks: &Marks) -> Parts {
    for (instance, touched) in &marks.touched {
        let seen = seen.get(instance).copied().unwrap_or(0);
        for span in touched.spans().iter().filter(|span| span.number > seen) {
            kept.forget(parts_within(window, span.first, span.last));
        }
    }
    for &(first, last) in &marks.open {
        kept.forget(parts_within(window, first, last));
    }
    kept
}

/// The number of the window that holds a second.
pub(super) const fn window_of(second: i64) -> i64 {
    second.div_euclid(WINDOW_SECONDS)
}

/// A window's parts that hold any of the seconds.
fn parts_within(window: i64, first: i64, last: i64) -> u128 {
    let part = |second: i64| second.div_euclid(PART_SECONDS) - window * PARTS;
    bits(part(first), part(last))
}

/// The seconds of a part that are among others.
fn seconds_within(part: i64, first: i64, last: i64) -> u128 {
    bits(first.saturating_sub(part * PART_SECONDS), last.saturating_sub(part * PART_SECONDS))
}

/// The numbers since the epoch of some of a window's parts.
fn part_numbers(window: i64, parts: u128) -> impl Iterator<Item = i64> {
    runs(parts).flat_map(|(first, last)| first..=last).map(move |part| window * PARTS + part)
}

/// The seconds of a window's part, the first and the length.
pub(super) const fn part_start(window: i64, part: u8) -> i64 {
    window * WINDOW_SECONDS + part as i64 * PART_SECONDS
}

#[cfg(test)]
mod tests;
