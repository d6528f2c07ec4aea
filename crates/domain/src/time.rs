//! Times: of measurements ([`Timestamp`], nanoseconds) and of receptions ([`ReceivedAt`], microseconds).

use std::fmt;

use self::decimal::{NotSeconds, Seconds};

pub(crate) mod decimal;

/// When something was measured: nanoseconds since the Unix epoch, leap seconds not counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl Timestamp {
    /// The earliest time there is: 1677-09-21.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time there is: 2262-04-11.
    pub const MAX: Self = Self(i64::MAX);

    /// A time from nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Reads decimal seconds since the epoch, exactly: `1276020076.001`, `1.276e9`, `-5`. The grammar is that of a JSON
    /// number; what is finer than a nanosecond rounds half to even.
    ///
    /// # Errors
    /// [`TimeError`]: the text is no number, or the number no time.
    pub fn parse_seconds(text: &str) -> Result<Self, TimeError> {
        let nanos = seconds_of(text)?.add(Seconds::ZERO, 0).nanos;
        i64::try_from(nanos).map(Self).map_err(|_| TimeError::Range)
    }

    /// Reads the bound of a range in the same grammar: the first time that is not before it. So a time is before the bound,
    /// however finely that is written, exactly if it is before what this answers.
    ///
    /// # Errors
    /// As for [`Self::parse_seconds`].
    pub fn parse_bound(text: &str) -> Result<Self, TimeError> {
        i64::try_from(seconds_of(text)?.nanos_up()).map(Self).map_err(|_| TimeError::Range)
    }
}

fn seconds_of(text: &str) -> Result<Seconds<'_>, TimeError> {
    Seconds::parse(text.as_bytes()).map_err(|error| match error {
        NotSeconds::Syntax => TimeError::Syntax,
        NotSeconds::Range => TimeError::Range,
    })
}

/// Why a text is no [`Timestamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// It is not a decimal number.
    #[error("is not a number of seconds, such as 1276020076.001")]
    Syntax,
    /// It is a number, but no time that we can keep.
    #[error(
        "is outside of the times that can be kept, from {} to {} seconds",
        Timestamp::MIN,
        Timestamp::MAX
    )]
    Range,
}

/// Decimal seconds, exact, with at most 9 decimals and no zeros at the end: `1554381569.992`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) =
            (self.0.unsigned_abs() / NANOS_PER_SECOND, self.0.unsigned_abs() % NANOS_PER_SECOND);
        let sign = if self.0 < 0 { "-" } else { "" };
        if nanos == 0 {
            return write!(f, "{sign}{seconds}");
        }
        let decimals = format!("{nanos:09}");
        write!(f, "{sign}{seconds}.{}", decimals.trim_end_matches('0'))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

/// When the server received a pack: microseconds since the Unix epoch, strictly increasing on one node.
///
/// It is the version of every row the pack gives: where two packs say something of the same measurement, the later
/// reception wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceivedAt(i64);

impl ReceivedAt {
    /// A reception from microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_prints_as_exact_decimal_seconds() {
        let cases = [
            (1_554_381_569_992_000_000, "1554381569.992"),
            (0, "0"),
            (1, "0.000000001"),
            (-1, "-0.000000001"),
            (-1_500_000_000, "-1.5"),
            (i64::MAX, "9223372036.854775807"),
            (i64::MIN, "-9223372036.854775808"),
        ];
        for (nanos, text) in cases {
            assert_eq!(Timestamp::from_nanos(nanos).to_string(), text);
            assert_eq!(Timestamp::parse_seconds(text), Ok(Timestamp::from_nanos(nanos)));
        }
    }

    #[test]
    fn a_number_that_is_no_time_is_told_from_a_text_that_is_no_number() {
        for text in ["9223372036.854775808", "-9223372036.8547758091", "1e10", "1e99999999999", "-1e400"] {
            assert_eq!(Timestamp::parse_seconds(text), Err(TimeError::Range), "{text}");
        }
        for text in ["", "now", "1.", "+1", " 1", "1e", "NaN", "2010-06-08T18:01:16Z"] {
            assert_eq!(Timestamp::parse_seconds(text), Err(TimeError::Syntax), "{text}");
        }
        let nearly = Timestamp::parse_seconds("9223372036.8547758074999999");
        assert_eq!(nearly, Ok(Timestamp::MAX), "rounds before it is judged");
    }

    #[test]
    fn a_bound_is_the_first_time_that_is_not_before_it() {
        for (text, nanos) in [
            ("8.25", 8_250_000_000),
            ("8.2500000000", 8_250_000_000),
            ("8.2500000004", 8_250_000_001),
            ("8.25000000000000000000001", 8_250_000_001),
            ("8.2499999999", 8_250_000_000),
            ("1e-400", 1),
            ("0", 0),
            ("-1e-400", 0),
            ("-8.2500000004", -8_250_000_000),
            ("-8.2499999999", -8_249_999_999),
            ("9223372036.854775807", i64::MAX),
            ("-9223372036.8547758089", i64::MIN),
        ] {
            assert_eq!(Timestamp::parse_bound(text), Ok(Timestamp::from_nanos(nanos)), "{text}");
        }
        assert_eq!(Timestamp::parse_bound("9223372036.8547758071"), Err(TimeError::Range));
        assert_eq!(Timestamp::parse_bound("x"), Err(TimeError::Syntax));
    }
}
