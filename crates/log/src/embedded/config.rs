//! Settings of the embedded log.

use std::time::Duration;

use crate::contract::LogError;
use crate::embedded::format::SEGMENT_HEADER_BYTES;

/// Settings of an embedded log. All bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// Bytes of a segment: one that would grow longer is closed, and retention deletes whole segments. A group that
    /// is longer by itself gets a segment of its own.
    pub segment_bytes: u64,
    /// Bytes of encoded entries that may wait for the disk, those being written included: the log's share of memory.
    pub queue_bytes_max: usize,
    /// Appends that may wait for the disk.
    pub queue_requests_max: usize,
    /// Bytes of entries that are written and synced together, but never less than one append.
    pub group_bytes_max: usize,
    /// Bytes of segments beyond which the oldest are deleted, once every group has committed past them.
    pub retention_bytes: u64,
    /// Age beyond which segments are deleted, once every group has committed past them.
    pub retention_age: Duration,
    /// Bytes of segments and dead letters beyond which appends answer `Busy`: a consumer that lags must not fill
    /// the disk. Up to 1 MiB more is taken by zeros written ahead.
    pub bytes_max: u64,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            queue_bytes_max: 32 << 20,
            queue_requests_max: 16_384,
            group_bytes_max: 4 << 20,
            retention_bytes: 1 << 30,
            retention_age: Duration::from_secs(7 * 24 * 3600),
            bytes_max: 16 << 30,
        }
    }
}

impl EmbeddedConfig {
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let wrong = |reason: &str| Err(LogError::new("checking the settings of the log", reason));
        if self.segment_bytes <= SEGMENT_HEADER_BYTES as u64 {
            return wrong("segment_bytes leaves no room for an entry");
        }
        if self.queue_bytes_max == 0 || self.queue_requests_max == 0 || self.group_bytes_max == 0 {
            return wrong("queue_bytes_max, queue_requests_max and group_bytes_max have to be more than 0");
        }
        if self.bytes_max < self.retention_bytes || self.bytes_max < self.segment_bytes {
            return wrong("bytes_max has to be at least retention_bytes and segment_bytes");
        }
        Ok(())
    }
}
