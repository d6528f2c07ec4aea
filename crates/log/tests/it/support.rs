//! What the tests share: small logs, and ways to look at them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{Entry, Lane, Position};
use tempfile::TempDir;
use thalweg_log::simulated::SimulatedDisk;
use thalweg_log::suite::{ANY, entry};
use thalweg_log::{Delivery, EmbeddedConfig, EmbeddedLog, Log, OpenReport, Subscription};

pub(crate) fn config() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 64 << 10, ..EmbeddedConfig::default() }
}

/// Segments that hold three entries of [`small`].
pub(crate) fn tiny_segments() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 400, ..EmbeddedConfig::default() }
}

pub(crate) fn open(dir: &TempDir, config: EmbeddedConfig) -> (EmbeddedLog, OpenReport) {
    EmbeddedLog::open(dir.path(), config, &[]).unwrap()
}

pub(crate) fn open_on(disk: &SimulatedDisk, config: EmbeddedConfig) -> (EmbeddedLog, OpenReport) {
    EmbeddedLog::open_on(Arc::new(disk.clone()), Path::new("/log"), config, &[]).unwrap()
}

pub(crate) fn position(offset: u64) -> Position {
    Position { lane: Lane(0), offset }
}

/// An entry whose payload tells its number.
pub(crate) fn small(number: u64) -> Entry {
    entry(1, number as i64, format!("[{number:04}]"))
}

/// Appends the entries of these numbers, each by itself.
pub(crate) async fn append(log: &EmbeddedLog, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(log.append(vec![small(number)]).await.unwrap(), [position(number)]);
    }
}

/// Everything that a group has before it, up to the log's end.
pub(crate) async fn read_all(log: &EmbeddedLog, group: &str) -> Vec<Delivery> {
    let mut subscription = log.subscribe(group, &[]).await.unwrap();
    read_to_end(subscription.as_mut()).await
}

pub(crate) async fn read_to_end(subscription: &mut dyn Subscription) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while subscription.backlog() > 0 {
        deliveries.extend(subscription.next_batch(&ANY).await.unwrap().deliveries);
    }
    deliveries
}

/// One word for each delivery: `3` for the whole entry of that number, `4!` for damage up to there.
pub(crate) fn words(deliveries: &[Delivery]) -> String {
    let word = |delivery: &Delivery| match &delivery.entry {
        Ok(found) => {
            assert_eq!(found, &small(delivery.position.offset));
            delivery.position.offset.to_string()
        }
        Err(_) => format!("{}!", delivery.position.offset),
    };
    deliveries.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The segment files of a log, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir, ".segment")
}

pub(crate) fn files(dir: &Path, part: &str) -> Vec<PathBuf> {
    let found = std::fs::read_dir(dir).unwrap().map(|found| found.unwrap().path());
    let mut found: Vec<_> = found.filter(|path| path.is_file()).collect();
    found.retain(|path| path.file_name().unwrap().to_str().unwrap().contains(part));
    found.sort();
    found
}

pub(crate) fn flip(path: &Path, byte: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[byte] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}
