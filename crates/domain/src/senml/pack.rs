//! What a pack means: its records read in order, with the base fields in force, give measurements.
//!
//! Knows no encoding: it asks a [`Fields`] for what each label calls for. Everything that makes a pack right or wrong
//! beyond its syntax stands here, once, so that checking and resolving it can't disagree.
//! Source: RFC 8428 sections 4.1 to 4.6, RFC 9100.

use std::cmp::Ordering;
use std::ops::Deref;

use super::PackLimits;
use super::error::{ErrorCode, Kind, SenmlError};
use super::label::{Label, Labels};
use super::{data, name};
use crate::limits::UNIT_BYTES_MAX;
use crate::time::decimal::Seconds;
use crate::time::{ReceivedAt, Timestamp};

/// Times below this are relative to the reception (RFC 8428 section 4.5.3).
const ABSOLUTE_SECONDS_MIN: i64 = 1 << 28;
/// The version of RFC 8428. Up to here versions only count up.
const VERSION_PLAIN_MAX: f64 = 10.0;
/// The version of RFC 8428 with the one feature there is, secondary units (RFC 9100 section 3, RFC 8798).
const VERSION_SECONDARY_UNITS: f64 = 26.0;
/// From so many unknown labels on, a record's are sorted to find one that is there twice.
const LABELS_COMPARED_MAX: usize = 8;

/// The fields of one record, read in order: a label, then its value as the type that the label calls for.
pub(super) trait Fields<'a> {
    type Text: Deref<Target = str>;

    /// The next label, if there is one more field.
    fn label(&mut self) -> Option<Self::Text>;
    fn text(&mut self) -> Result<Self::Text, Mismatch>;
    fn number(&mut self) -> Result<f64, Mismatch>;
    fn seconds(&mut self) -> Result<Seconds<'a>, Mismatch>;
    fn boolean(&mut self) -> Result<bool, Mismatch>;
    fn skip(&mut self);
}

/// Why a value is not of the type that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mismatch {
    /// It is something else.
    Kind(Kind),
    /// It is a number, but beyond a double.
    Double,
    /// It is a number, but beyond all times.
    Time,
}

/// One measurement, resolved, in the buffers that it was read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measurement<'r> {
    pub(super) base_name: &'r str,
    pub(super) name: &'r str,
    pub(super) unit: &'r str,
    pub(super) time: Timestamp,
    pub(super) value: Option<Reading<'r>>,
    pub(super) sum: Option<f64>,
    pub(super) update_time: Option<f64>,
}

/// The value of a [`Measurement`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Reading<'r> {
    Number(f64),
    Text(&'r str),
    Bool(bool),
    /// Checked base64url, without padding.
    Data(&'r str),
}

/// What measurements go to.
pub(super) trait Sink {
    fn take(&mut self, measurement: Measurement<'_>);
    /// Forgets what it took: the pack is read again from its start.
    fn restart(&mut self);
}

/// A pack being read.
pub(super) struct Pack<'a, T> {
    received: ReceivedAt,
    oldest: Timestamp,
    base: Base<'a, T>,
    /// Labels of one record that we do not know. Kept here so that it is allocated once, and only if there are any.
    unknown: Vec<T>,
    /// Where base64url is decoded to, to see whether it can be.
    decoded: Vec<u8>,
    record: usize,
    measurements: usize,
}

/// The base fields in force (RFC 8428 section 4.1). A value or sum of 0 is none: nothing would be added.
struct Base<'a, T> {
    name: Option<T>,
    name_is_checked: bool,
    unit: Option<T>,
    time: Seconds<'a>,
    value: f64,
    sum: f64,
    version: Option<f64>,
}

/// The fields of one record that are its own.
struct Own<'a, T> {
    labels: Labels,
    name: Option<T>,
    unit: Option<T>,
    time: Seconds<'a>,
    number: f64,
    /// `vs` or `vd`: never both in a measurement.
    text: Option<T>,
    boolean: bool,
    sum: f64,
    update_time: Option<f64>,
}

impl<'a, T: Deref<Target = str>> Pack<'a, T> {
    pub(super) fn new(received: ReceivedAt, limits: &PackLimits) -> Self {
        let base = Base {
            name: None,
            name_is_checked: false,
            unit: None,
            time: Seconds::ZERO,
            value: 0.0,
            sum: 0.0,
            version: None,
        };
        Self {
            received,
            oldest: limits.oldest,
            base,
            unknown: Vec::new(),
            decoded: Vec::new(),
            record: 0,
            measurements: 0,
        }
    }

    /// Reads the next record and, if it is a measurement, gives it to the sink.
    #[inline]
    pub(super) fn record<F, S>(&mut self, fields: &mut F, sink: &mut S) -> Result<(), SenmlError>
    where
        F: Fields<'a, Text = T>,
        S: Sink,
    {
        let record = self.record;
        self.record += 1;
        let own = self.read(fields).map_err(|error| error.at(record))?;
        if own.labels.are_all_in(Labels::BASE) {
            return Ok(());
        }
        let measurement = resolve(&mut self.base, &own, self.received, self.oldest, &mut self.decoded);
        sink.take(measurement.map_err(|error| error.at(record))?);
        self.measurements += 1;
        Ok(())
    }

    /// Refuses the next record: it is not an object.
    #[cold]
    pub(super) fn not_a_record(&self, kind: Kind) -> SenmlError {
        let text = format!("a record must be an object, got {kind}");
        SenmlError::new(ErrorCode::BadRecord, text).at(self.record)
    }

    /// Ends the pack, and says how many measurements it held.
    pub(super) fn end(self) -> Result<usize, SenmlError> {
        match self.measurements {
            0 => Err(empty_pack()),
            measurements => Ok(measurements),
        }
    }

    #[inline]
    fn read<F>(&mut self, fields: &mut F) -> Result<Own<'a, T>, SenmlError>
    where
        F: Fields<'a, Text = T>,
    {
        let mut own = Own {
            labels: Labels::default(),
            name: None,
            unit: None,
            time: Seconds::ZERO,
            number: 0.0,
            text: None,
            boolean: false,
            sum: 0.0,
            update_time: None,
        };
        while let Some(text) = fields.label() {
            let Some(label) = Label::of(&text) else {
                self.unknown_field(text)?;
                fields.skip();
                continue;
            };
            if !own.labels.insert(label) {
                return Err(duplicate(label.as_str()));
            }
            self.known_field(label, fields, &mut own)?;
        }
        self.refuse_doubles_of_unknown()?;
        Ok(own)
    }

    #[inline]
    fn known_field<F>(&mut self, label: Label, fields: &mut F, own: &mut Own<'a, T>) -> Result<(), SenmlError>
    where
        F: Fields<'a, Text = T>,
    {
        let refuse = |mismatch| refuse(label, mismatch);
        let base = &mut self.base;
        match label {
            Label::Name => own.name = Some(fields.text().map_err(refuse)?),
            Label::Unit => own.unit = Some(fields.text().map_err(refuse)?),
            Label::Time => own.time = fields.seconds().map_err(refuse)?,
            Label::Number => own.number = fields.number().map_err(refuse)?,
            Label::Text | Label::Data => own.text = Some(fields.text().map_err(refuse)?),
            Label::Bool => own.boolean = fields.boolean().map_err(refuse)?,
            Label::Sum => own.sum = fields.number().map_err(refuse)?,
            Label::UpdateTime => own.update_time = Some(update_time(fields.number().map_err(refuse)?)?),
            Label::BaseName => {
                base.name = Some(fields.text().map_err(refuse)?);
                base.name_is_checked = false;
            }
            Label::BaseTime => base.time = fields.seconds().map_err(refuse)?,
            Label::BaseUnit => base.unit = Some(fields.text().map_err(refuse)?),
            Label::BaseValue => base.value = fields.number().map_err(refuse)?,
            Label::BaseSum => base.sum = fields.number().map_err(refuse)?,
            Label::BaseVersion => {
                base.version = Some(version(base.version, fields.number().map_err(refuse)?)?);
            }
        }
        Ok(())
    }

    /// Section 4.4: what we do not know is ignored, unless it must be understood.
    #[cold]
    fn unknown_field(&mut self, label: T) -> Result<(), SenmlError> {
        if label.ends_with('_') {
            let text = "must be understood (its label ends with _), and is not known here";
            return Err(SenmlError::new(ErrorCode::MustUnderstand, text).in_field(&label));
        }
        if self.unknown.len() < LABELS_COMPARED_MAX && self.unknown.iter().any(|other| **other == *label) {
            return Err(duplicate(&label));
        }
        self.unknown.push(label);
        Ok(())
    }

    /// Ends a record's unknown labels. Many of them are sorted, so that no record costs the square of its size.
    #[inline]
    fn refuse_doubles_of_unknown(&mut self) -> Result<(), SenmlError> {
        if self.unknown.len() > LABELS_COMPARED_MAX {
            self.unknown.sort_unstable_by(|one, other| one.deref().cmp(other));
            let double = self.unknown.windows(2).find(|pair| *pair[0] == *pair[1]);
            if let Some(pair) = double {
                return Err(duplicate(&pair[0]));
            }
        }
        self.unknown.clear();
        Ok(())
    }
}

/// Applies the base fields to a record that is a measurement (section 4.6).
#[inline]
fn resolve<'r, T: Deref<Target = str>>(
    base: &'r mut Base<'_, T>,
    own: &'r Own<'_, T>,
    received: ReceivedAt,
    oldest: Timestamp,
    decoded: &mut Vec<u8>,
) -> Result<Measurement<'r>, SenmlError> {
    let value = reading(base, own, decoded)?;
    let sum = sum(base, own)?;
    if value.is_none() && sum.is_none() {
        let text = "has neither a value (v, vs, vb, vd) nor a sum (s)";
        return Err(SenmlError::new(ErrorCode::NoValue, text));
    }
    let time = time(base, own, received, oldest)?;
    let own_name = own.name.as_deref().unwrap_or_default();
    let base_name = base.name.as_deref().unwrap_or_default();
    name::check(base_name, own_name, base.name_is_checked)?;
    base.name_is_checked = true;
    Ok(Measurement {
        base_name,
        name: own_name,
        unit: unit(base, own)?,
        time,
        value,
        sum,
        update_time: own.update_time,
    })
}

/// Sections 4.2 (exactly one value) and 4.5.4 (base value).
#[inline]
fn reading<'r, T: Deref<Target = str>>(
    base: &Base<'_, T>,
    own: &'r Own<'_, T>,
    decoded: &mut Vec<u8>,
) -> Result<Option<Reading<'r>>, SenmlError> {
    if own.labels.count_in(Labels::VALUES) > 1 {
        let text = "has more than one value (v, vs, vb, vd): send each as a record of its own";
        return Err(SenmlError::new(ErrorCode::ManyValues, text));
    }
    let text = own.text.as_deref().unwrap_or_default();
    Ok(Some(if own.labels.contains(Label::Number) {
        Reading::Number(plus_base(own.number, base.value, Label::Number)?)
    } else if own.labels.contains(Label::Text) {
        Reading::Text(text)
    } else if own.labels.contains(Label::Bool) {
        Reading::Bool(own.boolean)
    } else if own.labels.contains(Label::Data) {
        Reading::Data(data::check(text, decoded)?)
    } else if base.value != 0.0 && own.labels.contains(Label::Name) {
        Reading::Number(base.value)
    } else {
        return Ok(None);
    }))
}

/// Section 4.5.4: either of sum and base sum is enough.
#[inline]
fn sum<T>(base: &Base<'_, T>, own: &Own<'_, T>) -> Result<Option<f64>, SenmlError> {
    if own.labels.contains(Label::Sum) {
        plus_base(own.sum, base.sum, Label::Sum).map(Some)
    } else {
        Ok((base.sum != 0.0).then_some(base.sum))
    }
}

/// Nothing is added where no base is in force: a value of -0 stays one.
#[inline]
fn plus_base(own: f64, base: f64, label: Label) -> Result<f64, SenmlError> {
    if base == 0.0 {
        return Ok(own);
    }
    let sum = own + base;
    if sum.is_infinite() {
        let text = "and its base field add up to more than a double can hold";
        return Err(SenmlError::new(ErrorCode::BadNumber, text).in_field(label.as_str()));
    }
    Ok(sum)
}

/// Section 4.5.3.
#[inline]
fn time<T>(
    base: &Base<'_, T>,
    own: &Own<'_, T>,
    received: ReceivedAt,
    oldest: Timestamp,
) -> Result<Timestamp, SenmlError> {
    let total = own.time.add(base.time, ABSOLUTE_SECONDS_MIN);
    let nanos = match total.against {
        Ordering::Less => total.nanos + i128::from(received.as_micros()) * 1_000,
        Ordering::Equal | Ordering::Greater => total.nanos,
    };
    let label = if own.labels.contains(Label::Time) { Label::Time } else { Label::BaseTime };
    match i64::try_from(nanos).map(Timestamp::from_nanos) {
        Ok(time) if time >= oldest => Ok(time),
        Ok(time) => Err(expired(label, time, oldest)),
        Err(_) => Err(beyond_all_times(label)),
    }
}

/// Section 4.5.2. Whatever the sender calls its unit is kept, control characters included.
#[inline]
fn unit<'r, T: Deref<Target = str>>(
    base: &'r Base<'_, T>,
    own: &'r Own<'_, T>,
) -> Result<&'r str, SenmlError> {
    let (label, unit) = match (&own.unit, &base.unit) {
        (Some(own), _) => (Label::Unit, &**own),
        (None, Some(base)) => (Label::BaseUnit, &**base),
        (None, None) => return Ok(""),
    };
    if unit.len() > UNIT_BYTES_MAX {
        let text = format!("is a unit of {} bytes; at most {UNIT_BYTES_MAX} are kept", unit.len());
        return Err(SenmlError::new(ErrorCode::BadUnit, text).in_field(label.as_str()));
    }
    Ok(unit)
}

/// Section 4.2 (update time). Minus zero is zero, and kept.
fn update_time(seconds: f64) -> Result<f64, SenmlError> {
    if seconds < 0.0 {
        let text = format!("must be zero or more seconds, got {seconds}");
        return Err(SenmlError::new(ErrorCode::BadNumber, text).in_field(Label::UpdateTime.as_str()));
    }
    Ok(seconds)
}

/// Section 4.4 and RFC 9100 section 2: one version throughout, and one that we know.
#[cold]
fn version(before: Option<f64>, now: f64) -> Result<f64, SenmlError> {
    let refuse = |code, text| Err(SenmlError::new(code, text).in_field(Label::BaseVersion.as_str()));
    let is_known = (1.0..=VERSION_PLAIN_MAX).contains(&now) || now == VERSION_SECONDARY_UNITS;
    if now.fract() != 0.0 || !is_known {
        let text =
            format!("names version {now}; known are 1 to {VERSION_PLAIN_MAX}, and {VERSION_SECONDARY_UNITS}");
        return refuse(ErrorCode::UnsupportedVersion, text);
    }
    match before {
        Some(before) if before != now => {
            let text = format!("changes from {before} to {now}; it must be the same throughout a pack");
            refuse(ErrorCode::VersionChange, text)
        }
        _ => Ok(now),
    }
}

#[cold]
pub(super) fn empty_pack() -> SenmlError {
    SenmlError::new(ErrorCode::EmptyPack, "the pack holds no measurement")
}

#[cold]
fn duplicate(label: &str) -> SenmlError {
    SenmlError::new(ErrorCode::DuplicateField, "appears more than once").in_field(label)
}

#[cold]
fn beyond_all_times(label: Label) -> SenmlError {
    let text = format!("is a time before {} or after {} seconds", Timestamp::MIN, Timestamp::MAX);
    SenmlError::new(ErrorCode::TimeRange, text).in_field(label.as_str())
}

#[cold]
fn expired(label: Label, time: Timestamp, oldest: Timestamp) -> SenmlError {
    let text =
        format!("makes it {time} seconds, and the channel keeps nothing from before {oldest} any more");
    SenmlError::new(ErrorCode::Expired, text).in_field(label.as_str())
}

/// What to say of a value that is not what its label calls for.
#[cold]
fn refuse(label: Label, mismatch: Mismatch) -> SenmlError {
    let (code, text) = match mismatch {
        // Whatever is no positive integer is no version that we know.
        Mismatch::Kind(kind) if label == Label::BaseVersion => {
            (ErrorCode::UnsupportedVersion, format!("must be a positive integer, got {kind}"))
        }
        Mismatch::Double if label == Label::BaseVersion => {
            (ErrorCode::UnsupportedVersion, "must be a positive integer that is known here".to_owned())
        }
        Mismatch::Kind(kind) => (ErrorCode::BadType, format!("must be {}, got {kind}", label.expected())),
        Mismatch::Double => (ErrorCode::BadNumber, "is a number beyond what a double can hold".to_owned()),
        Mismatch::Time => return beyond_all_times(label),
    };
    SenmlError::new(code, text).in_field(label.as_str())
}
