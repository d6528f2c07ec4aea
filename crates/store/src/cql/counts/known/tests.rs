use super::*;
use crate::cql::marks::Touched;
use proptest::prelude::*;

const ME: Uuid = Uuid::from_bytes([1; 16]);

#[test]
fn bits_are_those_of_a_range() {
    assert_eq!(bits(0, 127), u128::MAX);
    assert_eq!(bits(-5, 500), u128::MAX);
    assert_eq!(bits(3, 3), 8);
    assert_eq!(bits(127, 127), 1 << 127);
    assert_eq!((bits(4, 3), bits(128, 200), bits(-9, -1)), (0, 0, 0));
}

proptest! {
    #[test]
    fn runs_are_the_set_bits(high: u64, low: u64) {
        let number = u128::from(high) << 64 | u128::from(low);
        let found: u128 = runs(number).map(|(first, last)| bits(first, last)).sum();
        prop_assert_eq!(found, number);
        prop_assert!(runs(number).zip(runs(number).skip(1)).all(|(a, b)| a.1 + 1 < b.0));
    }
}

/// Rows as a channel has them: seconds, and how many.
type Rows = BTreeMap<i64, u64>;

/// Counts all that is asked for and not known, as a reader does; the seconds it had to read.
fn count(known: &mut Known, rows: &Rows, first: i64, last: i64) -> i64 {
    let (first, last) = (window_of(first), window_of(last));
    for (first, last) in known.not_listed(first, last) {
        let holding: std::collections::BTreeSet<i64> = rows.keys().map(|second| window_of(*second)).collect();
        let listed = holding.range(first..=last).map(|window| (*window, None)).collect::<Vec<_>>();
        known.list((first, last), listed.into_iter());
    }
    let mut read = 0;
    for window in known.unknown(first, last) {
        let seconds = known.to_read(window);
        let among = |second: &i64| seconds.iter().any(|(first, last)| (first..=last).contains(&second));
        let found = rows.iter().filter(|(second, _)| among(second)).map(|(second, rows)| (*second, *rows));
        known.counted(window, &found.collect());
        known.trim();
        read += seconds.iter().map(|(first, last)| last - first + 1).sum::<i64>();
    }
    read
}

fn totals(known: &Known, first: i64, last: i64) -> Vec<(i64, u64)> {
    let parts = known.windows(window_of(first), window_of(last));
    let parts = parts
        .flat_map(|(window, parts)| parts.iter().map(move |(part, rows)| (part_start(window, part), rows)));
    parts.collect()
}

fn expected(rows: &Rows, first: i64, last: i64) -> Vec<(i64, u64)> {
    let (first, last) = (window_of(first) * WINDOW_SECONDS, (window_of(last) + 1) * WINDOW_SECONDS);
    let mut parts = Rows::new();
    for (second, rows) in rows.range(first..last) {
        *parts.entry(second.div_euclid(PART_SECONDS) * PART_SECONDS).or_default() += rows;
    }
    parts.into_iter().collect()
}

/// What there is to be seen of one instance.
fn marks(touched: &Touched) -> Marks {
    Marks { touched: vec![(ME, touched.clone())], open: Vec::new() }
}

proptest! {
    /// Whatever was touched between two looks, or is open and may be marked later or never, what is answered is what there is.
    #[test]
    fn counts_are_those_of_the_rows_at_the_last_look(
        steps in proptest::collection::vec(
            (proptest::collection::vec((-40_000i64..40_000, 1u64..3_000), 0..6), any::<bool>(), -40_000i64..40_000, 0i64..60_000),
            1..25,
        ),
    ) {
        let (mut known, mut rows) = (Known::default(), Rows::new());
        let mut touched = Touched::default();
        let mut unmarked = std::collections::BTreeSet::new();
        for (number, (added, marks_now, first, length)) in steps.into_iter().enumerate() {
            unmarked.extend(added.iter().map(|(second, _)| *second));
            for (second, more) in added {
                *rows.entry(second).or_default() += more;
            }
            if marks_now {
                touched.touch(number as u64 + 1, std::mem::take(&mut unmarked).into_iter());
            }
            let open = unmarked.iter().map(|second| (*second, second + 3)).collect();
            known.look_at(&Marks { open, ..marks(&touched) });
            count(&mut known, &rows, first, first + length);
            prop_assert_eq!(totals(&known, first, first + length), expected(&rows, first, first + length));
            if let Some(seconds) = known.seconds(first, first + 5) {
                let there: Vec<_> = rows.range(first..=first + 5).map(|(second, rows)| (*second, *rows)).collect();
                prop_assert_eq!(seconds, there);
            }
        }
    }
}

#[test]
fn a_busy_second_is_all_that_is_read_again() {
    let (mut known, mut touched) = (Known::default(), Touched::default());
    let mut rows: Rows = (0..10_000).map(|second| (second, 5_000)).collect();
    known.look_at(&marks(&touched));
    assert_eq!(count(&mut known, &rows, 0, 9_999), WINDOW_SECONDS);
    assert_eq!(count(&mut known, &rows, 0, 9_999), 0, "nothing was touched");
    for second in 10_000..10_100 {
        rows.insert(second, 5_000);
        touched.touch(second as u64, std::iter::once(second));
        known.look_at(&marks(&touched));
        let read = count(&mut known, &rows, 0, second);
        assert!(read <= 128, "a part that was not dense is read whole, once: {read}");
        if second > 10_001 {
            assert_eq!(read, 1);
        }
        assert_eq!(totals(&known, 0, second), expected(&rows, 0, second));
    }
}

#[test]
fn a_window_that_is_known_is_not_to_be_found_again() {
    let (mut known, rows) = (Known::default(), Rows::from([(0, 1), (2 * WINDOW_SECONDS, 1)]));
    let mut touched = Touched::default();
    known.look_at(&marks(&touched));
    count(&mut known, &rows, 0, 2 * WINDOW_SECONDS);
    touched.touch(1, 0..5);
    known.look_at(&marks(&touched));
    assert_eq!(known.not_listed(0, 2), [], "rows of another second are in the same window");
    assert_eq!(known.unknown(0, 2), [0]);
    touched.touch(2, WINDOW_SECONDS - 1..WINDOW_SECONDS + 1);
    known.look_at(&marks(&touched));
    assert_eq!(known.not_listed(0, 2), [(0, 1)], "the second window may hold rows now");
}

#[test]
fn a_window_is_kept_when_an_eighth_of_it_would_be_read_again() {
    let (mut known, rows) = (Known::default(), (0..100).map(|part| (part * PART_SECONDS, 100)).collect());
    let mut touched = Touched::default();
    let mut read_until_kept = || {
        for number in touched.number + 1.. {
            touched.touch(number, std::iter::once(0));
            known.look_at(&marks(&touched));
            count(&mut known, &rows, 0, 0);
            let window = known.window_mut(0).unwrap();
            if window.is_worth_keeping() {
                return std::mem::take(&mut window.unkept);
            }
        }
        0
    };
    assert_eq!(read_until_kept(), KEPT_FROM_ROWS + 10_000, "what is counted for the first time is kept");
    assert_eq!(read_until_kept(), 1_300);
}

#[test]
fn a_kept_count_is_worth_what_was_not_touched_since() {
    let mut touched = Touched::default();
    touched.touch(7, 0..2_000);
    touched.touch(9, std::iter::once(300));
    let kept = || Parts::decode(vec![0, 0, 0, 0, 5, 2, 0, 0, 0, 6]).unwrap();
    let marks = marks(&touched);
    let recalled = |seen: &[(Uuid, u64)], marks: &Marks| {
        let parts = recall(0, kept(), &seen.iter().copied().collect(), marks);
        runs(parts.unknown).collect::<Vec<_>>()
    };
    let since = |seen: &[(Uuid, u64)]| recalled(seen, &marks);
    assert_eq!(since(&[(ME, 9)]), []);
    assert_eq!(since(&[(ME, 8)]), [(2, 2)]);
    assert_eq!(since(&[(Uuid::from_bytes([2; 16]), 100)]), [(0, 15)], "who is not named was seen at 0");
    let open = Marks { open: vec![(500, 700)], ..marks };
    assert_eq!(recalled(&[(ME, 9)], &open), [(3, 5)], "nothing is worth anything where it is open");
}

#[test]
fn kept_counts_that_make_no_sense_are_damage() {
    for stored in [vec![0], vec![128, 0, 0, 0, 1], vec![1, 0, 0, 0, 1, 1, 0, 0, 0, 1]] {
        assert!(matches!(Parts::decode(stored), Err(StoreError::Damaged(_))));
    }
    assert_eq!(Parts::decode(Vec::new()).unwrap().iter().count(), 0);
}
