//! Values of rows: what a row holds besides its place.
//!
//! One value replaces another whole, so a measurement sent again as another kind leaves nothing of the old one.
//! Stored data depends on every byte here.

use domain::{Protocol, ReceivedAt, Value};

use crate::contract::{Row, StoreError};

const NUMBER: u8 = 1;
const TEXT: u8 = 1 << 1;
const BOOL: u8 = 1 << 2;
const DATA: u8 = 1 << 3;
const SUM: u8 = 1 << 4;
const UPDATE_TIME: u8 = 1 << 5;
const VALUES: u8 = NUMBER | TEXT | BOOL | DATA;

/// What a stored value says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredValue {
    pub(super) received: ReceivedAt,
    pub(super) protocol: Protocol,
    pub(super) value: Option<Value>,
    pub(super) sum: Option<f64>,
    pub(super) update_time: Option<f64>,
}

/// Appends the value of a row: version (i64 µs), protocol, which fields hold, and those in order of their bit. Integers
/// are big endian, numbers are IEEE 754 doubles, texts and data stand behind their length (u32).
pub(super) fn put_value(into: &mut Vec<u8>, row: &Row) {
    let record = &row.record;
    into.extend_from_slice(&row.received.as_micros().to_be_bytes());
    into.push(row.protocol.code());
    let kind = match &record.value {
        None => 0,
        Some(Value::Number(_)) => NUMBER,
        Some(Value::Text(_)) => TEXT,
        Some(Value::Bool(_)) => BOOL,
        Some(Value::Data(_)) => DATA,
    };
    let sum = if record.sum.is_some() { SUM } else { 0 };
    let update_time = if record.update_time.is_some() { UPDATE_TIME } else { 0 };
    into.push(kind | sum | update_time);
    match &record.value {
        None => {}
        Some(Value::Number(number)) => into.extend_from_slice(&number.to_be_bytes()),
        Some(Value::Text(text)) => put_bytes(into, text.as_bytes()),
        Some(Value::Bool(bool)) => into.push(u8::from(*bool)),
        Some(Value::Data(data)) => put_bytes(into, data),
    }
    for number in [record.sum, record.update_time].into_iter().flatten() {
        into.extend_from_slice(&number.to_be_bytes());
    }
}

fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    into.extend_from_slice(bytes);
}

/// The version of a stored value, without reading the rest of it.
pub(super) fn version_of(stored: &[u8]) -> Result<ReceivedAt, StoreError> {
    let micros = stored.first_chunk::<8>().ok_or_else(|| damaged(stored))?;
    Ok(ReceivedAt::from_micros(i64::from_be_bytes(*micros)))
}

/// Reads back what [`put_value`] wrote.
pub(super) fn decode_value(stored: &[u8]) -> Result<StoredValue, StoreError> {
    decode(stored).ok_or_else(|| damaged(stored))
}

fn decode(stored: &[u8]) -> Option<StoredValue> {
    let mut rest = stored;
    let received = ReceivedAt::from_micros(i64::from_be_bytes(take(&mut rest)?));
    let [protocol, fields] = take(&mut rest)?;
    let value = match fields & VALUES {
        0 => None,
        NUMBER => Some(Value::Number(f64::from_be_bytes(take(&mut rest)?))),
        TEXT => Some(Value::Text(String::from_utf8(take_bytes(&mut rest)?.to_vec()).ok()?)),
        BOOL => match take(&mut rest)? {
            [0] => Some(Value::Bool(false)),
            [1] => Some(Value::Bool(true)),
            _ => return None,
        },
        DATA => Some(Value::Data(take_bytes(&mut rest)?.to_vec())),
        _ => return None,
    };
    let mut number = |bit: u8| match fields & bit {
        0 => Some(None),
        _ => Some(Some(f64::from_be_bytes(take(&mut rest)?))),
    };
    let (sum, update_time) = (number(SUM)?, number(UPDATE_TIME)?);
    let known = VALUES | SUM | UPDATE_TIME;
    (rest.is_empty() && fields & !known == 0).then_some(StoredValue {
        received,
        protocol: Protocol::from_code(protocol)?,
        value,
        sum,
        update_time,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(rest)?) as usize;
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

fn damaged(stored: &[u8]) -> StoreError {
    StoreError::Damaged(format!("a row's value is malformed: {} bytes", stored.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Record, Subtopic, ThingId, Timestamp};
    use proptest::prelude::*;

    fn row_of(received: i64, value: Option<Value>, sum: Option<f64>, update_time: Option<f64>) -> Row {
        Row {
            publisher: ThingId::from_bytes([1; 16]),
            subtopic: Subtopic::default(),
            protocol: Protocol::Http,
            received: ReceivedAt::from_micros(received),
            record: Record {
                name: "n".into(),
                unit: String::new(),
                time: Timestamp::from_nanos(0),
                value,
                sum,
                update_time,
            },
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<f64>().prop_map(Value::Number),
            any::<String>().prop_map(Value::Text),
            any::<bool>().prop_map(Value::Bool),
            any::<Vec<u8>>().prop_map(Value::Data),
        ]
    }

    fn encode(row: &Row) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_value(&mut bytes, row);
        bytes
    }

    proptest! {
        #[test]
        fn a_value_survives_a_round_trip(
            received: i64,
            value in proptest::option::of(any_value()),
            sum: Option<f64>,
            update_time: Option<f64>,
        ) {
            let row = row_of(received, value.clone(), sum, update_time);
            let stored = encode(&row);
            let expected = StoredValue {
                received: row.received, protocol: Protocol::Http, value, sum, update_time,
            };
            prop_assert_eq!(version_of(&stored).unwrap(), row.received);
            prop_assert_eq!(decode_value(&stored).unwrap(), expected);
        }

        #[test]
        fn no_value_panics(stored in any::<Vec<u8>>()) {
            let _ = decode_value(&stored);
        }
    }

    /// Written by the first release: these must stay readable for ever.
    #[test]
    fn values_of_format_1_stay_readable() {
        let cases: [(&[u8], Row); 4] = [
            (
                b"\x00\x05\xe0\xc2\xb8\xc3\x5d\x40\x01\x01\x40\x37\x00\x00\x00\x00\x00\x00",
                row_of(0x0005_e0c2_b8c3_5d40, Some(Value::Number(23.0)), None, None),
            ),
            (
                b"\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x00\x00\x00\x02on",
                row_of(-1, Some(Value::Text("on".into())), None, None),
            ),
            (
                b"\x00\x00\x00\x00\x00\x00\x00\x01\x01\x34\x01\
                  \x3f\xe0\x00\x00\x00\x00\x00\x00\x40\x4e\x00\x00\x00\x00\x00\x00",
                row_of(1, Some(Value::Bool(true)), Some(0.5), Some(60.0)),
            ),
            (
                b"\x00\x00\x00\x00\x00\x00\x00\x02\x01\x08\x00\x00\x00\x03\x00\x01\xff",
                row_of(2, Some(Value::Data(vec![0, 1, 255])), None, None),
            ),
        ];
        for (stored, row) in cases {
            assert_eq!(encode(&row), stored);
            assert_eq!(decode_value(stored).unwrap().value, row.record.value);
        }
    }

    #[test]
    fn a_value_that_says_more_than_it_may_is_damage() {
        let number = encode(&row_of(1, Some(Value::Number(1.0)), None, None));
        for (at, byte) in [(8, 9), (9, 3), (9, 0), (9, 0x41)] {
            let mut changed = number.clone();
            changed[at] = byte;
            assert!(matches!(decode_value(&changed), Err(StoreError::Damaged(_))), "{at} {byte}");
        }
        assert!(decode_value(&[number.as_slice(), &[0]].concat()).is_err());
        assert!(decode_value(&number[..number.len() - 1]).is_err());
    }
}
