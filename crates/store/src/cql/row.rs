//! Rows as they stand in the table, and back.
//!
//! No null is ever written: what a row does not have is left unset, and the column `fields` says what it has. A value that
//! an earlier version left in its column is not read.

use domain::{ChannelId, Protocol, ReceivedAt, Record, Retention, Subtopic, ThingId, Timestamp, Value};
use scylla::SerializeRow;
use scylla::frame::response::result::ColumnType;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, RowWriter, WrittenCellProof};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::MaybeUnset;
use uuid::Uuid;

use super::life;
use super::statements::RowStatements;
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
///
/// A database takes time for each value of a statement, if only to see that it is not set. So there are narrow statements for
/// rows as most are, [`Plain`], and a wide one for all.
#[derive(Debug)]
pub(super) enum Written<'a> {
    Plain(Plain<'a>),
    Any(Any<'a>),
}

/// Of a row that has a value, no sum and no update time, and the life that its table gives to rows.
#[derive(Debug, SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
pub(super) struct Plain<'a> {
    #[scylla(flatten)]
    head: Head<'a>,
    value: PlainValue<'a>,
    version: i64,
}

/// Of any row.
#[derive(Debug, SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
pub(super) struct Any<'a> {
    #[scylla(flatten)]
    head: Head<'a>,
    value_number: MaybeUnset<f64>,
    value_text: MaybeUnset<&'a str>,
    value_bool: MaybeUnset<bool>,
    value_data: MaybeUnset<&'a [u8]>,
    sum: MaybeUnset<f64>,
    update_time: MaybeUnset<f64>,
    version: i64,
    life: i32,
}

/// What every row has.
#[derive(Debug, SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
struct Head<'a> {
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
}

#[derive(Debug)]
struct PlainValue<'a>(&'a Value);

impl<'a> Written<'a> {
    pub(super) fn new(channel: ChannelId, class: Retention, block: Block, row: &'a Row) -> Self {
        let record = &row.record;
        let head = Head {
            channel: channel.as_uuid(),
            bucket: block.bucket,
            shard: block.shard as i16,
            time: record.time.as_nanos(),
            publisher: row.publisher.as_bytes(),
            subtopic: row.subtopic.as_str(),
            name: &record.name,
            unit: &record.unit,
            fields: fields(record),
            protocol: row.protocol.code() as i8,
        };
        let version = row.received.as_micros();
        let life = life::of_row(class, record.time, row.received);
        match &record.value {
            Some(value) if head.fields & !VALUES == 0 && life == life::of_table(class) => {
                Self::Plain(Plain { head, value: PlainValue(value), version })
            }
            value => Self::Any(Any::new(head, value.as_ref(), record, version, life)),
        }
    }

    /// The statement that takes these values.
    pub(super) fn statement<'s>(&self, statements: &'s RowStatements) -> &'s PreparedStatement {
        match self {
            Self::Any(_) => &statements.put_row,
            Self::Plain(Plain { value: PlainValue(value), .. }) => match value {
                Value::Number(_) => &statements.put_number,
                Value::Text(_) => &statements.put_text,
                Value::Bool(_) => &statements.put_bool,
                Value::Data(_) => &statements.put_data,
            },
        }
    }
}

impl<'a> Any<'a> {
    fn new(head: Head<'a>, value: Option<&'a Value>, record: &Record, version: i64, life: i32) -> Self {
        let mut any = Self {
            head,
            value_number: MaybeUnset::Unset,
            value_text: MaybeUnset::Unset,
            value_bool: MaybeUnset::Unset,
            value_data: MaybeUnset::Unset,
            sum: MaybeUnset::from_option(record.sum),
            update_time: MaybeUnset::from_option(record.update_time),
            version,
            life,
        };
        match value {
            None => {}
            Some(Value::Number(number)) => any.value_number = MaybeUnset::Set(*number),
            Some(Value::Text(text)) => any.value_text = MaybeUnset::Set(text),
            Some(Value::Bool(bool)) => any.value_bool = MaybeUnset::Set(*bool),
            Some(Value::Data(data)) => any.value_data = MaybeUnset::Set(data),
        }
        any
    }
}

fn fields(record: &Record) -> i8 {
    let value = match &record.value {
        None => 0,
        Some(Value::Number(_)) => NUMBER,
        Some(Value::Text(_)) => TEXT,
        Some(Value::Bool(_)) => BOOL,
        Some(Value::Data(_)) => DATA,
    };
    let sum = if record.sum.is_some() { SUM } else { 0 };
    let update_time = if record.update_time.is_some() { UPDATE_TIME } else { 0 };
    value | sum | update_time
}

impl SerializeRow for Written<'_> {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        match self {
            Self::Plain(plain) => plain.serialize(context, writer),
            Self::Any(any) => any.serialize(context, writer),
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl SerializeValue for PlainValue<'_> {
    fn serialize<'b>(
        &self,
        kind: &ColumnType<'_>,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self.0 {
            Value::Number(number) => number.serialize(kind, writer),
            Value::Text(text) => text.serialize(kind, writer),
            Value::Bool(bool) => bool.serialize(kind, writer),
            Value::Data(data) => data.serialize(kind, writer),
        }
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
