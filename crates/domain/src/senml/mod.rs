//! SenML (RFC 8428, updated by RFC 9100): packs as things send them, and the records they stand for.
//!
//! [`check`] is what a pack must pass to be accepted, [`resolve`] what an accepted pack means. Both run the same code, so
//! that a pack that was accepted resolves, and resolves to the same records every time: the one thing from outside that
//! goes into it, when the pack was received, travels with it.
//!
//! Where the RFCs leave a choice:
//! * A base value or base sum of 0 is not in force: that is how a sender takes one back.
//! * Labels must differ within a record, whether we know them or not; within an unknown field's value they may not.
//! * A unit is kept as sent, with whatever characters, up to [`UNIT_BYTES_MAX`](crate::limits::UNIT_BYTES_MAX).
//! * A number keeps the sign of its zero. Two records with 0 and -0 are equal, as doubles are.
//! * A time beyond ±10^21 seconds is refused even where a base time would bring it back into range.
//! * `vd` may be padded; bits behind its last byte that are not zero are refused.
//! * Syntax goes before meaning: a body that is not JSON is refused as that, whatever else is wrong with it. Then the
//!   number of records, then the first record that is wrong, and in it the first field.

mod data;
mod error;
mod json;
mod label;
mod name;
mod pack;
mod resolved;

use std::fmt;

pub use error::{ErrorCode, SenmlError};
pub use resolved::encode;

use crate::limits::RECORDS_PER_PACK_MAX;
use crate::record::Record;
use crate::time::{ReceivedAt, Timestamp};

/// How a pack is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/senml+json`, or plain `application/json`.
    Json,
}

impl Format {
    /// The format of a body with this `Content-Type`. Case does not matter, nor do parameters.
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        let is = |known: &str| essence.eq_ignore_ascii_case(known);
        (is("application/senml+json") || is("application/json")).then_some(Self::Json)
    }

    /// The byte that stands for it in stored data.
    pub const fn code(self) -> u8 {
        match self {
            Self::Json => 1,
        }
    }

    /// The format that [`Self::code`] stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Json),
            _ => None,
        }
    }
}

/// How much one pack may hold, and how old it may be. The body's bytes are limited where it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackLimits {
    /// Elements of the pack, base-only records included. One more, and the pack is [`ErrorCode::TooLarge`].
    pub records_max: usize,
    /// A record of an earlier time is [`ErrorCode::Expired`].
    pub oldest: Timestamp,
}

impl Default for PackLimits {
    fn default() -> Self {
        Self { records_max: RECORDS_PER_PACK_MAX, oldest: Timestamp::MIN }
    }
}

/// Buffers for reading one pack after the other. They keep a bounded amount of memory between packs.
#[derive(Default)]
pub struct Scratch {
    json: json::JsonScratch,
}

/// The last pack may still be in the buffers: they don't show themselves.
impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch(..)")
    }
}

/// What a pack that was accepted holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackSummary {
    /// Measurements: records that are not base-only, at least 1. Ones that a later one in the pack replaces count.
    pub records: usize,
}

/// Checks a pack as [`resolve`] does, without building its records.
///
/// # Errors
/// [`SenmlError`] names the first fault; nothing of the pack may be stored.
pub fn check(
    format: Format,
    body: &[u8],
    received: ReceivedAt,
    limits: &PackLimits,
    scratch: &mut Scratch,
) -> Result<PackSummary, SenmlError> {
    match format {
        Format::Json => {
            let records = json::read(body, received, limits, &mut scratch.json, &mut ())?;
            Ok(PackSummary { records })
        }
    }
}

/// Resolves a pack: every record gets its full name, unit, value and absolute time.
///
/// `received` is when the server received the pack; times below 2^28 s are relative to it. Records come in order of
/// time, those of equal time in the order they were sent; of those with equal name, unit and time only the last.
/// Source: RFC 8428, sections 4.5 (Records and Their Fields) and 4.6 (Resolved Records).
///
/// # Errors
/// [`SenmlError`] names the first fault; nothing is partially resolved.
pub fn resolve(
    format: Format,
    body: &[u8],
    received: ReceivedAt,
    limits: &PackLimits,
    scratch: &mut Scratch,
) -> Result<Vec<Record>, SenmlError> {
    let mut records = Vec::new();
    match format {
        Format::Json => json::read(body, received, limits, &mut scratch.json, &mut records)?,
    };
    Ok(resolved::in_order(records))
}

/// Resolves a pack without any fast path: what [`resolve`] must agree with. For tests; it is slower.
///
/// # Errors
/// The same as [`resolve`].
pub fn resolve_by_authority(
    format: Format,
    body: &[u8],
    received: ReceivedAt,
    limits: &PackLimits,
) -> Result<Vec<Record>, SenmlError> {
    let mut records = Vec::new();
    match format {
        Format::Json => json::read_by_authority(body, received, limits, &mut records)?,
    };
    Ok(resolved::in_order(records))
}
