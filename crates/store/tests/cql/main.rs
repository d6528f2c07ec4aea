//! The CQL store against the contract, against the model, with others at the same keyspace, and through faults of its
//! database.
//!
//! It needs a real database: `deploy/engines with cassandra -- cargo test -p thalweg-store --features engines --test cql`.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

#[path = "../it/any.rs"]
mod any;
mod engines;
mod faults;
mod history;
mod home;
#[path = "../../../../deploy/engines.d/own_engines.rs"]
mod own_engines;
mod retention;
mod several;

use home::CqlHome;

thalweg_store::contract_tests!(cql, CqlHome::default);
