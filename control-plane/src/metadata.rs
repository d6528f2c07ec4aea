//! Metadata: a JSON object that belongs to its entity's owner. It is kept and searched, never interpreted.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::registry::RegistryError;

/// Bytes of one entity's metadata. A page of the largest size stays under 16 MiB.
pub(crate) const METADATA_BYTES_MAX: usize = 16 << 10;
/// Values in a query by metadata: what it costs to compare one entity is at most its metadata times this.
pub(crate) const QUERY_VALUES_MAX: usize = 32;

/// An object, perhaps empty. An empty one is the same as none.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Metadata(Map<String, Value>);

/// Why a value can't be metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("is not a JSON object")]
    NotAnObject,
    #[error("is longer than {METADATA_BYTES_MAX} bytes")]
    TooLong,
    #[error("holds more than {QUERY_VALUES_MAX} values to search for")]
    TooManyValues,
}

impl Metadata {
    /// Takes what a client sent for an entity.
    pub(crate) fn from_value(value: Value) -> Result<Self, MetadataError> {
        let Value::Object(map) = value else { return Err(MetadataError::NotAnObject) };
        let metadata = Self(map);
        match metadata.to_stored() {
            Some(text) if text.len() > METADATA_BYTES_MAX => Err(MetadataError::TooLong),
            _ => Ok(metadata),
        }
    }

    /// Takes what a client searches for.
    pub(crate) fn from_query(text: &str) -> Result<Self, MetadataError> {
        let value = serde_json::from_str(text).map_err(|_| MetadataError::NotAnObject)?;
        let metadata = Self::from_value(value)?;
        let values: usize = metadata.0.values().map(count).sum();
        if values > QUERY_VALUES_MAX { Err(MetadataError::TooManyValues) } else { Ok(metadata) }
    }

    /// Reads what [`Self::to_stored`] wrote.
    pub(crate) fn from_stored(text: Option<String>) -> Result<Self, RegistryError> {
        let Some(text) = text else { return Ok(Self::default()) };
        let damaged = |_| RegistryError::Damaged("metadata is not a JSON object");
        Ok(Self(serde_json::from_str(&text).map_err(damaged)?))
    }

    /// The text to store, where there is anything.
    pub(crate) fn to_stored(&self) -> Option<String> {
        let text = || serde_json::to_string(&self.0).expect("a map with text keys is always JSON");
        (!self.is_empty()).then(text)
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether everything in `part` is in here: each of its fields, by value; of arrays, each element somewhere in the
    /// array; of objects, each field. The `@>` of PostgreSQL.
    pub(crate) fn contains(&self, part: &Self) -> bool {
        object_contains(&self.0, &part.0)
    }
}

fn object_contains(whole: &Map<String, Value>, part: &Map<String, Value>) -> bool {
    part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| contains(whole, part)))
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => object_contains(whole, part),
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| contains(whole, part)))
        }
        (Value::Number(whole), Value::Number(part)) => whole == part || whole.as_f64() == part.as_f64(),
        (whole, part) => whole == part,
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(count).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(whole: &str, part: &str) -> bool {
        let [whole, part] = [whole, part].map(|text| Metadata::from_query(text).unwrap());
        whole.contains(&part)
    }

    #[test]
    fn containment_is_that_of_postgresql() {
        let whole = r#"{"a":1,"b":{"c":[1,{"d":"x","e":null}],"f":true}}"#;
        for part in [
            "{}",
            r#"{"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"b":{}}"#,
            r#"{"b":{"c":[{"d":"x"}]}}"#,
            r#"{"b":{"c":[{"e":null},1,1]}}"#,
            whole,
        ] {
            assert!(contains(whole, part), "{part}");
        }
        for part in [
            r#"{"a":"1"}"#,
            r#"{"A":1}"#,
            r#"{"a":null}"#,
            r#"{"b":true}"#,
            r#"{"b":{"c":[2]}}"#,
            r#"{"b":{"c":{}}}"#,
            r#"{"b":{"c":[{"d":"x","z":1}]}}"#,
        ] {
            assert!(!contains(whole, part), "{part}");
        }
    }

    #[test]
    fn only_objects_of_a_bounded_size_are_metadata() {
        for text in ["", "{", "[]", "1", "null", "\"x\""] {
            assert_eq!(Metadata::from_query(text), Err(MetadataError::NotAnObject), "{text}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(METADATA_BYTES_MAX));
        assert_eq!(Metadata::from_query(&long), Err(MetadataError::TooLong));
        let many = format!(r#"{{"a":[{}]}}"#, vec!["1"; QUERY_VALUES_MAX].join(","));
        assert_eq!(Metadata::from_query(&many), Err(MetadataError::TooManyValues));
    }
}
