//! What is deleted, and what is not.

use std::time::Duration;

use domain::ReceivedAt;
use tempfile::TempDir;
use thalweg_log::{EmbeddedConfig, Log, Retained};

use crate::support::{append, open, position, read_all, segments, tiny_segments, words};

/// Keeps as little as it may.
fn greedy() -> EmbeddedConfig {
    EmbeddedConfig { retention_bytes: 0, ..tiny_segments() }
}

#[tokio::test]
async fn nothing_is_deleted_before_every_group_has_committed_past_it() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, greedy());
    append(&log, 0..20).await;
    assert_eq!(log.oldest(), 0, "while nobody has subscribed, all is kept");
    let mut one = log.subscribe("one", &[]).await.unwrap();
    let mut two = log.subscribe("two", &[]).await.unwrap();
    one.commit(&[position(19)]).await.unwrap();
    assert_eq!(log.oldest(), 0, "the other group has not read it");
    two.commit(&[position(9)]).await.unwrap();
    let oldest = log.oldest();
    assert!((1..=10).contains(&oldest), "{oldest}");
    drop((one, two));
    log.close().await;

    let (log, _) = open(&dir, greedy());
    let expected: Vec<_> = (10..20).map(|offset| offset.to_string()).collect();
    assert_eq!(words(&read_all(&log, "two").await), expected.join(" "));
    let expected: Vec<_> = (oldest..20).map(|offset| offset.to_string()).collect();
    assert_eq!(words(&read_all(&log, "new").await), expected.join(" "), "a new group begins at the oldest");
    append(&log, 20..30).await;
    assert_eq!(log.oldest(), oldest, "and holds it");
    log.close().await;
}

#[tokio::test]
async fn the_log_keeps_its_size_while_its_groups_keep_up() {
    let dir = TempDir::new().unwrap();
    let (log, _) = open(&dir, EmbeddedConfig { retention_bytes: 2_000, ..tiny_segments() });
    let mut group = log.subscribe("g", &[]).await.unwrap();
    for number in 0..100 {
        append(&log, number..number + 1).await;
        group.commit(&[position(number)]).await.unwrap();
    }
    assert!(log.bytes_on_disk() <= 2_500, "{}", log.bytes_on_disk());
    assert!(segments(dir.path()).len() >= 3);
    log.close().await;
}

#[tokio::test]
async fn old_segments_go_by_the_age_of_their_newest_entry() {
    let dir = TempDir::new().unwrap();
    let config = EmbeddedConfig { retention_age: Duration::from_micros(5), ..tiny_segments() };
    let (log, _) = open(&dir, config.clone());
    let mut group = log.subscribe("g", &[]).await.unwrap();
    append(&log, 0..20).await;
    group.commit(&[position(19)]).await.unwrap();
    let oldest = log.oldest();
    assert!(
        (9..=14).contains(&oldest),
        "entries 14 to 19 are younger than 5 µs, so their segments stay: {oldest}"
    );
    drop(group);
    log.close().await;

    let (log, _) = open(&dir, config);
    let removed = log.retain(ReceivedAt::from_micros(1_000)).unwrap();
    assert!(removed.segments > 0 && removed.bytes > 0, "{removed:?}");
    assert_eq!(segments(dir.path()).len(), 1, "the segment that is written to stays");
    assert_eq!(log.retain(ReceivedAt::from_micros(1_000)).unwrap(), Retained::default());
    append(&log, 20..21).await;
    assert_eq!(words(&read_all(&log, "g").await), "20");
    log.close().await;
}
