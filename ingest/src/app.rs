//! What every publish of one node shares.

use instruments::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{Config, Parts};

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) parts: Parts,
    /// Bytes that publishes in flight may still take.
    free_bytes: Semaphore,
}

/// Memory that is set aside.
pub(crate) struct Reserved<'a> {
    _permit: SemaphorePermit<'a>,
    bytes: u32,
    gauge: &'a Gauge,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.gauge.decrement(self.bytes);
    }
}

impl App {
    pub(crate) fn new(config: Config, parts: Parts) -> Self {
        let free_bytes = Semaphore::new(config.in_flight_bytes_max);
        parts.metrics.in_flight_bytes_max.set(config.in_flight_bytes_max as f64);
        Self { config, parts, free_bytes }
    }

    /// Sets memory aside until what it returns is dropped; nothing if there is not so much.
    pub(crate) fn reserve(&self, bytes: u32) -> Option<Reserved<'_>> {
        let permit = self.free_bytes.try_acquire_many(bytes).ok()?;
        let gauge = &self.parts.metrics.in_flight_bytes;
        gauge.increment(bytes);
        Some(Reserved { _permit: permit, bytes, gauge })
    }
}
