//! What the log measures while it writes. What can be read off at any time (size, offsets, lag) has methods instead.

use instruments::{Counter, Family, Histogram, declare, label};

use crate::contract::AppendError;

label! {
    /// Why entries were not appended.
    pub enum Refusal: "reason" {
        /// More waits than may, or the disk is full.
        Busy = "busy",
        /// The log is closed, or can no longer write.
        Closed = "closed",
        /// It is not known whether they are in the log.
        Unknown = "unknown",
    }
}

declare! {
    /// One addition a group, not an entry.
    pub struct LogMetrics: "log" {
        /// Entries that were appended and are durable.
        pub(crate) appended_entries_total: Counter,
        /// Bytes of entries that were appended and are durable, with their frames.
        pub(crate) appended_bytes_total: Counter,
        /// Entries that were written and synced together.
        pub(crate) group_entries: Histogram,
        /// Time to write a group and to sync it.
        pub(crate) group_sync_seconds: Histogram,
        /// Appends that were refused.
        pub(crate) append_refusals_total: Family<Refusal, Counter>,
    }
}

impl LogMetrics {
    pub(crate) fn refused(&self, error: &AppendError) {
        let refusal = match error {
            AppendError::Busy => Refusal::Busy,
            AppendError::Closed => Refusal::Closed,
            AppendError::Unknown { .. } => Refusal::Unknown,
        };
        self.append_refusals_total.of(refusal).increment(1);
    }
}
