//! The examples of RFC 8428 section 5.1, as data in `tests/rfc8428`.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use thalweg_domain::senml::PackLimits;

use super::senml::{lines_of, resolve};

/// A test for each example.
macro_rules! examples {
    ($check:ident: $($name:ident($($argument:expr),+),)+) => {
        $(
            #[test]
            fn $name() {
                $check($($argument),+);
            }
        )+
    };
}

examples! {
    an_example_resolves_as_printed:
    multiple_measurements(3),
    one_sensor_over_time(4),
    one_name_in_three_units(5),
    a_base_name_that_changes(6),
    metadata_that_is_ignored(8),
    no_base_fields(10),
    a_base_name_alone(11),
    an_actuator(12),
}

/// Sections 5.1.3 to 5.1.7: the packs that the RFC prints again in resolved form.
fn an_example_resolves_as_printed(number: u32) {
    let records = resolve(&example(&format!("ex{number}.json")), &PackLimits::default()).unwrap();
    let printed = example(&format!("ex{number}.resolved.json"));
    let mut printed: Vec<serde_json::Value> = serde_json::from_slice(&printed).unwrap();
    // Section 4.6 wants chronological order, which the printed form of example 3 does not have.
    printed.sort_by(|one, other| one["t"].as_f64().unwrap().total_cmp(&other["t"].as_f64().unwrap()));
    let line = |record: &serde_json::Value| {
        let text = |label: &str| record[label].as_str().unwrap();
        // The printed times have few enough digits for a double.
        let number = |label: &str| record[label].as_f64().unwrap();
        format!("{} {} @{} = {}", text("n"), text("u"), number("t"), number("v"))
    };
    assert_eq!(lines_of(&records), printed.iter().map(line).collect::<Vec<_>>().join("\n"));
}

examples! {
    an_example_resolves_to_these_records:
    single_datapoint(1, "urn:dev:ow:10e2073a01080063 Cel @1700000000.000001 = 23.1"),
    multiple_datapoints(
        2,
        "urn:dev:ow:10e2073a01080063:voltage V @1700000000.000001 = 120.1\n\
         urn:dev:ow:10e2073a01080063:current A @1700000000.000001 = 1.2"
    ),
    data_types(
        7,
        "urn:dev:ow:10e2073a01080063:temp Cel @1700000000.000001 = 23.1\n\
         urn:dev:ow:10e2073a01080063:label @1700000000.000001 = \"Machine Room\"\n\
         urn:dev:ow:10e2073a01080063:open @1700000000.000001 = false\n\
         urn:dev:ow:10e2073a01080063:nfv-reader @1700000000.000001 = [68, 69, 20, 0a]"
    ),
    a_base_only_record_first(
        9,
        "urn:dev:ow:10e2073a01080063:temp Cel @1700000000.000001 = 23.1\n\
         urn:dev:ow:10e2073a01080063:heat / @1700000000.000001 = 1\n\
         urn:dev:ow:10e2073a01080063:fan / @1700000000.000001 = 0"
    ),
    times_in_fractions(
        13,
        "2001:db8::3 / @1320078429 = 0.5\n\
         2001:db8::4 / @1320078429 = 0.5\n\
         2001:db8::3 / @1320078429.1 = 0\n\
         2001:db8::4 / @1320078429.1 = 0"
    ),
}

/// The examples with relative times, which the RFC can't print in resolved form.
fn an_example_resolves_to_these_records(number: u32, lines: &str) {
    let records = resolve(&example(&format!("ex{number}.json")), &PackLimits::default()).unwrap();
    assert_eq!(lines_of(&records), lines);
}

fn example(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rfc8428").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
