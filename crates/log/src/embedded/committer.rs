//! The committer: one thread that writes what waits in groups, one sync per group, and answers.
//!
//! It never answers before the sync, and never writes again after a write whose outcome nobody can know.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tokio::sync::watch;

use crate::contract::AppendError;
use crate::embedded::format::seal_frames;
use crate::embedded::queue::{Queue, Request};
use crate::embedded::writer::{Group, SegmentWriter, WriteFailure};
use crate::metrics::LogMetrics;

#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) writer: SegmentWriter,
    /// The offset behind the last durable entry, for readers to wait on.
    pub(crate) durable: watch::Sender<u64>,
    pub(crate) group_bytes_max: usize,
    pub(crate) metrics: LogMetrics,
}

/// Capacity that the buffer of a group keeps: a rare large group must not hold its memory for ever.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

impl Committer {
    /// Works until the queue is closed and empty, or the disk fails. `on_new_segment` is called after a group that
    /// began a segment.
    pub(crate) fn run(mut self, on_new_segment: impl Fn()) {
        // Whatever ends this thread, a panic included, nobody may wait for it afterwards.
        let queue = Arc::clone(&self.queue);
        let _closes = CloseOnDrop(&queue);
        let mut group = Vec::new();
        let mut buffer = BytesMut::new();
        let mut segments_seen = self.writer.segments().catalog().segments.len();
        while self.queue.take(&mut group, self.group_bytes_max) {
            let outcome = self.commit(&group, &mut buffer);
            let is_broken = matches!(outcome, Err(WriteFailure::Broken(_)));
            self.answer(&mut group, outcome);
            if is_broken {
                return self.refuse_what_waits(&mut group);
            }
            if buffer.capacity() > BUFFER_BYTES_KEPT.max(self.group_bytes_max) {
                buffer = BytesMut::new();
            }
            let segments = self.writer.segments().catalog().segments.len();
            if segments > segments_seen {
                on_new_segment();
            }
            segments_seen = self.writer.segments().catalog().segments.len();
        }
        self.writer.seal();
    }

    /// Writes the group; its first entry gets the offset that is returned.
    fn commit(&mut self, group: &[Request], buffer: &mut BytesMut) -> Result<u64, WriteFailure> {
        let segments = self.writer.segments();
        let (first, seed) = (segments.end(), segments.seed);
        buffer.clear();
        for request in group {
            buffer.extend_from_slice(&request.frames);
        }
        let end_offset = seal_frames(buffer, first, seed);
        let newest_received = group.iter().map(|request| request.newest_received).max();
        let began = Instant::now();
        self.writer.write(&Group { frames: buffer, end_offset, newest_received })?;
        self.durable.send_replace(end_offset);
        self.measure(end_offset - first, buffer.len(), began);
        Ok(first)
    }

    fn measure(&self, entries: u64, bytes: usize, began: Instant) {
        self.metrics.group_sync_seconds.record(began.elapsed());
        self.metrics.group_entries.record(entries as f64);
        self.metrics.appended_entries_total.increment(entries);
        self.metrics.appended_bytes_total.increment(bytes as u64);
    }

    fn answer(&self, group: &mut Vec<Request>, outcome: Result<u64, WriteFailure>) {
        self.queue.release(group.iter().map(|request| request.frames.len()).sum());
        match outcome {
            Ok(mut offset) => {
                for request in group.drain(..) {
                    let _ = request.answer.send(Ok(offset));
                    offset += request.entries as u64;
                }
            }
            Err(WriteFailure::NothingWritten(error)) => {
                tracing::warn!(%error, requests = group.len(), "log can't be written now, entries refused");
                for request in group.drain(..) {
                    let _ = request.answer.send(Err(AppendError::Busy));
                }
            }
            Err(WriteFailure::Broken(error)) => {
                tracing::error!(%error, "log can't be written and has stopped: restart it once the disk works again");
                let error = Arc::new(error);
                for request in group.drain(..) {
                    let source = Box::new(SharedError(Arc::clone(&error)));
                    let _ =
                        request.answer.send(Err(AppendError::Unknown { entries: request.entries, source }));
                }
            }
        }
    }

    fn refuse_what_waits(&self, group: &mut Vec<Request>) {
        self.queue.close();
        while self.queue.take(group, usize::MAX) {
            self.queue.release(group.iter().map(|request| request.frames.len()).sum());
            for request in group.drain(..) {
                let _ = request.answer.send(Err(AppendError::Closed));
            }
        }
    }
}

struct CloseOnDrop<'a>(&'a Queue);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
        let mut left = Vec::new();
        // Dropping a request tells whoever waits for it.
        while self.0.take(&mut left, usize::MAX) {
            left.clear();
        }
    }
}

/// One failure of the disk, told to everybody of the group.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct SharedError(Arc<std::io::Error>);
