//! What packs mean: a test for each rule of RFC 8428 sections 4.1 to 4.6, and for RFC 9100.

use super::senml::{gives, refused};

/// RFC 8428 section 4.1.
#[test]
fn base_fields_carry_forward_until_they_appear_again() {
    gives(
        r#"[{"bn":"a:","bt":1600000000,"bu":"V","bv":10,"bs":100,"n":"x","v":1,"s":1},
            {"n":"y","t":1,"v":2,"s":2},
            {"bn":"b:","n":"z","t":2,"v":3,"s":3},
            {"bt":1650000000,"bu":"A","bv":20,"bs":200,"n":"z","v":4,"s":4}]"#,
        "a:x V @1600000000 = 11 sum 101\n\
         a:y V @1600000001 = 12 sum 102\n\
         b:z V @1600000002 = 13 sum 103\n\
         b:z A @1650000000 = 24 sum 204",
    );
    gives(
        r#"[{"bn":"a:","bt":1600000000,"bu":"V","bv":10,"bs":100,"n":"x","v":1},
            {"bn":"","bt":0,"bu":"","bv":0,"bs":0,"n":"y","v":2},
            {"n":"z","v":3}]"#,
        "a:x V @1600000000 = 11 sum 100\n\
         y @1700000000.000001 = 2\n\
         z @1700000000.000001 = 3",
    );
    // They apply to their own record wherever in it they stand.
    gives(r#"[{"v":1,"n":"x","bv":1,"bn":"a:"}]"#, "a:x @1700000000.000001 = 2");
    // Minus zero takes a base value back, too.
    gives(r#"[{"bv":5},{"bv":-0.0,"n":"a","v":1}]"#, "a @1700000000.000001 = 1");
    refused(r#"[{"bv":5},{"bv":0,"n":"a"}]"#, "no_value 1");
}

/// RFC 8428 section 4.5.1.
#[test]
fn a_name_is_base_name_and_name() {
    gives(r#"[{"bn":"urn:dev:","n":"a","v":1}]"#, "urn:dev:a @1700000000.000001 = 1");
    gives(r#"[{"bn":"urn:dev:","v":1}]"#, "urn:dev: @1700000000.000001 = 1");
    gives(r#"[{"bn":"","n":"a","v":1}]"#, "a @1700000000.000001 = 1");
    gives(r#"[{"bn":"a","n":"_-:./9","v":1}]"#, "a_-:./9 @1700000000.000001 = 1");
    gives(r#"[{"n":"\u0061b","v":1}]"#, "ab @1700000000.000001 = 1");
    let (base, name) = ("b".repeat(100), "n".repeat(154));
    gives(
        &format!(r#"[{{"bn":"{base}","n":"{name}","v":1}}]"#),
        &format!("{base}{name} @1700000000.000001 = 1"),
    );
}

/// RFC 8428 section 4.5.2.
#[test]
fn a_unit_is_kept_as_sent() {
    gives(r#"[{"bu":"V","n":"a","v":1}]"#, "a V @1700000000.000001 = 1");
    gives(r#"[{"bu":"V","n":"a","u":"A","v":1}]"#, "a A @1700000000.000001 = 1");
    gives(r#"[{"bu":"V","n":"a","u":"","v":1}]"#, "a @1700000000.000001 = 1");
    gives(r#"[{"n":"a","u":"furlong²\u0000\n","v":1}]"#, "a furlong²\0\n @1700000000.000001 = 1");
}

/// RFC 8428 section 4.5.4.
#[test]
fn a_value_is_value_plus_base_value() {
    gives(r#"[{"bv":20.5,"n":"a","v":1.25}]"#, "a @1700000000.000001 = 21.75");
    gives(r#"[{"bv":0.1,"n":"a","v":0.2}]"#, "a @1700000000.000001 = 0.30000000000000004");
    // A missing value is 0 where a base value is in force, and the record names a measurement.
    gives(r#"[{"bv":20,"n":"a"}]"#, "a @1700000000.000001 = 20");
    gives(r#"[{"bn":"a","bv":20,"n":""}]"#, "a @1700000000.000001 = 20");
    gives(r#"[{"bv":20,"n":"a","s":3}]"#, "a @1700000000.000001 = 20 sum 3");
    refused(r#"[{"bn":"a","bv":20,"u":"V"}]"#, "no_value 0");
    refused(r#"[{"n":"a"}]"#, "no_value 0");
    // It is added to numbers, and to nothing else.
    gives(
        r#"[{"bv":20,"n":"a","vs":"x"},{"n":"b","vb":true},{"n":"c","vd":"AQ"}]"#,
        "a @1700000000.000001 = \"x\"\nb @1700000000.000001 = true\nc @1700000000.000001 = [01]",
    );
    // A value keeps its sign where nothing is added.
    gives(r#"[{"n":"a","v":-0.0},{"n":"b","v":-0}]"#, "a @1700000000.000001 = -0\nb @1700000000.000001 = -0");
}

/// RFC 8428 section 4.5.4.
#[test]
fn a_sum_is_sum_plus_base_sum() {
    gives(r#"[{"bs":100,"n":"a","s":5}]"#, "a @1700000000.000001 sum 105");
    gives(r#"[{"bs":100,"n":"a"}]"#, "a @1700000000.000001 sum 100");
    gives(r#"[{"bs":100,"n":"a","v":1}]"#, "a @1700000000.000001 = 1 sum 100");
    gives(r#"[{"n":"a","s":0}]"#, "a @1700000000.000001 sum 0");
}

/// RFC 8428 section 4.2.
#[test]
fn a_measurement_has_one_value_or_a_sum() {
    gives(r#"[{"n":"a","v":1}]"#, "a @1700000000.000001 = 1");
    gives(r#"[{"n":"a","vs":""}]"#, "a @1700000000.000001 = \"\"");
    gives(r#"[{"n":"a","vb":false}]"#, "a @1700000000.000001 = false");
    gives(r#"[{"n":"a","vd":""}]"#, "a @1700000000.000001 = []");
    gives(r#"[{"n":"a","s":1}]"#, "a @1700000000.000001 sum 1");
    gives(r#"[{"n":"a","vb":true,"s":1}]"#, "a @1700000000.000001 = true sum 1");
}

/// RFC 8428 section 4.5.3.
#[test]
fn a_time_is_time_plus_base_time() {
    let cases = [
        // Both, one, or none of them; none is the reception itself.
        (r#""bt":1276020076.001,"t":-5"#, "1276020071.001"),
        (r#""bt":1276020076"#, "1276020076"),
        (r#""t":1276020076"#, "1276020076"),
        (r#""t":0"#, "1700000000.000001"),
        (r#""s":0"#, "1700000000.000001"),
        // Below 2^28 s it is relative to the reception; from there on it is absolute.
        (r#""t":-1.5"#, "1699999998.500001"),
        (r#""t":268435455.999999999"#, "1968435456.000000999"),
        (r#""t":268435456"#, "268435456"),
        (r#""t":2.68435456e8"#, "268435456"),
        (r#""bt":268435456,"t":-1"#, "1968435455.000001"),
        (r#""bt":-1700000000,"t":1"#, "1.000001"),
        // The sum is compared before it is rounded.
        (r#""t":268435455.9999999999"#, "1968435456.000001"),
        // Decimals are exact, however they are written.
        (r#""t":1554381569.992"#, "1554381569.992"),
        (r#""t":1.554381569992e+09"#, "1554381569.992"),
        (r#""t":1554381569992000000e-9"#, "1554381569.992"),
        (r#""t":1554381569.992000000000000000000000000000000000000000000"#, "1554381569.992"),
        (r#""t":1554381569.123456789"#, "1554381569.123456789"),
        (r#""bt":1554381569.1,"t":0.2"#, "1554381569.3"),
        (r#""bt":1554381569.000000001,"t":0.000000001"#, "1554381569.000000002"),
        (r#""bt":1e300,"v":0"#, "time_range 0 bt"),
        // Beyond nanoseconds the sum rounds half to even, once.
        (r#""t":1554381569.0000000005"#, "1554381569"),
        (r#""t":1554381569.0000000015"#, "1554381569.000000002"),
        (r#""t":1554381569.00000000050000000000000000000001"#, "1554381569.000000001"),
        (r#""bt":1554381569.0000000003,"t":0.0000000003"#, "1554381569.000000001"),
        (r#""t":-0.0000000005"#, "1700000000.000001"),
        // The first and the last time there is.
        (r#""t":9223372036.854775807"#, "9223372036.854775807"),
        (r#""t":-10923372036.854776808"#, "-9223372036.854775808"),
    ];
    for (fields, time) in cases {
        let value = if fields.contains(r#""v""#) || fields.contains(r#""s""#) { "" } else { r#","s":0"# };
        let pack = format!(r#"[{{"n":"a",{fields}{value}}}]"#);
        if time.starts_with("time_range") {
            refused(pack, time);
        } else {
            gives(&pack, &format!("a @{time} sum 0"));
        }
    }
}

/// RFC 8428 section 4.1: base fields without a measurement, and records without anything.
#[test]
fn a_base_only_record_is_no_measurement() {
    let a = "a:x @1700000000.000001 = 1";
    gives(r#"[{"bn":"a:"},{"n":"x","v":1}]"#, a);
    gives(r#"[{},{"bn":"a:","bver":10},{},{"n":"x","v":1},{}]"#, a);
    gives(r#"[{"bn":"a:","n":"x","v":1},{"bn":"b:","bt":1,"bu":"V","bv":1,"bs":1,"bver":10}]"#, a);
    gives(r#"[{"comment":"nothing that is known"},{"n":"a:x","v":1}]"#, a);
}

/// RFC 8428 section 4.4, RFC 9100 sections 2 and 4.
#[test]
fn known_versions_are_taken() {
    for version in ["1", "5", "9", "10", "26", "10.0", "1e1", "2.6E1"] {
        let pack = format!(
            r#"[{{"bver":{version},"n":"a","v":1}},{{"n":"b","v":1}},{{"bver":{version},"n":"c","v":1}}]"#
        );
        let at = "@1700000000.000001 = 1";
        gives(&pack, &format!("a {at}\nb {at}\nc {at}"));
    }
    gives(
        r#"[{"n":"a","v":1},{"bver":5,"n":"b","v":1}]"#,
        "a @1700000000.000001 = 1\nb @1700000000.000001 = 1",
    );
}

/// RFC 8428 section 4.4.
#[test]
fn unknown_fields_are_ignored_and_labels_are_case_sensitive() {
    let a = "a @1700000000.000001 = 1";
    gives(
        r#"[{"n":"a","v":1,"x":null,"y_z":[1,{}],"":true,"l":"[{\"href\":\"x\"}]","_x":"\ud83d\ude00"}]"#,
        a,
    );
    gives(r#"[{"n":"a","N":5,"v":1,"V":"x","BT":[],"Bver":99}]"#, a);
    gives(r#"[{"n":"a","v":1,"x":1e400,"y":123456789012345678901234567890}]"#, a);
    gives(r#"[{"n":"a","v":1,"x":{"k":1,"k":2}}]"#, a);
    gives(r#"[{"\u006e":"a","v":1}]"#, a);
    gives(
        r#"[{"n":"a","v":1,"x":1},{"n":"b","v":1,"x":1}]"#,
        "a @1700000000.000001 = 1\nb @1700000000.000001 = 1",
    );
    refused(r#"[{"n":"a","V":1}]"#, "no_value 0");
}

/// RFC 8428 section 5: base64url (RFC 4648 section 5) without padding.
#[test]
fn data_is_base64url() {
    for text in ["aGkgCg", "aGkgCg=="] {
        gives(&format!(r#"[{{"n":"a","vd":"{text}"}}]"#), "a @1700000000.000001 = [68, 69, 20, 0a]");
    }
    gives(r#"[{"n":"a","vd":"-_-_"}]"#, "a @1700000000.000001 = [fb, ff, bf]");
    gives(
        r#"[{"n":"a","vd":"AAE="},{"n":"b","vd":"AAE"}]"#,
        "a @1700000000.000001 = [00, 01]\nb @1700000000.000001 = [00, 01]",
    );
}

/// RFC 8428 section 4.2.
#[test]
fn an_update_time_is_kept() {
    gives(r#"[{"n":"a","v":1,"ut":600}]"#, "a @1700000000.000001 = 1 ut 600");
    gives(r#"[{"n":"a","v":1,"ut":0}]"#, "a @1700000000.000001 = 1 ut 0");
    refused(r#"[{"n":"a","v":1,"ut":-1}]"#, "bad_number 0 ut");
}

/// RFC 8428 section 4.6.
#[test]
fn records_come_in_order_of_time() {
    gives(
        r#"[{"bt":1600000000,"n":"c","t":2,"v":1},{"n":"b","t":1,"v":2},{"n":"a","t":1,"v":3},{"n":"d","t":-1,"v":4}]"#,
        "d @1599999999 = 4\nb @1600000001 = 2\na @1600000001 = 3\nc @1600000002 = 1",
    );
}

/// Our own: a record is known by name, unit and time (the RFC's example 5 has one name in three units).
#[test]
fn of_what_is_sent_twice_the_last_is_kept() {
    gives(
        r#"[{"bt":1600000000,"n":"a","v":1},{"n":"b","v":2},{"n":"a","vs":"x"},{"n":"a","u":"V","v":4},
            {"bn":"a","t":1,"v":5},{"bn":"","n":"a","t":1.0,"v":6},{"n":"b","t":1,"v":7}]"#,
        "b @1600000000 = 2\na @1600000000 = \"x\"\na V @1600000000 = 4\na @1600000001 = 6\nb @1600000001 = 7",
    );
    gives(r#"[{"n":"a","v":1},{"n":"a","v":2},{"n":"a","v":3}]"#, "a @1700000000.000001 = 3");
}
