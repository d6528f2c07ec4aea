//! What every process of Thalweg has: API errors, the clock, access look-up, the change feed, the HTTP server, logs, metrics
//! and health.
//!
//! Nothing here knows a route, a table or a file format: services are built from these parts, and depend on no
//! other service.

pub mod access_cache;
pub mod authority;
pub mod client_address;
pub mod clock;
pub mod consumer_status;
pub mod credentials;
pub mod error;
pub mod extract;
pub mod feed;
pub mod health;
pub mod internal;
pub mod metrics;
pub mod rate;
pub mod request_id;
pub mod requests;
pub mod secrets;
pub mod server;
pub mod telemetry;

pub use error::ApiError;
