//! The change feed on Kafka, with the cache that ingest uses: what is published is in force everywhere, and what can't be known
//! is not believed.
//!
//! `make test` starts the broker. By hand: `deploy/engines with kafka -- cargo test -p thalweg-service --features engines --test
//! feed`. Tests that do harm to brokers start their own.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on may panic anywhere, also in what tests share"
)]

mod changes;
mod engines;
mod faults;
mod frozen;
mod losses;
#[path = "../../../../deploy/engines.d/own_engines.rs"]
mod own_engines;
mod site;
