//! What stands in the topics, as other consumers see it, and what we make of what others write there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::Position;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use thalweg_log::suite::entry;
use thalweg_log::{DeadLetter, KafkaConfig, Log, Undeliverable};

use crate::site::{last_positions, numbered, read_until, site};

/// What another client finds at the beginning of a lane.
fn first_message(brokers: &str, topic: &str, lane: u32) -> OwnedMessage {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "another consumer")
        .create()
        .unwrap();
    let mut lanes = TopicPartitionList::new();
    lanes.add_partition_offset(topic, lane as i32, Offset::Beginning).unwrap();
    consumer.assign(&lanes).unwrap();
    loop {
        // An error is a moment in which the broker is busy; the client goes on.
        if let Some(Ok(message)) = consumer.poll(Duration::from_secs(1)) {
            return message.detach();
        }
    }
}

fn headers(message: &OwnedMessage) -> Vec<(String, String)> {
    let headers = message.headers().unwrap();
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_consumers_can_read_the_topic() {
    let site = site();
    let log = site.log().await;
    let sent = entry(1, 1_700_000_000_123_456, r#"[{"n":"t","v":1}]"#);
    let position = log.append(vec![sent.clone()]).await.unwrap()[0];
    let KafkaConfig { brokers, topic, .. } = &site.config;
    let message = tokio::task::block_in_place(|| first_message(brokers, topic, position.lane.0));
    assert_eq!(message.key(), Some(sent.publisher.to_string().as_bytes()));
    assert_eq!(message.payload(), Some(sent.payload.as_ref()));
    assert_eq!(message.timestamp(), rdkafka::Timestamp::CreateTime(1_700_000_000_123));
    let named: Vec<_> = headers(&message).into_iter().skip(1).collect();
    let expected = [
        ("content-type", "application/senml+json"),
        ("channel", &sent.channel.to_string()),
        ("subtopic", "a.b"),
    ];
    assert_eq!(named, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_its_headers_and_says_why_and_from_where() {
    let site = site();
    let log = site.log().await;
    let sent = entry(1, 1_700_000_000_000_000, "[{}]");
    let position = log.append(vec![sent.clone()]).await.unwrap()[0];
    let reason = "record 0 has no value".to_owned();
    log.bury(vec![DeadLetter { position, entry: sent.clone(), reason: reason.clone() }]).await.unwrap();
    let KafkaConfig { brokers, topic, .. } = &site.config;
    let (letter, original) = tokio::task::block_in_place(|| {
        (
            first_message(brokers, &format!("{topic}.dead-letters"), 0),
            first_message(brokers, topic, position.lane.0),
        )
    });
    assert_eq!((letter.key(), letter.payload()), (original.key(), original.payload()));
    assert_eq!(letter.timestamp(), original.timestamp());
    let (kept, original) = (headers(&letter), headers(&original));
    assert_eq!(kept[..original.len()], original);
    let own = [
        ("dead-letter-reason", reason),
        ("dead-letter-lane", position.lane.0.to_string()),
        ("dead-letter-offset", position.offset.to_string()),
    ];
    assert_eq!(kept[original.len()..], own.map(|(key, value)| (key.to_owned(), value)));
    log.close().await;
}

#[tokio::test]
async fn other_producers_find_the_lane_of_a_thing() {
    let site = site();
    let log = site.log().await;
    let KafkaConfig { brokers, topic, .. } = &site.config;
    let other: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap();
    let mut lanes = BTreeSet::new();
    for number in 0..50 {
        let ours = numbered(number, 0);
        let key = ours.publisher.to_string();
        let theirs = FutureRecord::to(topic).key(&key).payload("[]");
        let theirs = other.send(theirs, Duration::ZERO).await.unwrap();
        let ours = log.append(vec![ours]).await.unwrap()[0];
        assert_eq!(ours.lane.0 as i32, theirs.partition, "{key}");
        lanes.insert(ours.lane);
    }
    assert!(lanes.len() > 1);
    log.close().await;
}

#[tokio::test]
async fn however_many_are_under_way_a_lane_has_them_in_the_order_of_their_appends() {
    let site = site();
    let log = Arc::new(site.log().await);
    // Tasks of one thread begin in the order in which they are spawned.
    let appends: Vec<_> = (0..2_000)
        .map(|number| {
            let log = Arc::clone(&log);
            tokio::spawn(async move { log.append(vec![numbered((number % 16) as u8, number)]).await })
        })
        .collect();
    let mut ends: BTreeMap<usize, Position> = BTreeMap::new();
    for (number, append) in appends.into_iter().enumerate() {
        let position = append.await.unwrap().unwrap()[0];
        if let Some(before) = ends.insert(number % 16, position) {
            assert_eq!(position.lane, before.lane);
            assert!(
                before.offset < position.offset,
                "entry {number} overtook the one before it of its thing"
            );
        }
    }
    log.close().await;
}

#[tokio::test]
async fn what_is_no_entry_of_ours_is_damage_and_what_a_newer_build_wrote_is_told_apart() {
    let site = site();
    let log = site.log().await;
    let position = log.append(vec![numbered(1, 0)]).await.unwrap()[0];
    let stranger: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &site.config.brokers).create().unwrap();
    let header = |key: &'static str, value: &'static [u8]| Header { key, value: Some(value) };
    for headers in [
        None,
        Some(header("other", b"1")),
        Some(header("thalweg-entry", b"")),
        Some(header("thalweg-entry", &[9, 1, 2])),
    ] {
        let mut record = FutureRecord::to(&site.config.topic).key("stranger").payload("[]");
        record = record.partition(position.lane.0 as i32);
        if let Some(header) = headers {
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        stranger.send(record, Duration::ZERO).await.unwrap();
    }
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let last = position.offset + 4;
    let deliveries = read_until(subscription.as_mut(), |delivery| delivery.position.offset == last).await;
    let kinds: Vec<_> = deliveries
        .iter()
        .map(|delivery| match &delivery.entry {
            Ok(_) => "entry".to_owned(),
            Err(Undeliverable::Damaged(_)) => "damage".to_owned(),
            Err(Undeliverable::UnknownVersion(version)) => format!("version {version}"),
        })
        .collect();
    assert_eq!(kinds, ["entry", "damage", "damage", "damage", "version 9"]);
    log.close().await;
}

#[tokio::test]
async fn what_brokers_delete_before_it_was_read_is_delivered_as_damage() {
    let site = site();
    let log = site.log().await;
    let positions = log.append((0..10).map(|number| numbered(1, number)).collect()).await.unwrap();
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let is_last = |delivery: &thalweg_log::Delivery| delivery.position == positions[9];
    read_until(subscription.as_mut(), is_last).await;
    subscription.commit(&positions[2..3]).await.unwrap();
    drop(subscription);
    delete_before(&site.config, positions[6].lane.0, positions[6].offset).await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let deliveries = read_until(subscription.as_mut(), is_last).await;
    assert!(matches!(deliveries[0].entry, Err(Undeliverable::Damaged(_))), "{:?}", deliveries[0]);
    assert_eq!(deliveries[0].position, positions[5]);
    let rest: Vec<_> = deliveries[1..].iter().map(|delivery| delivery.position).collect();
    assert_eq!(rest, positions[6..]);
    assert_eq!(last_positions(&deliveries), [positions[9]]);
    log.close().await;
}

async fn delete_before(config: &KafkaConfig, lane: u32, offset: u64) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&config.topic, lane as i32, Offset::Offset(offset as i64)).unwrap();
    let deleted = admin.delete_records(&before, &AdminOptions::new()).await.unwrap();
    deleted.elements().iter().for_each(|element| element.error().unwrap());
}
