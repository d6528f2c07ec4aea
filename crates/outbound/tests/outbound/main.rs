//! Where requests may go, and what becomes of them when who answers means no good.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod addresses;
mod answers;
mod connections;
mod receiver;
mod targets;
mod tls;
