//! A batch is one: whoever looks while it is appended sees all of it, with its position, or nothing.

use std::sync::Arc;

use domain::{ChannelProfile, Lane, Position};
use thalweg_store::suite::{Home as _, channel, number_row, thing};
use thalweg_store::{CountLevel, Store, WriteBatch};

use crate::home::EmbeddedHome;

const BATCHES: u64 = 200;
const ROWS_PER_BATCH: u64 = 300;

/// New rows, and some of the batch before again.
fn batch(number: u64) -> WriteBatch {
    let first = number * ROWS_PER_BATCH;
    let again = first.saturating_sub(ROWS_PER_BATCH)..first;
    let row = |n: u64| number_row(channel(1), thing((n % 20) as u8), n as i64 * 10_000_000, 1.0);
    WriteBatch {
        rows: again.step_by(7).chain(first..first + ROWS_PER_BATCH).map(row).collect(),
        positions: vec![Position { lane: Lane(0), offset: number }],
    }
}

/// Rows that the store's position speaks of.
async fn rows_by_position(store: &dyn Store) -> u64 {
    let positions = store.resume_after().await.unwrap();
    positions.first().map_or(0, |position| (position.offset + 1) * ROWS_PER_BATCH)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_and_its_rows_are_seen_together() {
    let mut home = EmbeddedHome::new();
    let store = home.open().await;
    let appending = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for number in 0..BATCHES {
                store.append(batch(number)).await.unwrap();
            }
        }
    });
    while !appending.is_finished() {
        let before = rows_by_position(&*store).await;
        let counts = store
            .counts(channel(1), ChannelProfile::default(), CountLevel::Finest, 0..1_000_000)
            .await
            .unwrap();
        let rows: u64 = counts.iter().map(|count| count.rows).sum();
        let after = rows_by_position(&*store).await;
        assert!((before..=after).contains(&rows), "{rows} rows, by positions {before} to {after}");
    }
    appending.await.unwrap();
    assert_eq!(rows_by_position(&*store).await, BATCHES * ROWS_PER_BATCH);
}
