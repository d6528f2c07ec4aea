//! Data values: base64url (RFC 8428 section 5, RFC 4648 section 5).
//!
//! One text stands for the same bytes as another only if they differ in padding: bits behind the last byte that are
//! not zero are refused, so that nothing a thing sent is dropped in silence.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::{ErrorCode, SenmlError};
use super::label::Label;

/// Checks a data value and takes the padding off, which the RFC leaves out but many senders don't. Uses `decoded` to
/// work in.
pub(super) fn check<'t>(text: &'t str, decoded: &mut Vec<u8>) -> Result<&'t str, SenmlError> {
    let bare = match text.len() % 4 {
        0 => text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text),
        _ => text,
    };
    decoded.clear();
    match URL_SAFE_NO_PAD.decode_vec(bare, decoded) {
        Ok(()) => Ok(bare),
        Err(error) => {
            let text = format!("is not base64url (A-Z a-z 0-9 - _): {error}");
            Err(SenmlError::new(ErrorCode::BadData, text).in_field(Label::Data.as_str()))
        }
    }
}

/// The bytes of a data value that [`check`] returned.
pub(super) fn decode(checked: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(checked).expect("the text was checked")
}

/// The text of a data value.
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
