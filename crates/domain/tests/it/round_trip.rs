//! Resolving encoded records gives them back.

use proptest::prelude::*;
use thalweg_domain::senml::{PackLimits, encode};
use thalweg_domain::{Record, Timestamp, Value};

use super::senml::{lines_of, resolve};

/// Absolute times only: the RFC has no way to write one before 2^28 s.
const FIRST_NANOS: i64 = (1 << 28) * 1_000_000_000;

fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |number| number.is_finite()),
        any::<i32>().prop_map(f64::from),
        Just(-0.0),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_double().prop_map(Value::Number),
        any::<String>().prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        any::<Vec<u8>>().prop_map(Value::Data),
    ]
}

fn any_record() -> impl Strategy<Value = Record> {
    let values = (any_value(), prop::option::of(any_double())).prop_map(|(value, sum)| (Some(value), sum));
    let sums = any_double().prop_map(|sum| (None, Some(sum)));
    let time = prop_oneof![
        FIRST_NANOS..=i64::MAX,
        Just(FIRST_NANOS),
        (270_000_000_i64..9_000_000_000).prop_map(|s| s * 1_000_000_000)
    ];
    let update_time = prop::option::of(any_double().prop_map(f64::abs));
    ("[A-Za-z0-9][-A-Za-z0-9:./_]{0,20}", ".{0,10}", time, prop_oneof![3 => values, 1 => sums], update_time)
        .prop_map(|(name, unit, nanos, (value, sum), update_time)| Record {
            name,
            unit,
            time: Timestamp::from_nanos(nanos),
            value,
            sum,
            update_time,
        })
}

proptest! {
    #[test]
    fn resolving_encoded_records_gives_them_back(mut records in prop::collection::vec(any_record(), 1..8)) {
        records.sort_by_key(|record| record.time);
        let is_same = |one: &Record, other: &Record| {
            (one.time, &one.name, &one.unit) == (other.time, &other.name, &other.unit)
        };
        records.dedup_by(|one, other| is_same(one, other));
        let again = resolve(encode(&records).as_bytes(), &PackLimits::default()).unwrap();
        // As text, so that the sign of a zero counts.
        prop_assert_eq!(lines_of(&again), lines_of(&records));
    }
}

/// RFC 8428 sections 4.6 and 5.
#[test]
fn an_encoded_pack_is_in_resolved_form() {
    let sent = br#"[{"bn":"a:","bt":1600000000.5,"bu":"V","bver":5,"n":"x","v":20.0,"s":0.5,"ut":60},
        {"n":"y","u":"","vs":"\u00e9\"\n"},{"n":"z","t":1,"vb":false},{"n":"w","t":2,"vd":"aGkgCg=="}]"#;
    let encoded = encode(&resolve(sent, &PackLimits::default()).unwrap());
    let expected = [
        r#"[{"n":"a:x","u":"V","t":1600000000.5,"v":20,"s":0.5,"ut":60}"#,
        r#",{"n":"a:y","t":1600000000.5,"vs":"é\"\n"}"#,
        r#",{"n":"a:z","u":"V","t":1600000001.5,"vb":false}"#,
        r#",{"n":"a:w","u":"V","t":1600000002.5,"vd":"aGkgCg"}]"#,
    ];
    assert_eq!(encoded, expected.concat());
    assert_eq!(encode(&[]), "[]");
}
