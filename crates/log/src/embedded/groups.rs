//! Consumer groups: how far each has come, kept in a small file of its own.
//!
//! A group is known from its first subscription and never forgotten: what it has not committed is not deleted.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::LogError;
use crate::disk::{Disk, DiskFile};
use crate::embedded::format::{GROUP_SLOT_BYTES, GROUP_SLOT_SPACING, GroupSlot, Stored};
use crate::embedded::opening::{DamageFound, newer, replace_file};
use crate::embedded::walk::Extent;

/// Bytes of a group's name: it is part of a file's name.
const GROUP_NAME_BYTES_MAX: usize = 64;
const GROUP_SUFFIX: &str = ".group";

#[derive(Debug)]
pub(crate) struct Groups {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    groups: Mutex<BTreeMap<String, Arc<Group>>>,
}

#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    kept: Mutex<Kept>,
    is_taken: AtomicBool,
}

/// What the group's file says.
#[derive(Debug)]
struct Kept {
    slot: GroupSlot,
    /// Which of the two slots holds it: the other is written next.
    slot_at: u64,
    is_closed: bool,
    /// Neither slot was whole: `slot` is made up.
    is_damaged: bool,
}

/// A group that one subscription has for itself.
#[derive(Debug)]
pub(crate) struct TakenGroup(Arc<Group>);

impl Groups {
    /// Reads what every group has committed. A group whose file is damaged starts again at the oldest
    /// entry, which [`Groups::begin_damaged_at`] tells once it is known.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        dir: PathBuf,
        damage: &mut Vec<DamageFound>,
    ) -> Result<Self, LogError> {
        let failed =
            |path: &Path, error| LogError::new(format!("reading consumer group {}", path.display()), error);
        disk.create_dir(&dir).map_err(|error| failed(&dir, error))?;
        let names = disk.list(&dir).map_err(|error| failed(&dir, error))?;
        let mut groups = BTreeMap::new();
        for (file_name, group) in
            names.iter().filter_map(|name| Some((name, name.strip_suffix(GROUP_SUFFIX)?)))
        {
            let path = dir.join(file_name);
            let (file, kept) = read(disk.as_ref(), &path).map_err(|error| failed(&path, error))?;
            let kept = kept.unwrap_or_else(|| {
                let to_byte = GROUP_SLOT_SPACING + GROUP_SLOT_BYTES as u64;
                let extent = Extent { from_byte: 0, to_byte, first_offset: 0, end_offset: 0 };
                damage.push(DamageFound { file: path.clone(), extent, what: "position of a consumer group" });
                Kept {
                    slot: GroupSlot { sequence: 0, next: 0 },
                    slot_at: GROUP_SLOT_SPACING,
                    is_closed: false,
                    is_damaged: true,
                }
            });
            let group_state = Group { path, file, kept: Mutex::new(kept), is_taken: AtomicBool::new(false) };
            groups.insert(group.to_owned(), Arc::new(group_state));
        }
        Ok(Self { disk: Arc::clone(disk), dir, groups: Mutex::new(groups) })
    }

    /// The least offset that every group is done with; nothing while there is no group: then all is needed.
    pub(crate) fn needed_from(&self) -> Option<u64> {
        self.lock().values().map(|group| group.next()).min()
    }

    /// The first offset that a group has not committed, if it is known.
    pub(crate) fn next_of(&self, name: &str) -> Option<u64> {
        self.lock().get(name).map(|group| group.next())
    }

    /// The least offset that no group has committed or passed.
    pub(crate) fn furthest(&self) -> u64 {
        self.lock().values().map(|group| group.next()).max().unwrap_or(0)
    }

    /// Tells the oldest entry, where groups of unknown position begin again.
    pub(crate) fn begin_damaged_at(&self, oldest: u64) {
        for group in self.lock().values() {
            let mut kept = group.lock();
            if kept.is_damaged {
                kept.slot.next = oldest;
            }
        }
    }

    /// Takes a group for one subscription; one that is not known yet begins at the oldest entry, durably.
    pub(crate) fn take(&self, name: &str, oldest: u64) -> Result<TakenGroup, LogError> {
        let context = || format!("subscribing as consumer group {name:?}");
        if !is_group_name(name) {
            let rule = "a group's name has 1 to 64 of the characters a-z, 0-9, '-', '_' and '.', and begins with no '.'";
            return Err(LogError::new(context(), rule));
        }
        let mut groups = self.lock();
        let group = match groups.get(name) {
            Some(group) => Arc::clone(group),
            None => {
                let group = self.create(name, oldest).map_err(|error| LogError::new(context(), error))?;
                let group = Arc::new(group);
                groups.insert(name.to_owned(), Arc::clone(&group));
                group
            }
        };
        if group.is_taken.swap(true, Ordering::AcqRel) {
            return Err(LogError::new(
                context(),
                "the group has a subscription already; it takes one at a time",
            ));
        }
        Ok(TakenGroup(group))
    }

    /// No commit reaches a file any more.
    pub(crate) fn close(&self) {
        for group in self.lock().values() {
            group.lock().is_closed = true;
        }
    }

    fn create(&self, name: &str, next: u64) -> io::Result<Group> {
        let path = self.dir.join(format!("{name}{GROUP_SUFFIX}"));
        let slot = GroupSlot { sequence: 1, next };
        replace_file(self.disk.as_ref(), &path, &slot.encode())?;
        let file = self.disk.open(&path)?;
        let kept = Mutex::new(Kept { slot, slot_at: 0, is_closed: false, is_damaged: false });
        Ok(Group { path, file, kept, is_taken: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    /// The first offset that is not committed.
    pub(crate) fn next(&self) -> u64 {
        self.lock().slot.next
    }

    /// Keeps that everything before `next` is done. Says whether that was new.
    pub(crate) fn commit(&self, next: u64) -> Result<bool, LogError> {
        let mut kept = self.lock();
        let failed = |source: io::Error| {
            LogError::new(format!("committing in consumer group file {}", self.path.display()), source)
        };
        if kept.is_closed {
            return Err(failed(io::Error::other("the log is closed")));
        }
        if next <= kept.slot.next {
            return Ok(false);
        }
        let slot = GroupSlot { sequence: kept.slot.sequence + 1, next };
        // Until this one is durable the other slot holds the last position, so a failure harms nothing.
        let slot_at = GROUP_SLOT_SPACING - kept.slot_at;
        self.file.write_at(&slot.encode(), slot_at).and_then(|()| self.file.sync()).map_err(failed)?;
        (kept.slot, kept.slot_at) = (slot, slot_at);
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TakenGroup {
    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.0
    }
}

impl Drop for TakenGroup {
    fn drop(&mut self) {
        self.0.is_taken.store(false, Ordering::Release);
    }
}

/// The group's file, and the newer of its whole slots.
fn read(disk: &dyn Disk, path: &Path) -> io::Result<(Arc<dyn DiskFile>, Option<Kept>)> {
    let file = disk.open(path)?;
    let mut newest: Option<Kept> = None;
    for slot_at in [0, GROUP_SLOT_SPACING] {
        let mut bytes = [0; GROUP_SLOT_BYTES];
        let filled = file.read_at(&mut bytes, slot_at)?;
        match GroupSlot::decode(&bytes[..filled]) {
            Stored::Whole(slot) => {
                if newest.as_ref().is_none_or(|newest| newest.slot.sequence < slot.sequence) {
                    newest = Some(Kept { slot, slot_at, is_closed: false, is_damaged: false });
                }
            }
            Stored::Newer(version) => return Err(newer(version)),
            Stored::Damaged => {}
        }
    }
    Ok((file, newest))
}

fn is_group_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=GROUP_NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}
