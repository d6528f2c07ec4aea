//! What happens to a directory of segments before anything reads or writes it: the newest segment is scanned, a
//! torn tail is cut off and kept aside, damage is found and named.
//!
//! Never removes a byte that it has not copied, other than zeros, and never refuses to open because of damage.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::ReceivedAt;

use crate::contract::LogError;
use crate::disk::{Disk, DiskFile};
use crate::embedded::format::{
    FORMAT_VERSION, SEGMENT_HEADER_BYTES, Seed, SegmentHeader, Stored, decode_identity, encode_identity,
};
use crate::embedded::segments::{Catalog, Listed, Segments, base_of_name, segment_name};
use crate::embedded::walk::{CHUNK_BYTES, Extent, Step, Walk, only_zeros};
use crate::embedded::writer::{Active, SegmentWriter};

/// What an opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Torn bytes at the end of the newest segment, of entries or of dead letters, which were cut off: what a crash
    /// left of a group that nobody was told is kept.
    pub torn_tails: Vec<TornTail>,
    /// Damage in what was read at the opening: the newest segment, the headers of all, and the groups' files.
    /// Damage elsewhere is found when it is read.
    pub damage: Vec<DamageFound>,
    /// The newest reception in the log: receptions from now on have to be later.
    pub newest_received: Option<ReceivedAt>,
    /// The offset that the next entry gets.
    pub next_offset: u64,
}

/// Bytes that were cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where it ends now.
    pub from_byte: u64,
    /// How many bytes were cut off, zeros at the end not counted.
    pub bytes: u64,
    /// Where the bytes are now. Nothing if they could not be copied: then they stand where they stood, and the log
    /// goes on in another segment.
    pub kept_in: Option<PathBuf>,
}

/// Bytes that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamageFound {
    /// The file.
    pub file: PathBuf,
    /// Which bytes, and which offsets are lost with them.
    pub extent: Extent,
    /// What they should have been.
    pub what: &'static str,
}

/// A directory that is ready for use.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) segments: Arc<Segments>,
    pub(crate) writer: SegmentWriter,
    pub(crate) torn_tails: Vec<TornTail>,
    pub(crate) damage: Vec<DamageFound>,
}

/// Opens the segments of a directory. The next offset is `floor` or later.
pub(crate) fn open_segments(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    salt: u64,
    segment_bytes: u64,
    floor: u64,
) -> Result<Opened, LogError> {
    Opening { disk, dir, salt, damage: Vec::new(), torn_tails: Vec::new() }.run(segment_bytes, floor).map_err(
        |Failed { path, error }| LogError::new(format!("opening log file {}", path.display()), error),
    )
}

/// The salt of the log in this directory; a new log gets a new one.
pub(crate) fn identify(disk: &dyn Disk, dir: &Path, damage: &mut Vec<DamageFound>) -> Result<u64, LogError> {
    let path = dir.join("identity");
    let failed = |error| LogError::new(format!("reading the log's identity {}", path.display()), error);
    let stored = match read_start(disk, &path) {
        Ok((_, start)) => Some(decode_identity(&start)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    match stored {
        Some(Stored::Whole(salt)) => return Ok(salt),
        Some(Stored::Newer(version)) => return Err(failed(newer(version))),
        Some(Stored::Damaged) => {
            let extent = Extent { from_byte: 0, to_byte: 24, first_offset: 0, end_offset: 0 };
            damage.push(DamageFound { file: path.clone(), extent, what: "identity of the log" });
        }
        None => {}
    }
    let salt = match salt_of_segments(disk, dir).map_err(failed)? {
        Some(salt) => salt,
        None => disk.entropy().map_err(failed)?,
    };
    replace_file(disk, &path, &encode_identity(salt)).map_err(failed)?;
    Ok(salt)
}

/// Writes a small file so that after a crash it is there whole, or as it was before.
pub(crate) fn replace_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let file = disk.create(&temporary)?;
    file.write_at(content, 0)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().expect("every file of the log is in a directory"))
}

/// The error for a file of a later version than this build knows.
pub(crate) fn newer(version: u32) -> io::Error {
    io::Error::other(format!(
        "it has format version {version}, which a newer build wrote; this build reads up to {FORMAT_VERSION}"
    ))
}

fn salt_of_segments(disk: &dyn Disk, dir: &Path) -> io::Result<Option<u64>> {
    for name in disk.list(dir)?.iter().filter(|name| base_of_name(name).is_some()) {
        let (_, start) = read_start(disk, &dir.join(name))?;
        match SegmentHeader::decode(&start) {
            Stored::Whole(header) => return Ok(Some(header.salt)),
            Stored::Newer(version) => return Err(newer(version)),
            Stored::Damaged => {}
        }
    }
    Ok(None)
}

fn read_start(disk: &dyn Disk, path: &Path) -> io::Result<(Arc<dyn DiskFile>, Vec<u8>)> {
    let file = disk.open(path)?;
    let mut start = vec![0; SEGMENT_HEADER_BYTES];
    let filled = file.read_at(&mut start, 0)?;
    start.truncate(filled);
    Ok((file, start))
}

struct Opening<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    salt: u64,
    damage: Vec<DamageFound>,
    torn_tails: Vec<TornTail>,
}

struct Failed {
    path: PathBuf,
    error: io::Error,
}

/// A segment file whose header was read.
struct Candidate {
    listed: Listed,
    file: Arc<dyn DiskFile>,
    header_is_whole: bool,
}

/// What a scan of the newest segment found.
struct Scan {
    frames: u64,
    /// Behind the last whole frame.
    end_offset: u64,
    end: u64,
    newest_received: Option<i64>,
    /// Before the last whole frame.
    damage: Vec<Extent>,
}

impl Opening<'_> {
    fn run(mut self, segment_bytes: u64, mut floor: u64) -> Result<Opened, Failed> {
        let mut candidates = self.candidates()?;
        let mut catalog = Catalog::default();
        let mut active = None;
        while let Some(newest) = candidates.pop() {
            let path = newest.listed.segment.path.clone();
            let base = newest.listed.segment.base;
            let failed = |error| Failed { path: path.clone(), error };
            let scan = self.scan(&newest).map_err(failed)?;
            floor = floor.max(scan.end_offset);
            if scan.frames == 0 && !newest.header_is_whole {
                // A crash came while it was made, before anything was written to it.
                self.set_aside(&newest).map_err(failed)?;
                continue;
            }
            let found =
                scan.damage.iter().map(|&extent| DamageFound { file: path.clone(), extent, what: "entries" });
            self.damage.extend(found);
            catalog.newest_received = scan.newest_received.max(newest.listed.newest_before);
            let mut listed = newest.listed;
            listed.bytes = scan.end;
            let is_cut = self.cut_tail(&newest.file, &mut listed).map_err(failed)?;
            if newest.header_is_whole && is_cut && scan.end_offset >= floor {
                let segment = Arc::clone(&listed.segment);
                let file = Arc::clone(&newest.file);
                active = Some(Active { segment, file, end: scan.end, file_end: listed.file_bytes });
            }
            debug_assert!(base <= scan.end_offset);
            catalog.segments.push(listed);
            break;
        }
        let older = candidates.into_iter().map(|candidate| candidate.listed);
        catalog.segments.splice(0..0, older);
        catalog.end_offset = floor;
        let segments = Arc::new(Segments::new(Arc::clone(self.disk), self.dir, self.salt, catalog));
        let writer = SegmentWriter::new(Arc::clone(&segments), segment_bytes, active);
        Ok(Opened { segments, writer, torn_tails: self.torn_tails, damage: self.damage })
    }

    /// All segments, oldest first, their headers read and nothing else.
    fn candidates(&mut self) -> Result<Vec<Candidate>, Failed> {
        let names = self.disk.list(self.dir);
        let names = names.map_err(|error| Failed { path: self.dir.to_owned(), error })?;
        let mut candidates = Vec::new();
        for base in names.iter().filter_map(|name| base_of_name(name)) {
            let path = self.dir.join(segment_name(base));
            let failed = |error| Failed { path: path.clone(), error };
            let (file, start) = read_start(self.disk.as_ref(), &path).map_err(failed)?;
            let header = match SegmentHeader::decode(&start) {
                Stored::Whole(header) => Some(header),
                Stored::Newer(version) => return Err(failed(newer(version))),
                Stored::Damaged => None,
            };
            let header = header.filter(|header| header.base == base && header.salt == self.salt);
            let bytes = file.len().map_err(failed)?;
            let newest_before = header.and_then(|header| header.newest_received);
            let listed = Listed::new(base, path, bytes, newest_before);
            candidates.push(Candidate { listed, file, header_is_whole: header.is_some() });
        }
        Ok(candidates)
    }

    fn scan(&mut self, candidate: &Candidate) -> io::Result<Scan> {
        let Candidate { listed, file, header_is_whole } = candidate;
        let base = listed.segment.base;
        let start = SEGMENT_HEADER_BYTES as u64;
        let seed = Seed::of_salt(self.salt);
        let mut walk = Walk::new(Arc::clone(file), seed, (start, listed.bytes), base);
        let mut scan =
            Scan { frames: 0, end_offset: base, end: start, newest_received: None, damage: Vec::new() };
        let mut pending = Vec::new();
        loop {
            match walk.step()? {
                Step::Frame(frame) => {
                    scan.damage.append(&mut pending);
                    scan.frames += 1;
                    scan.newest_received = scan.newest_received.max(Some(frame.received));
                    (scan.end, scan.end_offset) = (walk.at, walk.expected);
                    listed.segment.note(frame.offset, frame.at);
                }
                Step::Damage(extent) => pending.push(extent),
                Step::End => break,
            }
        }
        if scan.frames > 0 && !header_is_whole {
            let extent = Extent { from_byte: 0, to_byte: start, first_offset: base, end_offset: base };
            let file = listed.segment.path.clone();
            self.damage.push(DamageFound { file, extent, what: "header of a segment" });
        }
        Ok(scan)
    }

    /// Cuts off what stands behind the last whole frame, once it is kept elsewhere. Says whether it could.
    fn cut_tail(&mut self, file: &Arc<dyn DiskFile>, listed: &mut Listed) -> io::Result<bool> {
        let (end, file_end) = (listed.bytes, file.len()?);
        listed.file_bytes = file_end;
        if file_end < end {
            // The header itself is cut short; only a whole one gets here.
            return Ok(false);
        }
        if only_zeros(file.as_ref(), end, file_end)? {
            return Ok(true);
        }
        let path = listed.segment.path.clone();
        let (kept_in, bytes) = match self.copy_aside(file.as_ref(), &path, end) {
            Ok((kept_in, bytes)) => (Some(kept_in), bytes),
            Err(error) => {
                tracing::warn!(file = %path.display(), from_byte = end, %error,
                    "torn end of a segment could not be copied: it stays, and the log goes on in a new segment");
                (None, file_end - end)
            }
        };
        let is_cut = kept_in.is_some();
        if is_cut {
            file.set_len(end)?;
            file.sync()?;
            listed.file_bytes = end;
        }
        self.torn_tails.push(TornTail { file: path, from_byte: end, bytes, kept_in });
        Ok(is_cut)
    }

    /// A segment without a whole header or frame: out of the way, but kept if it holds anything.
    fn set_aside(&mut self, candidate: &Candidate) -> io::Result<()> {
        let Candidate { listed, file, .. } = candidate;
        let path = &listed.segment.path;
        let bytes = listed.bytes;
        if only_zeros(file.as_ref(), 0, bytes)? {
            self.disk.remove(path)?;
        } else {
            let kept_in = self.free_name(path)?;
            self.disk.rename(path, &kept_in)?;
            self.torn_tails.push(TornTail {
                file: path.clone(),
                from_byte: 0,
                bytes,
                kept_in: Some(kept_in),
            });
        }
        self.disk.sync_dir(self.dir)
    }

    /// Copies a file from this byte on, without the zeros at its end, durably. Returns where to, and how much.
    fn copy_aside(&self, file: &dyn DiskFile, path: &Path, from: u64) -> io::Result<(PathBuf, u64)> {
        let kept_in = self.free_name(path)?;
        let copied = self.disk.create(&kept_in).and_then(|copy| copy_content(file, from, copy.as_ref()));
        let bytes =
            copied.and_then(|bytes| self.disk.sync_dir(self.dir).map(|()| bytes)).inspect_err(|_| {
                // Half a copy helps nobody.
                let _ = self.disk.remove(&kept_in);
            })?;
        Ok((kept_in, bytes))
    }

    fn free_name(&self, path: &Path) -> io::Result<PathBuf> {
        let names = self.disk.list(self.dir)?;
        let name = path.file_name().and_then(|name| name.to_str()).expect("segment names are ASCII");
        let free = (0..).map(|n: u32| format!("{name}.cut-{n}")).find(|name| !names.contains(name));
        Ok(self.dir.join(free.expect("a directory holds fewer files than there are numbers")))
    }
}

/// Copies from this byte to the last that is not zero, durably, and returns how many that are.
fn copy_content(file: &dyn DiskFile, from: u64, copy: &dyn DiskFile) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut at, mut end) = (0, 0);
    loop {
        let filled = file.read_at(&mut buffer, from + at)?;
        if filled == 0 {
            break;
        }
        if let Some(last) = buffer[..filled].iter().rposition(|&byte| byte != 0) {
            copy.write_at(&buffer[..=last], at)?;
            end = at + last as u64 + 1;
        }
        at += filled as u64;
    }
    copy.sync()?;
    Ok(end)
}
