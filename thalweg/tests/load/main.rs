//! The product under load that takes the whole machine: each test has it for itself, and nothing else is tested meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[expect(dead_code, reason = "the other tests of the product need more of it")]
#[path = "../it/harness.rs"]
mod harness;
#[expect(dead_code, reason = "the other tests of the product need more of it")]
#[path = "../it/raw.rs"]
mod raw;
#[expect(dead_code, reason = "the other tests of the product need more of it")]
#[path = "../it/receiver.rs"]
mod receiver;

mod bad_endpoints;
mod crowd;
mod dead_endpoints;
mod kills;
mod memory;
mod overload;
mod revocations;

use tokio::sync::{Mutex, MutexGuard};

/// Waits until no other test of this program runs, and keeps them waiting as long as the guard lives.
async fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::const_new(());
    MACHINE.lock().await
}
