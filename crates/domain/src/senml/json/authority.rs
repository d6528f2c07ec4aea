//! The authority: serde_json, with numbers as the text they were sent as. Says what a pack means, and why it is refused.
//!
//! Slower than the [tape](super::tape), and only asked where that gives up. First the syntax of the whole body, then the
//! records in order, so that a body that is not JSON is never refused for anything else.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::PACK_DEPTH_MAX;
use crate::senml::PackLimits;
use crate::senml::error::{ErrorCode, Kind, SenmlError};
use crate::senml::pack::{self, Fields, Mismatch, Pack, Sink};
use crate::time::ReceivedAt;
use crate::time::decimal::{NotSeconds, Seconds};

/// Reads a pack into the sink and says how many measurements it held.
pub(super) fn read<S: Sink>(
    body: &[u8],
    received: ReceivedAt,
    limits: &PackLimits,
    sink: &mut S,
) -> Result<usize, SenmlError> {
    let text =
        std::str::from_utf8(body).map_err(|error| malformed(format!("the body is not UTF-8: {error}")))?;
    let root: &RawValue =
        serde_json::from_str(text).map_err(|error| malformed(format!("the body is not JSON: {error}")))?;
    let records = match kind(root) {
        Kind::Array => elements(root)?,
        other => {
            check_syntax(root, 1)?;
            return Err(match other {
                Kind::Null => pack::empty_pack(),
                other => {
                    let text = format!("a pack must be an array of records, got {other}");
                    SenmlError::new(ErrorCode::NotAPack, text)
                }
            });
        }
    };
    for (index, record) in records.iter().enumerate() {
        check_syntax(record, 2).map_err(|error| error.at(index))?;
    }
    if records.len() > limits.records_max {
        let text =
            format!("the pack has {} records; at most {} are taken", records.len(), limits.records_max);
        return Err(SenmlError::new(ErrorCode::TooLarge, text));
    }
    let mut pack = Pack::new(received, limits);
    for record in records {
        match kind(record) {
            Kind::Object => pack.record(&mut Members::of(record)?, sink)?,
            other => return Err(pack.not_a_record(other)),
        }
    }
    pack.end()
}

#[cold]
fn malformed(text: String) -> SenmlError {
    SenmlError::new(ErrorCode::Malformed, text)
}

/// Checks what serde_json does not while it skips a value: escapes that stand for no character, and the depth.
/// Every level reads its text again, and there are few of them.
fn check_syntax(value: &RawValue, depth: usize) -> Result<(), SenmlError> {
    match kind(value) {
        Kind::Array | Kind::Object if depth > PACK_DEPTH_MAX => {
            let text = format!("is nested more than {PACK_DEPTH_MAX} levels deep, the pack being the first");
            Err(malformed(text))
        }
        Kind::Array => elements(value)?.into_iter().try_for_each(|element| check_syntax(element, depth + 1)),
        Kind::Object => {
            members(value)?.into_iter().try_for_each(|(_, member)| check_syntax(member, depth + 1))
        }
        Kind::Text => text_of(value).map(drop),
        Kind::Null | Kind::Boolean | Kind::Number => Ok(()),
    }
}

/// What a value is, by its first byte: the value is well-formed, and a raw value begins with what it is.
fn kind(value: &RawValue) -> Kind {
    match value.get().as_bytes().first() {
        Some(b'n') | None => Kind::Null,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'"') => Kind::Text,
        Some(b'[') => Kind::Array,
        Some(b'{') => Kind::Object,
        Some(_) => Kind::Number,
    }
}

fn elements(array: &RawValue) -> Result<Vec<&RawValue>, SenmlError> {
    serde_json::from_str(array.get()).map_err(|error| malformed(format!("has a broken array: {error}")))
}

fn members(object: &RawValue) -> Result<Vec<(Cow<'_, str>, &RawValue)>, SenmlError> {
    let members: Result<Object<'_>, _> = serde_json::from_str(object.get());
    members.map(|object| object.0).map_err(|error| malformed(format!("has a broken label: {error}")))
}

fn text_of(text: &RawValue) -> Result<Cow<'_, str>, SenmlError> {
    let text: Result<Text<'_>, _> = serde_json::from_str(text.get());
    text.map(|text| text.0).map_err(|error| malformed(format!("has a broken string: {error}")))
}

/// One record's fields, and the value of the one that was asked for last.
struct Members<'a> {
    fields: std::vec::IntoIter<(Cow<'a, str>, &'a RawValue)>,
    value: &'a RawValue,
}

impl<'a> Members<'a> {
    fn of(record: &'a RawValue) -> Result<Self, SenmlError> {
        Ok(Self { fields: members(record)?.into_iter(), value: RawValue::NULL })
    }

    fn expect(&self, kind_expected: Kind) -> Result<&'a RawValue, Mismatch> {
        match kind(self.value) {
            kind if kind == kind_expected => Ok(self.value),
            other => Err(Mismatch::Kind(other)),
        }
    }
}

impl<'a> Fields<'a> for Members<'a> {
    type Text = Cow<'a, str>;

    fn label(&mut self) -> Option<Cow<'a, str>> {
        let (label, value) = self.fields.next()?;
        self.value = value;
        Some(label)
    }

    fn text(&mut self) -> Result<Cow<'a, str>, Mismatch> {
        let value = self.expect(Kind::Text)?;
        Ok(text_of(value).expect("the syntax of every string was checked"))
    }

    fn number(&mut self) -> Result<f64, Mismatch> {
        let text = self.expect(Kind::Number)?.get();
        let number: f64 = text.parse().expect("a number of JSON is one of Rust");
        if number.is_finite() { Ok(number) } else { Err(Mismatch::Double) }
    }

    fn seconds(&mut self) -> Result<Seconds<'a>, Mismatch> {
        self.number()?;
        Seconds::parse(self.value.get().as_bytes()).map_err(|_: NotSeconds| Mismatch::Time)
    }

    fn boolean(&mut self) -> Result<bool, Mismatch> {
        Ok(self.expect(Kind::Boolean)?.get() == "true")
    }

    fn skip(&mut self) {}
}

/// A string, borrowed from the body where no escape is in it.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// An object with all its members, doubled ones too.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor).map(Self)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Text(label), value)) = map.next_entry()? {
            members.push((label, value));
        }
        Ok(members)
    }
}
