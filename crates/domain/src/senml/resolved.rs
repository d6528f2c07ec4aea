//! Resolved records: owned, in order of time, each measurement once, and their encoding.

use std::io::Write as _;

use super::data;
use super::pack::{Measurement, Reading, Sink};
use crate::record::{Record, Value};

/// Builds records.
impl Sink for Vec<Record> {
    fn take(&mut self, measurement: Measurement<'_>) {
        let Measurement { base_name, name, unit, time, value, sum, update_time } = measurement;
        let value = value.map(|reading| match reading {
            Reading::Number(number) => Value::Number(number),
            Reading::Text(text) => Value::Text(text.to_owned()),
            Reading::Bool(boolean) => Value::Bool(boolean),
            Reading::Data(text) => Value::Data(data::decode(text)),
        });
        self.push(Record {
            name: [base_name, name].concat(),
            unit: unit.to_owned(),
            time,
            value,
            sum,
            update_time,
        });
    }

    fn restart(&mut self) {
        self.clear();
    }
}

/// Builds nothing.
impl Sink for () {
    fn take(&mut self, _: Measurement<'_>) {}

    fn restart(&mut self) {}
}

/// Sorts by time, records of equal time in the order they were sent (RFC 8428 section 4.6), and keeps of each name,
/// unit and time what was sent last.
pub(super) fn in_order(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| record.time);
    let mut repeated: Vec<usize> = Vec::new();
    let mut start = 0;
    for same_time in records.chunk_by(|one, next| one.time == next.time) {
        if same_time.len() > 1 {
            find_repeated(same_time, start, &mut repeated);
        }
        start += same_time.len();
    }
    if !repeated.is_empty() {
        repeated.sort_unstable();
        let mut repeated = repeated.into_iter().peekable();
        let mut index = 0;
        records.retain(|_| {
            let drop = repeated.next_if_eq(&index).is_some();
            index += 1;
            !drop
        });
    }
    records
}

/// Adds the places of records that a later one of the same name and unit replaces. `start` is the place of the first.
fn find_repeated(same_time: &[Record], start: usize, repeated: &mut Vec<usize>) {
    let mut order: Vec<usize> = (0..same_time.len()).collect();
    order.sort_by_key(|&i| (&same_time[i].name, &same_time[i].unit));
    let is_same = |one: &Record, other: &Record| one.name == other.name && one.unit == other.unit;
    let pairs = order.windows(2).filter(|pair| is_same(&same_time[pair[0]], &same_time[pair[1]]));
    repeated.extend(pairs.map(|pair| start + pair[0]));
}

/// Encodes resolved records as SenML JSON (RFC 8428 sections 4.6 and 5): no base fields, absolute times as exact
/// decimals, data as base64url without padding.
///
/// [`resolve`](super::resolve) reads the same records back, with one exception that is the RFC's: an absolute time
/// before 2^28 s (July 1978) can be printed, but reads as relative.
pub fn encode(records: &[Record]) -> String {
    let mut text = Vec::with_capacity(2 + records.len() * 64);
    text.push(b'[');
    for (i, record) in records.iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        write_record(&mut text, record);
    }
    text.push(b']');
    String::from_utf8(text).expect("JSON made of texts is a text")
}

fn write_record(text: &mut Vec<u8>, record: &Record) {
    text.extend_from_slice(b"{\"n\":");
    write_text(text, &record.name);
    if !record.unit.is_empty() {
        text.extend_from_slice(b",\"u\":");
        write_text(text, &record.unit);
    }
    write!(text, ",\"t\":{}", record.time).expect(VEC_TAKES_ALL);
    match &record.value {
        Some(Value::Number(number)) => write_number(text, "v", *number),
        Some(Value::Text(value)) => {
            text.extend_from_slice(b",\"vs\":");
            write_text(text, value);
        }
        Some(Value::Bool(boolean)) => write!(text, ",\"vb\":{boolean}").expect(VEC_TAKES_ALL),
        Some(Value::Data(bytes)) => {
            write!(text, ",\"vd\":\"{}\"", data::encode(bytes)).expect(VEC_TAKES_ALL);
        }
        None => {}
    }
    if let Some(sum) = record.sum {
        write_number(text, "s", sum);
    }
    if let Some(update_time) = record.update_time {
        write_number(text, "ut", update_time);
    }
    text.push(b'}');
}

const VEC_TAKES_ALL: &str = "writing into memory can't fail";
/// Below this every whole number is a double, and is printed without a point or an exponent.
const WHOLE_MAX: f64 = 1e15;

fn write_text(text: &mut Vec<u8>, value: &str) {
    serde_json::to_writer(text, value).expect(VEC_TAKES_ALL);
}

/// The shortest text that reads as the same double.
fn write_number(text: &mut Vec<u8>, label: &str, number: f64) {
    write!(text, ",\"{label}\":").expect(VEC_TAKES_ALL);
    let is_minus_zero = number == 0.0 && number.is_sign_negative();
    if number.fract() == 0.0 && number.abs() < WHOLE_MAX && !is_minus_zero {
        write!(text, "{}", number as i64).expect(VEC_TAKES_ALL);
    } else {
        serde_json::to_writer(text, &number).expect(VEC_TAKES_ALL);
    }
}
