//! Looks for a text in all the forms that a log or a file may give it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What is searched.
pub(super) struct Search {
    text: String,
    lower: String,
}

impl Search {
    pub(super) fn in_text(text: &str) -> Self {
        Self { text: text.to_owned(), lower: text.to_ascii_lowercase() }
    }

    /// Every file below a directory.
    pub(super) fn in_files(directory: &Path) -> Self {
        let mut text = String::new();
        append_files(directory, &mut text);
        Self::in_text(&text)
    }

    /// The form in which the text is there, if it is.
    pub(super) fn form_of(&self, text: &str) -> Option<&'static str> {
        let hexadecimal: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let percent: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let quoted = serde_json::Value::from(text).to_string();
        let found = |form: String| self.lower.contains(&form.to_ascii_lowercase());
        if found(text.to_owned()) {
            Some("plain")
        } else if found(quoted.trim_matches('"').to_owned()) {
            Some("json")
        } else if found(percent) {
            Some("percent-encoded")
        } else if found(query(text)) {
            Some("query")
        } else if found(hexadecimal) {
            Some("hexadecimal")
        } else if base64_forms(text).any(|form| self.text.contains(&form)) {
            Some("base64")
        } else {
            None
        }
    }
}

/// As a client writes it into a query string.
fn query(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// As a part of something longer that was encoded: in each of the three places that it may have in a group, without the
/// characters that its neighbours share.
fn base64_forms(text: &str) -> impl Iterator<Item = String> {
    let text = text.as_bytes().to_vec();
    [STANDARD_NO_PAD, URL_SAFE_NO_PAD].into_iter().flat_map(move |engine| {
        let text = text.clone();
        (0..3).map(move |before| {
            let padded = [&vec![0; before], text.as_slice()].concat();
            let encoded = engine.encode(&padded[..padded.len() / 3 * 3]);
            encoded[[0, 2, 3][before]..].to_owned()
        })
    })
}

fn append_files(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            append_files(&path, text);
        } else {
            let mut bytes = std::fs::read(&path).unwrap();
            // Files are made longer than what is in them.
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(end);
            text.push_str(&String::from_utf8_lossy(&bytes));
            text.push('\n');
        }
    }
}
