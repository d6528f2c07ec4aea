//! What the system knows of this process, under the names that Prometheus gives it.

use crate::registry::Registry;
use crate::{Gauge, declare};

declare! {
    /// The process, read off before each scrape. What the system does not tell stays 0.
    pub struct ProcessMetrics: "process" {
        /// Processor time used, in user and system mode.
        cpu_seconds_total: Gauge,
        /// When the process was started, in seconds since the Unix epoch.
        start_time_seconds: Gauge,
        /// Memory that is resident.
        resident_memory_bytes: Gauge,
        /// Address space that is taken.
        virtual_memory_bytes: Gauge,
        /// File descriptors that are open.
        open_fds: Gauge,
        /// File descriptors that may be open.
        max_fds: Gauge,
        /// Threads of the operating system.
        threads: Gauge,
    }
}

impl ProcessMetrics {
    /// Registers them, and has them read before each scrape.
    pub fn observe(registry: &Registry) {
        let metrics = Self::register(registry);
        registry.before_scrape(move || metrics.read());
    }

    fn read(&self) {
        let found = metrics_process::collector::collect();
        let whole = |number: Option<u64>| number.map(|number| number as f64);
        for (gauge, value) in [
            (&self.cpu_seconds_total, found.cpu_seconds_total),
            (&self.start_time_seconds, whole(found.start_time_seconds)),
            (&self.resident_memory_bytes, whole(found.resident_memory_bytes)),
            (&self.virtual_memory_bytes, whole(found.virtual_memory_bytes)),
            (&self.open_fds, whole(found.open_fds)),
            (&self.max_fds, whole(found.max_fds)),
            (&self.threads, whole(found.threads)),
        ] {
            if let Some(value) = value {
                gauge.set(value);
            }
        }
    }
}
