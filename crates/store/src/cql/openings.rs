//! Openings: where this instance may be writing to a channel right now.
//!
//! Rows can be read before they are marked. A reader that has counted their seconds would believe its count, and say less
//! than another one that has seen them. So seconds are open before rows are written to them, until those are marked, and
//! nobody believes a count of open seconds: `docs/adr/0008-counts-of-a-cql-store.md`.
//!
//! An opening costs a write. A channel that gets a few rows at a time, and often, is opened for a while ahead, and stays open.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::marks::{Touch, Touched};

/// How long an append may begin under an opening. Seconds that stay open for the next append are counted anew for each
/// reader's page, so it is no longer than it has to be to save most writes.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// More than an append takes before it is given up.
const APPEND_TAKES: Duration = Duration::from_secs(30);
/// Seconds that an opening lives from when it is written: until nothing may arrive of the last append that began under it.
pub(super) const LIFE_SECONDS: u64 = GOOD_FOR.as_secs() + APPEND_TAKES.as_secs() + ARRIVES_WITHIN.as_secs();
/// Rows of an append up to which its seconds stay open. Readers count them anew, so they have to be few.
const FEW_ROWS: usize = 64;
/// Seconds within which such an append has to lie.
const FEW_SECONDS: i64 = 120;
/// How far ahead it opens at most: what comes in while the opening is good.
const AHEAD_SECONDS: i64 = GOOD_FOR.as_secs() as i64;
/// And no further than about so many rows come in.
const AHEAD_ROWS: f64 = 1_000.0;
/// What a failed append wrote may still arrive at a node for so long. Far more than any time-out of a request.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// What is open of one channel.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// Appends, by number. All that is open is told to the database for them.
    under_way: BTreeMap<u64, UnderWay>,
    /// What the database was told last, and when; none if that is not certain.
    told: Option<(Touched, Instant)>,
    /// When it was last opened for an append, and how many rows were appended since, with that one's.
    since: Option<(Instant, usize)>,
    /// When the last append began.
    last: Option<Instant>,
}

#[derive(Debug)]
struct UnderWay {
    seconds: Touched,
    /// Whether its seconds stay open.
    is_few: bool,
    /// Whoever appends has the other end.
    held: Weak<()>,
    /// When it was first seen to have been given up.
    lost: Option<Instant>,
}

/// An append that is under way as long as this is held.
#[derive(Debug)]
pub(super) struct Opening {
    number: u64,
    _held: Arc<()>,
}

impl Openings {
    /// Notes an append. The database has to be told what is open, if that is given, before a row is written.
    pub(super) fn begin(&mut self, number: u64, touch: &Touch, now: Instant) -> (Opening, Option<Touched>) {
        self.forget_lost(now);
        let held = Arc::new(());
        let touched = Touched::of(touch.seconds.iter().map(|second| (*second, *second)));
        let is_open =
            self.told.as_ref().is_some_and(|(told, when)| now - *when < GOOD_FOR && told.covers(&touched));
        let follows = self.last.replace(now).is_some_and(|last| now - last < GOOD_FOR);
        let few = few(touch).filter(|_| follows);
        let under_way =
            UnderWay { seconds: touched, is_few: few.is_some(), held: Arc::downgrade(&held), lost: None };
        self.under_way.insert(number, under_way);
        let opening = Opening { number, _held: held };
        if is_open {
            self.since.iter_mut().for_each(|(_, rows)| *rows += touch.rows);
            return (opening, None);
        }
        self.told = None;
        let ahead = if touch.is_of_now { self.seconds_ahead(now) } else { 0 };
        let ahead = few.map(|(first, last)| (first, last.saturating_add(ahead)));
        self.since = Some((now, touch.rows));
        (opening, Some(Touched::of(seconds(self.under_way.values()).chain(ahead))))
    }

    /// How far ahead few rows open, by how many came since they last did.
    fn seconds_ahead(&self, now: Instant) -> i64 {
        let Some((since, rows)) = self.since else { return 0 };
        let seconds = AHEAD_ROWS * (now - since).as_secs_f64() / rows.max(1) as f64;
        (seconds as i64).min(AHEAD_SECONDS)
    }

    /// What the database has to be told to be open together with an append's mark, if anything: what is, without it.
    pub(super) fn closing(&mut self, opening: &Opening) -> Option<Touched> {
        let closes = self.under_way.get(&opening.number).is_some_and(|append| !append.is_few);
        if closes {
            self.told = None;
        }
        closes.then(|| {
            let others = self.under_way.iter().filter(|(number, _)| **number != opening.number);
            Touched::of(seconds(others.map(|(_, append)| append)))
        })
    }

    /// Notes that an append's rows are there and marked.
    pub(super) fn closed(&mut self, opening: Opening) {
        self.under_way.remove(&opening.number);
    }

    /// Notes what the database was told; so it knew from a moment on that is not before `when`.
    pub(super) fn told(&mut self, open: Touched, when: Instant) {
        self.told = Some((open, when));
    }

    fn forget_lost(&mut self, now: Instant) {
        self.under_way.retain(|_, append| {
            append.held.strong_count() > 0 || now - *append.lost.get_or_insert(now) < ARRIVES_WITHIN
        });
    }
}

fn seconds<'a>(appends: impl Iterator<Item = &'a UnderWay>) -> impl Iterator<Item = (i64, i64)> {
    appends.flat_map(|append| append.seconds.spans()).map(|span| (span.first, span.last))
}

/// The first and the last second of an append of few rows, which are close together.
fn few(touch: &Touch) -> Option<(i64, i64)> {
    let (first, last) = (*touch.seconds.first()?, *touch.seconds.last()?);
    let is_few = touch.rows <= FEW_ROWS && last.saturating_sub(first) <= FEW_SECONDS;
    is_few.then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(seconds: impl IntoIterator<Item = i64>, rows: usize) -> Touch {
        Touch { seconds: seconds.into_iter().collect(), rows, is_of_now: true }
    }

    fn spans(open: &Touched) -> Vec<(i64, i64)> {
        open.spans().iter().map(|span| (span.first, span.last)).collect()
    }

    /// Few rows at so many seconds, marked: what the database was told for them before, and when they ended.
    fn few_at(
        openings: &mut Openings,
        started: Instant,
        at: u64,
        rows: usize,
        is_of_now: bool,
    ) -> [Option<Vec<(i64, i64)>>; 2] {
        let now = started + Duration::from_secs(at);
        let (opening, before) = openings.begin(at, &Touch { is_of_now, ..touch([at as i64], rows) }, now);
        let shown = before.as_ref().map(spans);
        before.into_iter().for_each(|tell| openings.told(tell, now));
        let after = openings.closing(&opening);
        let shown = [shown, after.as_ref().map(spans)];
        after.into_iter().for_each(|tell| openings.told(tell, now));
        openings.closed(opening);
        shown
    }

    #[test]
    fn few_rows_open_as_far_ahead_as_their_rate_lets_them() {
        let (mut openings, started) = (Openings::default(), Instant::now());
        let mut few = |at, rows| few_at(&mut openings, started, at, rows, true);
        let open = |first, last| [Some(vec![(first, last)]), None];
        assert_eq!(few(100, 1), [Some(vec![(100, 100)]), Some(vec![])], "nothing is known of its rate");
        assert_eq!(few(110, 1), open(110, 140), "a row in 10 s");
        assert_eq!(few(139, 64), [None, None], "still open, a second before it is old");
        assert_eq!(few(140, 64), open(140, 170), "and now the opening is old");
        (0..50).for_each(|_| assert_eq!(few(142, 64), [None, None]));
        assert_eq!(few(165, 64), [None, None]);
        assert_eq!(few(171, 1), open(171, 171 + 1_000 * 31 / (52 * 64)), "many in a short time");
        assert_eq!(few(200, 64), open(200, 230), "65 rows in 29 s");
        assert_eq!(few(231, 1), [Some(vec![(231, 231)]), Some(vec![])], "too late for what was open");
        assert_eq!(few(231, 1), open(231, 231), "no time has passed to tell its rate by");
    }

    #[test]
    fn few_rows_of_another_time_open_nothing_ahead() {
        let (mut openings, started) = (Openings::default(), Instant::now());
        for at in [100, 110, 120] {
            let told = few_at(&mut openings, started, at, 1, false)[0].clone().unwrap();
            assert!(told.iter().all(|span| span.1 <= at as i64), "{told:?}");
        }
    }

    #[test]
    fn what_is_open_covers_all_that_are_under_way_and_is_closed_behind_many_rows() {
        let (mut openings, now) = (Openings::default(), Instant::now());
        let (many, tell) = openings.begin(1, &touch(0..1_000, 5_000), now);
        assert_eq!(spans(&tell.unwrap()), [(0, 999)], "nothing ahead");
        let (others, tell) = openings.begin(2, &touch([-7, -6, 3_000], 5_000), now);
        assert_eq!(spans(&tell.unwrap()), [(-7, -6), (0, 999), (3_000, 3_000)]);
        assert_eq!(spans(&openings.closing(&many).unwrap()), [(-7, -6), (3_000, 3_000)]);
        openings.closed(many);
        let (far, _) = openings.begin(3, &touch([0, 121], 2), now);
        assert_eq!(spans(&openings.closing(&others).unwrap()), [(0, 0), (121, 121)]);
        openings.closed(others);
        assert_eq!(spans(&openings.closing(&far).unwrap()), [], "rows far apart are not few");
    }

    /// While it is not certain what the database knows, it is told again.
    #[test]
    fn what_was_not_answered_is_told_again() {
        let (mut openings, now) = (Openings::default(), Instant::now());
        let (_first, tell) = openings.begin(1, &touch([5], 1), now);
        openings.told(tell.unwrap(), now);
        let (_second, tell) = openings.begin(2, &touch([1_000], 1), now);
        assert!(tell.is_some());
        let (_third, tell) = openings.begin(3, &touch([5], 1), now);
        assert!(tell.unwrap().covers(&Touched::of([(5, 5), (1_000, 1_000)].into_iter())));
    }

    #[test]
    fn what_was_given_up_stays_open_as_long_as_it_may_arrive() {
        let (mut openings, now) = (Openings::default(), Instant::now());
        drop(openings.begin(1, &touch([5], 100), now));
        let open_at = |openings: &mut Openings, number, at| {
            let (opening, tell) = openings.begin(number, &touch([900], 100), at);
            openings.closed(opening);
            spans(&tell.unwrap())
        };
        assert_eq!(open_at(&mut openings, 2, now), [(5, 5), (900, 900)]);
        assert_eq!(open_at(&mut openings, 3, now + ARRIVES_WITHIN / 2), [(5, 5), (900, 900)]);
        assert_eq!(open_at(&mut openings, 4, now + ARRIVES_WITHIN), [(900, 900)]);
    }

    #[test]
    fn the_ends_of_time_can_be_opened() {
        let (mut openings, now) = (Openings::default(), Instant::now());
        let (_opening, tell) = openings.begin(1, &touch([i64::MIN, i64::MAX - 1, i64::MAX], 3), now);
        assert_eq!(spans(&tell.unwrap()), [(i64::MIN, i64::MIN), (i64::MAX - 1, i64::MAX)]);
        let (_opening, tell) = openings.begin(2, &touch([i64::MAX], 1), now);
        assert!(tell.unwrap().covers(&Touched::of([(i64::MAX, i64::MAX)].into_iter())));
    }
}
