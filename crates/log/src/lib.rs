//! An ordered, durable log of accepted packs, and its consumers' places in it.
//!
//! Never parses a pack, never knows what a record is: entries go in and come out as they are.

mod contract;
pub mod disk;
mod embedded;
mod kafka;
mod metrics;
#[cfg(feature = "testing")]
pub mod simulated;
#[cfg(feature = "testing")]
pub mod suite;

pub use contract::{
    AppendError, Batch, BatchLimits, DeadLetter, Delivery, Log, LogError, StoredLetter, Subscription,
    Undeliverable,
};
pub use embedded::{
    DamageFound, EmbeddedConfig, EmbeddedLog, Extent, OpenReport, Retained, TornTail, format,
};
pub use kafka::{KafkaConfig, KafkaLog};
pub use metrics::{LogMetrics, Refusal};
