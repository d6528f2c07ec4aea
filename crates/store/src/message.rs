//! Rows as the API prints them: one form, for who reads them and for who has them delivered.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{ChannelId, Value};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::contract::Row;

/// Rows of one channel, as an array of messages. Absent fields are left out, but for `unit`, which is empty where a record has
/// none.
#[derive(Debug)]
pub struct Messages<'a> {
    channel: String,
    rows: &'a [Row],
}

impl<'a> Messages<'a> {
    /// Rows of a channel.
    pub fn new(channel: ChannelId, rows: &'a [Row]) -> Self {
        Self { channel: channel.to_string(), rows }
    }
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows.iter().map(|row| Message::of(&self.channel, row)))
    }
}

#[derive(Serialize)]
struct Message<'a> {
    channel_name: &'a str,
    publisher: String,
    protocol: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subtopic: &'a str,
    name: &'a str,
    unit: &'a str,
    time: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bool_value: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_time: Option<Box<RawValue>>,
}

impl<'a> Message<'a> {
    fn of(channel: &'a str, row: &'a Row) -> Self {
        let record = &row.record;
        let mut message = Self {
            channel_name: channel,
            publisher: row.publisher.to_string(),
            protocol: row.protocol.as_str(),
            subtopic: row.subtopic.as_str(),
            name: &record.name,
            unit: &record.unit,
            time: raw(record.time.to_string()),
            value: None,
            string_value: None,
            bool_value: None,
            data_value: None,
            sum: record.sum.map(number),
            update_time: record.update_time.map(number),
        };
        match &record.value {
            Some(Value::Number(value)) => message.value = Some(number(*value)),
            Some(Value::Text(text)) => message.string_value = Some(text),
            Some(Value::Bool(value)) => message.bool_value = Some(*value),
            Some(Value::Data(bytes)) => message.data_value = Some(URL_SAFE_NO_PAD.encode(bytes)),
            None => {}
        }
        message
    }
}

/// From here on a number is printed with an exponent, as JavaScript does.
const PLAIN_BELOW: f64 = 1e21;

/// The shortest decimal that reads back as the same double; whole numbers without a `.0`.
fn number(value: f64) -> Box<RawValue> {
    let mut text = String::new();
    let written = if value == 0.0 || (1e-6..PLAIN_BELOW).contains(&value.abs()) {
        write!(text, "{value}")
    } else {
        write!(text, "{value:e}")
    };
    written.expect("a String takes everything");
    raw(text)
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("a finite number prints as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_short_and_read_back_exactly() {
        let cases = [
            (20.0, "20"),
            (120.1, "120.1"),
            (-0.0, "-0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e300, "1e300"),
            (5e-324, "5e-324"),
            (-1.5e-7, "-1.5e-7"),
            (f64::MAX, "1.7976931348623157e308"),
            (123_456_789_012_345_680.0, "123456789012345680"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value).get(), text);
            assert_eq!(serde_json::from_str::<f64>(text).unwrap().to_bits(), value.to_bits());
        }
    }
}
