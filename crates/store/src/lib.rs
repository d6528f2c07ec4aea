//! Records as time series: the store's trait, its contract suite, the embedded store, and the planner over them.
//!
//! The store never sees a pack, a key or a user: resolved records go in, rows in order of time come out.

mod contract;
pub mod cql;
pub mod embedded;
mod found;
mod message;
pub mod planner;
#[cfg(feature = "testing")]
pub mod suite;
mod tally;

pub use contract::{
    Block, BlockScan, CountLevel, Direction, Expired, PurgeTarget, Row, RowKey, Scanned, Store, StoreError,
    TimeCount, TimeRange, WriteBatch, WriteRow, shard_of,
};
pub use cql::{CqlConfig, CqlConsistency, CqlStore, KeyspaceName, NotAConsistency, NotAKeyspace};
pub use embedded::{EmbeddedConfig, EmbeddedStore};
pub use message::Messages;
pub use tally::{Seek, Tally, Wants};
