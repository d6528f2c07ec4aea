//! What a directory has to look like to be opened: stores of earlier releases stay readable, those of later ones are
//! refused.

use std::fs;
use std::path::Path;

use domain::{BucketWidth, Lane, Position, ReceivedAt, Subtopic, ThingId, Timestamp, Value};
use thalweg_store::planner::{CursorKey, Filter, Query, Start, read};
use thalweg_store::suite::{Model, channel, number_row, thing};
use thalweg_store::{
    Direction, EmbeddedConfig, EmbeddedStore, PurgeTarget, Store, StoreError, TimeRange, WriteBatch, WriteRow,
};

use crate::home::EmbeddedHome;

fn open(home: &EmbeddedHome) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(home.path(), EmbeddedConfig::default())
}

#[test]
fn a_new_store_says_its_format_and_opens_again() {
    let home = EmbeddedHome::new();
    drop(open(&home).unwrap());
    assert_eq!(fs::read_to_string(home.path().join("FORMAT")).unwrap(), "1\n");
    drop(open(&home).unwrap());
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let home = EmbeddedHome::new();
    fs::write(home.path().join("FORMAT"), "2\n").unwrap();
    let refused = open(&home).unwrap_err();
    assert!(matches!(refused, StoreError::NewerFormat { found: 2, known: 1 }), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        "stored data has format 2, this build reads up to 1: start a newer build"
    );
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_format_that_is_none_is_damage() {
    for text in ["", "0\n", "one\n"] {
        let home = EmbeddedHome::new();
        fs::write(home.path().join("FORMAT"), text).unwrap();
        assert!(matches!(open(&home), Err(StoreError::Damaged(_))), "{text:?}");
    }
    let home = EmbeddedHome::new();
    drop(open(&home).unwrap());
    fs::remove_file(home.path().join("FORMAT")).unwrap();
    assert!(matches!(open(&home), Err(StoreError::Damaged(_))));
}

#[test]
fn a_store_is_open_once() {
    let home = EmbeddedHome::new();
    let first = open(&home).unwrap();
    assert!(matches!(open(&home), Err(StoreError::Unavailable(_))));
    drop(first);
    drop(open(&home).unwrap());
}

/// The thing whose rows were purged from the store of [`batches_of_version_1`].
const PURGED: ThingId = thing(3);

/// What the first release wrote to the store under `tests/fixtures/v1`, a batch at a time, before it purged a thing: rows
/// of every kind of value, in buckets of each width, decades apart; the second batch replaces some of the first.
fn batches_of_version_1() -> Vec<Vec<WriteRow>> {
    let widths = [BucketWidth::FiveMinutes, BucketWidth::Hour, BucketWidth::Day];
    let values = [
        (Some(Value::Number(-1.5)), Some(2.0)),
        (Some(Value::Text("\u{1F511} ключ".into())), None),
        (Some(Value::Bool(false)), None),
        (Some(Value::Data(vec![0, 255])), None),
        (None, Some(4.0)),
    ];
    let row = |n: u8, received: i64| {
        let place = usize::from(n % 3);
        let nanos = [i64::MIN, -1, 1_554_381_569_992_000_000, i64::MAX][usize::from(n % 4)];
        let mut row = number_row(channel(1 + n % 3), thing(n % 5), nanos, 0.0);
        row.profile = widths[place].into();
        row.row.received = ReceivedAt::from_micros(received);
        row.row.subtopic = Subtopic::from_stored(["", "a.b"][usize::from(n % 2)]);
        row.row.record.unit = ["", "Cel"][usize::from(n / 7 % 2)].into();
        (row.row.record.value, row.row.record.sum) = values[(usize::from(n) + received as usize) % 5].clone();
        row.row.record.update_time = row.row.record.sum;
        row
    };
    vec![(0..60).map(|n| row(n, 1)).collect(), (0..60).step_by(4).map(|n| row(n, 2)).collect()]
}

#[tokio::test]
async fn a_store_of_version_1_stays_readable() {
    let home = copy_of_version_1();
    let store = open(&home).unwrap();
    let mut model = Model::default();
    for rows in batches_of_version_1() {
        model.append(&rows);
    }
    model.purge(PurgeTarget::Publisher(PURGED));
    assert_eq!(store.resume_after().await.unwrap(), [Position { lane: Lane(0), offset: 1 }]);
    holds_what_the_model_does(&store, &model).await;

    // It goes on: what is purged stays so, what is replaced is not counted twice.
    let rows = batches_of_version_1().concat();
    model.append(&rows);
    store.append(WriteBatch { rows, positions: Vec::new() }).await.unwrap();
    holds_what_the_model_does(&store, &model).await;
}

async fn holds_what_the_model_does(store: &EmbeddedStore, model: &Model) {
    for (number, bucket_width) in
        [BucketWidth::FiveMinutes, BucketWidth::Hour, BucketWidth::Day].into_iter().enumerate()
    {
        let query = Query {
            channel: channel(1 + number as u8),
            profile: bucket_width.into(),
            range: TimeRange::ALL,
            cut_off: Timestamp::MIN,
            direction: Direction::Descending,
            filter: Filter::default(),
            limit: 1_000,
            start: Start::Offset(0),
        };
        let page = read(store, &query, &CursorKey::from_bytes(&[1; 32])).await.unwrap();
        let expected = model.answer(&query);
        assert!(!expected.is_empty());
        assert_eq!(page.total, expected.len() as u64, "{bucket_width:?}");
        assert_eq!(page.rows, expected, "{bucket_width:?}");
    }
}

/// What a journal takes from its beginning on; the zeros behind what is in it are not kept with the fixture.
const JOURNAL_BYTES: u64 = 64 << 20;

fn copy_of_version_1() -> EmbeddedHome {
    let home = EmbeddedHome::new();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1"), home.path());
    for keyspace in 0..4 {
        // A directory that nothing is in is not kept either.
        fs::create_dir_all(home.path().join(format!("database/keyspaces/{keyspace}/tables"))).unwrap();
    }
    home
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
            if target.extension().is_some_and(|extension| extension == "jnl") {
                fs::OpenOptions::new().write(true).open(&target).unwrap().set_len(JOURNAL_BYTES).unwrap();
            }
        }
    }
}
