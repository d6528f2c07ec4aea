//! Times: of measurements ([`Timestamp`], nanoseconds) and of receptions ([`ReceivedAt`], microseconds).

use std::fmt;

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
        }
    }
}
