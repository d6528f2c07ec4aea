//! The log on Kafka: its contract on a real broker, and what it promises beyond the contract.
//!
//! `make test` starts the broker. By hand: `deploy/engines with kafka -- cargo test -p thalweg-log --features engines --test
//! kafka`. Tests that do harm to brokers start their own.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on may panic anywhere, also in what tests share"
)]

mod contract;
mod engines;
mod faults;
mod groups;
mod messages;
#[path = "../../../../deploy/engines.d/own_engines.rs"]
mod own_engines;
mod site;
