//! What waits to be appended: bounded in requests and in bytes, filled by callers and emptied by the committer.
//!
//! Never blocks a caller: what does not fit is refused at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::oneshot;

use crate::contract::AppendError;

/// Answers with the offset of the request's first entry.
pub(crate) type Answer = oneshot::Sender<Result<u64, AppendError>>;

/// Frames that still have no offsets, and who waits for them.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) frames: BytesMut,
    pub(crate) entries: usize,
    pub(crate) newest_received: i64,
    pub(crate) answer: Answer,
}

#[derive(Debug)]
pub(crate) struct Queue {
    requests_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    /// Bytes that wait or are being written.
    bytes: usize,
    is_closed: bool,
    committer_sleeps: bool,
}

impl Queue {
    pub(crate) fn new(requests_max: usize, bytes_max: usize) -> Self {
        Self { requests_max, bytes_max, state: Mutex::default(), wake: Condvar::new() }
    }

    /// Puts a request behind the others. One that is larger than the queue itself fits while the queue is empty.
    pub(crate) fn push(&self, request: Request) -> Result<(), AppendError> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(AppendError::Closed);
        }
        let bytes = state.bytes + request.frames.len();
        if state.waiting.len() >= self.requests_max || (state.bytes > 0 && bytes > self.bytes_max) {
            return Err(AppendError::Busy);
        }
        state.bytes = bytes;
        state.waiting.push_back(request);
        let committer_sleeps = std::mem::take(&mut state.committer_sleeps);
        drop(state);
        if committer_sleeps {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Moves the requests that make one group into `group`: at least one, then as many as fit. Waits for the first.
    /// Says no once the queue is closed and empty.
    pub(crate) fn take(&self, group: &mut Vec<Request>, group_bytes_max: usize) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.is_closed {
                return false;
            }
            state.committer_sleeps = true;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        while let Some(first) = state.waiting.front() {
            bytes += first.frames.len();
            if !group.is_empty() && bytes > group_bytes_max {
                break;
            }
            group.extend(state.waiting.pop_front());
        }
        true
    }

    /// These bytes are written, or never will be: others may take their place.
    pub(crate) fn release(&self, bytes: usize) {
        self.lock().bytes -= bytes;
    }

    /// Takes no more requests. Those that wait are still to be taken.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.committer_sleeps = false;
        drop(state);
        self.wake.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Bytes that wait or are being written.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
