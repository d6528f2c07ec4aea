//! Disks that are full or fail: what was answered holds, and what is unknown is called so.

use std::io::ErrorKind;
use std::sync::Arc;

use thalweg_log::simulated::{Operation, SimulatedDisk};
use thalweg_log::suite::entry;
use thalweg_log::{AppendError, EmbeddedConfig, Log};

use crate::support::{append, config, open_on, read_all, small, tiny_segments, words};

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_once_there_is_room() {
    for config in [config(), tiny_segments()] {
        let disk = SimulatedDisk::new(1);
        let (log, _) = open_on(&disk, config.clone());
        append(&log, 0..3).await;
        // At every distance from the end: the frame, the segment's header, or nothing of either fits.
        for room in 0..150 {
            let end = log.end();
            disk.set_capacity(Some(disk.bytes() + room));
            let long = entry(1, end as i64, vec![b'x'; 100_000]);
            assert!(matches!(log.append(vec![long]).await, Err(AppendError::Busy)), "room {room}");
            assert!(log.is_writable());
            disk.set_capacity(None);
            append(&log, end..end + 1).await;
        }
        let all = words(&read_all(&log, "g").await);
        log.close().await;
        let (log, report) = open_on(&disk, config);
        assert_eq!((report.torn_tails, report.damage), (Vec::new(), Vec::new()));
        assert_eq!(words(&read_all(&log, "g").await), all);
        log.close().await;
    }
}

#[tokio::test]
async fn what_a_full_disk_refused_is_not_there_after_a_crash() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let (log, _) = open_on(&disk, config());
        append(&log, 0..2).await;
        disk.set_capacity(Some(disk.bytes() + 90));
        let refused = vec![entry(9, 0, "[]"), entry(9, 0, vec![b'x'; 100_000])];
        assert!(matches!(log.append(refused).await, Err(AppendError::Busy)));
        disk.crash();
        disk.set_capacity(None);
        let (log, _) = open_on(&disk, config());
        assert_eq!(words(&read_all(&log, "g").await), "0 1");
    }
}

#[tokio::test]
async fn a_failed_write_or_sync_stops_the_log_until_it_is_opened_again() {
    for (operation, seed) in
        [(Operation::Write, 1), (Operation::Sync, 2), (Operation::Sync, 3), (Operation::Sync, 4)]
    {
        let disk = SimulatedDisk::new(seed);
        let (log, _) = open_on(&disk, EmbeddedConfig { segment_bytes: 4096, ..config() });
        append(&log, 0..3).await;
        disk.fail_next(operation, ErrorKind::Other);
        if operation == Operation::Write {
            // The first write is of zeros ahead, whose failure means nothing.
            disk.fail_next(operation, ErrorKind::Other);
        }
        let long = vec![entry(1, 3, vec![b'x'; 5_000])];
        let outcome = log.append(long).await;
        assert!(
            matches!(outcome, Err(AppendError::Unknown { entries: 1, .. }) | Err(AppendError::Busy)),
            "{outcome:?}"
        );
        let broken = matches!(outcome, Err(AppendError::Unknown { .. }));
        if broken {
            assert!(matches!(log.append(vec![small(3)]).await, Err(AppendError::Closed)));
            assert!(!log.is_writable());
        }
        assert!(
            words(&read_all(&log, "g").await).starts_with("0 1 2"),
            "what was answered can still be read"
        );
        log.close().await;
        disk.crash();
        let (log, _) = open_on(&disk, config());
        let mut read = read_all(&log, "g").await;
        read.truncate(3);
        assert_eq!(words(&read), "0 1 2");
        assert!(log.append(vec![small(9)]).await.is_ok());
        log.close().await;
    }
}

#[tokio::test]
async fn a_commit_that_fails_can_be_repeated() {
    let disk = SimulatedDisk::new(5);
    let (log, _) = open_on(&disk, config());
    append(&log, 0..4).await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    subscription.commit(&[crate::support::position(0)]).await.unwrap();
    for operation in [Operation::Write, Operation::Sync] {
        disk.fail_next(operation, ErrorKind::Other);
        assert!(subscription.commit(&[crate::support::position(2)]).await.is_err());
    }
    subscription.commit(&[crate::support::position(1)]).await.unwrap();
    drop(subscription);
    disk.crash();
    let (log, _) = open_on(&disk, config());
    assert_eq!(words(&read_all(&log, "g").await), "2 3");
    log.close().await;
}

#[tokio::test]
async fn a_failed_read_is_repeated_at_the_same_place() {
    let disk = SimulatedDisk::new(6);
    let (log, _) = open_on(&disk, config());
    append(&log, 0..4).await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    disk.fail_next(Operation::Read, ErrorKind::Other);
    assert!(subscription.next_batch(&thalweg_log::suite::ANY).await.is_err());
    assert_eq!(words(&crate::support::read_to_end(subscription.as_mut()).await), "0 1 2 3");
    log.close().await;
}

#[tokio::test]
async fn more_than_the_queue_holds_is_refused_at_once_and_all_else_is_kept() {
    let disk = SimulatedDisk::new(7);
    let (log, _) =
        open_on(&disk, EmbeddedConfig { queue_requests_max: 4, queue_bytes_max: 1_000, ..config() });
    let log = Arc::new(log);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let log = Arc::clone(&log);
        tasks.spawn(async move { log.append(vec![entry(1, number, "[0]")]).await });
    }
    let mut kept = 0;
    for outcome in tasks.join_all().await {
        match outcome {
            Ok(positions) => kept += positions.len(),
            Err(AppendError::Busy) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(kept > 0);
    assert_eq!(read_all(&log, "g").await.len(), kept, "what was refused is not there");
    let larger_than_the_queue = vec![entry(1, 0, vec![b'x'; 5_000])];
    assert!(log.append(larger_than_the_queue).await.is_ok(), "it fits while nothing else waits");
    log.close().await;
}

#[tokio::test]
async fn disk_use_is_bounded() {
    let disk = SimulatedDisk::new(8);
    let bounds = EmbeddedConfig { bytes_max: 2_000, retention_bytes: 1_000, ..tiny_segments() };
    let (log, _) = open_on(&disk, bounds);
    let mut subscription = log.subscribe("slow", &[]).await.unwrap();
    let mut number = 0;
    while log.append(vec![small(number)]).await.is_ok() {
        number += 1;
    }
    assert!(matches!(log.append(vec![small(number)]).await, Err(AppendError::Busy)));
    assert!(log.bytes_on_disk() <= 2_000 && number >= 10, "{} bytes, {number} entries", log.bytes_on_disk());
    // The group moves on, retention makes room, and appends succeed again.
    subscription.commit(&[crate::support::position(number - 1)]).await.unwrap();
    assert!(log.append(vec![small(number)]).await.is_ok());
    log.close().await;
}
