//! The control plane on PostgreSQL: what it promises on any engine, and what several of them on one server promise.
//!
//! Of the tests of every engine those of logins are left out: they take long, and are about hashes and signatures.
//!
//! `make test` starts the server. By hand: `deploy/engines with postgres -- cargo test -p thalweg-control-plane --features
//! engines --test postgres`. Tests that do harm to a server start their own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on may panic anywhere, also in what tests share"
)]

#[path = "../it/access.rs"]
mod access;
#[path = "../it/audit.rs"]
mod audit;
#[path = "../it/channels.rs"]
mod channels;
#[path = "../it/circles.rs"]
mod circles;
#[path = "../it/connections.rs"]
mod connections;
#[path = "../it/deliveries.rs"]
mod deliveries;
#[path = "../it/feed.rs"]
mod feed;
#[path = "../it/internal.rs"]
mod internal;
#[path = "../it/keys.rs"]
mod keys;
#[path = "../it/lists.rs"]
mod lists;
#[path = "../it/odd_requests.rs"]
mod odd_requests;
#[path = "../it/policies.rs"]
mod policies;
#[path = "../it/purges.rs"]
mod purges;
#[path = "../it/retention.rs"]
mod retention;
#[path = "../it/things.rs"]
mod things;
#[path = "../it/users.rs"]
mod users;
#[path = "../it/webhooks.rs"]
mod webhooks;
#[path = "../it/world.rs"]
mod world;

mod engines;
mod faults;
mod opening;
#[path = "../../../deploy/engines.d/own_engines.rs"]
mod own_engines;
mod proxy;
mod site;
mod together;
