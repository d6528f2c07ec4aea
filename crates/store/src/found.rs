//! What a scan has found so far, and how much more it may: the same on every engine.

use crate::contract::{BlockScan, Row, Scanned};

/// Rows to make room for before any is found: a scan's limit is what is wanted, not what there is.
const ROWS_RESERVED_MAX: usize = 64;

/// The rows of a scan, and its bounds.
pub(crate) struct Found {
    pub(crate) rows: Vec<Row>,
    /// What the rows take.
    pub(crate) bytes: usize,
    limit: usize,
    bytes_max: usize,
}

impl Found {
    pub(crate) fn within(scan: &BlockScan) -> Self {
        Self::bounded(scan.limit, scan.bytes_max)
    }

    pub(crate) fn bounded(limit: usize, bytes_max: usize) -> Self {
        Self { rows: Vec::with_capacity(limit.min(ROWS_RESERVED_MAX)), bytes: 0, limit, bytes_max }
    }

    /// Whether one of the bounds is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.left() == 0 || (self.bytes_left() == 0 && !self.rows.is_empty())
    }

    /// Rows that are still wanted.
    pub(crate) fn left(&self) -> usize {
        self.limit.saturating_sub(self.rows.len())
    }

    /// Bytes that are still wanted.
    pub(crate) fn bytes_left(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes)
    }

    pub(crate) fn take(&mut self, row: Row) {
        self.bytes += row.bytes();
        self.rows.push(row);
    }

    pub(crate) fn scanned(self) -> Scanned {
        Scanned { more: self.is_full(), bytes: self.bytes, rows: self.rows }
    }
}
