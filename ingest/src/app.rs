//! What every publish of one node shares.

use tokio::sync::Semaphore;

use crate::{Config, Parts};

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) parts: Parts,
    /// Bytes that publishes in flight may still take.
    pub(crate) free_bytes: Semaphore,
}

impl App {
    pub(crate) fn new(config: Config, parts: Parts) -> Self {
        let free_bytes = Semaphore::new(config.in_flight_bytes_max);
        Self { config, parts, free_bytes }
    }
}
