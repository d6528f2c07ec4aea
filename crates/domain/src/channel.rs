//! What a channel is to the pipeline: the properties that its records' places in the store depend on.

use std::fmt;
use std::str::FromStr;

use crate::time::Timestamp;

/// What every stage has to know of a channel. Fixed when the channel is created: a replay must land in the same row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelProfile {
    /// Width of the channel's buckets of record time.
    pub bucket_width: BucketWidth,
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
}
