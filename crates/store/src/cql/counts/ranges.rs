//! Ranges of numbered windows, kept apart: which of them are known.

/// Whole numbers, as ranges that are inclusive, in order, and neither overlap nor touch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    pub(super) fn add(&mut self, first: i64, last: i64) {
        let (mut first, mut last) = (first, last);
        self.0.retain(|&(a, b)| {
            let apart = b.saturating_add(1) < first || a > last.saturating_add(1);
            if !apart {
                (first, last) = (first.min(a), last.max(b));
            }
            apart
        });
        let at = self.0.partition_point(|range| range.0 < first);
        self.0.insert(at, (first, last));
    }

    pub(super) fn remove(&mut self, first: i64, last: i64) {
        let cut = |&(a, b): &(i64, i64)| {
            if b < first || a > last {
                return [Some((a, b)), None];
            }
            [(a < first).then(|| (a, first - 1)), (b > last).then(|| (last + 1, b))]
        };
        self.0 = self.0.iter().flat_map(cut).flatten().collect();
    }

    /// What of a range is not there.
    pub(super) fn gaps(&self, first: i64, last: i64) -> Vec<(i64, i64)> {
        let mut gaps = Self(vec![(first, last)]);
        for &(a, b) in &self.0 {
            gaps.remove(a, b);
        }
        gaps.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_are_sets_of_numbers(
            changes in proptest::collection::vec((any::<bool>(), -20i64..20, 0i64..9), 0..30),
            (first, length) in (-20i64..20, 0i64..30),
        ) {
            let mut ranges = Ranges::default();
            let mut numbers = BTreeSet::new();
            for (add, from, length) in changes {
                if add {
                    ranges.add(from, from + length);
                    numbers.extend(from..=from + length);
                } else {
                    ranges.remove(from, from + length);
                    numbers.retain(|number| !(from..=from + length).contains(number));
                }
                prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{ranges:?}");
                let held: BTreeSet<i64> = ranges.0.iter().flat_map(|&(a, b)| a..=b).collect();
                prop_assert_eq!(&held, &numbers);
            }
            let missing: Vec<i64> = (first..=first + length).filter(|number| !numbers.contains(number)).collect();
            let gaps: Vec<i64> = ranges.gaps(first, first + length).into_iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(gaps, missing);
        }
    }
}
