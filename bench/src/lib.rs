//! Load tools and benches: the ledger load tool, and ratios against bare parts.
//!
//! Everything here talks to a server over HTTP only and shares no code with it, so that a mistake in the server
//! can't be hidden by the same mistake in what checks it. Nothing here decides what is fast enough: it prints the
//! goal beside what it measured.

pub mod api;
pub mod cluster;
pub mod crowd;
pub mod faults;
pub mod http;
pub mod kills;
pub mod ledger;
pub mod server;
pub mod statistics;
