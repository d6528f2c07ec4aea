//! Walks the frames of one segment in order, and finds its way past damage.
//!
//! Never changes a byte. What it can't vouch for by checksum it names as damage; it never guesses.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::disk::DiskFile;
use crate::embedded::format::{FRAME_CONTENT_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, Seed};

/// Bytes that a walk reads at once where it does not know better.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// One place after another within a segment.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) seed: Seed,
    /// Where the next frame begins.
    pub(crate) at: u64,
    /// Where the segment's bytes end.
    pub(crate) bytes_end: u64,
    /// The next offset.
    pub(crate) expected: u64,
    /// The offset behind the last that the segment holds; nothing while that is what the walk is to find out.
    pub(crate) offsets_end: Option<u64>,
    chunk: Bytes,
    chunk_at: u64,
}

/// What stands at the next place.
#[derive(Debug)]
pub(crate) enum Step {
    Frame(Frame),
    Damage(Extent),
    /// No whole frame follows.
    End,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) at: u64,
    pub(crate) offset: u64,
    pub(crate) received: i64,
    pub(crate) headers: Bytes,
    pub(crate) payload: Bytes,
}

/// Bytes that hold no whole frame, and the offsets that are lost with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First damaged byte of the segment.
    pub from_byte: u64,
    /// The byte behind the last damaged one.
    pub to_byte: u64,
    /// First lost offset.
    pub first_offset: u64,
    /// The offset behind the last lost one; equal to `first_offset` if nothing is lost.
    pub end_offset: u64,
}

impl Walk {
    pub(crate) fn new(file: Arc<dyn DiskFile>, seed: Seed, bytes: (u64, u64), expected: u64) -> Self {
        let (at, bytes_end) = bytes;
        Self { file, seed, at, bytes_end, expected, offsets_end: None, chunk: Bytes::new(), chunk_at: 0 }
    }

    /// Knows what the segment has to hold: an end before that is damage.
    pub(crate) fn until(mut self, offsets_end: u64) -> Self {
        self.offsets_end = Some(offsets_end);
        self
    }

    /// The next frame, or what stands in its place.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        if self.is_at_end() {
            return Ok(Step::End);
        }
        let Some(header) = self.header()? else {
            return self.resync(self.at + 1);
        };
        if header.offset > self.expected {
            let gap = self.damage(self.at, header.offset);
            return Ok(Step::Damage(gap));
        }
        let at = self.at;
        let content = self.bytes(at + FRAME_HEADER_BYTES as u64, header.content_bytes())?;
        let Some(content) = content.filter(|content| header.content_is_whole(content, self.seed)) else {
            let lost = self.damage(at + header.frame_bytes() as u64, self.expected + 1);
            return Ok(Step::Damage(lost));
        };
        self.at = at + header.frame_bytes() as u64;
        self.expected = header.offset + 1;
        let headers = content.slice(..header.headers_bytes);
        let payload = content.slice(header.headers_bytes..);
        Ok(Step::Frame(Frame { at, offset: header.offset, received: header.received, headers, payload }))
    }

    /// Goes on to the frame of this offset by frame headers alone, or to the first damage before it.
    pub(crate) fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        while self.expected < offset && !self.is_at_end() {
            match self.header()? {
                Some(header) if header.offset == self.expected => {
                    self.at += header.frame_bytes() as u64;
                    self.expected += 1;
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        self.offsets_end.is_some_and(|end| self.expected >= end)
    }

    /// The header at the walk's place, if it is whole, may stand here, and its frame ends within the segment.
    fn header(&mut self) -> io::Result<Option<FrameHeader>> {
        let bytes = self.bytes(self.at, FRAME_HEADER_BYTES)?;
        let header = bytes.and_then(|bytes| FrameHeader::decode(&bytes, self.seed));
        Ok(header.filter(|header| self.may_stand(header, self.at)))
    }

    fn may_stand(&self, header: &FrameHeader, at: u64) -> bool {
        header.offset >= self.expected
            && self.offsets_end.is_none_or(|end| header.offset < end)
            && header.content_bytes() <= FRAME_CONTENT_BYTES_MAX
            && at + header.frame_bytes() as u64 <= self.bytes_end
    }

    /// Looks for the next whole frame from this byte on.
    fn resync(&mut self, from: u64) -> io::Result<Step> {
        if let Some((at, offset)) = self.find_frame(from)? {
            let damage = self.damage(at, offset);
            return Ok(Step::Damage(damage));
        }
        let Some(offsets_end) = self.offsets_end else {
            return Ok(Step::End);
        };
        let damage = self.damage(self.bytes_end, offsets_end);
        Ok(Step::Damage(damage))
    }

    /// Passes over what is damaged.
    fn damage(&mut self, to_byte: u64, end_offset: u64) -> Extent {
        let damage = Extent { from_byte: self.at, to_byte, first_offset: self.expected, end_offset };
        self.at = to_byte;
        self.expected = end_offset;
        damage
    }

    /// The place and offset of the first frame from this byte on whose header and content are whole.
    fn find_frame(&mut self, from: u64) -> io::Result<Option<(u64, u64)>> {
        let mut at = from;
        while let Some(chunk) = self.bytes(at, 1)?.and_then(|_| self.chunk_from(at)) {
            let Some(found) = find_magic(&chunk) else {
                // The magic may begin in the last bytes of this chunk and end in the next.
                at += chunk.len().saturating_sub(FRAME_MAGIC.len() - 1).max(1) as u64;
                continue;
            };
            at += found as u64;
            if let Some(offset) = self.whole_frame(at)? {
                return Ok(Some((at, offset)));
            }
            at += 1;
        }
        Ok(None)
    }

    fn whole_frame(&mut self, at: u64) -> io::Result<Option<u64>> {
        let Some(bytes) = self.bytes(at, FRAME_HEADER_BYTES)? else {
            return Ok(None);
        };
        let header = FrameHeader::decode(&bytes, self.seed).filter(|header| self.may_stand(header, at));
        let Some(header) = header else {
            return Ok(None);
        };
        let content = self.bytes(at + FRAME_HEADER_BYTES as u64, header.content_bytes())?;
        let whole = content.is_some_and(|content| header.content_is_whole(&content, self.seed));
        Ok(whole.then_some(header.offset))
    }

    fn chunk_from(&self, at: u64) -> Option<Bytes> {
        let skip = usize::try_from(at.checked_sub(self.chunk_at)?).ok()?;
        (skip < self.chunk.len()).then(|| self.chunk.slice(skip..))
    }

    /// These bytes of the segment, or nothing if it ends before them.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<Option<Bytes>> {
        if at + len as u64 > self.bytes_end {
            return Ok(None);
        }
        if let Some(held) = self.chunk_from(at).filter(|held| held.len() >= len) {
            return Ok(Some(held.slice(..len)));
        }
        let left = usize::try_from(self.bytes_end - at).unwrap_or(usize::MAX);
        let mut chunk = BytesMut::zeroed(CHUNK_BYTES.max(len).min(left));
        let filled = self.file.read_at(&mut chunk, at)?;
        chunk.truncate(filled);
        self.chunk = chunk.freeze();
        self.chunk_at = at;
        Ok((filled >= len).then(|| self.chunk.slice(..len)))
    }
}

const ZEROS: [u8; 4096] = [0; 4096];

/// Whether there are only zeros in these bytes of a file.
pub(crate) fn only_zeros(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<bool> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = from;
    while at < to {
        let want = usize::try_from(to - at).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let filled = file.read_at(&mut buffer[..want], at)?;
        if filled == 0 {
            return Ok(true);
        }
        if !buffer[..filled].chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()]) {
            return Ok(false);
        }
        at += filled as u64;
    }
    Ok(true)
}

fn find_magic(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        let part = &bytes[at..bytes.len().min(at + ZEROS.len())];
        if part == &ZEROS[..part.len()] {
            at += part.len();
            continue;
        }
        // A magic may begin in this part and end in the next.
        let reach = &bytes[at..bytes.len().min(at + part.len() + FRAME_MAGIC.len() - 1)];
        if let Some(found) = reach.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC) {
            return Some(at + found);
        }
        at += part.len();
    }
    None
}
