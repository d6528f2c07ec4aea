//! Any bytes as a SenML JSON pack: nothing panics, checking and resolving say the same, the fast path says what the
//! authority says, and what was resolved survives its own encoding.
//!
//! A good corpus to start from: `cargo fuzz run senml_json fuzz/corpus/senml_json crates/domain/tests/rfc8428`.

#![no_main]

use domain::senml::{self, Format, PackLimits, Scratch};
use domain::{ReceivedAt, Record};
use libfuzzer_sys::fuzz_target;

const RECEIVED: ReceivedAt = ReceivedAt::from_micros(1_700_000_000_000_001);
/// Absolute times before 2^28 s can't be written in SenML.
const ABSOLUTE_NANOS_MIN: i64 = (1 << 28) * 1_000_000_000;

fuzz_target!(|body: &[u8]| {
    let limits = PackLimits::default();
    let mut scratch = Scratch::default();
    let checked = senml::check(Format::Json, body, RECEIVED, &limits, &mut scratch);
    let resolved = senml::resolve(Format::Json, body, RECEIVED, &limits, &mut scratch);
    assert_eq!(checked.map(drop), resolved.clone().map(drop), "check and resolve differ");
    let by_authority = senml::resolve_by_authority(Format::Json, body, RECEIVED, &limits);
    // As text, so that the sign of a zero counts.
    assert_eq!(
        format!("{by_authority:?}"),
        format!("{resolved:?}"),
        "the fast path and the authority differ"
    );

    let is_writable = |record: &Record| record.time.as_nanos() >= ABSOLUTE_NANOS_MIN;
    if let Ok(records) = resolved
        && records.iter().all(is_writable)
    {
        let encoded = senml::encode(&records);
        let again = senml::resolve(Format::Json, encoded.as_bytes(), RECEIVED, &limits, &mut scratch);
        assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, senml::SenmlError>(records)));
    }
});
