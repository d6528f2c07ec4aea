//! The log entry: one accepted pack, as the thing sent it, with what the pipeline has to know of it.
//!
//! The value of an entry is the pack's own bytes, so that other consumers can read the log; everything else travels as
//! headers ([`Entry::encode_headers`]), led by a version. Entries of every released version stay readable.

use bytes::{BufMut, Bytes, BytesMut};

use crate::channel::{BucketWidth, ChannelProfile, Retention};
use crate::id::{ChannelId, ThingId};
use crate::senml::Format;
use crate::subtopic::Subtopic;
use crate::time::ReceivedAt;

/// The newest version that this build reads. It writes an entry as the oldest one that can say what it has to: version 1
/// where the channel keeps its records for ever, which a build before retention reads, too.
pub const ENTRY_VERSION: u8 = 2;

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

/// Bytes of what the headers of every version begin with.
const COMMON_BYTES: usize = 1 + 8 + 16 + 16 + 1 + 1 + 1;
/// Bytes of the largest fixed part of the headers.
const FIXED_BYTES_MAX: usize = COMMON_BYTES + 2 + 2;

impl Entry {
    /// Appends the headers as the embedded log stores them: version, reception (i64 µs), channel, publisher, protocol,
    /// format, bucket width, in version 2 storage class and retention, then the subtopic behind its length (u16). Integers
    /// are big endian.
    pub fn encode_headers(&self, into: &mut BytesMut) {
        into.reserve(FIXED_BYTES_MAX + self.subtopic.as_str().len());
        let is_kept_forever = keeps_forever(&self.profile);
        into.put_u8(if is_kept_forever { 1 } else { 2 });
        into.put_i64(self.received.as_micros());
        into.put_slice(self.channel.as_bytes());
        into.put_slice(self.publisher.as_bytes());
        into.put_u8(self.protocol.code());
        into.put_u8(self.format.code());
        into.put_u8(self.profile.bucket_width.code());
        if !is_kept_forever {
            into.put_u8(self.profile.storage_class.code());
            into.put_u8(self.profile.retention.code());
        }
        into.put_u16(self.subtopic.as_str().len() as u16);
        into.put_slice(self.subtopic.as_str().as_bytes());
    }

    /// Reads an entry from headers that [`Entry::encode_headers`] wrote and the pack that went with them.
    ///
    /// # Errors
    /// [`EntryError::UnknownVersion`] for a newer build's entry, [`EntryError::Malformed`] for anything else.
    pub fn decode(headers: &[u8], payload: Bytes) -> Result<Self, EntryError> {
        let (&version, _) = headers.split_first().ok_or(EntryError::Malformed("empty"))?;
        if version == 0 || version > ENTRY_VERSION {
            return Err(EntryError::UnknownVersion(version));
        }
        let malformed = EntryError::Malformed;
        let (fixed, mut rest) = headers.split_first_chunk::<COMMON_BYTES>().ok_or(malformed("truncated"))?;
        let bucket_width = BucketWidth::from_code(fixed[43]).ok_or(malformed("bucket width"))?;
        let mut profile = ChannelProfile::from(bucket_width);
        if version >= 2 {
            let (&codes, behind) = rest.split_first_chunk::<2>().ok_or(malformed("truncated"))?;
            rest = behind;
            profile = retained(profile, codes).ok_or(malformed("retention"))?;
        }
        let (length, subtopic) = rest.split_first_chunk::<2>().ok_or(malformed("truncated"))?;
        if subtopic.len() != usize::from(u16::from_be_bytes(*length)) {
            return Err(malformed("length of subtopic"));
        }
        let subtopic = std::str::from_utf8(subtopic).map_err(|_| malformed("subtopic"))?;
        Ok(Self {
            received: ReceivedAt::from_micros(i64::from_be_bytes(array(&fixed[1..9]))),
            channel: ChannelId::from_bytes(array(&fixed[9..25])),
            publisher: ThingId::from_bytes(array(&fixed[25..41])),
            protocol: Protocol::from_code(fixed[41]).ok_or(malformed("protocol"))?,
            format: Format::from_code(fixed[42]).ok_or(malformed("format"))?,
            profile,
            subtopic: Subtopic::from_stored(subtopic),
            payload,
        })
    }
}

fn keeps_forever(profile: &ChannelProfile) -> bool {
    profile.storage_class == Retention::Forever && profile.retention == Retention::Forever
}

/// A profile with the retentions that version 2 stores. `None`: they are none, or such as version 1 is for.
fn retained(profile: ChannelProfile, [storage_class, retention]: [u8; 2]) -> Option<ChannelProfile> {
    let storage_class = Retention::from_code(storage_class)?;
    let retention = Retention::from_code(retention)?;
    let profile = ChannelProfile { storage_class, retention, ..profile };
    (retention <= storage_class && !keeps_forever(&profile)).then_some(profile)
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    slice.try_into().expect("the caller cut the slice to this length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        let profile = (1u8..=3, 1u8..=4, 1u8..=4).prop_map(|(width, one, other)| ChannelProfile {
            bucket_width: BucketWidth::from_code(width).unwrap(),
            storage_class: Retention::from_code(one.max(other)).unwrap(),
            retention: Retention::from_code(one.min(other)).unwrap(),
        });
        (any::<[u8; 16]>(), any::<[u8; 16]>(), "[a-z.é]{0,40}", any::<i64>(), any::<Vec<u8>>(), profile)
            .prop_map(|(channel, publisher, subtopic, received, payload, profile)| Entry {
                channel: ChannelId::from_bytes(channel),
                profile,
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

    /// What both versions say of one entry up to the bucket width, without the version itself.
    const COMMON: &str = "0005e0c2b8c35d40\
        1a0cde065e8c4f07aac595aff4a19ea0\
        33eb28c34ca245c3b1c5d5d049c6c24e\
        010102";

    fn bytes_of(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    fn encoded(entry: &Entry) -> Vec<u8> {
        let mut headers = BytesMut::new();
        entry.encode_headers(&mut headers);
        headers.to_vec()
    }

    /// Written by the first release: this must stay readable for ever.
    #[test]
    fn an_entry_of_version_1_stays_readable() {
        let bytes = bytes_of(&["01", COMMON, "0003612e62"].concat());
        let entry = Entry::decode(&bytes, Bytes::from_static(b"[]")).unwrap();
        assert_eq!(entry.received.as_micros(), 0x0005_e0c2_b8c3_5d40);
        assert_eq!(entry.channel.to_string(), "1a0cde06-5e8c-4f07-aac5-95aff4a19ea0");
        assert_eq!(entry.publisher.to_string(), "33eb28c3-4ca2-45c3-b1c5-d5d049c6c24e");
        assert_eq!((entry.subtopic.as_str(), entry.format), ("a.b", Format::Json));
        assert_eq!(entry.profile, BucketWidth::Hour.into());
        assert_eq!(
            encoded(&entry),
            bytes,
            "what keeps for ever is written as builds before retention read it"
        );
    }

    /// This must stay readable for ever.
    #[test]
    fn an_entry_of_version_2_stays_readable() {
        let bytes = bytes_of(&["02", COMMON, "0201", "0003612e62"].concat());
        let entry = Entry::decode(&bytes, Bytes::from_static(b"[]")).unwrap();
        let profile = ChannelProfile::new(BucketWidth::Hour, Retention::Days90);
        assert_eq!(Some(entry.profile), profile.shortened(Retention::Days7));
        assert_eq!(entry.subtopic.as_str(), "a.b");
        assert_eq!(encoded(&entry), bytes);
    }

    #[test]
    fn retentions_that_nobody_wrote_are_malformed() {
        for codes in ["0404", "0102", "0001", "0500", "0205"] {
            let bytes = bytes_of(&["02", COMMON, codes, "0003612e62"].concat());
            let refused = Entry::decode(&bytes, Bytes::new());
            assert_eq!(refused, Err(EntryError::Malformed("retention")), "{codes}");
        }
    }

    #[test]
    fn a_newer_entry_is_told_from_a_broken_one() {
        assert_eq!(Entry::decode(&[9, 1, 2], Bytes::new()), Err(EntryError::UnknownVersion(9)));
        assert_eq!(Entry::decode(&[0, 1, 2], Bytes::new()), Err(EntryError::UnknownVersion(0)));
        assert_eq!(Entry::decode(&[1, 1, 2], Bytes::new()), Err(EntryError::Malformed("truncated")));
        assert_eq!(Entry::decode(&[], Bytes::new()), Err(EntryError::Malformed("empty")));
    }
}
