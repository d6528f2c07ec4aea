use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Seconds<'_> {
    Seconds::parse(text.as_bytes()).unwrap()
}

fn sum(one: &str, other: &str) -> i128 {
    parse(one).add(parse(other), 0).nanos
}

#[test]
fn a_text_is_read_to_the_nanosecond() {
    let cases = [
        ("0", 0),
        ("-0", 0),
        ("0.000000000", 0),
        ("0e99999999999999999999", 0),
        ("1554381569.992", 1_554_381_569_992_000_000),
        ("1.276020076001e+09", 1_276_020_076_001_000_000),
        ("1276020076001E-3", 1_276_020_076_001_000_000),
        ("-5", -5_000_000_000),
        ("-0.000000001", -1),
        ("9223372036.854775807", i128::from(i64::MAX)),
        ("-9223372036.854775808", i128::from(i64::MIN)),
        ("0.00000000000000000000000000000000000000001e41", 1_000_000_000),
        ("100000000000000000000000000000000000000000e-41", 1_000_000_000),
        ("1e-99999999999999999999", 0),
        ("999999999999999999999", 999_999_999_999_999_999_999_000_000_000),
    ];
    for (text, nanos) in cases {
        assert_eq!(sum(text, "0"), nanos, "{text}");
        assert_eq!(sum("0", text), nanos, "{text}");
    }
}

#[test]
fn what_is_finer_than_a_nanosecond_rounds_half_to_even() {
    let cases = [
        ("0.0000000005", "0", 0),
        ("0.0000000015", "0", 2),
        ("0.0000000025", "0", 2),
        ("-0.0000000005", "0", 0),
        ("-0.0000000015", "0", -2),
        ("0.00000000050000000000000000000000000000000001", "0", 1),
        ("0.00000000049999999999999999999999999999999999", "0", 0),
        ("-0.00000000050000000000000000000000000000000001", "0", -1),
        // One rounding, of the sum: each alone would round to nothing.
        ("0.0000000003", "0.0000000003", 1),
        ("0.0000000005", "0.0000000005", 1),
        ("0.0000000009", "0.0000000006", 2),
        ("0.0000000007", "0.0000000008", 2),
        ("0.0000000017", "0.0000000008", 2),
        ("0.0000000018", "0.0000000018", 4),
        ("0.0000000009", "-0.0000000004", 0),
        ("0.0000000009", "-0.00000000039999999999999999999999999999999999999", 1),
        // Tails that cancel exactly, or all but, far behind the point.
        ("0.0000000005", "1e-99999999", 1),
        ("0.0000000005", "-1e-99999999", 0),
        ("1.3e-80", "-1.2e-80", 0),
        ("0.00000000050000000000000000000000000000000012", "-0.12e-42", 0),
        ("0.00000000049999999999999999999999999999999988", "0.12e-42", 0),
        ("0.00000000049999999999999999999999999999999988", "0.13e-42", 1),
    ];
    for (one, other, nanos) in cases {
        assert_eq!(sum(one, other), nanos, "{one} + {other}");
        assert_eq!(sum(other, one), nanos, "{other} + {one}");
    }
}

#[test]
fn a_sum_compares_before_it_is_rounded() {
    let against = |one: &str, other: &str| parse(one).add(parse(other), 1 << 28).against;
    assert_eq!(against("268435456", "0"), Ordering::Equal);
    assert_eq!(against("268435455.99999999999999999999", "0"), Ordering::Less);
    assert_eq!(against("268435455.99999999999999999999", "0.00000000000000000001"), Ordering::Equal);
    assert_eq!(against("268435456", "-1e-400"), Ordering::Less);
    assert_eq!(against("268435456", "1e-400"), Ordering::Greater);
    assert_eq!(against("268435457", "-1e-400"), Ordering::Greater);
    assert_eq!(against("1e9", "0"), Ordering::Greater);
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "", "-", "+1", "01", "-01", ".5", "1.", "1.e5", "1e", "1e+", "1e5x", "1 ", " 1", "0x1", "NaN",
        "Infinity", "1_000", "1,5", "--1", "1e5.5", "١",
    ] {
        assert_eq!(Seconds::parse(text.as_bytes()).unwrap_err(), NotSeconds::Syntax, "{text:?}");
    }
    for text in ["1e21", "-1e300", "1e99999999999999999999999", "1000000000000000000000"] {
        assert_eq!(Seconds::parse(text.as_bytes()).unwrap_err(), NotSeconds::Range, "{text:?}");
    }
}

/// The exact value of `digits` · 10^-`scale` seconds in units of 10^-30 s.
fn scaled(digits: i64, scale: u32) -> i128 {
    i128::from(digits) * 10_i128.pow(30 - scale)
}

fn rounded(units: i128) -> i128 {
    let nano = 10_i128.pow(21);
    let (floor, rest) = (units.div_euclid(nano), units.rem_euclid(nano));
    match rest.cmp(&(nano / 2)) {
        Ordering::Less => floor,
        Ordering::Equal => floor + floor.rem_euclid(2),
        Ordering::Greater => floor + 1,
    }
}

proptest! {
    #[test]
    fn a_sum_is_that_of_plain_integers(
        one in -50_000_i64..50_000, one_scale in 0_u32..30,
        other in -50_000_i64..50_000, other_scale in 0_u32..30,
    ) {
        let exact = scaled(one, one_scale) + scaled(other, other_scale);
        let total = sum(&format!("{one}e-{one_scale}"), &format!("{other}e-{other_scale}"));
        prop_assert_eq!(total, rounded(exact));
    }

    #[test]
    fn the_same_number_reads_the_same_in_every_spelling(
        digits in -1_000_000_000_000_i64..1_000_000_000_000, scale in 0_u32..20, zeros in 0_usize..30,
    ) {
        let plain = format!("{digits}e-{scale}");
        let padded = format!("{digits}{}e-{}", "0".repeat(zeros), scale as usize + zeros);
        let pointed = format!("{digits}.{}e-{scale}", "0".repeat(zeros + 1));
        prop_assert_eq!(sum(&plain, "0"), sum(&padded, "0"));
        prop_assert_eq!(sum(&plain, "0"), sum(&pointed, "0"));
    }

    #[test]
    fn no_text_panics(one in "[-+0-9.eE]{0,40}", other in "[-+0-9.eE]{0,40}") {
        if let (Ok(one), Ok(other)) = (Seconds::parse(one.as_bytes()), Seconds::parse(other.as_bytes())) {
            one.add(other, 0);
        }
    }
}
