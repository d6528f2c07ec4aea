//! An ordered, durable log of accepted packs, and its consumers' places in it.
//!
//! Never parses a pack, never knows what a record is: entries go in and come out as they are.

mod contract;

pub use contract::{
    AppendError, Batch, BatchLimits, DeadLetter, Delivery, Log, LogError, Subscription, Undeliverable,
};
