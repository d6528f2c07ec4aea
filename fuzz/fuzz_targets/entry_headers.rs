//! Any bytes as the headers of a log entry: nothing panics, and what decodes encodes to the same bytes.

#![no_main]

use bytes::{Bytes, BytesMut};
use domain::Entry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|headers: &[u8]| {
    if let Ok(entry) = Entry::decode(headers, Bytes::new()) {
        let mut again = BytesMut::new();
        entry.encode_headers(&mut again);
        assert_eq!(again, headers);
    }
});
