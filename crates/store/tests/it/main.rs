//! The embedded store against the contract, against the model, and against its own files.

mod format;
mod history;
mod home;

use home::EmbeddedHome;

thalweg_store::contract_tests!(embedded, EmbeddedHome::new);
