//! Reads a directory of segments from an offset on, across segments and past damage.
//!
//! Never reads beyond what is durable, and never leaves out an offset: what can't be read is returned as damage.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::contract::{LogError, Undeliverable};
use crate::disk::DiskFile;
use crate::embedded::segments::{Segments, View};
use crate::embedded::walk::{CHUNK_BYTES, Extent, Step, Walk};

/// A place to read on from. Cheap to clone: a read works on a copy, so that one that is dropped changes nothing.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    segments: Arc<Segments>,
    /// The next offset.
    next: u64,
    place: Option<Place>,
}

/// Where `next` stands, once that is known.
#[derive(Debug, Clone)]
struct Place {
    base: u64,
    file: Arc<dyn DiskFile>,
    at: u64,
}

/// What stands at an offset.
#[derive(Debug)]
pub(crate) struct Item {
    /// The offset; of damage, the last one that it covers.
    pub(crate) offset: u64,
    /// The bytes before the payload, and the payload.
    pub(crate) content: Result<(Bytes, Bytes), Undeliverable>,
}

impl Reader {
    pub(crate) fn new(segments: Arc<Segments>, next: u64) -> Self {
        Self { segments, next, place: None }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Reads on: at least one item if any is durable, then until one of the bounds is reached.
    pub(crate) fn read(&mut self, items_max: usize, bytes_max: usize) -> Result<Vec<Item>, LogError> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < items_max && bytes < bytes_max && self.next < self.segments.end() {
            let Some(view) = self.segments.view(self.next) else {
                self.pass_what_is_gone(&mut items);
                continue;
            };
            let read = self.read_segment(&view, items_max - items.len(), bytes_max - bytes, &mut items);
            bytes += read.map_err(|error| {
                LogError::new(format!("reading log segment {}", view.segment.path.display()), error)
            })?;
        }
        Ok(items)
    }

    /// The entries before the oldest segment are not there any more, although they were never committed.
    fn pass_what_is_gone(&mut self, items: &mut Vec<Item>) {
        let oldest = self.segments.oldest();
        items
            .push(damaged(oldest, format!("entries {} to {} are in no segment file", self.next, oldest - 1)));
        tracing::error!(first_offset = self.next, end_offset = oldest, dir = %self.segments.dir.display(),
            "log is damaged: entries are in no segment file");
        (self.next, self.place) = (oldest, None);
    }

    /// Reads on in one segment and returns how many bytes of payload that gave.
    fn read_segment(
        &mut self,
        view: &View,
        items_max: usize,
        bytes_max: usize,
        items: &mut Vec<Item>,
    ) -> io::Result<usize> {
        let count = items.len();
        let Some(mut walk) = self.walk(view, items)? else {
            let extent =
                Extent { from_byte: 0, to_byte: 0, first_offset: self.next, end_offset: view.offsets_end };
            items.extend(self.name_damage(view, extent));
            (self.next, self.place) = (view.offsets_end, None);
            return Ok(0);
        };
        let mut bytes = 0;
        while items.len() - count < items_max && bytes < bytes_max {
            match walk.step()? {
                Step::Frame(frame) => {
                    bytes += frame.payload.len();
                    view.segment.note(frame.offset, frame.at);
                    let content = Ok((frame.headers, frame.payload));
                    items.push(Item { offset: frame.offset, content });
                }
                Step::Damage(extent) => items.extend(self.name_damage(view, extent)),
                Step::End => break,
            }
        }
        self.next = walk.expected;
        self.place = Some(Place { base: view.segment.base, file: walk.file, at: walk.at });
        Ok(bytes)
    }

    /// A walk that stands at the next offset; nothing if the segment's file is gone.
    fn walk(&mut self, view: &View, items: &mut Vec<Item>) -> io::Result<Option<Walk>> {
        let seed = self.segments.seed;
        if let Some(place) = self.place.take().filter(|place| place.base == view.segment.base) {
            let bytes = (place.at, view.bytes_end);
            return Ok(Some(Walk::new(place.file, seed, bytes, self.next).until(view.offsets_end)));
        }
        let file = match self.segments.disk.open(&view.segment.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (offset, at) = view.segment.nearest(self.next);
        let mut walk = Walk::new(file, seed, (at, view.bytes_end), offset).until(view.offsets_end);
        while walk.expected < self.next {
            walk.skip_to(self.next)?;
            if walk.expected < self.next
                && let Step::Damage(extent) = walk.step()?
                && extent.end_offset > self.next
            {
                // It reaches from before the place to behind it.
                let first_offset = self.next;
                items.extend(self.name_damage(view, Extent { first_offset, ..extent }));
            }
        }
        Ok(Some(walk))
    }

    fn name_damage(&self, view: &View, extent: Extent) -> Option<Item> {
        let Extent { from_byte, to_byte, first_offset, end_offset } = extent;
        let file = view.segment.path.display();
        tracing::error!(%file, from_byte, to_byte, first_offset, end_offset, "log is damaged");
        let lost = first_offset..end_offset;
        let last = lost.end.checked_sub(1).filter(|_| !lost.is_empty())?;
        let what = format!("entries {first_offset} to {last} in bytes {from_byte} to {to_byte} of {file}");
        Some(damaged(end_offset, what))
    }
}

fn damaged(end_offset: u64, what: String) -> Item {
    Item { offset: end_offset - 1, content: Err(Undeliverable::Damaged(what)) }
}

/// What a reader takes at once at most where nobody asks for more: its share of memory.
pub(crate) const READ_BYTES: usize = 4 * CHUNK_BYTES;
