//! What a writer measures.

use domain::senml::ErrorCode;
use instruments::{Counter, Family, Gauge, Histogram, Label, declare, label};

label! {
    /// A step that is tried again until it succeeds.
    pub enum Step: "step" {
        /// Reading the log.
        Read = "read",
        /// Keeping dead letters.
        Bury = "bury",
        /// Storing records.
        Append = "append",
        /// Making the store durable.
        Persist = "persist",
        /// Telling the log how far it may forget.
        Commit = "commit",
    }
}

/// Why an entry can never be stored: the code of its fault.
#[derive(Debug, Clone, Copy)]
pub struct Reason(pub ErrorCode);

impl Label for Reason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &{
        let mut all = [Self(ErrorCode::ALL[0]); ErrorCode::ALL.len()];
        let mut next = 1;
        while next < all.len() {
            all[next] = Self(ErrorCode::ALL[next]);
            next += 1;
        }
        all
    };

    fn as_str(self) -> &'static str {
        self.0.as_str()
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

declare! {
    /// One addition a batch, not a record.
    pub struct WriterMetrics: "writer" {
        /// Batches stored.
        pub(crate) batches_total: Counter,
        /// Records stored, those included that replaced a row.
        pub(crate) records_total: Counter,
        /// Time that it takes to store a batch, tries that failed included.
        pub(crate) batch_seconds: Histogram,
        /// Time from the reception of the oldest pack of a batch until the batch is stored.
        pub(crate) store_delay_seconds: Histogram,
        /// Steps that failed and are tried again.
        pub(crate) retries_total: Family<Step, Counter>,
        /// Entries that can never be stored and were kept as dead letters.
        pub(crate) dead_letters_total: Family<Reason, Counter>,
        /// Times that all that was not committed was read and stored again, because the store may have forgotten it.
        pub(crate) rewinds_total: Counter,
        /// Stretches of the log that were damaged and passed over.
        pub(crate) damaged_total: Counter,
        /// When the log was last told how far it may forget, in seconds since the Unix epoch; 0 before the first time.
        pub(crate) last_commit_timestamp_seconds: Gauge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_reason_in_its_place() {
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason:?}");
        }
    }
}
