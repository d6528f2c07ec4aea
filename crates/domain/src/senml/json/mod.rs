//! SenML JSON (RFC 8428 section 5): a fast path, and an authority behind it.
//!
//! What the fast path takes, the authority takes with the same result; what it does not take, for whatever reason, the
//! authority reads again from the start, and alone says what is wrong.

mod authority;
mod tape;

use super::PackLimits;
use super::error::SenmlError;
use super::pack::Sink;
use crate::time::ReceivedAt;

#[derive(Default)]
pub(super) struct JsonScratch(tape::TapeScratch);

/// Reads a pack into the sink and says how many measurements it held.
pub(super) fn read<S: Sink>(
    body: &[u8],
    received: ReceivedAt,
    limits: &PackLimits,
    scratch: &mut JsonScratch,
    sink: &mut S,
) -> Result<usize, SenmlError> {
    match tape::read(body, received, limits, &mut scratch.0, sink) {
        Ok(measurements) => Ok(measurements),
        Err(tape::NotTaken) => {
            sink.restart();
            read_by_authority(body, received, limits, sink)
        }
    }
}

/// Reads a pack without the fast path.
pub(super) fn read_by_authority<S: Sink>(
    body: &[u8],
    received: ReceivedAt,
    limits: &PackLimits,
    sink: &mut S,
) -> Result<usize, SenmlError> {
    authority::read(body, received, limits, sink)
}

#[cfg(test)]
mod tests;
