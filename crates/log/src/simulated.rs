//! A disk in memory that loses what was not synced: what a crash test runs the log on.
//!
//! A crash keeps any part of what was not synced: each write wholly, torn at a byte, some of its sectors, or not at
//! all; each change of a directory's names, or not. It can also be full, or fail. It never keeps less than it promised.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{DirectoryLock, Disk, DiskFile};

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk(Arc<Mutex<Machine>>);

/// What may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Writing to a file.
    Write,
    /// Syncing a file.
    Sync,
    /// Reading a file.
    Read,
    /// Creating, renaming or removing a name, or syncing a directory.
    Name,
}

#[derive(Debug)]
struct Machine {
    random: Random,
    /// Handles and locks of before the last crash are of an older boot, and dead.
    boot: u64,
    /// Operations that still succeed before the machine stops; nothing: it does not stop.
    operations_left: Option<u64>,
    failures: Vec<(Operation, io::ErrorKind)>,
    /// Bytes that all files together may take; nothing: any.
    capacity: Option<u64>,
    dirs: BTreeMap<PathBuf, Directory>,
    inodes: Vec<Inode>,
}

#[derive(Debug, Default)]
struct Directory {
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    unsynced: Vec<NameChange>,
    is_locked: bool,
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

#[derive(Debug, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
}

const SECTOR_BYTES: usize = 512;

impl SimulatedDisk {
    /// An empty disk. The same seed gives the same crashes.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Machine {
            random: Random(seed),
            boot: 0,
            operations_left: None,
            failures: Vec::new(),
            capacity: None,
            dirs: BTreeMap::new(),
            inodes: Vec::new(),
        })))
    }

    /// Stops the machine after this many more operations that change something: from then on everything fails.
    pub fn stop_after(&self, operations: u64) {
        self.lock().operations_left = Some(operations);
    }

    /// Ends the machine where it stands and starts it again, with an arbitrary part of what was not synced. Open
    /// files and locks of before are gone.
    pub fn crash(&self) {
        let machine = &mut *self.lock();
        machine.boot += 1;
        machine.operations_left = None;
        machine.failures.clear();
        for inode in &mut machine.inodes {
            inode.crash(&mut machine.random);
        }
        for dir in machine.dirs.values_mut() {
            dir.crash(&mut machine.random);
        }
    }

    /// Lets the next operation of this kind fail, once, with this error. A failed write has written a part, and of a
    /// failed sync nobody knows what it did, as with a real disk.
    pub fn fail_next(&self, operation: Operation, kind: io::ErrorKind) {
        self.lock().failures.push((operation, kind));
    }

    /// Bounds the disk: writes that need more fail with [`io::ErrorKind::StorageFull`].
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Bytes that all files with a name take.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine, if this operation may go on.
    fn begin(&self, boot: Option<u64>, operation: Operation) -> io::Result<MutexGuard<'_, Machine>> {
        let mut machine = self.lock();
        if boot.is_some_and(|boot| boot != machine.boot) || machine.operations_left == Some(0) {
            return Err(io::Error::other("the simulated machine has stopped"));
        }
        if let Some(left) = machine.operations_left.as_mut().filter(|_| operation != Operation::Read) {
            *left -= 1;
        }
        Ok(machine)
    }

    fn name_change(
        &self,
        path: &Path,
        change: impl FnOnce(&str, &mut Machine) -> io::Result<NameChange>,
    ) -> io::Result<()> {
        let mut machine = self.begin(None, Operation::Name)?;
        if let Some(error) = machine.failure(Operation::Name) {
            return Err(error);
        }
        let (dir, name) = split(path);
        let change = change(&name, &mut machine)?;
        let dir = machine.dir(&dir)?;
        change.apply(&mut dir.names);
        dir.unsynced.push(change);
        Ok(())
    }
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.begin(None, Operation::Name)?.dirs.entry(dir.to_owned()).or_default();
        Ok(())
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirectoryLock> {
        let mut machine = self.begin(None, Operation::Read)?;
        let boot = machine.boot;
        let locked = machine.dir(dir)?;
        if std::mem::replace(&mut locked.is_locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimulatedLock { disk: self.clone(), boot, dir: dir.to_owned() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut machine = self.begin(None, Operation::Read)?;
        Ok(machine.dir(dir)?.names.keys().cloned().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut machine = self.begin(None, Operation::Read)?;
        let boot = machine.boot;
        let (dir, name) = split(path);
        let &inode = machine.dir(&dir)?.names.get(&name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), boot, inode }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if let Ok(file) = self.open(path) {
            file.set_len(0)?;
            return Ok(file);
        }
        self.name_change(path, |name, machine| {
            machine.inodes.push(Inode::default());
            Ok(NameChange::Link(name.to_owned(), machine.inodes.len() - 1))
        })?;
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (dir, old) = split(from);
        self.name_change(to, |new, machine| {
            let &inode = machine.dir(&dir)?.names.get(&old).ok_or(io::ErrorKind::NotFound)?;
            Ok(NameChange::Rename(old, new.to_owned(), inode))
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, _) = split(path);
        self.name_change(path, |name, machine| {
            machine.dir(&dir)?.names.get(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(NameChange::Remove(name.to_owned()))
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut machine = self.begin(None, Operation::Name)?;
        if let Some(error) = machine.failure(Operation::Name) {
            return Err(error);
        }
        let dir = machine.dir(dir)?;
        dir.durable = dir.names.clone();
        dir.unsynced.clear();
        Ok(())
    }

    fn entropy(&self) -> io::Result<u64> {
        Ok(self.lock().random.next())
    }
}

#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    boot: u64,
    dir: PathBuf,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut machine = self.disk.lock();
        if machine.boot == self.boot
            && let Ok(dir) = machine.dir(&self.dir)
        {
            dir.is_locked = false;
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    boot: u64,
    inode: usize,
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let machine = self.disk.begin(Some(self.boot), Operation::Read)?;
        Ok(machine.inodes[self.inode].content.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut machine = self.disk.begin(Some(self.boot), Operation::Read)?;
        if let Some(error) = machine.failure(Operation::Read) {
            return Err(error);
        }
        let content = &machine.inodes[self.inode].content;
        let from = content.get(at as usize..).unwrap_or_default();
        let filled = from.len().min(buffer.len());
        buffer[..filled].copy_from_slice(&from[..filled]);
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut machine = self.disk.begin(Some(self.boot), Operation::Write)?;
        let failure = machine.failure(Operation::Write);
        let len = machine.inodes[self.inode].content.len();
        let growth = (at as usize + bytes.len()).saturating_sub(len);
        let room =
            machine.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(machine.bytes()) as usize);
        let (written, failure) = match failure {
            Some(error) => (machine.random.below(bytes.len() + 1), Some(error)),
            None if growth > room => {
                (bytes.len() - (growth - room).min(bytes.len()), Some(io::ErrorKind::StorageFull.into()))
            }
            None => (bytes.len(), None),
        };
        let change = Change::Write { at: at as usize, bytes: bytes[..written].to_vec() };
        machine.inodes[self.inode].change(change);
        failure.map_or(Ok(()), Err)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut machine = self.disk.begin(Some(self.boot), Operation::Write)?;
        if let Some(error) = machine.failure(Operation::Write) {
            return Err(error);
        }
        machine.inodes[self.inode].change(Change::SetLen(len as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let machine = &mut *self.disk.begin(Some(self.boot), Operation::Sync)?;
        let failure = machine.failure(Operation::Sync);
        let inode = &mut machine.inodes[self.inode];
        if let Some(error) = failure {
            // The system believes that the pages are clean now: a later sync will not write them.
            inode.keep_some(&mut machine.random);
            return Err(error);
        }
        for change in inode.unsynced.drain(..) {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }
}

impl Machine {
    fn dir(&mut self, dir: &Path) -> io::Result<&mut Directory> {
        self.dirs.get_mut(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn failure(&mut self, operation: Operation) -> Option<io::Error> {
        let found = self.failures.iter().position(|(failing, _)| *failing == operation)?;
        Some(self.failures.remove(found).1.into())
    }

    fn bytes(&self) -> u64 {
        let named = self.dirs.values().flat_map(|dir| dir.names.values());
        named.map(|&inode| self.inodes[inode].content.len() as u64).sum()
    }
}

impl Directory {
    fn crash(&mut self, random: &mut Random) {
        for change in self.unsynced.drain(..) {
            if random.below(2) == 0 {
                change.apply(&mut self.durable);
            }
        }
        self.names = self.durable.clone();
        self.is_locked = false;
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.content);
        self.unsynced.push(change);
    }

    fn crash(&mut self, random: &mut Random) {
        self.keep_some(random);
        self.content = self.durable.clone();
    }

    /// Makes an arbitrary part of what was not synced durable, and forgets the rest.
    fn keep_some(&mut self, random: &mut Random) {
        for change in self.unsynced.drain(..) {
            let Change::Write { at, bytes } = &change else {
                if random.below(2) == 0 {
                    change.apply(&mut self.durable);
                }
                continue;
            };
            match random.below(4) {
                0 => {}
                1 => change.apply(&mut self.durable),
                2 => {
                    let kept = random.below(bytes.len() + 1);
                    Change::Write { at: *at, bytes: bytes[..kept].to_vec() }.apply(&mut self.durable);
                }
                _ => keep_some_sectors(*at, bytes, &mut self.durable, random),
            }
        }
    }
}

fn keep_some_sectors(at: usize, bytes: &[u8], durable: &mut Vec<u8>, random: &mut Random) {
    let mut from = at;
    while from < at + bytes.len() {
        let to = ((from / SECTOR_BYTES + 1) * SECTOR_BYTES).min(at + bytes.len());
        if random.below(2) == 0 {
            Change::Write { at: from, bytes: bytes[from - at..to - at].to_vec() }.apply(durable);
        }
        from = to;
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                if content.len() < end && !bytes.is_empty() {
                    content.resize(end, 0);
                }
                if !bytes.is_empty() {
                    content[*at..end].copy_from_slice(bytes);
                }
            }
            Self::SetLen(len) => content.resize(*len, 0),
        }
    }
}

/// SplitMix64: small, and the same on every machine.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn split(path: &Path) -> (PathBuf, String) {
    let dir = path.parent().map(Path::to_owned).unwrap_or_default();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    (dir, name)
}
