//! The buckets of histograms, by the unit at the end of a metric's name.

/// Times of work, from a cached answer to one that somebody gives up on.
const SECONDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Times that something waits for its turn: up to an hour, because an outage may take one.
const DELAY_SECONDS: [f64; 13] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 600.0, 3_600.0];
/// Sizes, from a pack of one record to the largest group of the log.
const BYTES: [f64; 9] =
    [256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];
/// Numbers of things that were done at once.
const COUNT: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 100.0, 250.0, 1_000.0, 10_000.0, 100_000.0];

/// Ends of names, and the buckets of such histograms. The first that fits decides.
pub(crate) const BY_SUFFIX: [(&str, &[f64]); 3] =
    [("_delay_seconds", &DELAY_SECONDS), ("_seconds", &SECONDS), ("_bytes", &BYTES)];

/// The buckets of every other histogram: a count.
pub(crate) const OTHERS: &[f64] = &COUNT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow() {
        for buckets in BY_SUFFIX.map(|(_, buckets)| buckets).into_iter().chain([OTHERS]) {
            assert!(buckets.is_sorted_by(|a, b| a < b), "{buckets:?}");
        }
    }
}
