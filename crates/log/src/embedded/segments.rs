//! What segment files a log has, and what they hold: shared by the one writer and all readers.
//!
//! Never writes a frame and never reads one: the writer and the walks do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::disk::Disk;
use crate::embedded::format::{SEGMENT_HEADER_BYTES, Seed};

/// The segments of one directory.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) salt: u64,
    pub(crate) seed: Seed,
    catalog: RwLock<Catalog>,
}

#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// In order of base offset.
    pub(crate) segments: Vec<Listed>,
    /// The next offset: everything before it is durable.
    pub(crate) end_offset: u64,
    pub(crate) newest_received: Option<i64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) segment: Arc<Segment>,
    /// Bytes of durable content, header included.
    pub(crate) bytes: u64,
    /// Bytes that the file takes, zeros written ahead included.
    pub(crate) file_bytes: u64,
    /// The newest reception in the segments before this one, where its header says so.
    pub(crate) newest_before: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: u64,
    pub(crate) path: PathBuf,
    pub(crate) index: Mutex<SparseIndex>,
}

/// Where a reader finds an offset.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) segment: Arc<Segment>,
    pub(crate) bytes_end: u64,
    /// The offset behind the last that belongs to this segment.
    pub(crate) offsets_end: u64,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, salt: u64, catalog: Catalog) -> Self {
        let seed = Seed::of_salt(salt);
        Self { disk, dir: dir.to_owned(), salt, seed, catalog: RwLock::new(catalog) }
    }

    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path_of(&self, base: u64) -> PathBuf {
        self.dir.join(segment_name(base))
    }

    /// The oldest offset that a file may hold.
    pub(crate) fn oldest(&self) -> u64 {
        let catalog = self.catalog();
        catalog.segments.first().map_or(catalog.end_offset, |listed| listed.segment.base)
    }

    pub(crate) fn end(&self) -> u64 {
        self.catalog().end_offset
    }

    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.catalog().segments.iter().map(|listed| listed.file_bytes).sum()
    }

    /// Where to read this offset, which lies before the end. Nothing if it lies before every segment.
    pub(crate) fn view(&self, offset: u64) -> Option<View> {
        let catalog = self.catalog();
        let behind = catalog.segments.partition_point(|listed| listed.segment.base <= offset);
        let listed = catalog.segments.get(behind.checked_sub(1)?)?;
        let next_base = catalog.segments.get(behind).map(|next| next.segment.base);
        Some(View {
            segment: Arc::clone(&listed.segment),
            bytes_end: listed.bytes,
            offsets_end: next_base.unwrap_or(catalog.end_offset),
        })
    }

    /// Removes the oldest closed segments whose every offset is before `needed`, while they are too many or too old.
    /// Returns how many segments and bytes went.
    pub(crate) fn retain(
        &self,
        needed: u64,
        bytes_max: u64,
        received_min: Option<i64>,
    ) -> io::Result<(usize, u64)> {
        let (mut removed, mut removed_bytes) = (0, 0);
        while let Some((path, bytes)) = self.removable(needed, bytes_max, received_min) {
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // One by one, oldest first: a crash in between must not leave a hole.
            self.disk.sync_dir(&self.dir)?;
            self.catalog_mut().segments.remove(0);
            removed += 1;
            removed_bytes += bytes;
        }
        Ok((removed, removed_bytes))
    }

    fn removable(&self, needed: u64, bytes_max: u64, received_min: Option<i64>) -> Option<(PathBuf, u64)> {
        let catalog = self.catalog();
        let [oldest, next, ..] = catalog.segments.as_slice() else {
            return None;
        };
        let too_many = catalog.segments.iter().map(|listed| listed.file_bytes).sum::<u64>() > bytes_max;
        let too_old = received_min.zip(next.newest_before).is_some_and(|(least, newest)| newest < least);
        let removable = next.segment.base <= needed && (too_many || too_old);
        removable.then(|| (oldest.segment.path.clone(), oldest.file_bytes))
    }
}

impl Listed {
    pub(crate) fn new(base: u64, path: PathBuf, bytes: u64, newest_before: Option<i64>) -> Self {
        let segment = Segment { base, path, index: Mutex::default() };
        Self { segment: Arc::new(segment), bytes, file_bytes: bytes, newest_before }
    }
}

impl Segment {
    /// The nearest known place at or before this offset: offset and byte.
    pub(crate) fn nearest(&self, offset: u64) -> (u64, u64) {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.nearest(offset).unwrap_or((self.base, SEGMENT_HEADER_BYTES as u64))
    }

    /// Remembers that the frame of this offset begins at this byte.
    pub(crate) fn note(&self, offset: u64, at: u64) {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).note(offset, at);
    }
}

/// Some frames' places, far enough apart to stay small.
#[derive(Debug, Default)]
pub(crate) struct SparseIndex {
    /// Offset and byte, both growing.
    places: Vec<(u64, u64)>,
}

/// Bytes between two places of an index: a walk from one passes over at most this much, and a segment of the
/// default size has a thousand places.
const INDEX_SPACING_BYTES: u64 = 64 << 10;

impl SparseIndex {
    fn nearest(&self, offset: u64) -> Option<(u64, u64)> {
        let behind = self.places.partition_point(|&(noted, _)| noted <= offset);
        self.places.get(behind.checked_sub(1)?).copied()
    }

    fn note(&mut self, offset: u64, at: u64) {
        let behind = self.places.partition_point(|&(_, noted)| noted <= at);
        let near_before = behind.checked_sub(1).map_or(0, |before| self.places[before].1);
        let near_after = self.places.get(behind).map_or(u64::MAX, |&(_, noted)| noted);
        if at - near_before >= INDEX_SPACING_BYTES && near_after - at >= INDEX_SPACING_BYTES {
            self.places.insert(behind, (offset, at));
        }
    }
}

const SEGMENT_SUFFIX: &str = ".segment";

pub(crate) fn segment_name(base: u64) -> String {
    format!("{base:020}{SEGMENT_SUFFIX}")
}

pub(crate) fn base_of_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_finds_the_nearest_place_before_an_offset() {
        let mut index = SparseIndex::default();
        let spaced = INDEX_SPACING_BYTES;
        for (offset, at) in [(500, 5 * spaced), (100, spaced), (101, spaced + 7), (300, 3 * spaced)] {
            index.note(offset, at);
        }
        assert_eq!(index.places, [(100, spaced), (300, 3 * spaced), (500, 5 * spaced)]);
        assert_eq!(index.nearest(99), None);
        assert_eq!(index.nearest(100), Some((100, spaced)));
        assert_eq!(index.nearest(499), Some((300, 3 * spaced)));
        assert_eq!(index.nearest(u64::MAX), Some((500, 5 * spaced)));
    }

    #[test]
    fn only_our_own_names_are_segments() {
        assert_eq!(base_of_name(&segment_name(u64::MAX)), Some(u64::MAX));
        assert_eq!(segment_name(7), "00000000000000000007.segment");
        for other in
            ["7.segment", "00000000000000000007.segment.cut-0", "+0000000000000000007.segment", "identity"]
        {
            assert_eq!(base_of_name(other), None, "{other}");
        }
        assert_eq!(base_of_name("99999999999999999999.segment"), None, "no u64");
    }
}
