//! The log entry: one accepted pack, as the thing sent it, with what the pipeline has to know of it.
//!
//! The value of an entry is the pack's own bytes, so that other consumers can read the log; everything else travels as
//! headers ([`Entry::encode_headers`]), led by a version. Entries of every released version stay readable.

use bytes::{BufMut, Bytes, BytesMut};

use crate::channel::{BucketWidth, ChannelProfile};
use crate::id::{ChannelId, ThingId};
use crate::senml::Format;
use crate::subtopic::Subtopic;
use crate::time::ReceivedAt;

/// The version this build writes.
pub const ENTRY_VERSION: u8 = 1;

/// An ordered strand of the log. Entries of one thing share a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u32);

/// The place of an entry in the log: offsets of one lane only ever grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The strand.
    pub lane: Lane,
    /// The place within it.
    pub offset: u64,
}

/// How a pack reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// An HTTP request.
    Http,
}

impl Protocol {
    /// The name that rows and filters show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
        }
    }

    /// The byte that stands for it in stored data.
    pub const fn code(self) -> u8 {
        match self {
            Self::Http => 1,
        }
    }

    /// The protocol that [`Self::code`] stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Http),
            _ => None,
        }
    }
}

/// One accepted pack. The log orders entries by [`Entry::publisher`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The channel it was published to.
    pub channel: ChannelId,
    /// The channel's profile when it was accepted: the writer needs no registry.
    pub profile: ChannelProfile,
    /// The thing that published it; the log's key.
    pub publisher: ThingId,
    /// The subtopic it was published to.
    pub subtopic: Subtopic,
    /// How it came.
    pub protocol: Protocol,
    /// How [`Entry::payload`] is encoded.
    pub format: Format,
    /// When it was received: the version of its rows, and what its relative times are relative to.
    pub received: ReceivedAt,
    /// The pack, as the thing sent it (decompressed).
    pub payload: Bytes,
}

/// Why stored headers are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Written by a newer build: stop and wait for an upgrade, never drop it.
    #[error("entry has version {0}, this build reads up to {ENTRY_VERSION}")]
    UnknownVersion(u8),
    /// The bytes are no headers of the version they name.
    #[error("entry headers are malformed: {0}")]
    Malformed(&'static str),
}

/// Bytes of the fixed part of the headers.
const FIXED_BYTES: usize = 1 + 8 + 16 + 16 + 1 + 1 + 1 + 2;

impl Entry {
    /// Appends the headers as the embedded log stores them: version, reception (i64 µs), channel, publisher, protocol,
    /// format, bucket width, then the subtopic behind its length (u16). Integers are big endian.
    pub fn encode_headers(&self, into: &mut BytesMut) {
        into.reserve(FIXED_BYTES + self.subtopic.as_str().len());
        into.put_u8(ENTRY_VERSION);
        into.put_i64(self.received.as_micros());
        into.put_slice(self.channel.as_bytes());
        into.put_slice(self.publisher.as_bytes());
        into.put_u8(self.protocol.code());
        into.put_u8(self.format.code());
        into.put_u8(self.profile.bucket_width.code());
        into.put_u16(self.subtopic.as_str().len() as u16);
        into.put_slice(self.subtopic.as_str().as_bytes());
    }

    /// Reads an entry from headers that [`Entry::encode_headers`] wrote and the pack that went with them.
    ///
    /// # Errors
    /// [`EntryError::UnknownVersion`] for a newer build's entry, [`EntryError::Malformed`] for anything else.
    pub fn decode(headers: &[u8], payload: Bytes) -> Result<Self, EntryError> {
        let (&version, _) = headers.split_first().ok_or(EntryError::Malformed("empty"))?;
        if version != ENTRY_VERSION {
            return Err(EntryError::UnknownVersion(version));
        }
        let Some((fixed, subtopic)) = headers.split_first_chunk::<FIXED_BYTES>() else {
            return Err(EntryError::Malformed("truncated"));
        };
        let malformed = EntryError::Malformed;
        let subtopic_bytes = usize::from(u16::from_be_bytes([fixed[44], fixed[45]]));
        if subtopic.len() != subtopic_bytes {
            return Err(malformed("length of subtopic"));
        }
        let subtopic = std::str::from_utf8(subtopic).map_err(|_| malformed("subtopic"))?;
        Ok(Self {
            received: ReceivedAt::from_micros(i64::from_be_bytes(array(&fixed[1..9]))),
            channel: ChannelId::from_bytes(array(&fixed[9..25])),
            publisher: ThingId::from_bytes(array(&fixed[25..41])),
            protocol: Protocol::from_code(fixed[41]).ok_or(malformed("protocol"))?,
            format: Format::from_code(fixed[42]).ok_or(malformed("format"))?,
            profile: ChannelProfile {
                bucket_width: BucketWidth::from_code(fixed[43]).ok_or(malformed("bucket width"))?,
            },
            subtopic: Subtopic::from_stored(subtopic),
            payload,
        })
    }
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    slice.try_into().expect("the caller cut the slice to this length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        (any::<[u8; 16]>(), any::<[u8; 16]>(), "[a-z.é]{0,40}", any::<i64>(), any::<Vec<u8>>(), 1u8..=3)
            .prop_map(|(channel, publisher, subtopic, received, payload, width)| Entry {
                channel: ChannelId::from_bytes(channel),
                profile: ChannelProfile { bucket_width: BucketWidth::from_code(width).unwrap() },
                publisher: ThingId::from_bytes(publisher),
                subtopic: Subtopic::from_stored(subtopic),
                protocol: Protocol::Http,
                format: Format::Json,
                received: ReceivedAt::from_micros(received),
                payload: payload.into(),
            })
    }

    proptest! {
        #[test]
        fn an_entry_survives_a_round_trip(entry in any_entry()) {
            let mut headers = BytesMut::new();
            entry.encode_headers(&mut headers);
            prop_assert_eq!(Entry::decode(&headers, entry.payload.clone()), Ok(entry));
        }

        #[test]
        fn no_headers_panic(headers in any::<Vec<u8>>()) {
            let _ = Entry::decode(&headers, Bytes::new());
        }
    }

    /// Written by the first release: this must stay readable for ever.
    #[test]
    fn an_entry_of_version_1_stays_readable() {
        let stored = "01\
            0005e0c2b8c35d40\
            1a0cde065e8c4f07aac595aff4a19ea0\
            33eb28c34ca245c3b1c5d5d049c6c24e\
            010102\
            0003612e62";
        let bytes: Vec<u8> = (0..stored.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&stored[i..i + 2], 16).unwrap())
            .collect();
        let entry = Entry::decode(&bytes, Bytes::from_static(b"[]")).unwrap();
        assert_eq!(entry.received.as_micros(), 0x0005_e0c2_b8c3_5d40);
        assert_eq!(entry.channel.to_string(), "1a0cde06-5e8c-4f07-aac5-95aff4a19ea0");
        assert_eq!(entry.publisher.to_string(), "33eb28c3-4ca2-45c3-b1c5-d5d049c6c24e");
        assert_eq!((entry.subtopic.as_str(), entry.format), ("a.b", Format::Json));
        assert_eq!(entry.profile.bucket_width, BucketWidth::Hour);
    }

    #[test]
    fn a_newer_entry_is_told_from_a_broken_one() {
        assert_eq!(Entry::decode(&[9, 1, 2], Bytes::new()), Err(EntryError::UnknownVersion(9)));
        assert_eq!(Entry::decode(&[1, 1, 2], Bytes::new()), Err(EntryError::Malformed("truncated")));
        assert_eq!(Entry::decode(&[], Bytes::new()), Err(EntryError::Malformed("empty")));
    }
}
