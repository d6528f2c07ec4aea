//! What a channel is to the pipeline: the properties that its records' places in the store depend on.

use std::fmt;
use std::str::FromStr;

use crate::time::{ReceivedAt, Timestamp};

/// What every stage has to know of a channel. Where records lie is fixed when the channel is created: a replay must land
/// in the same row. How long they are shown may become shorter, and never longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelProfile {
    /// Width of the channel's buckets of record time. Fixed.
    pub bucket_width: BucketWidth,
    /// The retention that the channel was created with: its records are stored with those of other such channels. Fixed.
    pub storage_class: Retention,
    /// The retention in force: at most [`ChannelProfile::storage_class`].
    pub retention: Retention,
}

impl ChannelProfile {
    /// The profile that a channel is created with.
    pub const fn new(bucket_width: BucketWidth, retention: Retention) -> Self {
        Self { bucket_width, storage_class: retention, retention }
    }

    /// The same channel with another retention. `None`: it would be longer, and what has expired may be gone.
    pub fn shortened(self, retention: Retention) -> Option<Self> {
        (retention <= self.retention).then_some(Self { retention, ..self })
    }

    /// Whether the retention in force is shorter than the one that the channel was created with.
    pub fn is_shortened(self) -> bool {
        self.retention < self.storage_class
    }

    /// The first time that is kept: what is before it has expired. It only ever grows with `now`.
    pub const fn cut_off(self, now: ReceivedAt) -> Timestamp {
        self.retention.cut_off(now)
    }
}

/// A channel that keeps its records for ever.
impl From<BucketWidth> for ChannelProfile {
    fn from(bucket_width: BucketWidth) -> Self {
        Self::new(bucket_width, Retention::Forever)
    }
}

/// The window of record time that one stored bucket holds.
///
/// A bucket is spread over [`SHARDS`](crate::limits::SHARDS) shards by publisher. One hour keeps a shard under 100 MB at 5,000 records/s
/// of a channel that many things share; a single gateway that publishes at such a rate by itself needs
/// [`BucketWidth::FiveMinutes`]; a channel of a few records an hour reads faster with [`BucketWidth::Day`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BucketWidth {
    /// 5 minutes.
    FiveMinutes,
    /// 1 hour.
    #[default]
    Hour,
    /// 1 day.
    Day,
}

impl BucketWidth {
    /// Every width there is.
    pub const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Day];

    /// Length of the window in nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.seconds() * 1_000_000_000
    }

    /// Length of the window in seconds.
    pub const fn seconds(self) -> i64 {
        match self {
            Self::FiveMinutes => 300,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// Number of the bucket that holds `time`: whole windows since the epoch, negative before it.
    pub const fn bucket_of(self, time: Timestamp) -> i64 {
        time.as_nanos().div_euclid(self.nanos())
    }

    /// The width that [`Self::code`] stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::FiveMinutes),
            2 => Some(Self::Hour),
            3 => Some(Self::Day),
            _ => None,
        }
    }

    /// The byte that stands for this width in stored data.
    pub const fn code(self) -> u8 {
        match self {
            Self::FiveMinutes => 1,
            Self::Hour => 2,
            Self::Day => 3,
        }
    }
}

impl fmt::Display for BucketWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        })
    }
}

/// The text names no bucket width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not one of 5m, 1h, 1d")]
pub struct UnknownWidth;

impl FromStr for BucketWidth {
    type Err = UnknownWidth;

    fn from_str(text: &str) -> Result<Self, UnknownWidth> {
        Self::ALL.into_iter().find(|width| width.to_string() == text).ok_or(UnknownWidth)
    }
}

/// How long a channel keeps its records, by their own time. Shorter ones sort before longer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Retention {
    /// 7 days.
    Days7,
    /// 90 days.
    Days90,
    /// 400 days: a year, and a little more to compare it with the last one.
    Days400,
    /// Until the channel is deleted.
    #[default]
    Forever,
}

impl Retention {
    /// Every retention there is, the shortest first.
    pub const ALL: [Self; 4] = [Self::Days7, Self::Days90, Self::Days400, Self::Forever];

    /// Its length in seconds; `None`: it has no end.
    pub const fn seconds(self) -> Option<i64> {
        match self {
            Self::Days7 => Some(7 * 86_400),
            Self::Days90 => Some(90 * 86_400),
            Self::Days400 => Some(400 * 86_400),
            Self::Forever => None,
        }
    }

    /// The first time that is kept at `now`, exact to the nanosecond: what is before it has expired.
    pub const fn cut_off(self, now: ReceivedAt) -> Timestamp {
        match self.seconds() {
            None => Timestamp::MIN,
            Some(seconds) => {
                let now = now.as_micros().saturating_mul(1_000);
                Timestamp::from_nanos(now.saturating_sub(seconds * 1_000_000_000))
            }
        }
    }

    /// The retention that [`Self::code`] stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Days7),
            2 => Some(Self::Days90),
            3 => Some(Self::Days400),
            4 => Some(Self::Forever),
            _ => None,
        }
    }

    /// The byte that stands for this retention in stored data. A longer one has a larger one.
    pub const fn code(self) -> u8 {
        match self {
            Self::Days7 => 1,
            Self::Days90 => 2,
            Self::Days400 => 3,
            Self::Forever => 4,
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Days7 => "7d",
            Self::Days90 => "90d",
            Self::Days400 => "400d",
            Self::Forever => "forever",
        })
    }
}

/// The text names no retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not one of 7d, 90d, 400d, forever")]
pub struct UnknownRetention;

impl FromStr for Retention {
    type Err = UnknownRetention;

    fn from_str(text: &str) -> Result<Self, UnknownRetention> {
        Self::ALL.into_iter().find(|retention| retention.to_string() == text).ok_or(UnknownRetention)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_whole_windows_before_the_epoch_too() {
        let hour = |seconds: i64| BucketWidth::Hour.bucket_of(Timestamp::from_nanos(seconds * 1_000_000_000));
        assert_eq!([hour(-3_601), hour(-1), hour(0), hour(3_599), hour(3_600)], [-2, -1, 0, 0, 1]);
    }

    #[test]
    fn every_width_survives_its_code_and_its_text() {
        for width in BucketWidth::ALL {
            assert_eq!(BucketWidth::from_code(width.code()), Some(width));
            assert_eq!(width.to_string().parse(), Ok(width));
        }
        assert_eq!("2h".parse::<BucketWidth>(), Err(UnknownWidth));
    }

    #[test]
    fn every_retention_survives_its_code_and_its_text_and_longer_ones_are_greater() {
        for retention in Retention::ALL {
            assert_eq!(Retention::from_code(retention.code()), Some(retention));
            assert_eq!(retention.to_string().parse(), Ok(retention));
        }
        assert!(Retention::ALL.is_sorted() && Retention::ALL.is_sorted_by_key(|retention| retention.code()));
        assert_eq!("7D".parse::<Retention>(), Err(UnknownRetention));
    }

    #[test]
    fn a_cut_off_is_exact_and_never_past_the_ends_of_time() {
        let at = |retention: Retention, micros| retention.cut_off(ReceivedAt::from_micros(micros)).as_nanos();
        let week = 7 * 86_400_000_000_000;
        assert_eq!(at(Retention::Days7, 1_700_000_000_000_001), 1_700_000_000_000_001_000 - week);
        assert_eq!(at(Retention::Days7, 0), -week);
        for micros in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(at(Retention::Forever, micros), i64::MIN);
            for pair in Retention::ALL.windows(2) {
                assert!(at(pair[0], micros) >= at(pair[1], micros), "a longer one keeps no less");
            }
        }
    }

    #[test]
    fn a_retention_becomes_shorter_and_never_longer() {
        let created = ChannelProfile::new(BucketWidth::Day, Retention::Days90);
        assert_eq!((created.is_shortened(), created.shortened(Retention::Days90)), (false, Some(created)));
        let shortened = created.shortened(Retention::Days7).unwrap();
        assert!(shortened.is_shortened());
        assert_eq!((shortened.storage_class, shortened.retention), (Retention::Days90, Retention::Days7));
        assert_eq!(shortened.shortened(Retention::Days90), None);
        assert_eq!(created.shortened(Retention::Forever), None);
    }
}
