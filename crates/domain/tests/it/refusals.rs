//! What is refused, with which code, record and field, and in which words.

use thalweg_domain::Timestamp;
use thalweg_domain::senml::{Format, PackLimits};

use super::senml::{gives, refused, resolve, summary_of};

/// RFC 8259, and our limit on depth.
#[test]
fn malformed() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"[{{"n":"a","v":1,"x":{open}{close}}}]"#)
    };
    gives(&nested(2), "a @1700000000.000001 = 1");
    refused(nested(3), "malformed 0");
    refused(nested(100_000), "malformed 0");
    refused("[".repeat(500_000), "malformed");
    refused(r#"{"a":{"b":{"c":{"d":{}}}}}"#, "malformed");

    for body in [
        "",
        " ",
        "[",
        "[{",
        "[{]",
        r#"[{"n":"a","v":1}"#,
        r#"[{"n":"a","v":1},]"#,
        r#"[{"n":"a","v":1,}]"#,
        r#"[{"n":"a","v":1}] x"#,
        r#"[{"n":"a","v":1}][]"#,
        r#"[{"n":"a","v":NaN}]"#,
        "NaN",
        "nul",
        "nulll",
        r#"[{"n":"a","v":Infinity}]"#,
        r#"[{"n":"a","v":01}]"#,
        r#"[{"n":"a","v":1.}]"#,
        r#"[{"n":"a","v":.5}]"#,
        r#"[{"n":"a","v":+1}]"#,
        r#"[{"n":"a","v":0x1}]"#,
        r#"[{"n":"a","v":1e}]"#,
        r#"[{"n":'a',"v":1}]"#,
        r#"[{n:"a","v":1}]"#,
        r#"[{"n":"a" "v":1}]"#,
        r#"[{"n":"a","vs":"\x"}]"#,
        "[{\"n\":\"a\",\"vs\":\"\n\"}]",
        "[{\"n\":\"a\",\"vs\":\"\0\"}]",
        "\u{feff}[]",
        "[]\0",
        r#"[{"n":"a","vs":"\u12"}]"#,
        "[1 2]",
        "// x\n[]",
    ] {
        refused(body, "malformed");
    }
    for body in [
        &b"[{\"n\":\"a\",\"vs\":\"\xff\"}]"[..],
        b"[{\"n\":\"a\",\"vs\":\"\xed\xa0\x80\"}]",
        b"[{\"n\":\"a\",\"vs\":\"\xc3",
        b"\xff",
    ] {
        refused(body, "malformed");
    }
    // Escapes that stand for no character, wherever they are.
    for lone in [r"\ud800", r"\udc00", r"\ud800x", r"\ud800\u0061", r"\ud800\ud800"] {
        refused(format!(r#"[{{"n":"a","vs":"{lone}"}}]"#), "malformed 0");
        refused(format!(r#"[{{}},{{"n":"a","v":1,"{lone}":1}}]"#), "malformed 1");
        refused(format!(r#"[{{"n":"a","v":1,"x":["{lone}"]}}]"#), "malformed 0");
        refused(format!(r#""{lone}""#), "malformed");
    }
    // Syntax goes first.
    refused(r#"[{"n":5},{"n":"a","v":1}"#, "malformed");
    refused(r#"[{"n":5},{"x":"\ud800"}]"#, "malformed 1");
}

#[test]
fn not_a_pack() {
    for body in [r#"{"n":"a","v":1}"#, "{}", r#""a""#, "5", "-1.5", "true", "false"] {
        refused(body, "not_a_pack");
    }
}

#[test]
fn empty_pack() {
    for body in [
        "[]",
        " [ ] ",
        "null",
        "[{}]",
        r#"[{"bn":"a","bt":1,"bu":"V","bv":1,"bs":1,"bver":10}]"#,
        r#"[{},{"x":1}]"#,
    ] {
        refused(body, "empty_pack");
    }
}

#[test]
fn bad_record() {
    for element in ["null", "1", r#""a""#, "[]", "true"] {
        refused(format!(r#"[{{"n":"a","v":1}},{element}]"#), "bad_record 1");
    }
}

/// RFC 8428 section 4.3, table 1: the type of each label.
#[test]
fn bad_type() {
    for label in ["n", "bn", "u", "bu", "vs", "vd"] {
        for value in ["5", "null", "true", "[]", "{}", "[\"a\"]"] {
            refused(format!(r#"[{{"{label}":{value}}}]"#), &format!("bad_type 0 {label}"));
        }
    }
    for label in ["v", "bv", "s", "bs", "t", "bt", "ut"] {
        for value in [r#""1""#, "null", "true", "[]", "{}", "[1]"] {
            refused(format!(r#"[{{"{label}":{value}}}]"#), &format!("bad_type 0 {label}"));
        }
    }
    for value in ["0", "1", r#""true""#, "null", "[]", "{}"] {
        refused(format!(r#"[{{"n":"a","v":1}},{{"vb":{value}}}]"#), "bad_type 1 vb");
    }
}

/// RFC 8259 section 4: names within an object should be unique. What a doubled one means nobody can say.
#[test]
fn duplicate_field() {
    let labels =
        ["n", "bn", "u", "bu", "v", "bv", "vs", "vb", "vd", "s", "bs", "t", "bt", "ut", "bver", "x", "", "é"];
    for label in labels {
        let value = match label {
            "n" | "bn" | "u" | "bu" | "vs" | "vd" => r#""a""#,
            "vb" => "true",
            _ => "1",
        };
        refused(
            format!(r#"[{{"{label}":{value},"{label}":{value}}}]"#),
            &format!("duplicate_field 0 {label}"),
        );
    }
    refused(r#"[{"n":"a","v":1,"\u006e":"b"}]"#, "duplicate_field 0 n");
    refused(r#"[{"n":"a","v":1,"x":1,"\u0078":2}]"#, "duplicate_field 0 x");
    let many: String = (0..100_000).map(|i| format!(r#""x{i}":0,"#)).collect();
    gives(&format!(r#"[{{{many}"n":"a","v":1}}]"#), "a @1700000000.000001 = 1");
    refused(format!(r#"[{{{many}"n":"a","v":1,"x70000":0}}]"#), "duplicate_field 0 x70000");
}

/// RFC 8428 section 4.2.
#[test]
fn no_value() {
    for record in
        [r#"{"n":"a"}"#, r#"{"n":"a","t":1,"u":"V","ut":5}"#, r#"{"t":1}"#, r#"{"u":"V"}"#, r#"{"n":""}"#]
    {
        refused(format!(r#"[{{"n":"a","v":1}},{record}]"#), "no_value 1");
    }
}

/// RFC 8428 section 4.2.
#[test]
fn many_values() {
    let values = [r#""v":1"#, r#""vs":"a""#, r#""vb":true"#, r#""vd":"AQ""#];
    for (i, one) in values.iter().enumerate() {
        for other in &values[i + 1..] {
            refused(format!(r#"[{{"n":"a",{one},{other}}}]"#), "many_values 0");
            refused(format!(r#"[{{"n":"a",{other},"s":1,{one}}}]"#), "many_values 0");
        }
    }
}

/// RFC 8428 section 4.5.1, and our limit on length.
#[test]
fn bad_name() {
    for name in ["_a", "-a", ":a", ".a", "/a", "a b", "a%", "é", "a\\u0000", "a,b", "a\\\\b", "٣", "a\\n"] {
        refused(format!(r#"[{{"n":"{name}","v":1}}]"#), "bad_name 0 n");
        refused(format!(r#"[{{"bn":"{name}","v":1}}]"#), "bad_name 0 bn");
        refused(format!(r#"[{{"bn":"{name}","n":"x","v":1}}]"#), "bad_name 0 bn");
    }
    refused(r#"[{"v":1}]"#, "bad_name 0 n");
    refused(r#"[{"bn":"","n":"","v":1}]"#, "bad_name 0 n");
    refused(r#"[{"bn":"a","v":1},{"bn":"_b"},{"n":"c","v":1}]"#, "bad_name 2 bn");
    refused(r#"[{"bn":"a","v":1},{"bn":"","n":"_c","v":1}]"#, "bad_name 1 n");
    refused(format!(r#"[{{"n":"{}","v":1}}]"#, "n".repeat(255)), "bad_name 0 n");
    refused(format!(r#"[{{"bn":"{}","n":"{}","v":1}}]"#, "b".repeat(200), "n".repeat(55)), "bad_name 0 n");
    refused(format!(r#"[{{"bn":"a","v":1}},{{"n":"{}","v":1}}]"#, "n".repeat(254)), "bad_name 1 n");
    // A base name that no measurement uses harms nobody.
    gives(r#"[{"bn":"_"},{"bn":"a","v":1}]"#, "a @1700000000.000001 = 1");
}

/// Our limit: the RFC has none.
#[test]
fn bad_unit() {
    let (fits, longer) = ("u".repeat(254), "u".repeat(255));
    gives(&format!(r#"[{{"n":"a","u":"{fits}","v":1}}]"#), &format!("a {fits} @1700000000.000001 = 1"));
    refused(format!(r#"[{{"n":"a","u":"{longer}","v":1}}]"#), "bad_unit 0 u");
    refused(format!(r#"[{{"bu":"{longer}"}},{{"n":"a","v":1}}]"#), "bad_unit 1 bu");
}

/// RFC 8428 section 4.3: numbers are doubles.
#[test]
fn bad_number() {
    for label in ["v", "bv", "s", "bs", "t", "bt", "ut"] {
        for value in ["1e400", "-1e400", "1e99999999999999999999", "179769313486231580793e289"] {
            refused(format!(r#"[{{"n":"a","{label}":{value}}}]"#), &format!("bad_number 0 {label}"));
        }
    }
    refused(r#"[{"bv":1.7e308,"n":"a","v":1.7e308}]"#, "bad_number 0 v");
    refused(r#"[{"bs":-1.7e308,"n":"a","s":-1.7e308}]"#, "bad_number 0 s");
    refused(r#"[{"n":"a","v":1,"ut":-0.001}]"#, "bad_number 0 ut");
    gives(r#"[{"n":"a","v":1.7976931348623157e308}]"#, &format!("a @1700000000.000001 = {}", f64::MAX));
    gives(r#"[{"n":"a","v":1e-400}]"#, "a @1700000000.000001 = 0");
    gives(r#"[{"n":"a","v":18446744073709551616}]"#, "a @1700000000.000001 = 18446744073709552000");
    gives(r#"[{"n":"a","v":-9223372036854775809}]"#, "a @1700000000.000001 = -9223372036854776000");
}

/// RFC 8428 section 4.5.3, and what 64 bits of nanoseconds hold.
#[test]
fn time_range() {
    for (fields, field) in [
        (r#""t":9223372036.854775808"#, "t"),
        (r#""t":9223372036.8547758075"#, "t"),
        (r#""t":1e300"#, "t"),
        (r#""t":-1e300"#, "t"),
        (r#""t":18446744073709551615"#, "t"),
        (r#""t":-10923372036.854776809"#, "t"),
        (r#""bt":9223372037"#, "bt"),
        (r#""bt":9223372036,"t":1"#, "t"),
        (r#""bt":1e300,"t":-1e300"#, "bt"),
    ] {
        refused(format!(r#"[{{"n":"a","v":1,{fields}}}]"#), &format!("time_range 0 {field}"));
    }
    gives(r#"[{"bt":-1e12,"n":"a","t":1001276020076,"v":1}]"#, "a @1276020076 = 1");
}

/// RFC 4648 section 5.
#[test]
fn bad_data() {
    for data in [
        "+/+/",
        "a",
        "aGkgC",
        "aGkg Cg",
        "aGkgCg=",
        "aGkgCg===",
        "=",
        "====",
        "aGkgCh",
        "AAF",
        "aGkgCg\\n",
        "é",
        "A=AA",
    ] {
        refused(format!(r#"[{{"n":"a","vd":"{data}"}}]"#), "bad_data 0 vd");
    }
}

/// RFC 8428 section 4.4.
#[test]
fn must_understand() {
    refused(r#"[{"n":"a","v":1,"x_":1}]"#, "must_understand 0 x_");
    refused(r#"[{"n":"a","v":1},{"_":null}]"#, "must_understand 1 _");
    refused(r#"[{"n":"a","v":1},{"bn_":"b"}]"#, "must_understand 1 bn_");
}

/// RFC 8428 section 4.4, RFC 9100 section 2.
#[test]
fn unsupported_version() {
    for version in [
        "0",
        "-1",
        "-0",
        "11",
        "16",
        "25",
        "27",
        "42",
        "5.5",
        "1e400",
        "1e99",
        r#""10""#,
        "null",
        "true",
        "[]",
        "{}",
        "18446744073709551626",
    ] {
        refused(format!(r#"[{{"bver":{version},"n":"a","v":1}}]"#), "unsupported_version 0 bver");
        refused(
            format!(r#"[{{"bver":10,"n":"a","v":1}},{{"bver":{version}}}]"#),
            "unsupported_version 1 bver",
        );
    }
}

/// RFC 8428 section 4.4.
#[test]
fn version_change() {
    refused(r#"[{"bver":10,"n":"a","v":1},{"bver":5}]"#, "version_change 1 bver");
    refused(
        r#"[{"bver":10,"n":"a","v":1},{"n":"a","v":1},{"bver":26,"n":"a","v":1}]"#,
        "version_change 2 bver",
    );
}

#[test]
fn too_large() {
    let pack = |records: usize| format!("[{}]", vec![r#"{"n":"a","v":1}"#; records].join(","));
    let refusal = |pack: &str, records_max: usize| {
        let limits = PackLimits { records_max, ..PackLimits::default() };
        resolve(pack.as_bytes(), &limits).map(drop).map_err(|error| summary_of(&error))
    };
    assert_eq!(refusal(&pack(3), 3), Ok(()));
    assert_eq!(refusal(&pack(4), 3), Err("too_large".to_owned()));
    assert_eq!(refusal("[{},{},{},5]", 3), Err("too_large".to_owned()), "what is no measurement counts");
    assert_eq!(refusal(&pack(10_000), PackLimits::default().records_max), Ok(()));
    assert_eq!(refusal(&pack(10_001), PackLimits::default().records_max), Err("too_large".to_owned()));
}

/// What is a nanosecond older than the oldest that is taken is expired, whichever field makes it so old.
#[test]
fn expired() {
    let oldest = Timestamp::parse_seconds("1600000000.5").unwrap();
    let refusal = |pack: &str| {
        let limits = PackLimits { oldest, ..PackLimits::default() };
        resolve(pack.as_bytes(), &limits).map(drop).map_err(|error| summary_of(&error))
    };
    let expired = |place: &str| Err(format!("expired {place}"));
    assert_eq!(refusal(r#"[{"n":"a","t":1600000000.5,"v":1}]"#), Ok(()));
    assert_eq!(refusal(r#"[{"n":"a","v":1},{"n":"b","t":1600000000.499999999,"v":1}]"#), expired("1 t"));
    assert_eq!(refusal(r#"[{"bt":1600000000,"n":"a","v":1}]"#), expired("0 bt"));
    assert_eq!(
        refusal(r#"[{"bt":1600000000,"n":"a","t":0.5,"v":1},{"n":"b","t":0.4,"v":1}]"#),
        expired("1 t")
    );
    // A hundred million seconds before the reception, at 1.7 billion.
    assert_eq!(refusal(r#"[{"n":"a","t":-99999999,"v":1},{"n":"b","t":-100000000,"v":1}]"#), expired("1 t"));
    assert_eq!(
        refusal(r#"[{"bt":1500000000},{"n":"a","t":200000000,"v":1}]"#),
        Ok(()),
        "no measurement is so old"
    );
    assert_eq!(refusal(r#"[{"n":"a","t":1500000000,"v":"1"}]"#), Err("bad_type 0 v".to_owned()));
}

#[test]
fn the_first_bad_record_is_reported_and_in_it_the_first_bad_field() {
    refused(r#"[{"n":"a","v":1},{"n":"b","v":"1","t":"2"},{"n":3}]"#, "bad_type 1 v");
    refused(r#"[{"n":"a","v":1},{"n":"b"},7]"#, "no_value 1");
}

#[test]
fn a_refusal_reads_like_a_sentence() {
    let cases = [
        (r#"[{},{},{},{"n":"a","v":"1"}]"#, r#"record 3: "v" must be a number, got a string"#),
        (r#"[{"n":"a b","v":1}]"#, r#"record 0: "n" has ' ' in the name; allowed are A-Z a-z 0-9 - : . / _"#),
        (r#"[{"bver":11}]"#, r#"record 0: "bver" names version 11; known are 1 to 10, and 26"#),
        (r#"{}"#, "a pack must be an array of records, got an object"),
        (r#"[{"n":"a","v":1},7]"#, "record 1: a record must be an object, got a number"),
        (r#"[{"n":"a","v":NaN}]"#, "the body is not JSON: expected value at line 1 column 15"),
    ];
    for (pack, text) in cases {
        assert_eq!(resolve(pack.as_bytes(), &PackLimits::default()).unwrap_err().to_string(), text);
    }
    let limits =
        PackLimits { oldest: Timestamp::from_nanos(1_600_000_000_500_000_000), ..PackLimits::default() };
    assert_eq!(
        resolve(br#"[{"n":"a","v":1},{"n":"a","v":1,"t":1600000000}]"#, &limits).unwrap_err().to_string(),
        r#"record 1: "t" makes it 1600000000 seconds, and the channel keeps nothing from before 1600000000.5 any more"#
    );
    let label = "é".repeat(500_000);
    let error = resolve(format!(r#"[{{"{label}_":1}}]"#).as_bytes(), &PackLimits::default()).unwrap_err();
    assert_eq!(error.field(), Some("é".repeat(32).as_str()), "a label is not repeated at any length");
}

/// RFC 8428 section 12.2 registers the media type.
#[test]
fn both_media_types_are_json() {
    for media_type in [
        "application/senml+json",
        "application/json",
        "Application/SenML+JSON",
        "application/json; charset=utf-8",
        "application/senml+json;foo=\"a;b\"",
        " application/json ",
    ] {
        assert_eq!(Format::from_media_type(media_type), Some(Format::Json), "{media_type}");
    }
    for media_type in [
        "",
        "text/plain",
        "application/senml+cbor",
        "application/senml+xml",
        "application/jsonx",
        "json",
        "application/json, application/senml+json",
        "application/sensml+json",
    ] {
        assert_eq!(Format::from_media_type(media_type), None, "{media_type}");
    }
}
