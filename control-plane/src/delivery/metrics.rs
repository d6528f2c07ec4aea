//! What deliveries measure.

use instruments::{Counter, Family, Gauge, Histogram, declare, label};

use super::outcome::Outcome;
use crate::registry::webhooks::Disabled;

label! {
    /// Why a webhook was disabled by itself.
    pub enum DisabledBecause: "reason" {
        /// Its endpoint answered 410.
        Gone = "gone",
        /// Every try failed for days.
        Failing = "failing",
    }
}

impl DisabledBecause {
    pub(crate) fn of(reason: Disabled) -> Option<Self> {
        match reason {
            Disabled::ByOwner => None,
            Disabled::Gone => Some(Self::Gone),
            Disabled::Failing => Some(Self::Failing),
        }
    }
}

declare! {
    /// Deliveries to webhooks.
    pub struct DeliveryMetrics: "webhooks" {
        /// Tries, the first ones and later ones.
        pub(crate) attempts_total: Family<Outcome, Counter>,
        /// Time that endpoints took to answer, or to fail.
        pub(crate) attempt_seconds: Histogram,
        /// Time from the reception of the oldest record of a delivery until it was delivered at the first try.
        pub(crate) delivery_delay_seconds: Histogram,
        /// Records that were delivered at the first try or a later one.
        pub(crate) records_total: Counter,
        /// Deliveries that wait in the registry for another try, of all processes.
        pub(crate) backlog_deliveries: Gauge,
        /// Age of the oldest of them.
        pub(crate) backlog_seconds: Gauge,
        /// Bytes that wait in memory for their first try.
        pub(crate) waiting_bytes: Gauge,
        /// Entries of the log that were not looked at yet.
        pub(crate) lag_entries: Gauge,
        /// Webhooks that are enabled.
        pub(crate) enabled: Gauge,
        /// Webhooks that were disabled because of their endpoints.
        pub(crate) disabled_total: Family<DisabledBecause, Counter>,
        /// Times that the log or the registry failed; they are tried again.
        pub(crate) retries_total: Counter,
        /// Tries that are in no list, because too many came for the registry at once.
        pub(crate) unlisted_total: Counter,
        /// Packs that can't be delivered, because they can't be read: a mistake of ours.
        pub(crate) unreadable_total: Counter,
    }
}
