//! The fields of JSON bodies, read one by one, so that a refusal names the record and the field that was wrong.
//!
//! Fields that no endpoint knows are ignored: clients of Mainflux send back what they got.

use std::collections::BTreeSet;
use std::str::FromStr;

use domain::limits::BULK_MAX;
use serde_json::{Map, Value};
use service::ApiError;

use crate::metadata::Metadata;

/// Bytes of a thing's or channel's name.
pub(crate) const NAME_BYTES_MAX: usize = 1_024;
/// Bytes of a group's or org's description. A page of the largest size stays under 16 MiB.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 4_096;

/// A whole number, however it is written: to JSON 60 and 60.0 are the same.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    /// From here on doubles skip whole numbers.
    const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
    let written_otherwise = |number: &f64| number.fract() == 0.0 && number.abs() < EXACT_BELOW;
    value.as_i64().or_else(|| value.as_f64().filter(written_otherwise).map(|number| number as i64))
}

/// The fields of one object of a body. A field that is `null` is not there.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    record: Option<usize>,
}

impl Fields {
    /// The one object that the body has to be.
    pub(crate) fn one(body: Value) -> Result<Self, ApiError> {
        match body {
            Value::Object(map) => Ok(Self { map, record: None }),
            _ => Err(ApiError::malformed("the body is not a JSON object").code("malformed")),
        }
    }

    /// The objects of the array that the body has to be: at least one, at most [`BULK_MAX`]. A single object counts as an
    /// array of one.
    pub(crate) fn many(body: Value) -> Result<Vec<Self>, ApiError> {
        let values = match body {
            Value::Array(values) => values,
            Value::Object(map) => return Ok(vec![Self { map, record: Some(0) }]),
            _ => return Err(ApiError::malformed("the body is not a JSON array of objects").code("malformed")),
        };
        if values.is_empty() {
            return Err(ApiError::malformed("the array is empty").code("malformed"));
        }
        if values.len() > BULK_MAX {
            let error =
                format!("the array has {} objects, at most {BULK_MAX} are taken at once", values.len());
            return Err(ApiError::malformed(error).code("too_many"));
        }
        let read = |(index, value)| match value {
            Value::Object(map) => Ok(Self { map, record: Some(index) }),
            _ => Err(ApiError::malformed(format!("record {index} is not a JSON object")).record(index)),
        };
        values.into_iter().enumerate().map(read).collect()
    }

    /// A refusal of a field.
    pub(crate) fn wrong(&self, field: &str, problem: impl std::fmt::Display) -> ApiError {
        match self.record {
            None => ApiError::malformed(format!("{field} {problem}")).field(field),
            Some(index) => {
                ApiError::malformed(format!("{field} of record {index} {problem}")).record(index).field(field)
            }
        }
    }

    /// A field's value.
    pub(crate) fn value(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|value| !value.is_null())
    }

    /// A text.
    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, ApiError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "is not a string")),
        }
    }

    /// A text that has to be there.
    pub(crate) fn required_text(&mut self, field: &str) -> Result<String, ApiError> {
        self.text(field)?.ok_or_else(|| self.wrong(field, "is missing"))
    }

    /// A whole number of seconds, at most so many.
    pub(crate) fn seconds(&mut self, field: &str, max: i64) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.value(field) else { return Ok(None) };
        match whole(&value) {
            Some(seconds) if (0..=max).contains(&seconds) => Ok(Some(seconds)),
            _ => Err(self.wrong(field, format_args!("is not a whole number of seconds from 0 to {max}"))),
        }
    }

    /// `name`.
    pub(crate) fn name(&mut self) -> Result<Option<String>, ApiError> {
        let name = self.text("name")?;
        match &name {
            Some(name) if name.len() > NAME_BYTES_MAX => {
                Err(self.wrong("name", format_args!("is longer than {NAME_BYTES_MAX} bytes")))
            }
            Some(name) if name.contains(char::is_control) => {
                Err(self.wrong("name", "has a control character"))
            }
            _ => Ok(name),
        }
    }

    /// `description`.
    pub(crate) fn description(&mut self) -> Result<Option<String>, ApiError> {
        let description = self.text("description")?;
        match &description {
            Some(text) if text.len() > DESCRIPTION_BYTES_MAX => {
                Err(self.wrong("description", format_args!("is longer than {DESCRIPTION_BYTES_MAX} bytes")))
            }
            // PostgreSQL takes no text with one.
            Some(text) if text.contains('\0') => Err(self.wrong("description", "has a NUL")),
            _ => Ok(description),
        }
    }

    /// The objects of an array in a field: at least one, at most [`BULK_MAX`].
    pub(crate) fn objects(&mut self, field: &str) -> Result<Vec<Self>, ApiError> {
        let Some(value) = self.value(field) else { return Err(self.wrong(field, "is missing")) };
        match &value {
            Value::Array(values) if values.is_empty() => Err(self.wrong(field, "is an empty array")),
            Value::Array(_) => Self::many(value).map_err(|error| error.field(field)),
            _ => Err(self.wrong(field, "is not an array")),
        }
    }

    /// The ids of an array, each once: naming one twice changes nothing. At least one and at most [`BULK_MAX`].
    pub(crate) fn ids<I: FromStr + Ord>(&mut self, field: &str) -> Result<Vec<I>, ApiError> {
        let texts = self.texts(field)?;
        let mut ids = BTreeSet::new();
        for (index, text) in texts.iter().enumerate() {
            let id = text.parse().map_err(|_| {
                let error = format!("{field} holds no UUID at index {index}");
                ApiError::malformed(error).record(index).field(field)
            })?;
            ids.insert(id);
        }
        Ok(ids.into_iter().collect())
    }

    /// `metadata`.
    pub(crate) fn metadata(&mut self) -> Result<Option<Metadata>, ApiError> {
        let metadata = self.value("metadata").map(Metadata::from_value).transpose();
        metadata.map_err(|error| self.wrong("metadata", error))
    }

    /// An array of texts, at least one and at most [`BULK_MAX`].
    pub(crate) fn texts(&mut self, field: &str) -> Result<Vec<String>, ApiError> {
        let Some(value) = self.value(field) else { return Err(self.wrong(field, "is missing")) };
        let Value::Array(values) = value else { return Err(self.wrong(field, "is not an array")) };
        if values.is_empty() || values.len() > BULK_MAX {
            let problem = format_args!("holds {} texts, and has to hold 1 to {BULK_MAX}", values.len());
            return Err(self.wrong(field, problem));
        }
        let text = |(index, value)| match value {
            Value::String(text) => Ok(text),
            _ => {
                let problem = format_args!("holds something that is not a string at index {index}");
                Err(self.wrong(field, problem).record(index))
            }
        };
        values.into_iter().enumerate().map(text).collect()
    }
}
