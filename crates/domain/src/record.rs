//! A resolved record: one measurement with its full name, unit and absolute time.

use crate::time::Timestamp;

/// One measurement, as RFC 8428 section 4.6 resolves it.
///
/// Within a channel it is known by publisher, subtopic, name, unit and time. Its numbers are never NaN or infinite; they
/// are equal as doubles are, so that 0 and -0 are, though each is kept as sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Base name and name, joined.
    pub name: String,
    /// Unit as sent, or the base unit; empty where there is neither.
    pub unit: String,
    /// When it was measured.
    pub time: Timestamp,
    /// What was measured. Absent only where there is a `sum`.
    pub value: Option<Value>,
    /// Integrated sum of the values over time (RFC 8428 section 4.2, `s`).
    pub sum: Option<f64>,
    /// Seconds within which the sensor expects to send again (RFC 8428 section 4.2, `ut`). Kept, never interpreted.
    pub update_time: Option<f64>,
}

/// What a record says was measured: exactly one kind (RFC 8428 section 4.2).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `v`: a number.
    Number(f64),
    /// `vs`: a text.
    Text(String),
    /// `vb`: true or false.
    Bool(bool),
    /// `vd`: bytes (in JSON: base64url).
    Data(Vec<u8>),
}
