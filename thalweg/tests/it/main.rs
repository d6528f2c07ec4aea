//! The product over HTTP: each test starts the binary on a directory of its own and talks to it as a client would.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod curl;
mod harness;

mod access;
mod browsers;
mod canaries;
mod config;
mod damage;
mod demo;
mod document;
mod edge;
mod encodings;
mod filters;
mod first_message;
mod junk;
mod matrix;
mod openapi;
mod operation;
mod rates;
mod raw;
mod reading;
mod receiver;
mod reference;
mod refusals;
mod resolution;
mod retention;
mod sharing;
mod slow_clients;
mod stopping;
mod webhooks;
