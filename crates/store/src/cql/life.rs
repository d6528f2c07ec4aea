//! How long the database keeps what is written of channels whose records expire.
//!
//! Long enough, whatever is ahead or late: nothing is gone before its cut-off. No clock is read for it. A life begins when
//! its row is written, which is at the row's reception or later, and so it is reckoned from the reception. What is kept
//! longer than it would have to be is not shown: readers have the cut-off.

use domain::{ReceivedAt, Retention, Timestamp};

/// What every life has beyond its retention. A day, because times may be ahead of receptions by as much without a life of
/// their own ([`AHEAD_SECONDS`]); and a day in which what has expired is still whole, because a count that begins in the
/// middle of a window reads all of it, and databases refuse reads of very many dead rows.
const SLACK_SECONDS: i64 = 2 * 86_400;
/// How far a time may be ahead of its reception and have the life of its class: clocks of devices differ, and files are
/// only dropped whole if their rows live equally long.
const AHEAD_SECONDS: i64 = 86_400;
/// What is further ahead than this has no end in the database, which knows no time after 2038: the sweep deletes it.
const AHEAD_SECONDS_MAX: i64 = 366 * 86_400;
/// Stands for a life without an end.
pub(super) const ENDLESS: i32 = 0;

/// The life of what is written to a channel of a class, if it has an end.
pub(super) fn of_class(class: Retention) -> Option<i32> {
    class.seconds().map(|seconds| within_i32(seconds + SLACK_SECONDS))
}

/// The life that the table of a class gives to rows whose statement names none.
pub(super) fn of_table(class: Retention) -> i32 {
    of_class(class).unwrap_or(ENDLESS)
}

/// The life of a row, in seconds, as `USING TTL` takes it.
pub(super) fn of_row(class: Retention, time: Timestamp, received: ReceivedAt) -> i32 {
    let Some(life) = of_class(class) else { return ENDLESS };
    let ahead = time.as_nanos().div_euclid(1_000_000_000) - received.as_micros().div_euclid(1_000_000);
    if ahead <= AHEAD_SECONDS {
        life
    } else if ahead <= AHEAD_SECONDS_MAX {
        life + within_i32(ahead)
    } else {
        ENDLESS
    }
}

/// The life of what lists a place of so many seconds for a row in it: no row of the place is shown any longer.
pub(super) fn of_listing(row: i32, place_seconds: i64) -> i32 {
    if row == ENDLESS { ENDLESS } else { row + within_i32(place_seconds) }
}

/// The longer of two lives.
pub(super) fn longer(a: i32, b: i32) -> i32 {
    if a == ENDLESS || b == ENDLESS { ENDLESS } else { a.max(b) }
}

fn within_i32(seconds: i64) -> i32 {
    i32::try_from(seconds).expect("lives are bounded by a few years")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 86_400;

    fn life(class: Retention, ahead_seconds: i64) -> i32 {
        let received = ReceivedAt::from_micros(1_700_000_000_000_000);
        of_row(class, Timestamp::from_nanos((1_700_000_000 + ahead_seconds) * 1_000_000_000), received)
    }

    #[test]
    fn rows_of_a_class_live_equally_long_unless_they_are_ahead() {
        let week = life(Retention::Days7, 0);
        assert_eq!(i64::from(week), 9 * DAY);
        for ahead in [-400 * DAY, -1, 1, DAY] {
            assert_eq!(life(Retention::Days7, ahead), week, "{ahead}");
        }
        assert_eq!(i64::from(life(Retention::Days7, DAY + 1)), 10 * DAY + 1);
        assert_eq!(i64::from(life(Retention::Days400, 366 * DAY)), 768 * DAY);
        assert_eq!(life(Retention::Days7, 366 * DAY + 1), ENDLESS);
        assert_eq!(life(Retention::Forever, 0), ENDLESS);
        assert_eq!(longer(week, ENDLESS), ENDLESS);
    }

    proptest! {
        /// Whatever a row's time, its reception and when it is written: it lives until its cut-off, and a day longer; and
        /// so does what lists it.
        #[test]
        fn nothing_is_gone_before_its_cut_off(
            time: i64,
            ahead in prop_oneof![any::<i64>(), -100 * DAY..500 * DAY],
            late_seconds in 0i64..100 * DAY,
            class in prop::sample::select(Retention::ALL.to_vec()),
            place_seconds in prop::sample::select(vec![300, 3_600, DAY, 30 * DAY]),
            rest in 0i64..30 * DAY,
        ) {
            let received = (time / 1_000_000_000).saturating_sub(ahead).clamp(-9_000_000_000, 9_000_000_000);
            let life = of_row(
                class,
                Timestamp::from_nanos(time),
                ReceivedAt::from_micros(received * 1_000_000),
            );
            let listing = of_listing(life, place_seconds);
            prop_assert!(life >= 0 && listing >= life);
            if let (Some(kept), true) = (class.seconds(), life != ENDLESS) {
                let written = received + late_seconds;
                let second = time.div_euclid(1_000_000_000);
                prop_assert!(written + i64::from(life) >= second + kept + DAY);
                let last = second + rest % place_seconds;
                prop_assert!(written + i64::from(listing) >= last + kept + DAY);
            }
        }
    }
}
