//! Packs in, facts out: resolved records as lines of text, refusals as code, record and field.

use std::fmt;

use thalweg_domain::senml::{self, Format, PackLimits, Scratch, SenmlError};
use thalweg_domain::{ReceivedAt, Record, Value};

/// When every pack of these tests was received: 1700000000.000001 s.
pub(crate) const RECEIVED: ReceivedAt = ReceivedAt::from_micros(1_700_000_000_000_001);

/// Resolves a pack, having seen that checking it, and resolving it without the fast path, says the same.
pub(crate) fn resolve(pack: &[u8], limits: &PackLimits) -> Result<Vec<Record>, SenmlError> {
    let mut scratch = Scratch::default();
    let resolved = senml::resolve(Format::Json, pack, RECEIVED, limits, &mut scratch);
    let checked = senml::check(Format::Json, pack, RECEIVED, limits, &mut scratch);
    assert_eq!(checked.map(drop), resolved.clone().map(drop), "check and resolve differ");
    let by_authority = senml::resolve_by_authority(Format::Json, pack, RECEIVED, limits);
    assert_eq!(by_authority, resolved, "the fast path and the authority differ");
    resolved
}

/// A pack resolves to these lines: `name [unit] @time = value`, and what else a record has.
#[track_caller]
pub(crate) fn gives(pack: &str, lines: &str) {
    match resolve(pack.as_bytes(), &PackLimits::default()) {
        Ok(records) => assert_eq!(lines_of(&records), lines, "{pack}"),
        Err(error) => panic!("{pack}\nis refused: {error}"),
    }
}

/// A pack is refused with this: `code`, `code record` or `code record field`.
#[track_caller]
pub(crate) fn refused(pack: impl AsRef<[u8]>, as_what: &str) {
    let pack = pack.as_ref();
    let shown = String::from_utf8_lossy(&pack[..pack.len().min(300)]);
    match resolve(pack, &PackLimits::default()) {
        Ok(records) => panic!("{shown}\nis accepted: {}", lines_of(&records)),
        Err(error) => assert_eq!(summary_of(&error), as_what, "{shown}\n{error}"),
    }
}

pub(crate) fn summary_of(error: &SenmlError) -> String {
    let record = error.record().map(|record| format!(" {record}")).unwrap_or_default();
    let field = error.field().map(|field| format!(" {field}")).unwrap_or_default();
    format!("{}{record}{field}", error.code())
}

pub(crate) fn lines_of(records: &[Record]) -> String {
    records.iter().map(line_of).collect::<Vec<_>>().join("\n")
}

fn line_of(record: &Record) -> String {
    let mut line = record.name.clone();
    let mut add = |text: fmt::Arguments<'_>| line.push_str(&text.to_string());
    if !record.unit.is_empty() {
        add(format_args!(" {}", record.unit));
    }
    add(format_args!(" @{}", record.time));
    match &record.value {
        Some(Value::Number(number)) => add(format_args!(" = {number}")),
        Some(Value::Text(text)) => add(format_args!(" = {text:?}")),
        Some(Value::Bool(boolean)) => add(format_args!(" = {boolean}")),
        Some(Value::Data(bytes)) => add(format_args!(" = {bytes:02x?}")),
        None => {}
    }
    if let Some(sum) = record.sum {
        add(format_args!(" sum {sum}"));
    }
    if let Some(seconds) = record.update_time {
        add(format_args!(" ut {seconds}"));
    }
    line
}
