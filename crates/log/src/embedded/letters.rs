//! Dead letters: entries that nobody can process, with the reason, in segments of their own.
//!
//! Never deletes one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use domain::{Lane, Position};

use crate::contract::{AppendError, DeadLetter, LogError, StoredLetter, Undeliverable};
use crate::disk::Disk;
use crate::embedded::format::{encode_frame, seal_frames};
use crate::embedded::opening::{OpenReport, open_segments};
use crate::embedded::reader::{Item, READ_BYTES, Reader};
use crate::embedded::segments::Segments;
use crate::embedded::writer::{Group, SegmentWriter, WriteFailure};
use crate::embedded::{decode_entry, too_long};

/// The version of a letter's head.
const LETTER_VERSION: u8 = 1;
/// Bytes of the fixed part of a letter's head.
const FIXED_BYTES: usize = 1 + 4 + 8 + 4;
/// Bytes of a reason that are kept: enough for a person, too little to fill a disk.
const REASON_BYTES_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Letters {
    segments: Arc<Segments>,
    /// Nothing once closed or broken.
    writer: Mutex<Option<SegmentWriter>>,
}

impl Letters {
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: PathBuf,
        salt: u64,
        segment_bytes: u64,
        report: &mut OpenReport,
    ) -> Result<Self, LogError> {
        let create = disk.create_dir(&dir);
        create.map_err(|error| LogError::new(format!("making directory {}", dir.display()), error))?;
        let opened = open_segments(disk, &dir, salt, segment_bytes, 0)?;
        report.damage.extend(opened.damage);
        report.torn_tails.extend(opened.torn_tails);
        Ok(Self { segments: opened.segments, writer: Mutex::new(Some(opened.writer)) })
    }

    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.segments.bytes_on_disk()
    }

    /// Keeps letters, durably.
    pub(crate) fn bury(&self, letters: &[DeadLetter]) -> Result<(), AppendError> {
        let (Some(newest_received), count) = (newest_received(letters), letters.len()) else {
            return Ok(());
        };
        let seed = self.segments.seed;
        let mut frames = BytesMut::new();
        for letter in letters {
            let encoded = encode_frame(&letter.entry, seed, &mut frames, |into| encode_head(letter, into));
            encoded.map_err(|bytes| too_long(bytes, count))?;
        }
        let mut guard = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = guard.as_mut().ok_or(AppendError::Closed)?;
        let end_offset = seal_frames(&mut frames, self.segments.end(), seed);
        let group = Group { frames: &frames, end_offset, newest_received: Some(newest_received) };
        writer.write(&group).map_err(|failure| match failure {
            WriteFailure::NothingWritten(error) => {
                tracing::warn!(%error, "dead letters can't be written now");
                AppendError::Busy
            }
            WriteFailure::Broken(error) => {
                tracing::error!(%error, "dead letters can't be written any more: restart once the disk works again");
                *guard = None;
                AppendError::Unknown { entries: count, source: error.into() }
            }
        })
    }

    pub(crate) fn read(&self, from: u64, letters_max: usize) -> Result<Vec<StoredLetter>, LogError> {
        let from = from.max(self.segments.oldest());
        let items = Reader::new(Arc::clone(&self.segments), from).read(letters_max, READ_BYTES)?;
        Ok(items.into_iter().map(stored_letter).collect())
    }

    pub(crate) fn close(&self) {
        if let Some(mut writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            writer.seal();
        }
    }
}

fn newest_received(letters: &[DeadLetter]) -> Option<i64> {
    letters.iter().map(|letter| letter.entry.received.as_micros()).max()
}

fn encode_head(letter: &DeadLetter, into: &mut BytesMut) {
    let reason = &letter.reason[..letter.reason.floor_char_boundary(REASON_BYTES_MAX)];
    into.put_u8(LETTER_VERSION);
    into.put_u32(letter.position.lane.0);
    into.put_u64(letter.position.offset);
    into.put_u32(reason.len() as u32);
    into.put_slice(reason.as_bytes());
    letter.entry.encode_headers(into);
}

fn stored_letter(item: Item) -> StoredLetter {
    let letter = item.content.and_then(|(headers, payload)| decode_letter(headers, payload));
    StoredLetter { number: item.offset, letter }
}

fn decode_letter(mut headers: Bytes, payload: Bytes) -> Result<DeadLetter, Undeliverable> {
    let damaged =
        |what: &str| Undeliverable::Damaged(format!("dead letter with a whole checksum has {what}"));
    match headers.first() {
        Some(&LETTER_VERSION) if headers.len() >= FIXED_BYTES => {}
        Some(&LETTER_VERSION) | None => return Err(damaged("a short head")),
        Some(&newer) => return Err(Undeliverable::UnknownVersion(newer)),
    }
    headers.advance(1);
    let position = Position { lane: Lane(headers.get_u32()), offset: headers.get_u64() };
    let reason_bytes = headers.get_u32() as usize;
    if reason_bytes > headers.len() {
        return Err(damaged("a wrong length of its reason"));
    }
    let reason = headers.split_to(reason_bytes);
    let reason = String::from_utf8(reason.into()).map_err(|_| damaged("a reason that is no text"))?;
    Ok(DeadLetter { position, entry: decode_entry(&headers, payload)?, reason })
}
