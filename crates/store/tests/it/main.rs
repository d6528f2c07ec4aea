//! The embedded store against the contract, against the model, and against its own files.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on may panic anywhere, also in what tests share"
)]

mod any;
mod batches;
mod format;
mod history;
mod home;

use home::{EmbeddedHome, PlainHome};

thalweg_store::contract_tests!(embedded, EmbeddedHome::new);
thalweg_store::contract_tests!(by_the_defaults_of_the_trait, PlainHome::new);
