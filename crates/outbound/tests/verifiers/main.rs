//! What we sign is verified by others: by the receivers of `docs/webhooks.md` as they stand there, and by the library of Standard
//! Webhooks.
//!
//! `make test` has what they need there. By hand: `deploy/verifiers with -- cargo test -p thalweg-outbound --features engines --test
//! verifiers`.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod cases;
mod document;
mod library;
mod receivers;
