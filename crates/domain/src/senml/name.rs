//! Names: which characters make one (RFC 8428 section 4.5.1), and how long it may be.

use super::error::{ErrorCode, SenmlError};
use super::label::Label;
use crate::limits::NAME_BYTES_MAX;

/// Checks the name that a base name and a name make together. `base_is_checked` if the same base name was part of a
/// name that was right.
#[inline]
pub(super) fn check(base: &str, own: &str, base_is_checked: bool) -> Result<(), SenmlError> {
    let bytes = base.len() + own.len();
    let base_is_right = base_is_checked || is_right(base.as_bytes(), true);
    if base_is_right && is_right(own.as_bytes(), base.is_empty()) && (1..=NAME_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    Err(refuse(base, own))
}

#[inline]
fn is_right(part: &[u8], is_start: bool) -> bool {
    let starts_right = !is_start || part.first().is_none_or(u8::is_ascii_alphanumeric);
    starts_right && part.iter().all(|&byte| IN_NAME[usize::from(byte)])
}

const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let character = byte as u8;
        table[byte] =
            character.is_ascii_alphanumeric() || matches!(character, b'-' | b':' | b'.' | b'/' | b'_');
        byte += 1;
    }
    table
};

#[cold]
fn refuse(base: &str, own: &str) -> SenmlError {
    let bytes = base.len() + own.len();
    let label = if is_right(base.as_bytes(), true) { Label::Name } else { Label::BaseName };
    let text = match base.chars().chain(own.chars()).find(|&c| !c.is_ascii() || !IN_NAME[c as usize]) {
        _ if bytes == 0 => "is missing: a measurement needs a name, from n, bn, or both".to_owned(),
        Some(bad) => format!("has {bad:?} in the name; allowed are A-Z a-z 0-9 - : . / _"),
        None if bytes > NAME_BYTES_MAX => {
            format!("makes a name of {bytes} bytes; at most {NAME_BYTES_MAX} are kept")
        }
        None => "makes a name that starts with neither a letter nor a digit".to_owned(),
    };
    SenmlError::new(ErrorCode::BadName, text).in_field(label.as_str())
}
