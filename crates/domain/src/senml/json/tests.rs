//! The two paths against each other, on what they both read and on what neither should.

use proptest::prelude::*;

use super::*;
use crate::record::Record;

const RECEIVED: ReceivedAt = ReceivedAt::from_micros(1_700_000_000_123_457);

fn by_tape(body: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let mut scratch = tape::TapeScratch::default();
    let read = tape::read(body, RECEIVED, &PackLimits::default(), &mut scratch, &mut records);
    read.ok().map(|_| records)
}

fn by_authority(body: &[u8]) -> Result<Vec<Record>, SenmlError> {
    let mut records = Vec::new();
    authority::read(body, RECEIVED, &PackLimits::default(), &mut records).map(|_| records)
}

/// Equal down to the sign of a zero.
fn is_same(one: &[Record], other: &[Record]) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

/// What the fast path takes, the authority takes, with the same result.
fn agree(body: &[u8]) -> Result<(), TestCaseError> {
    if let Some(fast) = by_tape(body) {
        let records = by_authority(body);
        let is_same = records.as_ref().is_ok_and(|records| is_same(&fast, records));
        prop_assert!(is_same, "{}\n{fast:?}\n{records:?}", String::from_utf8_lossy(body));
    }
    Ok(())
}

#[test]
fn the_fast_path_takes_usual_packs() {
    let packs = [
        r#"[{"n":"a","v":1}]"#,
        r#"[{"bn":"a:","bt":1554381569.992,"n":"b","v":23.123456789012345},{"n":"c","t":-0.5,"vs":"x"}]"#,
        r#" [ { "n" : "a" , "t" : 1700000000.1234567890123 , "vb" : true } , { } , {"n":"b","vd":"aGkgCg"} ] "#,
        r#"[{"l":{"a":[],"b":{}},"m":[[],[1],{}],"n":"a","t":1.7e9,"v":-0},{},{"x":"\u00e9\"","n":"b","t":1.5,"v":2}]"#,
    ];
    for pack in packs {
        let records = by_tape(pack.as_bytes()).expect(pack);
        assert!(is_same(&records, &by_authority(pack.as_bytes()).unwrap()), "{pack}");
    }
}

#[test]
fn the_text_of_a_time_is_found_behind_empty_containers() {
    let pack = r#"[{},{"a":[],"b":[{},[]],"c":{"d":[]},"n":"x","t":1700000000.000000001,"v":1}]"#;
    let records = by_tape(pack.as_bytes()).unwrap();
    assert_eq!(records[0].time.as_nanos(), 1_700_000_000_000_000_001);
}

#[test]
fn a_scratch_forgets_the_pack_before() {
    let mut scratch = JsonScratch::default();
    let long = format!(r#"[{{"n":"a","v":1,"l":[{}1]}}]"#, "1,".repeat(200_000));
    for pack in
        [r#"[{"n":"a","v":"#, r#"[{"n":"a","v":1},{"n":"b","t":2.5,"v":2}]"#, &long, r#"[{"n":"c","v":3}]"#]
    {
        let mut records = Vec::new();
        let read = read(pack.as_bytes(), RECEIVED, &PackLimits::default(), &mut scratch, &mut records);
        assert_eq!(read.map(|_| records), by_authority(pack.as_bytes()));
    }
}

#[test]
fn the_sink_starts_anew_with_the_authority() {
    let read = |pack: &str| {
        let mut records = Vec::new();
        let mut scratch = JsonScratch::default();
        let read = read(pack.as_bytes(), RECEIVED, &PackLimits::default(), &mut scratch, &mut records);
        (read.ok(), records.len())
    };
    let beyond_64_bits = r#"[{"n":"a","v":1},{"n":"b","v":18446744073709551616}]"#;
    assert_eq!(by_tape(beyond_64_bits.as_bytes()), None);
    assert_eq!(read(beyond_64_bits), (Some(2), 2));
    assert_eq!(read(r#"[{"n":"a","v":1},{"n":"b"}]"#), (None, 1), "both paths read the first record");
}

fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,9})",
        "-?(0|[1-9][0-9]{0,9})\\.[0-9]{1,25}",
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,3})?[eE][-+]?[0-9]{1,3}",
        "1[67][0-9]{8}\\.[0-9]{1,12}",
        any::<f64>().prop_map(|number| format!("{number:e}")),
        any::<i64>().prop_map(|number| number.to_string()),
        Just("-0".to_owned()),
        Just("-0.0".to_owned()),
    ]
}

fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => any_number(),
        2 => r#""[a-z:/]{0,6}""#,
        1 => r#""(\\u00[0-9a-f]{2}|\\ud83d\\ude00|\\n|é|[A-Za-z0-9_=-])*""#,
        1 => r#""\\u[0-9a-fdD]{4}(\\u[dD][c-f][0-9]{2})?""#,
        1 => "true|false|null|\\[\\]|\\{\\}",
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| format!("[{}]", values.join(", "))),
            prop::collection::vec(inner, 0..3).prop_map(|values| {
                let members: Vec<String> = values.iter().map(|value| format!(r#""k": {value}"#)).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// A field that is mostly right, so that packs are often accepted.
fn any_field() -> impl Strategy<Value = (String, String)> {
    let named = |label: &'static str| move |value: String| (label.to_owned(), value);
    let text = || r#""[a-z0-9:]{1,5}""#;
    prop_oneof![
        4 => any_number().prop_map(named("t")),
        2 => any_number().prop_map(named("bt")),
        3 => any_number().prop_map(named("v")),
        1 => any_number().prop_map(named("s")),
        1 => any_number().prop_map(named("bv")),
        1 => any_number().prop_map(named("ut")),
        2 => text().prop_map(named("n")),
        1 => text().prop_map(named("bn")),
        1 => text().prop_map(named("u")),
        1 => text().prop_map(named("vs")),
        1 => Just(("bver".to_owned(), "10".to_owned())),
        2 => ("[a-zV]{1,4}", any_value()),
        1 => ("(bn|bt|bu|bv|bs|bver|n|u|v|vs|vb|vd|s|t|ut|x_)", any_value()),
    ]
}

fn any_pack() -> impl Strategy<Value = String> {
    let record = prop::collection::vec(any_field(), 0..5).prop_map(|fields| {
        let fields: Vec<String> =
            fields.iter().map(|(label, value)| format!(r#""{label}" :{value}"#)).collect();
        format!(r#"{{{}}}"#, fields.join(" ,"))
    });
    let first = (r#""[a-z]{1,3}""#, any_number()).prop_map(|(name, v)| format!(r#"{{"bn":{name},"v":{v}}}"#));
    (first, prop::collection::vec(record, 0..5)).prop_map(|(first, records)| {
        format!("[{first}{}]", records.iter().map(|r| format!(",{r}")).collect::<String>())
    })
}

/// Cuts, doubles and swaps bytes of a text.
fn any_mutation(of: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let change =
        (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b',')]);
    (of, prop::collection::vec((change, 0_u8..3), 0..4)).prop_map(|(text, changes)| {
        let mut bytes = text.into_bytes();
        for ((index, byte), what) in changes {
            let at = index.index(bytes.len().max(1));
            match what {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at.min(bytes.len()), byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_paths_agree_on_packs(pack in any_pack()) {
        agree(pack.as_bytes())?;
    }

    #[test]
    fn both_paths_agree_on_broken_packs(body in any_mutation(any_pack())) {
        agree(&body)?;
    }

    #[test]
    fn both_paths_agree_on_any_value(body in any_value()) {
        agree(body.as_bytes())?;
    }

    #[test]
    fn no_bytes_panic(body in any::<Vec<u8>>()) {
        agree(&body)?;
    }

    /// Numbers of every length and exponent are the same double, and the same time, on both paths.
    #[test]
    fn both_paths_read_the_same_numbers(v in any_number(), t in any_number(), bt in any_number()) {
        agree(format!(r#"[{{"n":"a","bt":{bt},"t":{t},"v":{v}}}]"#).as_bytes())?;
        agree(format!(r#"[{{"n":"a","v":{v}}}]"#).as_bytes())?;
    }

    /// The fast path is not only right, it is taken: whatever a usual sender sends, and numbers of any length.
    #[test]
    fn the_fast_path_takes_what_is_right(t in "1[67][0-9]{8}(\\.[0-9]{1,30})?", v in "[1-9][0-9]{0,9}\\.[0-9]{1,30}") {
        let pack = format!(r#"[{{"bn":"a:","bt":{t}}},{{"n":"b","t":-1.5,"v":{v}}}]"#);
        prop_assert!(by_tape(pack.as_bytes()).is_some());
    }
}
