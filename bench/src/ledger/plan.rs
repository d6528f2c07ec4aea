//! What is published: every record follows from its number, so that nothing but numbers needs to be remembered.
//!
//! Pure: no clock, no I/O, no randomness.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

/// When the records of a ledger begin, in seconds since the Unix epoch. Absolute and fixed, so that a record that is
/// sent again is the same record.
pub const FIRST_SECOND: u64 = 1_700_000_000;
/// Nanoseconds between one record and the next: a millisecond, as devices print times.
pub const STEP_NANOS: u64 = 1_000_000;
/// Records of one ledger: so many different values there are, and the verdict keeps a bit for each (128 MiB).
pub const RECORDS_MAX: u64 = 1 << 30;
/// Unit of every record.
pub const UNIT: &str = "Cel";

const STEPS_PER_SECOND: u64 = 1_000_000_000 / STEP_NANOS;
/// Values are eighths, below 2^37: a double holds each exactly, and its decimals are few and exact too.
const VALUE_BITS: u32 = 40;
const _: () = assert!(RECORDS_MAX <= 1 << VALUE_BITS, "values are unique");

/// Number of a pack, from 0.
pub type PackNumber = u64;
/// Number of a record, from 0: the records of pack n follow those of pack n - 1.
pub type RecordNumber = u64;

/// What a ledger publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Tells the records of one ledger from those of others: part of every name.
    pub run: u32,
    /// Channels that packs are spread over.
    pub channels: u32,
    /// Things that packs are spread over.
    pub things: u32,
    /// Records of one pack.
    pub records_per_pack: u32,
}

impl Plan {
    /// The thing that sends a pack: they take turns.
    pub fn thing(&self, pack: PackNumber) -> usize {
        (pack % u64::from(self.things)) as usize
    }

    /// The channel that a pack goes to: every thing takes each in turn.
    pub fn channel(&self, pack: PackNumber) -> usize {
        (pack / u64::from(self.things) % u64::from(self.channels)) as usize
    }

    /// The pack that holds a record.
    pub fn pack_of(&self, record: RecordNumber) -> PackNumber {
        record / u64::from(self.records_per_pack)
    }

    /// Packs of one ledger, so that its records stay below [`RECORDS_MAX`].
    pub fn packs_max(&self) -> u64 {
        RECORDS_MAX / u64::from(self.records_per_pack)
    }

    /// The SenML of a pack: a base time and a base name, and a record with its own offset and value each.
    pub fn document(&self, pack: PackNumber) -> Vec<u8> {
        let records = u64::from(self.records_per_pack);
        let first = pack * records;
        let (second, milli) = (FIRST_SECOND + first / STEPS_PER_SECOND, first % STEPS_PER_SECOND);
        let mut text = Vec::with_capacity(96 + 40 * self.records_per_pack as usize);
        let run = self.run;
        let _ = write!(text, r#"[{{"bn":"run-{run:08x}:","bt":{second}.{milli:03},"bu":"{UNIT}","#);
        for index in 0..records {
            let (whole, eighths) = value_parts(self.run, first + index);
            if index > 0 {
                let (second, milli) = (index / STEPS_PER_SECOND, index % STEPS_PER_SECOND);
                let _ = write!(text, r#",{{"t":{second}.{milli:03},"#);
            }
            let _ = write!(text, r#""n":"s{index}","v":{whole}.{:03}}}"#, eighths * 125);
        }
        text.push(b']');
        text
    }

    /// Full name of a record.
    pub fn name(&self, record: RecordNumber) -> String {
        format!("run-{:08x}:s{}", self.run, record % u64::from(self.records_per_pack))
    }

    /// Value of a record: no two records of a ledger have the same.
    pub fn value(&self, record: RecordNumber) -> f64 {
        let (whole, eighths) = value_parts(self.run, record);
        whole as f64 + eighths as f64 / 8.0
    }

    /// The record that has this time, of a row as the API prints it; none when no record of any ledger has it.
    pub fn record_at(&self, seconds: &str) -> Option<RecordNumber> {
        let since = nanos(seconds)?.checked_sub(FIRST_SECOND * 1_000_000_000)?;
        let record = since / STEP_NANOS;
        (since % STEP_NANOS == 0 && record < RECORDS_MAX).then_some(record)
    }
}

/// Whole part and eighths. Multiplying by an odd number permutes the numbers below a power of two.
fn value_parts(run: u32, record: RecordNumber) -> (u64, u64) {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let bits = record.wrapping_mul(ODD).wrapping_add(u64::from(run)) & ((1 << VALUE_BITS) - 1);
    (bits >> 3, bits & 7)
}

/// Nanoseconds of a decimal number of seconds with at most nine decimals, without an exponent or a sign.
fn nanos(seconds: &str) -> Option<u64> {
    const DECIMALS_MAX: usize = 9;
    let (whole, decimals) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > DECIMALS_MAX {
        return None;
    }
    let scale = 10_u64.pow((DECIMALS_MAX - decimals.len()) as u32);
    let fraction = decimals.parse::<u64>().ok()? * scale;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn plan(records_per_pack: u32) -> Plan {
        Plan { run: 0xa5, channels: 2, things: 3, records_per_pack }
    }

    #[test]
    fn a_pack_is_senml_with_absolute_times() {
        assert_eq!(
            String::from_utf8(plan(2).document(0)).unwrap(),
            concat!(
                r#"[{"bn":"run-000000a5:","bt":1700000000.000,"bu":"Cel","n":"s0","v":20.625},"#,
                r#"{"t":0.001,"n":"s1","v":99588067223.250}]"#
            )
        );
    }

    #[test]
    fn what_a_document_says_is_what_the_plan_expects() {
        let plan = plan(1_500);
        let pack: Vec<serde_json::Value> = serde_json::from_slice(&plan.document(7)).unwrap();
        for (index, record) in pack.iter().enumerate() {
            let number = 7 * 1_500 + index as u64;
            assert_eq!(record["v"].as_f64(), Some(plan.value(number)));
            assert!(plan.name(number).ends_with(record["n"].as_str().unwrap()));
        }
    }

    #[test]
    fn a_record_is_found_by_its_exact_time_only() {
        let plan = plan(1);
        assert_eq!(plan.record_at("1700000000"), Some(0));
        assert_eq!(plan.record_at("1700000001.5"), Some(1_500));
        assert_eq!(plan.record_at("1700000001.500000000"), Some(1_500));
        for wrong in
            ["1700000001.500000001", "1699999999.999", "1.7e9", "-1", "", "1700000000.", "9700000000"]
        {
            assert_eq!(plan.record_at(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn values_differ() {
        let plan = plan(1);
        let values: HashSet<u64> = (0..100_000).map(|record| plan.value(record).to_bits()).collect();
        assert_eq!(values.len(), 100_000);
    }

    #[test]
    fn every_thing_sends_to_every_channel() {
        let plan = Plan { channels: 2, things: 4, ..plan(1) };
        let pairs: HashSet<_> = (0..8).map(|pack| (plan.thing(pack), plan.channel(pack))).collect();
        assert_eq!(pairs.len(), 8);
    }
}
