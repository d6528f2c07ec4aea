//! Files that were cut or changed: what is whole is delivered, what is not is named, and the log opens.

use std::fs;

use domain::{ReceivedAt, Subtopic};
use tempfile::TempDir;
use thalweg_log::suite::entry;
use thalweg_log::{AppendError, EmbeddedLog, Log, Undeliverable};

use crate::support::{append, config, files, flip, open, position, read_all, segments, tiny_segments, words};

const ENTRIES: u64 = 5;

/// A closed log of a few entries in one segment, and where each of its frames begins and the last ends.
async fn small_log() -> (TempDir, Vec<usize>) {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, config());
    append(&log, 0..ENTRIES).await;
    log.close().await;
    let bytes = fs::metadata(&segments(dir.path())[0]).unwrap().len() as usize;
    let frame_bytes = (bytes - 40) / ENTRIES as usize;
    assert_eq!(40 + frame_bytes * ENTRIES as usize, bytes, "frames of one length fill the segment");
    (dir, (0..=ENTRIES as usize).map(|frame| 40 + frame * frame_bytes).collect())
}

#[tokio::test]
async fn a_segment_cut_at_any_byte_keeps_what_is_whole() {
    let (dir, starts) = small_log().await;
    let segment = segments(dir.path()).remove(0);
    let whole = fs::read(&segment).unwrap();
    for cut in 0..whole.len() {
        let _ = fs::remove_dir_all(dir.path().join("groups"));
        for path in files(dir.path(), "segment") {
            fs::remove_file(path).unwrap();
        }
        fs::write(&segment, &whole[..cut]).unwrap();

        let (log, report) = open(&dir, config());
        let kept = starts.iter().filter(|&&end| end > 40 && end <= cut).count() as u64;
        assert_eq!(report.next_offset, kept, "cut at {cut}");
        assert_eq!(report.damage, [], "cut at {cut}");
        let is_torn = cut > 0 && !starts.contains(&cut);
        assert_eq!(!report.torn_tails.is_empty(), is_torn, "cut at {cut}: {report:?}");
        for torn in report.torn_tails {
            let kept_bytes = fs::read(torn.kept_in.unwrap()).unwrap();
            let tail = &whole[torn.from_byte as usize..cut];
            let zeros = tail.iter().rev().take_while(|&&byte| byte == 0).count();
            assert!(kept_bytes == tail || kept_bytes == tail[..tail.len() - zeros], "cut at {cut}");
        }
        append(&log, kept..kept + 1).await;
        let expected = (0..=kept).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(words(&read_all(&log, "g").await), expected, "cut at {cut}");
        log.close().await;
    }
}

#[tokio::test]
async fn a_flipped_byte_is_named_and_costs_one_entry_at_most() {
    let (dir, starts) = small_log().await;
    let segment = segments(dir.path()).remove(0);
    let whole = fs::read(&segment).unwrap();
    for byte in 0..whole.len() {
        let _ = fs::remove_dir_all(dir.path().join("groups"));
        for path in files(dir.path(), "segment") {
            fs::remove_file(path).unwrap();
        }
        fs::write(&segment, &whole).unwrap();
        flip(&segment, byte);

        let (log, report) = open(&dir, config());
        let lost = (byte >= 40).then(|| starts.iter().filter(|&&start| start <= byte).count() as u64 - 1);
        let is_last = lost == Some(ENTRIES - 1);
        assert_eq!(!report.torn_tails.is_empty(), is_last, "byte {byte}: {report:?}");
        assert_eq!(report.damage.len(), usize::from(!is_last), "byte {byte}: {report:?}");
        for found in &report.damage {
            let extent = found.extent;
            assert!((extent.from_byte..extent.to_byte).contains(&(byte as u64)), "byte {byte}: {found:?}");
            assert_eq!(extent.end_offset - extent.first_offset, u64::from(lost.is_some()), "byte {byte}");
        }
        let next = if is_last { ENTRIES - 1 } else { ENTRIES };
        append(&log, next..next + 1).await;
        let word = |offset: u64| {
            if Some(offset) == lost && !is_last { format!("{offset}!") } else { offset.to_string() }
        };
        let expected = (0..=next).map(word).collect::<Vec<_>>().join(" ");
        assert_eq!(words(&read_all(&log, "g").await), expected, "byte {byte}");
        log.close().await;
    }
}

#[tokio::test]
async fn damage_in_an_old_segment_is_delivered_in_its_place() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, tiny_segments());
    append(&log, 0..12).await;
    log.close().await;
    let paths = segments(dir.path());
    assert!(paths.len() >= 4, "{paths:?}");
    flip(&paths[0], 45); // the header of a frame
    flip(&paths[1], 5); // the header of the segment
    let end = fs::metadata(&paths[2]).unwrap().len() as usize;
    flip(&paths[2], end - 2); // the payload of its last frame

    let (log, report) = open(&dir, tiny_segments());
    assert_eq!(report.torn_tails, []);
    let read = words(&read_all(&log, "g").await);
    let base = |path: &std::path::Path| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let last_of_third = base(&paths[3]) - 1;
    let word = |offset: u64| {
        if offset == 0 || offset == last_of_third { format!("{offset}!") } else { offset.to_string() }
    };
    assert_eq!(read, (0..12).map(word).collect::<Vec<_>>().join(" "));
    log.close().await;
}

#[tokio::test]
async fn a_missing_segment_is_delivered_as_damage() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, tiny_segments());
    append(&log, 0..12).await;
    log.close().await;
    let paths = segments(dir.path());
    let base = |index: usize| paths[index].file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    fs::remove_file(&paths[1]).unwrap();
    let (log, _) = open(&dir, tiny_segments());
    let expected: Vec<_> = (0..base(1))
        .map(|offset| offset.to_string())
        .chain([format!("{}!", base(2) - 1)])
        .chain((base(2)..12).map(|offset| offset.to_string()))
        .collect();
    assert_eq!(words(&read_all(&log, "g").await), expected.join(" "));

    // One that goes while the log is open is no different.
    fs::remove_file(&paths[0]).unwrap();
    let deliveries = read_all(&log, "h").await;
    assert_eq!(deliveries[0].position, position(base(2) - 1));
    assert!(matches!(deliveries[0].entry, Err(Undeliverable::Damaged(_))));
    log.close().await;
}

#[tokio::test]
async fn a_start_in_the_middle_of_damage_names_the_rest_of_it() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, config());
    append(&log, 0..6).await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    subscription.commit(&[position(1)]).await.unwrap();
    drop(subscription);
    log.close().await;
    // Entries 1 to 3 are overwritten: the group stands in the middle of them.
    let segment = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    let frame_bytes = (bytes.len() - 40) / 6;
    bytes[40 + frame_bytes..40 + 4 * frame_bytes].fill(0xaa);
    fs::write(&segment, bytes).unwrap();
    let (log, report) = open(&dir, config());
    assert_eq!((report.damage[0].extent.first_offset, report.damage[0].extent.end_offset), (1, 4));
    assert_eq!(words(&read_all(&log, "g").await), "3! 4 5");
    assert_eq!(words(&read_all(&log, "h").await), "0 3! 4 5");
    log.close().await;
}

#[tokio::test]
async fn a_forged_frame_in_a_payload_is_never_an_entry() {
    let dir = TempDir::new().unwrap();
    let other = TempDir::new().unwrap();
    // Frames of another log are frames in everything but the salt.
    let (log, _) = open(&other, config());
    append(&log, 0..3).await;
    log.close().await;
    let forged = fs::read(&segments(other.path())[0]).unwrap().split_off(40);

    let (log, _) = open(&dir, config());
    log.append(vec![entry(1, 0, forged), small_after()]).await.unwrap();
    log.close().await;
    flip(&segments(dir.path())[0], 41);
    let (log, _) = open(&dir, config());
    let read = read_all(&log, "g").await;
    assert_eq!(read.len(), 2, "{read:?}");
    assert!(read[0].entry.is_err());
    assert_eq!(read[1].entry.as_ref().unwrap(), &small_after());
    log.close().await;
}

fn small_after() -> domain::Entry {
    entry(2, 1, "[]")
}

#[tokio::test]
async fn offsets_are_never_used_again_whatever_is_lost() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, config());
    append(&log, 0..5).await;
    let mut subscription = log.subscribe("stored", &[]).await.unwrap();
    subscription.commit(&[position(3)]).await.unwrap();
    drop(subscription);
    log.subscribe("late", &[]).await.unwrap();
    log.close().await;
    for path in segments(dir.path()) {
        fs::remove_file(path).unwrap();
    }
    let (log, report) = EmbeddedLog::open(dir.path(), config(), &[position(7)]).unwrap();
    assert_eq!(report.next_offset, 8, "behind what a consumer says it has stored");
    append(&log, 8..9).await;
    log.close().await;

    for path in segments(dir.path()) {
        fs::remove_file(path).unwrap();
    }
    let (log, report) = open(&dir, config());
    assert_eq!(report.next_offset, 4, "behind what a group has committed");
    append(&log, 4..6).await;
    assert_eq!(words(&read_all(&log, "stored").await), "4 5");
    assert_eq!(words(&read_all(&log, "late").await), "3! 4 5", "a group that had not read them is told");
    assert!(log.subscribe("stored", &[position(6)]).await.is_err(), "a position that the log does not have");
    log.close().await;
}

#[tokio::test]
async fn a_damaged_group_file_brings_its_entries_back() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, config());
    append(&log, 0..5).await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    for offset in 0..4 {
        subscription.commit(&[position(offset)]).await.unwrap();
    }
    drop(subscription);
    log.close().await;
    let group = dir.path().join("groups/g.group");
    // The last commit went to the slot at 0: without it the one before counts.
    flip(&group, 20);
    let (log, report) = open(&dir, config());
    assert_eq!(report.damage, []);
    assert_eq!(words(&read_all(&log, "g").await), "3 4");
    log.close().await;
    flip(&group, 4096 + 20);
    let (log, report) = open(&dir, config());
    assert_eq!(report.damage[0].file, group);
    assert_eq!(words(&read_all(&log, "g").await), "0 1 2 3 4");
    log.close().await;
}

#[tokio::test]
async fn a_lost_identity_is_found_in_the_segments() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, config());
    append(&log, 0..3).await;
    log.close().await;
    for (damaged, reported) in [(false, 0), (true, 1)] {
        let identity = dir.path().join("identity");
        if damaged {
            flip(&identity, 15);
        } else {
            fs::remove_file(&identity).unwrap();
        }
        let (log, report) = open(&dir, config());
        assert_eq!(report.damage.len(), reported);
        assert_eq!(words(&read_all(&log, "g").await), "0 1 2");
        log.close().await;
    }
}

#[tokio::test]
async fn dead_letters_come_back_and_so_does_their_damage() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, config());
    let letter = |offset: u64, reason: &str| thalweg_log::DeadLetter {
        position: position(offset),
        entry: entry(3, offset as i64, "[7]"),
        reason: reason.to_owned(),
    };
    log.bury(vec![letter(5, "no such unit"), letter(9, &"é".repeat(5_000))]).await.unwrap();
    log.close().await;
    let (log, _) = open(&dir, config());
    log.bury(vec![letter(11, "")]).await.unwrap();
    let letters = log.dead_letters(0, 10).await.unwrap();
    let found: Vec<_> =
        letters.iter().map(|stored| (stored.number, stored.letter.as_ref().unwrap())).collect();
    let seen =
        |index: usize| (found[index].0, found[index].1.position.offset, found[index].1.reason.as_str());
    assert_eq!(found.len(), 3);
    assert_eq!(seen(0), (0, 5, "no such unit"));
    assert_eq!(seen(1), (1, 9, "é".repeat(2_048).as_str()), "a long reason is cut between characters");
    assert_eq!(seen(2), (2, 11, ""));
    assert_eq!(found[0].1.entry, entry(3, 5, "[7]"));
    assert_eq!(log.dead_letters(1, 1).await.unwrap().len(), 1);
    assert_eq!(log.dead_letters(3, 10).await.unwrap().len(), 0);
    log.close().await;

    flip(&segments(&dir.path().join("dead-letters"))[0], 60);
    let (log, report) = open(&dir, config());
    assert_eq!(report.damage.len(), 1);
    let letters = log.dead_letters(0, 10).await.unwrap();
    assert!(matches!(letters[0].letter, Err(Undeliverable::Damaged(_))));
    assert_eq!(letters.len(), 3);
    log.close().await;

    let kept = segments(&dir.path().join("dead-letters")).remove(0);
    fs::write(&kept, &fs::read(&kept).unwrap()[..fs::metadata(&kept).unwrap().len() as usize - 1]).unwrap();
    let (log, report) = open(&dir, config());
    assert_eq!(report.torn_tails[0].file, kept);
    log.close().await;
}

#[tokio::test]
async fn a_reception_clock_can_start_behind_the_newest_entry() {
    let dir = TempDir::new().unwrap();
    let (log, report) = open(&dir, tiny_segments());
    assert_eq!((report.newest_received, log.newest_received()), (None, None));
    append(&log, 0..12).await;
    assert_eq!(log.newest_received(), Some(ReceivedAt::from_micros(11)));
    log.close().await;
    // The newest segment may hold nothing any more: its header knows.
    let newest = segments(dir.path()).pop().unwrap();
    fs::write(&newest, &fs::read(&newest).unwrap()[..40]).unwrap();
    let base = newest.file_stem().unwrap().to_str().unwrap().parse::<i64>().unwrap();
    let (log, report) = open(&dir, tiny_segments());
    assert_eq!(report.newest_received, Some(ReceivedAt::from_micros(base - 1)));
    log.close().await;
}

#[tokio::test]
async fn an_entry_that_is_too_long_is_refused_and_harms_nobody() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, config());
    let mut long = entry(1, 0, vec![0_u8; thalweg_log::format::FRAME_CONTENT_BYTES_MAX]);
    long.subtopic = Subtopic::default();
    assert!(matches!(log.append(vec![long]).await, Err(AppendError::Unknown { entries: 1, .. })));
    append(&log, 0..1).await;
    log.close().await;
}
