//! The embedded log: its contract, on a real disk and on one that crashes, and what it promises beyond the contract.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on may panic anywhere, also in what tests share"
)]

mod contract;
mod crash;
mod damage;
mod failing_disk;
mod format;
mod mutation;
mod retention;
mod support;
