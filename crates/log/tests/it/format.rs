//! Files of earlier releases stay readable, and those of later ones are refused.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use thalweg_log::{EmbeddedLog, Log, Undeliverable};

use crate::support::{append, config, open, read_all, segments, small};

/// A log that the first release wrote: entries 0 to 4, the group `g` with 0 and 1 committed, one dead letter.
fn copy_of_version_1() -> TempDir {
    let dir = TempDir::new().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1"), dir.path());
    dir
}

fn copy(from: &Path, to: &Path) {
    for found in fs::read_dir(from).unwrap() {
        let found = found.unwrap();
        let target = to.join(found.file_name());
        if found.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&found.path(), &target);
        } else {
            fs::copy(found.path(), &target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_log_of_version_1_stays_readable() {
    let dir = copy_of_version_1();
    let (log, report) = open(&dir, config());
    assert_eq!((report.torn_tails, report.damage, report.next_offset), (Vec::new(), Vec::new(), 5));
    let entries: Vec<_> =
        read_all(&log, "new").await.into_iter().map(|delivery| delivery.entry.unwrap()).collect();
    assert_eq!(entries, (0..5).map(small).collect::<Vec<_>>());
    let rest: Vec<_> = read_all(&log, "g").await.iter().map(|delivery| delivery.position.offset).collect();
    assert_eq!(rest, [2, 3, 4]);
    let letters = log.dead_letters(0, 10).await.unwrap();
    let letter = letters[0].letter.as_ref().unwrap();
    assert_eq!((letters.len(), letter.position.offset, letter.reason.as_str()), (1, 1, "no such unit"));
    assert_eq!(letter.entry, small(1));
    append(&log, 5..6).await;
    log.close().await;
}

#[tokio::test]
async fn a_log_of_a_newer_version_is_refused_and_left_alone() {
    let newer = |bytes: &mut [u8], version_at: usize, sum_at: usize| {
        bytes[version_at..version_at + 4].copy_from_slice(&2_u32.to_be_bytes());
        let sum = crc32c::crc32c(&bytes[..sum_at]);
        bytes[sum_at..sum_at + 4].copy_from_slice(&sum.to_be_bytes());
    };
    for (file, version_at, sum_at) in
        [("identity", 8, 20), ("00000000000000000000.segment", 8, 36), ("groups/g.group", 4, 24)]
    {
        let dir = copy_of_version_1();
        let path = dir.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        newer(&mut bytes, version_at, sum_at);
        fs::write(&path, &bytes).unwrap();
        let refused = EmbeddedLog::open(dir.path(), config(), &[]).unwrap_err();
        assert!(refused.to_string().contains(file), "{refused}");
        assert!(
            refused.source.to_string().contains("format version 2, which a newer build wrote"),
            "{refused:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[tokio::test]
async fn an_entry_of_a_newer_version_is_told_from_damage() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, config());
    append(&log, 0..2).await;
    log.close().await;
    // The first entry's headers get another version, and their frame the checksums that go with it.
    let identity = fs::read(dir.path().join("identity")).unwrap();
    let seed = crc32c::crc32c(&identity[12..20]);
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let frame_bytes = (bytes.len() - 40) / 2;
    let frame = &mut bytes[40..40 + frame_bytes];
    frame[36] = 9;
    let content = crc32c::crc32c_append(seed, &frame[36..]);
    frame[32..36].copy_from_slice(&content.to_be_bytes());
    let header = crc32c::crc32c_append(seed, &frame[8..36]);
    frame[4..8].copy_from_slice(&header.to_be_bytes());
    fs::write(&path, bytes).unwrap();

    let (log, report) = open(&dir, config());
    assert_eq!((report.torn_tails, report.damage), (Vec::new(), Vec::new()));
    let read = read_all(&log, "g").await;
    assert_eq!(read[0].entry, Err(Undeliverable::UnknownVersion(9)));
    assert_eq!(read[1].entry, Ok(small(1)));
    log.close().await;
}
