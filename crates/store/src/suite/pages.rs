//! What the planner promises over any [`Store`], one test each.

use domain::{ChannelProfile, Timestamp, Value};

use super::Home;
use super::fixtures::{append, channel, number_row, thing};
use crate::contract::{Direction, Row, Store, TimeRange};
use crate::planner::{
    Bounds, Comparator, CursorKey, Filter, NumberFilter, Page, Query, ReadError, Start, TotalRelation, read,
    read_within,
};

const SECOND: i64 = 1_000_000_000;

fn key() -> CursorKey {
    CursorKey::from_bytes(&[9; 32])
}

fn query(limit: usize) -> Query {
    Query {
        channel: channel(1),
        profile: ChannelProfile::default(),
        range: TimeRange::ALL,
        cut_off: Timestamp::MIN,
        direction: Direction::Descending,
        filter: Filter::default(),
        limit,
        start: Start::Offset(0),
    }
}

async fn page(store: &dyn Store, query: Query) -> Page {
    read(store, &query, &key()).await.expect("a page can be read")
}

fn numbers_over(number: f64) -> Filter {
    let number = NumberFilter { comparator: Comparator::Greater, number };
    Filter { number: Some(number), ..Filter::default() }
}

fn seconds(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.record.time.as_nanos() / SECOND).collect()
}

/// A page whose rows would take too many bytes is refused, and says how many fit; as many are a page, from wherever it begins, with
/// a filter and without. What a filter passes by takes no room.
pub async fn a_page_is_bounded_in_bytes(home: &mut dyn Home) {
    let store = home.open().await;
    let text = |n: i64| {
        let mut row = number_row(channel(1), thing((n % 5) as u8), n * SECOND, 0.0);
        row.row.record.value = Some(Value::Text("x".repeat(100_000)));
        row
    };
    append(&*store, (0..60).map(text)).await;
    append(&*store, (60..90).map(|n| number_row(channel(1), thing(1), n * SECOND, 1.0))).await;
    let texts = Filter { text: Some("x".repeat(100_000)), ..Filter::default() };
    let numbers = numbers_over(0.0);
    for direction in [Direction::Descending, Direction::Ascending] {
        let asked = |filter: &Filter, limit| Query { direction, filter: filter.clone(), ..query(limit) };
        let bounds = Bounds { bytes_max: 1_050_000, ..Bounds::default() };
        let within = async |query: Query| read_within(&*store, &query, &key(), bounds).await;
        // Ten of the texts fit, eleven do not.
        let fits = within(asked(&texts, 10)).await.expect("it is small enough");
        assert_eq!((fits.rows.len(), fits.total), (10, 60));
        let refused = within(asked(&texts, 11)).await;
        let wanted = ReadError::PageTooLarge { fitting: 10, bytes_max: 1_050_000 };
        assert_eq!(refused.expect_err("it is too large").to_string(), wanted.to_string());
        let at = |limit| Query { start: Start::Offset(20), range: TimeRange::ALL, ..asked(&texts, limit) };
        within(at(10)).await.expect("it is small enough");
        assert!(matches!(within(at(11)).await, Err(ReadError::PageTooLarge { fitting: 10, .. })));
        let all = within(asked(&numbers, 1_000)).await.expect("numbers are small");
        assert_eq!((all.rows.len(), all.total), (30, 30));
        let to = Timestamp::from_nanos(60 * SECOND);
        let range = TimeRange { from: Timestamp::MIN, to: Some(to) };
        let unfiltered = |limit| Query { range, ..asked(&Filter::default(), limit) };
        within(unfiltered(10)).await.expect("it is small enough");
        assert!(matches!(within(unfiltered(11)).await, Err(ReadError::PageTooLarge { fitting: 10, .. })));
        // Page after page, by offset and by cursor, nothing is missed.
        let whole = page(&*store, unfiltered(1_000)).await.rows;
        assert_eq!(whole.len(), 60);
        let (mut walked, mut start) = (Vec::new(), Start::Offset(0));
        loop {
            let page = within(Query { start, ..unfiltered(9) }).await.expect("it is small enough");
            walked.extend(page.rows);
            match page.next {
                Some(next) => start = Start::Cursor(next),
                None => break,
            }
        }
        assert_eq!(walked, whole, "{direction:?}");
    }
}

/// Many rows within one second, and many of one time, are paged by offset like any others.
pub async fn an_offset_is_exact_within_a_second(home: &mut dyn Home) {
    let store = home.open().await;
    // 600 rows of 200 times, three things at each; then 100 rows of one time; all in the second behind 1,000.
    let of =
        |i: i64| number_row(channel(1), thing((i % 3) as u8), 1_000 * SECOND + i / 3 * 4_000_001, i as f64);
    let tied =
        |i: i64| number_row(channel(1), thing(10 + i as u8), 1_000 * SECOND + 900_000_000, (600 + i) as f64);
    append(&*store, (0..600).map(of).chain((0..100).map(tied))).await;
    append(&*store, [number_row(channel(1), thing(0), 999 * SECOND, -1.0)]).await;
    for direction in [Direction::Descending, Direction::Ascending] {
        let all = page(&*store, Query { direction, ..query(1_000) }).await.rows;
        assert_eq!(all.len(), 701);
        for offset in (0..=701).step_by(13).chain([32, 33, 34, 599, 600, 601, 699, 700]) {
            let start = Start::Offset(offset);
            let shown = page(&*store, Query { direction, start, ..query(5) }).await.rows;
            let offset = offset as usize;
            assert_eq!(shown, all[offset..(offset + 5).min(all.len())], "{direction:?}, offset {offset}");
        }
        for (from, to) in [(1_000 * SECOND + 5, 1_000 * SECOND + 500_000_000), (999 * SECOND, 1_001 * SECOND)]
        {
            let range = TimeRange { from: Timestamp::from_nanos(from), to: Some(Timestamp::from_nanos(to)) };
            let all = page(&*store, Query { direction, range, ..query(1_000) }).await.rows;
            for offset in (0..all.len()).step_by(17) {
                let start = Start::Offset(offset as u64);
                let shown = page(&*store, Query { direction, range, start, ..query(5) }).await.rows;
                assert_eq!(shown, all[offset..(offset + 5).min(all.len())], "{range:?}, offset {offset}");
            }
        }
    }
}

/// Rows that come while a reader pages, before the page or behind it, make no row appear twice or be left out.
pub async fn a_cursor_is_stable_while_rows_come(home: &mut dyn Home) {
    let store = home.open().await;
    let row = |second: i64| number_row(channel(1), thing((second % 5) as u8), second * SECOND, 1.0);
    append(&*store, (0..100).step_by(2).map(row)).await;
    for direction in [Direction::Descending, Direction::Ascending] {
        for filter in [Filter::default(), numbers_over(0.0)] {
            let asked = Query { direction, filter, ..query(7) };
            let mut walked = Vec::new();
            let mut start = Start::Offset(0);
            for new in [200, 99, 51, 1, -7] {
                let next = page(&*store, Query { start, ..asked.clone() }).await;
                walked.extend(seconds(&next.rows));
                start = Start::Cursor(next.next.expect("there are more"));
                append(&*store, [row(new + if direction == Direction::Ascending { 2_000 } else { 0 })]).await;
            }
            while let Start::Cursor(_) = start {
                let next = page(&*store, Query { start, ..asked.clone() }).await;
                assert_eq!(next.offset, walked.len() as u64);
                walked.extend(seconds(&next.rows));
                start = next.next.map_or(Start::Offset(0), Start::Cursor);
            }
            let old: Vec<i64> = walked
                .iter()
                .copied()
                .filter(|second| (0..100).contains(second) && second % 2 == 0)
                .collect();
            let mut expected: Vec<i64> = (0..100).step_by(2).collect();
            if direction == Direction::Descending {
                expected.reverse();
            }
            assert_eq!(old, expected, "{asked:?}");
            let mut all = walked.clone();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), walked.len(), "no row is shown twice: {asked:?}");
        }
    }
}

/// A cursor of another query, another key or nobody is refused.
pub async fn a_cursor_belongs_to_its_query(home: &mut dyn Home) {
    let store = home.open().await;
    append(&*store, (0..10).map(|n| number_row(channel(1), thing(1), n, 1.0))).await;
    let next = page(&*store, query(3)).await.next.expect("there are more");
    let refused = async |start: &str, change: fn(&mut Query), key: CursorKey| {
        let mut query = Query { start: Start::Cursor(start.to_owned()), ..query(3) };
        change(&mut query);
        matches!(read(&*store, &query, &key).await, Err(ReadError::BadCursor))
    };
    assert!(!refused(&next, |_| {}, key()).await);
    assert!(refused(&next, |query| query.channel = channel(2), key()).await);
    assert!(refused(&next, |query| query.direction = Direction::Ascending, key()).await);
    assert!(refused(&next, |query| query.filter = numbers_over(0.0), key()).await);
    assert!(refused(&next, |query| query.range.from = Timestamp::from_nanos(0), key()).await);
    assert!(refused(&next, |_| {}, CursorKey::from_bytes(&[8; 32])).await);
    assert!(refused(&next[1..], |_| {}, key()).await);
    assert!(refused("", |_| {}, key()).await);
}

/// A filter looks at a bounded number of records per page, says when it stopped, and goes on by cursor to the end.
pub async fn a_filter_examines_no_more_than_it_may(home: &mut dyn Home) {
    let store = home.open().await;
    // Newest first: 40 rows that don't match, then every tenth of 160 matches.
    let number = |n: i64| if n < 160 && n % 10 == 0 { 1.0 } else { 0.0 };
    append(&*store, (0..200).map(|n| number_row(channel(1), thing((n % 3) as u8), n * SECOND, number(n))))
        .await;
    let filtered = Query { filter: numbers_over(0.5), ..query(3) };
    let at = async |start: Start, examined_max: u64| {
        let bounds = Bounds { examined_max, ..Bounds::default() };
        read_within(&*store, &Query { start, ..filtered.clone() }, &key(), bounds).await
    };

    let exact = at(Start::Offset(0), 200).await.expect("a page can be read");
    assert_eq!((exact.total, exact.relation), (16, TotalRelation::Exact));
    let stopped = at(Start::Offset(0), 199).await.expect("a page can be read");
    assert_eq!((stopped.total, stopped.relation), (15, TotalRelation::AtLeast));
    assert_eq!(seconds(&stopped.rows), [150, 140, 130]);

    let deep = at(Start::Offset(14), 199).await.expect("what was examined may be paged by offset");
    assert_eq!(seconds(&deep.rows), [10]);
    assert!(deep.next.is_some(), "the page is short because looking stopped");
    let too_deep = at(Start::Offset(15), 199).await;
    assert!(matches!(too_deep, Err(ReadError::OffsetTooDeep { examined: 199 })), "{too_deep:?}");
    let behind_the_end = at(Start::Offset(17), 200).await.expect("an offset behind the end is an empty page");
    assert_eq!((behind_the_end.rows.len(), behind_the_end.next), (0, None));

    let mut walked = Vec::new();
    let mut empty_pages = 0;
    let mut start = Start::Offset(0);
    loop {
        let page = at(start, 25).await.expect("a page can be read");
        assert_eq!((page.relation, page.offset), (TotalRelation::AtLeast, walked.len() as u64));
        empty_pages += usize::from(page.rows.is_empty());
        walked.extend(seconds(&page.rows));
        match page.next {
            Some(next) => start = Start::Cursor(next),
            None => break,
        }
    }
    assert_eq!(walked, (0..16).rev().map(|n| n * 10).collect::<Vec<_>>());
    assert!(empty_pages > 0, "the rows that don't match make a page of their own");
}

/// Many rows of one time and one block are paged in order, whichever way.
pub async fn many_ties_are_read_in_order(home: &mut dyn Home) {
    let store = home.open().await;
    let named = |n: i64| {
        let mut row = number_row(channel(1), thing(1), n / 100, n as f64);
        row.row.record.name = format!("n{:03}", n % 100);
        row
    };
    append(&*store, (0..300).map(named)).await;
    for direction in [Direction::Ascending, Direction::Descending] {
        let mut walked = Vec::new();
        let mut start = Start::Offset(0);
        loop {
            let page = page(&*store, Query { direction, start, ..query(7) }).await;
            walked.extend(page.rows.iter().map(|row| (row.record.time.as_nanos(), row.record.name.clone())));
            match page.next {
                Some(next) => start = Start::Cursor(next),
                None => break,
            }
        }
        let times = match direction {
            Direction::Ascending => [0, 1, 2],
            Direction::Descending => [2, 1, 0],
        };
        let expected: Vec<_> =
            times.into_iter().flat_map(|time| (0..100).map(move |n| (time, format!("n{n:03}")))).collect();
        assert_eq!(walked, expected, "{direction:?}");
    }
}

/// A range that begins and ends within a second has the rows of that part only, and so has its total.
pub async fn a_part_of_a_second_is_counted_exactly(home: &mut dyn Home) {
    let store = home.open().await;
    append(&*store, (0..5_000).map(|n| number_row(channel(1), thing((n % 4) as u8), n * SECOND / 100, 1.0)))
        .await;
    let first = SECOND / 2 + 1;
    for (from, to) in
        [(first, 40 * SECOND + 1), (first, first + 1), (SECOND, SECOND * 3 / 2), (0, 50 * SECOND)]
    {
        let range = TimeRange { from: Timestamp::from_nanos(from), to: Some(Timestamp::from_nanos(to)) };
        let within = (0..5_000).filter(|n| (from..to).contains(&(n * SECOND / 100)));
        let expected: Vec<i64> = within.map(|n| n * SECOND / 100).collect();
        for offset in [0, 1, 49, 50, 1_234, 3_949] {
            let start = Start::Offset(offset as u64);
            let page = page(&*store, Query { range, start, ..query(2) }).await;
            assert_eq!(page.total, expected.len() as u64, "{range:?}");
            let times: Vec<i64> = page.rows.iter().map(|row| row.record.time.as_nanos()).collect();
            let there: Vec<i64> = expected.iter().rev().skip(offset).take(2).copied().collect();
            assert_eq!(times, there, "{range:?} at {offset}");
        }
    }
}
