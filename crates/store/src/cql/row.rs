//! Rows as they stand in the table, and back.
//!
//! No null is ever written: what a row does not have is left unset, and the column `fields` says what it has. A value that
//! an earlier version left in its column is not read.

use domain::{ChannelId, Protocol, ReceivedAt, Record, Retention, Subtopic, ThingId, Timestamp, Value};
use scylla::SerializeRow;
use scylla::value::MaybeUnset;
use uuid::Uuid;

use super::life;
use crate::contract::{Block, Row, StoreError};

const NUMBER: i8 = 1;
const TEXT: i8 = 1 << 1;
const BOOL: i8 = 1 << 2;
const DATA: i8 = 1 << 3;
const SUM: i8 = 1 << 4;
const UPDATE_TIME: i8 = 1 << 5;
const VALUES: i8 = NUMBER | TEXT | BOOL | DATA;

/// Bytes of a row in a batch beside its texts: ids, numbers, and the length before each of 18 values.
const FIXED_BYTES: usize = 200;

/// The values of the statement that writes a row, in its order.
#[derive(Debug, SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
pub(super) struct Written<'a> {
    channel: Uuid,
    bucket: i64,
    shard: i16,
    time: i64,
    publisher: &'a [u8],
    subtopic: &'a str,
    name: &'a str,
    unit: &'a str,
    fields: i8,
    protocol: i8,
    value_number: MaybeUnset<f64>,
    value_text: MaybeUnset<&'a str>,
    value_bool: MaybeUnset<bool>,
    value_data: MaybeUnset<&'a [u8]>,
    sum: MaybeUnset<f64>,
    update_time: MaybeUnset<f64>,
    version: i64,
    life: i32,
}

impl<'a> Written<'a> {
    pub(super) fn new(channel: ChannelId, class: Retention, block: Block, row: &'a Row) -> Self {
        let record = &row.record;
        let mut written = Self {
            channel: channel.as_uuid(),
            bucket: block.bucket,
            shard: block.shard as i16,
            time: record.time.as_nanos(),
            publisher: row.publisher.as_bytes(),
            subtopic: row.subtopic.as_str(),
            name: &record.name,
            unit: &record.unit,
            fields: 0,
            protocol: row.protocol.code() as i8,
            value_number: MaybeUnset::Unset,
            value_text: MaybeUnset::Unset,
            value_bool: MaybeUnset::Unset,
            value_data: MaybeUnset::Unset,
            sum: MaybeUnset::from_option(record.sum),
            update_time: MaybeUnset::from_option(record.update_time),
            version: row.received.as_micros(),
            life: life::of_row(class, record.time, row.received),
        };
        let kind = match &record.value {
            None => 0,
            Some(Value::Number(number)) => {
                written.value_number = MaybeUnset::Set(*number);
                NUMBER
            }
            Some(Value::Text(text)) => {
                written.value_text = MaybeUnset::Set(text);
                TEXT
            }
            Some(Value::Bool(bool)) => {
                written.value_bool = MaybeUnset::Set(*bool);
                BOOL
            }
            Some(Value::Data(data)) => {
                written.value_data = MaybeUnset::Set(data);
                DATA
            }
        };
        let sum = if record.sum.is_some() { SUM } else { 0 };
        let update_time = if record.update_time.is_some() { UPDATE_TIME } else { 0 };
        written.fields = kind | sum | update_time;
        written
    }
}

/// About the bytes that a row takes in a batch, at most.
pub(super) fn written_bytes(row: &Row) -> usize {
    let value = match &row.record.value {
        Some(Value::Text(text)) => text.len(),
        Some(Value::Data(data)) => data.len(),
        _ => 0,
    };
    FIXED_BYTES + row.subtopic.as_str().len() + row.record.name.len() + row.record.unit.len() + value
}

/// A row as it is read: time, publisher, subtopic, name, unit, fields, protocol, the four values, sum, update time, version.
pub(super) type Stored = (
    i64,
    Vec<u8>,
    String,
    String,
    String,
    i8,
    i8,
    Option<f64>,
    Option<String>,
    Option<bool>,
    Option<Vec<u8>>,
    Option<f64>,
    Option<f64>,
    i64,
);

/// Reads a row back.
///
/// # Errors
/// [`StoreError::Damaged`] if it is none of those that are written.
pub(super) fn decode(stored: Stored) -> Result<Row, StoreError> {
    let (
        time,
        publisher,
        subtopic,
        name,
        unit,
        fields,
        protocol,
        number,
        text,
        bool,
        data,
        sum,
        update_time,
        version,
    ) = stored;
    let damaged = || {
        StoreError::Damaged(format!(
            "the row of {name:?} at {time} is malformed: fields {fields}, protocol {protocol}"
        ))
    };
    if fields & !(VALUES | SUM | UPDATE_TIME) != 0 {
        return Err(damaged());
    }
    let value = match fields & VALUES {
        0 => None,
        NUMBER => Some(Value::Number(number.ok_or_else(damaged)?)),
        // Bytes of no length are read as nothing by the driver where the column may be absent.
        TEXT => Some(Value::Text(text.unwrap_or_default())),
        BOOL => Some(Value::Bool(bool.ok_or_else(damaged)?)),
        DATA => Some(Value::Data(data.unwrap_or_default())),
        _ => return Err(damaged()),
    };
    let optional = |bit: i8, number: Option<f64>| match fields & bit {
        0 => Ok(None),
        _ => number.map(Some).ok_or_else(damaged),
    };
    let (sum, update_time) = (optional(SUM, sum)?, optional(UPDATE_TIME, update_time)?);
    let protocol = Protocol::from_code(protocol as u8).ok_or_else(damaged)?;
    let publisher = publisher_of(&publisher)?;
    Ok(Row {
        publisher,
        subtopic: Subtopic::from_stored(subtopic),
        protocol,
        received: ReceivedAt::from_micros(version),
        record: Record { name, unit, time: Timestamp::from_nanos(time), value, sum, update_time },
    })
}

/// The thing that a stored id is of.
pub(super) fn publisher_of(stored: &[u8]) -> Result<ThingId, StoreError> {
    let bytes = stored
        .try_into()
        .map_err(|_| StoreError::Damaged(format!("no id of a thing: {}", stored.escape_ascii())))?;
    Ok(ThingId::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{channel, number_row, thing};

    fn stored(fields: i8, protocol: i8) -> Stored {
        let text = Some("old".to_owned());
        (
            5,
            vec![1; 16],
            "a.b".into(),
            "n".into(),
            "C".into(),
            fields,
            protocol,
            Some(1.5),
            text,
            None,
            None,
            Some(2.5),
            None,
            9,
        )
    }

    #[test]
    fn only_what_fields_name_is_read() {
        let mut expected = number_row(channel(1), thing(1), 5, 1.5).row;
        expected.subtopic = Subtopic::from_stored("a.b");
        expected.received = ReceivedAt::from_micros(9);
        expected.record.unit = "C".into();
        assert_eq!(decode(stored(NUMBER, 1)).unwrap(), expected);
        expected.record.value = None;
        expected.record.sum = Some(2.5);
        assert_eq!(decode(stored(SUM, 1)).unwrap(), expected);
        expected.record.value = Some(Value::Data(Vec::new()));
        assert_eq!(decode(stored(SUM | DATA, 1)).unwrap(), expected);
    }

    #[test]
    fn a_row_that_says_more_than_it_has_is_damage() {
        for (fields, protocol) in
            [(BOOL, 1), (NUMBER | TEXT, 1), (UPDATE_TIME, 1), (1 << 6, 1), (-1, 1), (NUMBER, 0)]
        {
            assert!(
                matches!(decode(stored(fields, protocol)), Err(StoreError::Damaged(_))),
                "{fields} {protocol}"
            );
        }
        let mut short = stored(NUMBER, 1);
        short.1.pop();
        assert!(matches!(decode(short), Err(StoreError::Damaged(_))));
    }
}
