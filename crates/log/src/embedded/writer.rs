//! The one writer of a directory of segments: writes groups of frames, and begins new segments.
//!
//! Never answers anybody and never retries: it says what a failure left behind.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::embedded::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::embedded::segments::{Listed, Segment, Segments};

/// Zeros are written this far ahead of the end, so that most syncs find the file's length and blocks as they were
/// and have no metadata to write: a third less time per group of 64 small packs on ext4.
const AHEAD_BYTES: u64 = 1 << 20;

/// Zeros are written ahead only of groups that are smaller than this: a larger group's own bytes outweigh what the
/// metadata costs.
const AHEAD_GROUP_BYTES_MAX: u64 = 128 << 10;

static ZEROS: [u8; AHEAD_BYTES as usize] = [0; AHEAD_BYTES as usize];

#[derive(Debug)]
pub(crate) struct SegmentWriter {
    segments: Arc<Segments>,
    segment_bytes: u64,
    active: Option<Active>,
}

/// The segment that is written to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where the next frame goes.
    pub(crate) end: u64,
    /// Where the file ends: zeros from `end` on.
    pub(crate) file_end: u64,
}

/// What a failed write left behind.
#[derive(Debug)]
pub(crate) enum WriteFailure {
    /// Nothing of it is in the log, nor will be. Writing may go on.
    NothingWritten(io::Error),
    /// Nobody can know what is on the disk. Writing must not go on.
    Broken(io::Error),
}

/// Frames that are ready to be written, with what the catalog has to know of them.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) frames: &'a [u8],
    /// The offset behind the last frame.
    pub(crate) end_offset: u64,
    pub(crate) newest_received: Option<i64>,
}

impl SegmentWriter {
    /// A writer that goes on in `active`, or begins a new segment with the first group.
    pub(crate) fn new(segments: Arc<Segments>, segment_bytes: u64, active: Option<Active>) -> Self {
        Self { segments, segment_bytes, active }
    }

    pub(crate) fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// Writes a group and makes it durable; only then do readers see it.
    pub(crate) fn write(&mut self, group: &Group<'_>) -> Result<(), WriteFailure> {
        let bytes = group.frames.len() as u64;
        self.make_room(bytes)?;
        let active = self.active.as_mut().expect("make_room leaves an active segment");
        active.write_ahead(bytes, self.segment_bytes);
        let first_offset = self.segments.end();
        if let Err(error) = active.file.write_at(group.frames, active.end) {
            return Err(active.undo(error));
        }
        active.file.sync().map_err(WriteFailure::Broken)?;
        active.segment.note(first_offset, active.end);
        active.end += bytes;
        active.file_end = active.file_end.max(active.end);
        let mut catalog = self.segments.catalog_mut();
        let listed = catalog.segments.last_mut().expect("the active segment is listed");
        (listed.bytes, listed.file_bytes) = (active.end, active.file_end);
        catalog.end_offset = group.end_offset;
        catalog.newest_received = catalog.newest_received.max(group.newest_received);
        Ok(())
    }

    /// Ends the segment that is written to: its file keeps no zeros. A crash may bring them back; they harm nobody.
    pub(crate) fn seal(&mut self) {
        let Some(active) = self.active.take() else {
            return;
        };
        if active.file_end == active.end {
            return;
        }
        match active.file.set_len(active.end) {
            Ok(()) => {
                if let Some(listed) = self.segments.catalog_mut().segments.last_mut() {
                    listed.file_bytes = active.end;
                }
            }
            Err(error) => {
                tracing::warn!(file = %active.segment.path.display(), %error, "segment keeps zeros at its end")
            }
        }
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), WriteFailure> {
        match &self.active {
            Some(active) if active.is_empty() || active.end + bytes <= self.segment_bytes => return Ok(()),
            Some(_) => self.seal(),
            None => {}
        }
        self.active = Some(self.begin_segment()?);
        Ok(())
    }

    /// Makes a segment and its name durable before anything is written to it.
    fn begin_segment(&mut self) -> Result<Active, WriteFailure> {
        let (base, newest_before) = {
            let catalog = self.segments.catalog();
            (catalog.end_offset, catalog.newest_received)
        };
        let header = SegmentHeader { base, salt: self.segments.salt, newest_received: newest_before };
        let (disk, path) = (&self.segments.disk, self.segments.path_of(base));
        let written = disk.create(&path).and_then(|file| file.write_at(&header.encode(), 0).map(|()| file));
        let file = match written {
            Ok(file) => file,
            Err(error) => {
                // What is left of it holds no frame; an opening clears it away if this does not.
                let _ = disk.remove(&path);
                return Err(WriteFailure::NothingWritten(error));
            }
        };
        file.sync().and_then(|()| disk.sync_dir(&self.segments.dir)).map_err(WriteFailure::Broken)?;
        let end = SEGMENT_HEADER_BYTES as u64;
        let listed = Listed::new(base, path, end, newest_before);
        let segment = Arc::clone(&listed.segment);
        self.segments.catalog_mut().segments.push(listed);
        Ok(Active { segment, file, end, file_end: end })
    }
}

impl Active {
    fn is_empty(&self) -> bool {
        self.end == SEGMENT_HEADER_BYTES as u64
    }

    /// Writes zeros ahead of a small group that would reach behind the file's end. A failure is not one yet: the
    /// group itself may still find room.
    fn write_ahead(&mut self, group_bytes: u64, segment_bytes: u64) {
        if group_bytes > AHEAD_GROUP_BYTES_MAX || self.end + group_bytes <= self.file_end {
            return;
        }
        let ahead = AHEAD_BYTES.min(segment_bytes.saturating_sub(self.file_end));
        if ahead > 0 && self.file.write_at(&ZEROS[..ahead as usize], self.file_end).is_ok() {
            self.file_end += ahead;
        }
    }

    /// A group could not be written. A full disk is no reason to stop for good: what was written of the group is
    /// taken back, durably, before anybody is told that nothing was written.
    fn undo(&mut self, error: io::Error) -> WriteFailure {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if !full {
            return WriteFailure::Broken(error);
        }
        match self.file.set_len(self.end).and_then(|()| self.file.sync()) {
            Ok(()) => {
                self.file_end = self.end;
                WriteFailure::NothingWritten(error)
            }
            Err(undo) => WriteFailure::Broken(undo),
        }
    }
}
