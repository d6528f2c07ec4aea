//! What a reader measures.

use instruments::{Counter, Family, Histogram, declare, label};

label! {
    /// How a read was answered.
    pub enum Outcome: "outcome" {
        /// With a page.
        Page = "page",
        /// With a 4xx: the credential, the channel or a parameter was wrong.
        Refused = "refused",
        /// With a 5xx: the records or the registry could not be read.
        Failed = "failed",
    }
}

declare! {
    /// One addition a page, not a record.
    pub struct ReaderMetrics: "reader" {
        /// Reads answered.
        pub(crate) reads_total: Family<Outcome, Counter>,
        /// Records on the pages that were answered.
        pub(crate) records_total: Counter,
        /// Time to find, count and read the records of a page.
        pub(crate) page_seconds: Histogram,
    }
}
