//! Opening the directory of an embedded store, and what it may use of the machine.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use fjall::{Database, KeyspaceCreateOptions};

use super::append::Writer;
use super::hot::HotWindows;
use super::{EmbeddedStore, Inner, Keyspaces, Sweeper, purge, unavailable};
use crate::contract::StoreError;

/// The format that this build writes.
const FORMAT: u32 = 1;
/// Name of the file that holds the format, as decimal text, so that it can be read whatever the database has become.
const FORMAT_FILE: &str = "FORMAT";
/// Name of the database's directory.
const DATABASE_DIR: &str = "database";
/// Bytes of sealed journals before what they hold is flushed; fjall's least. With the one in use, which is sealed at
/// 64 MB, journals stay below 128 MiB.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Files kept open.
const OPEN_FILES_MAX: usize = 256;
/// Threads that flush and compact; with one alone a compaction would hold up flushes.
const WORKER_THREADS: usize = 2;
/// Bytes of catalogue entries held in memory.
const CATALOGUE_WRITE_BUFFER_BYTES: u64 = 2 << 20;

/// What an embedded store may use of the machine. The defaults keep a whole server under 64 MiB while it is idle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// Bytes of stored blocks kept in memory.
    pub cache_bytes: u64,
    /// Bytes of rows, and of counts as many, held in memory until they are written out in order. Up to four times as
    /// much is held while writes come faster than they can be written out; then appends wait.
    pub write_buffer_bytes: u64,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self { cache_bytes: 16 << 20, write_buffer_bytes: 8 << 20 }
    }
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is created where there is none. Purges that were not finished go on in the
    /// background.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`] if a newer build wrote the directory, [`StoreError::Damaged`] if it is no store's,
    /// [`StoreError::Unavailable`] if it can't be read or written, or another process has it open.
    pub fn open(dir: &Path, config: EmbeddedConfig) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(unavailable)?;
        check_format(dir)?;
        let keyspaces = open_database(&dir.join(DATABASE_DIR), &config).map_err(unavailable)?;
        let inner = Arc::new(Inner {
            keyspaces,
            writer: Mutex::new(Writer::new()),
            expiring: Mutex::new(()),
            sweeper: Sweeper::default(),
        });
        let sweeping = Arc::clone(&inner);
        let sweeper = std::thread::Builder::new()
            .name("store-sweeper".to_owned())
            .spawn(move || purge::sweep(&sweeping))
            .map_err(unavailable)?;
        Ok(Self { inner, sweeper: Some(sweeper) })
    }
}

fn open_database(dir: &Path, config: &EmbeddedConfig) -> fjall::Result<Keyspaces> {
    let database = Database::builder(dir)
        .cache_size(config.cache_bytes)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .max_cached_files(Some(OPEN_FILES_MAX))
        .worker_threads(WORKER_THREADS)
        .open()?;
    let keyspace = |name, write_buffer_bytes| {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(write_buffer_bytes);
        database.keyspace(name, options)
    };
    Ok(Keyspaces {
        rows: keyspace("rows", config.write_buffer_bytes)?,
        counts: keyspace("counts", config.write_buffer_bytes)?,
        catalogue: keyspace("catalogue", CATALOGUE_WRITE_BUFFER_BYTES)?,
        hot: HotWindows::default(),
        database,
    })
}

/// Checks the format of what is in the directory before anything else looks at it, and writes it where nothing is.
fn check_format(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(FORMAT_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(StoreError::NewerFormat { found, known: FORMAT }),
            Ok(FORMAT) => Ok(()),
            _ => Err(StoreError::Damaged(format!("{} says {text:?}, which is no format", path.display()))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if dir.join(DATABASE_DIR).exists() {
                return Err(StoreError::Damaged(format!("{} is missing beside a database", path.display())));
            }
            write_format(dir).map_err(unavailable)
        }
        Err(error) => Err(unavailable(error)),
    }
}

/// Whole or not at all, and before the database comes to be.
fn write_format(dir: &Path) -> io::Result<()> {
    let draft = dir.join("FORMAT.new");
    let mut file = File::create(&draft)?;
    writeln!(file, "{FORMAT}")?;
    file.sync_all()?;
    fs::rename(&draft, dir.join(FORMAT_FILE))?;
    File::open(dir)?.sync_all()
}
