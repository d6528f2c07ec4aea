//! The product as a cluster: the API at the proxy of a cluster that `deploy/cluster with` started.
//!
//! What is asked of one process over HTTP is asked of the cluster, too: these tests are the same files.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[expect(dead_code, reason = "the other tests of the product need more of it")]
#[path = "../it/harness.rs"]
mod harness;

#[path = "../it/encodings.rs"]
mod encodings;
#[path = "../it/filters.rs"]
mod filters;
#[path = "../it/first_message.rs"]
mod first_message;
#[path = "../it/junk.rs"]
mod junk;
#[path = "../it/reading.rs"]
mod reading;
#[path = "../it/receiver.rs"]
mod receiver;
#[path = "../it/refusals.rs"]
mod refusals;
#[path = "../it/resolution.rs"]
mod resolution;
#[path = "../it/webhooks.rs"]
mod webhooks;
