//! Openings: where this instance may be writing to a channel right now.
//!
//! Rows can be read before they are marked. A reader that has counted their seconds would believe its count, and say less
//! than another one that has seen them. So seconds are open before rows are written to them, until those are marked, and
//! nobody believes a count of open seconds: `docs/adr/0008-counts-of-a-cql-store.md`.
//!
//! An opening costs a write. A channel that gets a few rows at a time is opened for a while ahead, and stays open.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::marks::{Touch, Touched};

/// How long an append may begin under an opening. It lives twice as long, see `schema.rs`: so long may the append take.
pub(super) const GOOD_FOR: Duration = Duration::from_secs(120);
/// Rows of an append up to which its seconds stay open. Readers count them anew, so they have to be few.
const FEW_ROWS: usize = 64;
/// Seconds within which such an append has to lie and, divided by its rows, how far ahead it opens.
const AHEAD_SECONDS: i64 = 120;
/// What a failed append wrote may still arrive at a node for so long. Far more than any time-out of a request.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// What is open of one channel.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// Appends, by number. All that is open is told to the database for them.
    under_way: BTreeMap<u64, UnderWay>,
    /// What the database was told last, and when; none if that is not certain.
    told: Option<(Touched, Instant)>,
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
        let touched = Touched::of(runs(touch));
        let ahead = ahead(touch);
        let under_way = UnderWay {
            seconds: touched.clone(),
            is_few: ahead.is_some(),
            held: Arc::downgrade(&held),
            lost: None,
        };
        self.under_way.insert(number, under_way);
        let is_open =
            self.told.as_ref().is_some_and(|(told, when)| now - *when < GOOD_FOR && told.covers(&touched));
        let tell = (!is_open).then(|| Touched::of(seconds(self.under_way.values()).chain(ahead)));
        if tell.is_some() {
            self.told = None;
        }
        (Opening { number, _held: held }, tell)
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

/// The seconds of an append, as ranges that are inclusive.
fn runs(touch: &Touch) -> impl Iterator<Item = (i64, i64)> {
    let mut seconds = touch.seconds.iter().copied().peekable();
    std::iter::from_fn(move || {
        let first = seconds.next()?;
        let mut last = first;
        while let Some(next) = seconds.next_if(|next| *next == last.saturating_add(1)) {
            last = next;
        }
        Some((first, last))
    })
}

/// What stays open behind an append of few rows, which are close together: the more rows, the less, because they come again
/// in a moment, and each reader counts what has come meanwhile.
fn ahead(touch: &Touch) -> Option<(i64, i64)> {
    let (first, last) = (*touch.seconds.first()?, *touch.seconds.last()?);
    let is_few = touch.rows <= FEW_ROWS && last.saturating_sub(first) <= AHEAD_SECONDS;
    is_few.then(|| (first, last.saturating_add(AHEAD_SECONDS / touch.rows.max(1) as i64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(seconds: impl IntoIterator<Item = i64>, rows: usize) -> Touch {
        Touch { seconds: seconds.into_iter().collect(), rows }
    }

    fn spans(open: &Touched) -> Vec<(i64, i64)> {
        open.spans().iter().map(|span| (span.first, span.last)).collect()
    }

    #[test]
    fn few_rows_open_a_while_ahead_and_say_nothing_when_they_end() {
        let (mut openings, now) = (Openings::default(), Instant::now());
        let (first, tell) = openings.begin(1, &touch([100], 1), now);
        let tell = tell.expect("nothing was open");
        assert!(tell.covers(&Touched::of([(100, 220)].into_iter())), "{tell:?}");
        openings.told(tell, now);
        let (second, tell) = openings.begin(2, &touch([150, 151], 2), now + GOOD_FOR / 2);
        assert_eq!(tell, None, "still open");
        assert_eq!(openings.closing(&first), None);
        assert_eq!(openings.closing(&second), None);
        assert!(openings.begin(3, &touch([221], 1), now).1.is_some(), "behind what is open");
        assert!(openings.begin(4, &touch([150], 1), now + GOOD_FOR).1.is_some(), "the opening is old");
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
