//! A rate as it is written in settings: `50`, `0.5` or `50:200`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// So many requests a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    per_second: f64,
    burst: NonZeroU32,
}

/// A text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no rate: requests a second from {LEAST} to {MOST}, and after a colon, if not as many, how many at once from 1 to \
     {MOST}, as in 50:200"
)]
pub struct RateError(String);

/// One request in a quarter of an hour.
const LEAST: f64 = 0.001;
/// A million a second is no limit any more.
const MOST: u32 = 1_000_000;

impl Rate {
    /// Requests a second in the long run.
    pub fn per_second(self) -> f64 {
        self.per_second
    }

    /// Requests at once.
    pub fn burst(self) -> NonZeroU32 {
        self.burst
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let wrong = || RateError(text.to_owned());
        let (rate, burst) = text.split_once(':').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let per_second: f64 = rate.trim().parse().map_err(|_| wrong())?;
        if !(LEAST..=f64::from(MOST)).contains(&per_second) {
            return Err(wrong());
        }
        let burst = match burst {
            Some(burst) => burst.trim().parse().ok().filter(|burst| *burst <= MOST),
            None => Some(per_second.ceil() as u32),
        };
        let burst = burst.and_then(NonZeroU32::new).ok_or_else(wrong)?;
        Ok(Self { per_second, burst })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.per_second, self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_requests_a_second_and_maybe_a_burst() {
        let parse = |text: &str| text.parse::<Rate>().map(|rate| rate.to_string());
        assert_eq!(parse("50").as_deref(), Ok("50:50"));
        assert_eq!(parse("0.1").as_deref(), Ok("0.1:1"));
        assert_eq!(parse("2.5").as_deref(), Ok("2.5:3"));
        assert_eq!(parse("50:200").as_deref(), Ok("50:200"));
        assert_eq!(parse("50:200").and_then(|text| parse(&text)).as_deref(), Ok("50:200"));
        for wrong in ["", "0", "-1", "NaN", "inf", "1e9", "5:", "5:0", "5:-1", "5:1.5", ":5", "5:5:5", "5/s"]
        {
            assert_eq!(parse(wrong), Err(RateError(wrong.to_owned())));
        }
    }
}
