//! A process that appends is killed at any moment: the store opens again at the end of a batch, with its position.
//!
//! A test without a harness, because it starts itself again as the process that is killed.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use domain::{BucketWidth, Lane, Position, Timestamp};
use thalweg_store::planner::{CursorKey, Filter, Query, Start, read};
use thalweg_store::suite::{channel, number_row, thing};
use thalweg_store::{
    CountLevel, Direction, EmbeddedConfig, EmbeddedStore, PurgeTarget, Store, TimeRange, WriteBatch, WriteRow,
};

const ROUNDS: u64 = 12;
const ROWS_PER_BATCH: u64 = 700;
const SECOND: i64 = 1_000_000_000;
const CHILD: &str = "append-until-killed";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    match arguments.as_slice() {
        [_, child, dir] if child == CHILD => runtime.block_on(append_until_killed(Path::new(dir))),
        _ => {
            runtime.block_on(every_kill_leaves_whole_batches());
            println!("a killed process left whole batches, {ROUNDS} times");
        }
    }
}

/// Small write buffers: flushes, rotations and compactions happen within a round.
fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir, EmbeddedConfig { cache_bytes: 1 << 20, write_buffer_bytes: 256 << 10 }).unwrap()
}

/// Batch `number`: 50 rows a second, and every fifth row is one of the batch before, sent again.
fn batch(number: u64) -> WriteBatch {
    let row = |n: u64| {
        let mut row = number_row(channel(1), thing((n % 10) as u8), n as i64 * SECOND / 50, number as f64);
        row.profile = BucketWidth::FiveMinutes.into();
        row
    };
    let first = number * ROWS_PER_BATCH;
    let again = (first.saturating_sub(ROWS_PER_BATCH)..first).step_by(5);
    let rows: Vec<WriteRow> = again.chain(first..first + ROWS_PER_BATCH).map(row).collect();
    WriteBatch { rows, positions: vec![Position { lane: Lane(0), offset: number }] }
}

async fn append_until_killed(dir: &Path) {
    let store = open(dir);
    let mut number = store.resume_after().await.unwrap().first().map_or(0, |position| position.offset + 1);
    let mut out = std::io::stdout().lock();
    loop {
        store.append(batch(number)).await.unwrap();
        if number % 7 == 3 {
            store.purge(PurgeTarget::Publisher(thing(200))).await.unwrap();
        }
        writeln!(out, "{number}").unwrap();
        number += 1;
    }
}

async fn every_kill_leaves_whole_batches() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = start(dir.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.take(1 + (round * 13 % 40) as usize) {
            acknowledged = line.unwrap().parse().unwrap();
        }
        // It goes on appending while the signal is on its way.
        child.kill().unwrap();
        child.wait().unwrap();
        check(dir.path(), acknowledged).await;
    }
}

fn start(dir: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new(program).arg(CHILD).arg(dir).stdout(Stdio::piped()).spawn().unwrap()
}

async fn check(dir: &Path, acknowledged: u64) {
    let store = open(dir);
    let [position] = store.resume_after().await.unwrap()[..] else { panic!("one lane has a position") };
    assert!(position.offset >= acknowledged, "batch {acknowledged} was acknowledged, {position:?} is there");
    let expected = (position.offset + 1) * ROWS_PER_BATCH;
    for level in CountLevel::ALL {
        let counts = store
            .counts(channel(1), BucketWidth::FiveMinutes.into(), level, i64::MIN..i64::MAX)
            .await
            .unwrap();
        assert_eq!(counts.iter().map(|count| count.rows).sum::<u64>(), expected, "{level:?}");
    }
    let key = CursorKey::from_bytes(&[1; 32]);
    let mut query = Query {
        channel: channel(1),
        profile: BucketWidth::FiveMinutes.into(),
        range: TimeRange::ALL,
        cut_off: Timestamp::MIN,
        direction: Direction::Ascending,
        filter: Filter::default(),
        limit: 1_000,
        start: Start::Offset(0),
    };
    let mut found = 0;
    loop {
        let page = read(&store, &query, &key).await.unwrap();
        for row in &page.rows {
            assert_eq!(row.record.time.as_nanos(), found * SECOND / 50, "every row is there once");
            found += 1;
        }
        match page.next {
            Some(next) => query.start = Start::Cursor(next),
            None => break,
        }
    }
    assert_eq!(found as u64, expected);
}
