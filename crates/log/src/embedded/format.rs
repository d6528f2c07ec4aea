//! The embedded log's files, byte by byte. This is the specification; [`FORMAT_VERSION`] counts its versions.
//!
//! All integers are big endian. All checksums are CRC-32C.
//!
//! ```text
//! <dir>/identity                        what log this is
//! <dir>/<base offset, 20 digits>.segment   the entries, in order of offset
//! <dir>/<segment>.cut-<n>               torn bytes that an opening cut off, kept for a person to look at
//! <dir>/groups/<name>.group             how far a consumer group has come
//! <dir>/dead-letters/<number>.segment   dead letters, in segments of the same form
//! ```
//!
//! **Identity** (24 bytes): magic `TWLOGID\0`, version u32, salt u64, checksum u32 of the bytes before it.
//!
//! **Segment**: a header of 40 bytes, then frames without gaps, then any number of zeros.
//! Header: magic `TWLOGSEG`, version u32, base offset u64, salt u64, newest reception in the segments before this
//! one (i64 microseconds; the least i64 if there is none), checksum u32 of the bytes before it. Magic, version and
//! the length of the header stay where they are in every later version.
//!
//! **Frame**: a header of 36 bytes, then the entry's headers, then its payload.
//!
//! | at | field |
//! | --- | --- |
//! | 0 | magic `TWFr` |
//! | 4 | u32 checksum of the salt and of bytes 8 to 35 |
//! | 8 | u64 offset |
//! | 16 | i64 reception, microseconds since the epoch |
//! | 24 | u32 length of the entry's headers |
//! | 28 | u32 length of the payload |
//! | 32 | u32 checksum of the salt, the entry's headers and the payload |
//!
//! The header has a checksum of its own so that a flipped byte of the payload leaves the length trustworthy. The
//! salt makes it impossible to publish a pack that holds a forged frame, which a search for the next whole frame
//! behind damage would take for an entry.
//!
//! **Entry headers** are [`Entry::encode_headers`]. Those of a dead letter stand behind a head of their own:
//! version u8 (1), lane u32, offset u64, length of the reason u32, the reason in UTF-8.
//!
//! **Group** (two slots, at 0 and at 4096, written in turn): magic `TWGr`, version u32, sequence u64, next offset to
//! deliver u64, checksum u32 of the bytes before it. The whole slot with the higher sequence counts: a torn write
//! leaves the other.

use bytes::{BufMut, BytesMut};
use domain::Entry;

/// The version of the files that this build writes. It reads all versions up to it.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 40;
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 36;
/// Bytes of one frame's entry headers and payload together. A pack has at most
/// [`BODY_BYTES_MAX`](domain::limits::BODY_BYTES_MAX); the rest is room for other users of the log.
pub const FRAME_CONTENT_BYTES_MAX: usize = 64 << 20;

/// The first bytes of every frame: what a search behind damage looks for.
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"TWFr";
const SEGMENT_MAGIC: &[u8; 8] = b"TWLOGSEG";
const IDENTITY_MAGIC: &[u8; 8] = b"TWLOGID\0";
const GROUP_MAGIC: &[u8; 4] = b"TWGr";
pub(crate) const IDENTITY_BYTES: usize = 24;
pub(crate) const GROUP_SLOT_BYTES: usize = 28;
/// A disk writes whole sectors, the largest of 4096 bytes: a torn write of one slot leaves the other alone.
pub(crate) const GROUP_SLOT_SPACING: u64 = 4096;

/// What stands in a file's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored<T> {
    Whole(T),
    /// Whole, and of a version that this build does not know.
    Newer(u32),
    Damaged,
}

/// The secret part of every frame's checksum, from the log's salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn of_salt(salt: u64) -> Self {
        Self(crc32c::crc32c(&salt.to_be_bytes()))
    }

    fn sum(self, parts: &[&[u8]]) -> u32 {
        parts.iter().fold(self.0, |sum, part| crc32c::crc32c_append(sum, part))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) base: u64,
    pub(crate) salt: u64,
    /// Of the segments before this one.
    pub(crate) newest_received: Option<i64>,
}

const NO_RECEPTION: i64 = i64::MIN;

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = BytesMut::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.put_slice(SEGMENT_MAGIC);
        bytes.put_u32(FORMAT_VERSION);
        bytes.put_u64(self.base);
        bytes.put_u64(self.salt);
        bytes.put_i64(self.newest_received.unwrap_or(NO_RECEPTION));
        with_checksum(bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Stored<Self> {
        checked::<SEGMENT_HEADER_BYTES, _>(bytes, SEGMENT_MAGIC, |bytes| {
            let newest = i64::from_be_bytes(array(&bytes[28..36]));
            Self {
                base: u64::from_be_bytes(array(&bytes[12..20])),
                salt: u64::from_be_bytes(array(&bytes[20..28])),
                newest_received: (newest != NO_RECEPTION).then_some(newest),
            }
        })
    }
}

pub(crate) fn encode_identity(salt: u64) -> [u8; IDENTITY_BYTES] {
    let mut bytes = BytesMut::with_capacity(IDENTITY_BYTES);
    bytes.put_slice(IDENTITY_MAGIC);
    bytes.put_u32(FORMAT_VERSION);
    bytes.put_u64(salt);
    with_checksum(bytes)
}

pub(crate) fn decode_identity(bytes: &[u8]) -> Stored<u64> {
    checked::<IDENTITY_BYTES, _>(bytes, IDENTITY_MAGIC, |bytes| u64::from_be_bytes(array(&bytes[12..20])))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupSlot {
    pub(crate) sequence: u64,
    pub(crate) next: u64,
}

impl GroupSlot {
    pub(crate) fn encode(&self) -> [u8; GROUP_SLOT_BYTES] {
        let mut bytes = BytesMut::with_capacity(GROUP_SLOT_BYTES);
        bytes.put_slice(GROUP_MAGIC);
        bytes.put_u32(FORMAT_VERSION);
        bytes.put_u64(self.sequence);
        bytes.put_u64(self.next);
        with_checksum(bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Stored<Self> {
        checked::<GROUP_SLOT_BYTES, _>(bytes, GROUP_MAGIC, |bytes| Self {
            sequence: u64::from_be_bytes(array(&bytes[8..16])),
            next: u64::from_be_bytes(array(&bytes[16..24])),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) offset: u64,
    pub(crate) received: i64,
    pub(crate) headers_bytes: usize,
    pub(crate) payload_bytes: usize,
    content_sum: u32,
}

impl FrameHeader {
    /// Reads the header that a frame begins with; nothing if its checksum is wrong.
    pub(crate) fn decode(bytes: &[u8], seed: Seed) -> Option<Self> {
        let header = bytes.first_chunk::<FRAME_HEADER_BYTES>()?;
        let sum = u32::from_be_bytes(array(&header[4..8]));
        if header[..4] != FRAME_MAGIC || sum != seed.sum(&[&header[8..]]) {
            return None;
        }
        let length = |at: usize| u32::from_be_bytes(array(&header[at..at + 4])) as usize;
        Some(Self {
            offset: u64::from_be_bytes(array(&header[8..16])),
            received: i64::from_be_bytes(array(&header[16..24])),
            headers_bytes: length(24),
            payload_bytes: length(28),
            content_sum: u32::from_be_bytes(array(&header[32..36])),
        })
    }

    /// Bytes behind the header.
    pub(crate) const fn content_bytes(&self) -> usize {
        self.headers_bytes + self.payload_bytes
    }

    pub(crate) const fn frame_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.content_bytes()
    }

    pub(crate) fn content_is_whole(&self, content: &[u8], seed: Seed) -> bool {
        content.len() == self.content_bytes() && seed.sum(&[content]) == self.content_sum
    }
}

/// Appends a frame that has no offset yet: [`seal_frames`] gives it one, and the header its checksum.
///
/// `headers` appends what stands before the payload.
///
/// # Errors
/// The bytes of a content longer than [`FRAME_CONTENT_BYTES_MAX`]; then nothing is appended.
pub(crate) fn encode_frame(
    entry: &Entry,
    seed: Seed,
    into: &mut BytesMut,
    headers: impl FnOnce(&mut BytesMut),
) -> Result<(), usize> {
    let start = into.len();
    into.put_bytes(0, FRAME_HEADER_BYTES);
    headers(into);
    let headers_bytes = into.len() - start - FRAME_HEADER_BYTES;
    let content_bytes = headers_bytes + entry.payload.len();
    if content_bytes > FRAME_CONTENT_BYTES_MAX {
        into.truncate(start);
        return Err(content_bytes);
    }
    into.put_slice(&entry.payload);
    let (header, content) = into[start..].split_at_mut(FRAME_HEADER_BYTES);
    header[..4].copy_from_slice(&FRAME_MAGIC);
    header[16..24].copy_from_slice(&entry.received.as_micros().to_be_bytes());
    header[24..28].copy_from_slice(&(headers_bytes as u32).to_be_bytes());
    header[28..32].copy_from_slice(&(entry.payload.len() as u32).to_be_bytes());
    header[32..36].copy_from_slice(&seed.sum(&[content]).to_be_bytes());
    Ok(())
}

/// Gives frames of [`encode_frame`] consecutive offsets from `first` on, and returns the offset behind the last.
pub(crate) fn seal_frames(mut frames: &mut [u8], first: u64, seed: Seed) -> u64 {
    let mut offset = first;
    while !frames.is_empty() {
        let header = &mut frames[..FRAME_HEADER_BYTES];
        header[8..16].copy_from_slice(&offset.to_be_bytes());
        let sum = seed.sum(&[&header[8..]]);
        header[4..8].copy_from_slice(&sum.to_be_bytes());
        let length = |at: usize| u32::from_be_bytes(array(&header[at..at + 4])) as usize;
        let frame_bytes = FRAME_HEADER_BYTES + length(24) + length(28);
        frames = &mut frames[frame_bytes..];
        offset += 1;
    }
    offset
}

fn with_checksum<const N: usize>(mut bytes: BytesMut) -> [u8; N] {
    let sum = crc32c::crc32c(&bytes);
    bytes.put_u32(sum);
    array(&bytes)
}

/// Checks what all small structures share: magic first, version behind it, checksum last.
fn checked<const N: usize, T>(bytes: &[u8], magic: &[u8], read: impl FnOnce(&[u8; N]) -> T) -> Stored<T> {
    let Some(bytes) = bytes.first_chunk::<N>() else {
        return Stored::Damaged;
    };
    let sum = u32::from_be_bytes(array(&bytes[N - 4..]));
    if !bytes.starts_with(magic) || crc32c::crc32c(&bytes[..N - 4]) != sum {
        return Stored::Damaged;
    }
    match u32::from_be_bytes(array(&bytes[magic.len()..magic.len() + 4])) {
        1..=FORMAT_VERSION => Stored::Whole(read(bytes)),
        newer => Stored::Newer(newer),
    }
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    slice.try_into().expect("the caller cut the slice to this length")
}
