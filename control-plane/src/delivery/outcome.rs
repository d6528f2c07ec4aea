//! What a try comes to, and when the next one is. Pure: time and randomness are arguments.

use std::time::Duration;

use instruments::{Label as _, label};

/// Longest pause before the second try, so that it comes within 5 s; it doubles with every further failure.
const FIRST_PAUSE_MAX: Duration = Duration::from_secs(4);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(1_800);
/// The shortest: what fails at once is not tried in a circle.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest that an endpoint can make us wait by `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Doublings after which the longest pause is reached for certain.
const DOUBLINGS_MAX: u32 = 16;

/// A delivery that was refused so often does not keep those behind it waiting any longer.
const REFUSALS_IN_ORDER_MAX: i64 = 3;
/// But an endpoint that refuses so many in a row is failing, whatever it answers.
const REFUSALS_ASIDE_MAX: i64 = 10;

label! {
    /// How a try ended.
    pub enum Outcome: "outcome" {
        /// The endpoint took it: 2xx.
        Delivered = "delivered",
        /// The endpoint does not want it: 4xx.
        Refused = "refused",
        /// The endpoint wants it later: 429.
        Limited = "limited",
        /// The endpoint failed: 5xx, or what is no answer to a request like ours.
        Failed = "failed",
        /// The endpoint named another place: 3xx. It is not followed.
        Redirected = "redirected",
        /// The endpoint wants nothing any more: 410.
        Gone = "gone",
        /// There was no answer in time.
        TimedOut = "timed_out",
        /// There was no connection, or it broke.
        Unreachable = "unreachable",
        /// The address is one that is not delivered to.
        NotAllowed = "not_allowed",
    }
}

impl Outcome {
    /// As it is stored.
    pub(crate) fn code(self) -> i64 {
        self.index() as i64 + 1
    }

    /// The outcome that [`Self::code`] stands for.
    pub(crate) fn from_code(code: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|outcome| outcome.code() == code)
    }

    /// What an answer of this status means.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Delivered,
            300..=399 => Self::Redirected,
            410 => Self::Gone,
            429 => Self::Limited,
            // The endpoint, or what is before it, was too slow or too early: not what was sent is wrong.
            408 | 425 => Self::Failed,
            400..=499 => Self::Refused,
            _ => Self::Failed,
        }
    }

    pub(crate) fn is_delivered(self) -> bool {
        self == Self::Delivered
    }

    /// Whether those behind a delivery are tried although it failed so, after `attempts` tries of it and `failures` of the
    /// webhook in a row: one that the endpoint will never take must not keep an alarm back for a day.
    pub(crate) fn steps_aside(self, attempts: i64, failures: i64) -> bool {
        self == Self::Refused && attempts >= REFUSALS_IN_ORDER_MAX && failures < REFUSALS_ASIDE_MAX
    }
}

/// How long to wait after a failure that came after `failures` others: anything up to a bound that doubles (full jitter), but
/// no less than the endpoint asks for. `fraction` is random, from 0 to 1.
pub(crate) fn pause(failures: i64, fraction: f64, retry_after: Option<Duration>) -> Duration {
    let doublings = u32::try_from(failures).unwrap_or(0).min(DOUBLINGS_MAX);
    let longest = (FIRST_PAUSE_MAX * 2_u32.pow(doublings)).min(PAUSE_MAX);
    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    longest.mul_f64(fraction.clamp(0.0, 1.0)).max(PAUSE_MIN).max(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_a_bound_and_the_first_is_within_five_seconds() {
        let longest = |failures| pause(failures, 1.0, None);
        assert_eq!([0, 1, 2, 3].map(longest), [4, 8, 16, 32].map(Duration::from_secs));
        assert_eq!([9, 63, i64::MAX, -1].map(longest), [1_800, 1_800, 4, 4].map(Duration::from_secs));
        assert_eq!(pause(0, 0.5, None), SECOND * 2);
        assert_eq!(pause(5, 0.0, None), PAUSE_MIN);
    }

    #[test]
    fn an_endpoint_can_ask_for_a_longer_pause_within_reason() {
        assert_eq!(pause(0, 0.0, Some(SECOND * 30)), SECOND * 30);
        assert_eq!(pause(3, 1.0, Some(SECOND)), SECOND * 32);
        assert_eq!(pause(0, 0.0, Some(SECOND * 1_000_000)), RETRY_AFTER_MAX);
    }

    #[test]
    fn every_status_has_a_meaning() {
        let meaning = |status| Outcome::of_status(status).as_str();
        let statuses = [200, 204, 302, 400, 404, 408, 410, 429, 500, 503, 101, 999];
        let meanings = [
            "delivered",
            "delivered",
            "redirected",
            "refused",
            "refused",
            "failed",
            "gone",
            "limited",
            "failed",
            "failed",
            "failed",
            "failed",
        ];
        assert_eq!(statuses.map(meaning), meanings);
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_code(outcome.code()), Some(*outcome));
        }
        assert_eq!(Outcome::from_code(0), None);
    }

    #[test]
    fn only_what_is_refused_again_and_again_steps_aside_and_not_for_ever() {
        assert!(Outcome::Refused.steps_aside(3, 3));
        assert!(!Outcome::Refused.steps_aside(2, 2));
        assert!(!Outcome::Refused.steps_aside(3, 10));
        assert!(!Outcome::Failed.steps_aside(3, 3));
    }
}
