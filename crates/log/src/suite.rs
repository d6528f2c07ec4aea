//! The contract of [`Log`] as tests: one suite, run on every implementation.
//!
//! A backend gives a [`Site`]; [`contract!`](crate::contract) makes one test of each law. The laws know lanes and
//! positions, and nothing of files or brokers.

#![expect(clippy::unwrap_used, reason = "these are tests, only called from elsewhere")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::senml::Format;
use domain::{ChannelId, ChannelProfile, Entry, Position, Protocol, ReceivedAt, Subtopic, ThingId};

use crate::contract::{AppendError, Batch, BatchLimits, DeadLetter, Log, Subscription};

/// Where one log lives.
#[async_trait]
pub trait Site: Send + Sync {
    /// Opens the log: an empty one the first time, and then, after it was closed, the same again.
    async fn open(&self) -> Arc<dyn Log>;
}

/// Limits that a test does not care about.
pub const ANY: BatchLimits = BatchLimits { entries_max: 1_000, bytes_max: 1 << 20, linger: Duration::ZERO };

/// One test of each law, in a module of this name, on the sites that the expression gives: a new one each.
#[macro_export]
macro_rules! contract {
    ($backend:ident, $site:expr) => {
        $crate::contract!(@laws $backend, $site,
            positions_come_in_order_and_are_unique
            entries_come_back_as_they_were
            entries_of_a_publisher_keep_their_order
            what_was_answered_survives_a_reopen
            entries_return_until_they_are_committed
            a_commit_survives_a_reopen
            an_earlier_commit_changes_nothing
            groups_are_independent
            a_group_resumes_behind_the_later_position
            a_dropped_wait_loses_nothing
            a_waiting_consumer_sees_what_is_appended
            limits_hold
            a_lingering_consumer_gets_a_fuller_batch
            the_backlog_is_what_was_not_delivered
            a_withheld_lane_delivers_nothing_from_there_on
            dead_letters_are_kept
            a_closed_log_takes_nothing
        );
    };
    (@laws $backend:ident, $site:expr, $($law:ident)*) => {
        mod $backend {
            use super::*;
            $(
                #[tokio::test]
                async fn $law() {
                    $crate::suite::$law(&$site).await;
                }
            )*
        }
    };
}

/// An entry of a publisher that is known by a small number.
pub fn entry(publisher: u8, received_micros: i64, payload: impl Into<Bytes>) -> Entry {
    Entry {
        channel: ChannelId::from_bytes([7; 16]),
        profile: ChannelProfile::default(),
        publisher: ThingId::from_bytes([publisher; 16]),
        subtopic: Subtopic::from_stored("a.b"),
        protocol: Protocol::Http,
        format: Format::Json,
        received: ReceivedAt::from_micros(received_micros),
        payload: payload.into(),
    }
}

/// Reads this many entries; all of them have to be whole.
pub async fn read(subscription: &mut dyn Subscription, count: usize) -> Vec<(Position, Entry)> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let batch = subscription.next_batch(&ANY).await.expect("the log can be read");
        assert!(!batch.deliveries.is_empty(), "a batch is never empty");
        let whole =
            |delivery: crate::Delivery| (delivery.position, delivery.entry.expect("nothing is damaged"));
        entries.extend(batch.deliveries.into_iter().map(whole));
    }
    assert_eq!(entries.len(), count, "no more than was appended");
    entries
}

fn numbered(publisher: u8, numbers: std::ops::Range<i64>) -> Vec<Entry> {
    numbers.map(|number| entry(publisher, number, format!("[{publisher},{number}]"))).collect()
}

fn payloads(entries: &[(Position, Entry)]) -> BTreeSet<Bytes> {
    entries.iter().map(|(_, entry)| entry.payload.clone()).collect()
}

fn last_positions(entries: &[(Position, Entry)]) -> Vec<Position> {
    let delivery = |(position, entry): &(Position, Entry)| crate::Delivery {
        position: *position,
        entry: Ok(entry.clone()),
    };
    Batch { deliveries: entries.iter().map(delivery).collect() }.last_positions()
}

/// Positions are returned in the order of the entries, growing within each lane, and no two are the same.
pub async fn positions_come_in_order_and_are_unique(site: &dyn Site) {
    let log = site.open().await;
    let mut seen = BTreeMap::new();
    for round in 0..3 {
        let positions = log.append(numbered(1, round * 10..round * 10 + 10)).await.unwrap();
        assert_eq!(positions.len(), 10);
        for position in positions {
            let before = seen.insert(position.lane, position.offset);
            assert!(before.is_none_or(|before| before < position.offset), "{position:?} after {before:?}");
        }
    }
    assert_eq!(log.append(Vec::new()).await.unwrap(), [], "nothing appended, nothing returned");
    log.close().await;
}

/// Every field of an entry comes back, at the position that `append` returned.
pub async fn entries_come_back_as_they_were(site: &dyn Site) {
    let log = site.open().await;
    let mut entries = vec![entry(1, i64::MAX, ""), entry(2, -1, vec![0_u8; 100_000]), entry(3, 0, "[{}]")];
    entries[0].subtopic = Subtopic::default();
    entries[2].channel = ChannelId::from_bytes([9; 16]);
    let positions = log.append(entries.clone()).await.unwrap();
    let mut read = read(log.subscribe("g", &[]).await.unwrap().as_mut(), 3).await;
    let mut expected: Vec<_> = positions.into_iter().zip(entries).collect();
    read.sort_by_key(|(position, _)| *position);
    expected.sort_by_key(|(position, _)| *position);
    assert_eq!(read, expected);
    log.close().await;
}

/// Entries of one publisher share a lane and come in the order they were appended, whoever else appends meanwhile.
pub async fn entries_of_a_publisher_keep_their_order(site: &dyn Site) {
    let log = site.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for publisher in 0..4 {
        let log = Arc::clone(&log);
        tasks.spawn(async move {
            for number in 0..50 {
                log.append(numbered(publisher, number..number + 1)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let mut orders: BTreeMap<ThingId, Vec<i64>> = BTreeMap::new();
    let mut lanes: BTreeMap<ThingId, BTreeSet<_>> = BTreeMap::new();
    for (position, entry) in read(log.subscribe("g", &[]).await.unwrap().as_mut(), 200).await {
        orders.entry(entry.publisher).or_default().push(entry.received.as_micros());
        lanes.entry(entry.publisher).or_default().insert(position.lane);
    }
    assert_eq!(orders.len(), 4);
    for order in orders.values() {
        assert_eq!(order, &(0..50).collect::<Vec<_>>());
    }
    assert!(lanes.values().all(|lanes| lanes.len() == 1), "{lanes:?}");
    log.close().await;
}

/// What was answered is there when the log is opened again, and positions go on behind it.
pub async fn what_was_answered_survives_a_reopen(site: &dyn Site) {
    let log = site.open().await;
    let before = log.append(numbered(1, 0..10)).await.unwrap();
    log.close().await;
    let log = site.open().await;
    let after = log.append(numbered(1, 10..12)).await.unwrap();
    assert!(
        after.iter().all(|position| before.iter().all(|before| before < position)),
        "{before:?} {after:?}"
    );
    let read = read(log.subscribe("g", &[]).await.unwrap().as_mut(), 12).await;
    assert_eq!(payloads(&read), numbered(1, 0..12).into_iter().map(|entry| entry.payload).collect());
    log.close().await;
}

/// A group that did not commit has everything again; one that did goes on behind its commit.
pub async fn entries_return_until_they_are_committed(site: &dyn Site) {
    let log = site.open().await;
    log.append(numbered(1, 0..10)).await.unwrap();
    for _ in 0..2 {
        let mut subscription = log.subscribe("g", &[]).await.unwrap();
        assert_eq!(read(subscription.as_mut(), 10).await.len(), 10);
    }
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let first = read_only(subscription.as_mut(), 4).await;
    subscription.commit(&last_positions(&first)).await.unwrap();
    drop(subscription);
    let rest = read(log.subscribe("g", &[]).await.unwrap().as_mut(), 6).await;
    assert!(payloads(&first).is_disjoint(&payloads(&rest)));
    log.close().await;
}

/// Opening the log again changes nothing of what a group committed.
pub async fn a_commit_survives_a_reopen(site: &dyn Site) {
    let log = site.open().await;
    log.append(numbered(1, 0..10)).await.unwrap();
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let first = read_only(subscription.as_mut(), 7).await;
    subscription.commit(&last_positions(&first)).await.unwrap();
    drop(subscription);
    log.close().await;
    let log = site.open().await;
    let rest = read(log.subscribe("g", &[]).await.unwrap().as_mut(), 3).await;
    assert!(payloads(&first).is_disjoint(&payloads(&rest)));
    log.close().await;
}

/// Committing a position behind the committed one neither fails nor brings entries back.
pub async fn an_earlier_commit_changes_nothing(site: &dyn Site) {
    let log = site.open().await;
    let positions = log.append(numbered(1, 0..10)).await.unwrap();
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    read(subscription.as_mut(), 10).await;
    subscription.commit(&[positions[7]]).await.unwrap();
    subscription.commit(&[positions[2]]).await.unwrap();
    subscription.commit(&[]).await.unwrap();
    drop(subscription);
    let rest = read(log.subscribe("g", &[]).await.unwrap().as_mut(), 2).await;
    assert_eq!(payloads(&rest), numbered(1, 8..10).into_iter().map(|entry| entry.payload).collect());
    log.close().await;
}

/// What one group commits says nothing about another.
pub async fn groups_are_independent(site: &dyn Site) {
    let log = site.open().await;
    log.append(numbered(1, 0..5)).await.unwrap();
    let mut one = log.subscribe("one", &[]).await.unwrap();
    let read_by_one = read(one.as_mut(), 5).await;
    one.commit(&last_positions(&read_by_one)).await.unwrap();
    let mut two = log.subscribe("two", &[]).await.unwrap();
    assert_eq!(read(two.as_mut(), 5).await, read_by_one);
    log.close().await;
}

/// A group goes on behind the position that its consumer kept, if that is later than the committed one.
pub async fn a_group_resumes_behind_the_later_position(site: &dyn Site) {
    let log = site.open().await;
    let positions = log.append(numbered(1, 0..10)).await.unwrap();
    let mut subscription = log.subscribe("g", &positions[5..6]).await.unwrap();
    assert_eq!(read(subscription.as_mut(), 4).await[0].0, positions[6]);
    subscription.commit(&positions[7..8]).await.unwrap();
    drop(subscription);
    let mut subscription = log.subscribe("g", &positions[3..4]).await.unwrap();
    assert_eq!(read(subscription.as_mut(), 2).await[0].0, positions[8]);
    drop(subscription);
    log.close().await;
}

/// A future of `next_batch` that is dropped at any of its waits takes nothing with it.
pub async fn a_dropped_wait_loses_nothing(site: &dyn Site) {
    let log = site.open().await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let mut seen = Vec::new();
    for number in 0..20 {
        // Dropped while there may be nothing yet, while it is being read, and while it lingers.
        let lingering = BatchLimits { linger: Duration::from_secs(3600), ..ANY };
        let waiting = subscription.next_batch(&lingering);
        let (appended, dropped) = tokio::join!(
            log.append(numbered(1, number..number + 1)),
            tokio::time::timeout(Duration::ZERO, waiting)
        );
        appended.unwrap();
        seen.extend(dropped.into_iter().flat_map(|batch| batch.unwrap().deliveries));
    }
    while seen.len() < 20 {
        seen.extend(subscription.next_batch(&ANY).await.unwrap().deliveries);
    }
    let order: Vec<_> =
        seen.into_iter().map(|delivery| delivery.entry.unwrap().received.as_micros()).collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
    drop(subscription);
    log.close().await;
}

/// A consumer that waits is woken by an append.
pub async fn a_waiting_consumer_sees_what_is_appended(site: &dyn Site) {
    let log = site.open().await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    for number in 0..10 {
        let (read, appended) =
            tokio::join!(read(subscription.as_mut(), 1), log.append(numbered(1, number..number + 1)));
        assert_eq!(vec![read[0].0], appended.unwrap());
    }
    drop(subscription);
    log.close().await;
}

/// A batch has at most as many entries and bytes as asked for, but always one.
pub async fn limits_hold(site: &dyn Site) {
    let log = site.open().await;
    log.append((0..10).map(|number| entry(1, number, vec![b'x'; 100])).collect()).await.unwrap();
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let mut counts = Vec::new();
    for (entries_max, bytes_max) in [(3, 1_000), (1_000, 250), (1_000, 1), (1_000, 0), (1, 1_000)] {
        let limits = BatchLimits { entries_max, bytes_max, linger: Duration::ZERO };
        let count = subscription.next_batch(&limits).await.unwrap().deliveries.len();
        assert!(
            count >= 1 && count <= entries_max && (count == 1 || count * 100 <= bytes_max),
            "{limits:?}: {count}"
        );
        counts.push(count);
    }
    let left = 10 - counts.iter().sum::<usize>();
    assert_eq!(read(subscription.as_mut(), left).await.len(), left);
    drop(subscription);
    log.close().await;
}

/// With a linger, a batch is returned when it is full, long before the linger is over.
pub async fn a_lingering_consumer_gets_a_fuller_batch(site: &dyn Site) {
    let log = site.open().await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let limits = BatchLimits { entries_max: 3, bytes_max: 1 << 20, linger: Duration::from_secs(3600) };
    let append_one_by_one = async {
        for number in 0..3 {
            log.append(numbered(1, number..number + 1)).await.unwrap();
        }
    };
    let (batch, ()) = tokio::join!(subscription.next_batch(&limits), append_one_by_one);
    assert_eq!(batch.unwrap().deliveries.len(), 3);
    drop(subscription);
    log.close().await;
}

/// The backlog counts what is appended and not delivered.
pub async fn the_backlog_is_what_was_not_delivered(site: &dyn Site) {
    let log = site.open().await;
    log.append(numbered(1, 0..10)).await.unwrap();
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    assert_eq!(subscription.backlog(), 10);
    read_only(subscription.as_mut(), 4).await;
    assert_eq!(subscription.backlog(), 6);
    drop(subscription);
    log.close().await;
}

/// A consumer that withholds a lane gets nothing of it from there on, and the next one of its group does.
pub async fn a_withheld_lane_delivers_nothing_from_there_on(site: &dyn Site) {
    let log = site.open().await;
    let positions = log.append(numbered(1, 0..10)).await.unwrap();
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    read_only(subscription.as_mut(), 6).await;
    subscription.withhold(positions[2]);
    assert_eq!(subscription.backlog(), 8, "what is withheld is not delivered");
    subscription.commit(&positions[1..2]).await.unwrap();
    drop(subscription);
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let again = read(subscription.as_mut(), 8).await;
    assert_eq!(again.iter().map(|(position, _)| *position).collect::<Vec<_>>(), positions[2..]);
    // Withheld before it was read: who waits sees nothing of it, only the end of the log.
    log.append(numbered(1, 10..12)).await.unwrap();
    subscription.withhold(Position { offset: positions[9].offset + 1, ..positions[9] });
    let (waiting, ()) = tokio::join!(subscription.next_batch(&ANY), log.close());
    assert!(waiting.is_err(), "{waiting:?}");
}

/// Dead letters are read back from a number on as they were buried, and do not disturb the log.
pub async fn dead_letters_are_kept(site: &dyn Site) {
    let log = site.open().await;
    let positions = log.append(numbered(1, 0..2)).await.unwrap();
    log.bury(vec![letter(&positions, 0), letter(&positions, 1)]).await.unwrap();
    log.bury(Vec::new()).await.unwrap();
    let letters = log.dead_letters(0, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.number).collect::<Vec<_>>(), [0, 1]);
    for (number, letter) in letters.into_iter().enumerate() {
        let (kept, buried) = (letter.letter.unwrap(), self::letter(&positions, number));
        assert_eq!((kept.position, kept.entry, kept.reason), (buried.position, buried.entry, buried.reason));
    }
    let numbers = async |from, most| {
        let letters = log.dead_letters(from, most).await.unwrap();
        letters.iter().map(|letter| letter.number).collect::<Vec<_>>()
    };
    assert_eq!((numbers(0, 1).await, numbers(1, 10).await, numbers(2, 10).await), (vec![0], vec![1], vec![]));
    assert_eq!(read(log.subscribe("g", &[]).await.unwrap().as_mut(), 2).await.len(), 2);
    log.close().await;
}

fn letter(positions: &[Position], number: usize) -> DeadLetter {
    DeadLetter {
        position: positions[number],
        entry: numbered(1, number as i64..number as i64 + 1).remove(0),
        reason: "it is of no known form".into(),
    }
}

/// A closed log refuses appends, dead letters and reads, and closing it again is fine.
pub async fn a_closed_log_takes_nothing(site: &dyn Site) {
    let log = site.open().await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let positions = log.append(numbered(1, 0..1)).await.unwrap();
    read(subscription.as_mut(), 1).await;
    let (waiting, ()) = tokio::join!(subscription.next_batch(&ANY), log.close());
    assert!(waiting.is_err(), "who waits is told: {waiting:?}");
    log.close().await;
    assert!(matches!(log.append(numbered(1, 1..2)).await, Err(AppendError::Closed)));
    let letter =
        DeadLetter { position: positions[0], entry: numbered(1, 0..1).remove(0), reason: String::new() };
    assert!(matches!(log.bury(vec![letter]).await, Err(AppendError::Closed)));
    assert!(subscription.commit(&positions).await.is_err());
    assert!(log.subscribe("other", &[]).await.is_err());
}

/// Reads exactly so many entries, though more may be there.
async fn read_only(subscription: &mut dyn Subscription, count: usize) -> Vec<(Position, Entry)> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let limits = BatchLimits { entries_max: count - entries.len(), ..ANY };
        let batch = subscription.next_batch(&limits).await.unwrap();
        let whole = |delivery: crate::Delivery| (delivery.position, delivery.entry.unwrap());
        entries.extend(batch.deliveries.into_iter().map(whole));
    }
    entries
}
