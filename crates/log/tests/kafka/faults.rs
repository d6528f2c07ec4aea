//! Brokers that die, freeze and come back, under load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::Position;
use thalweg_log::suite::ANY;
use thalweg_log::{AppendError, Delivery, KafkaConfig, KafkaLog, Log, Subscription};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engines::Engines;
use crate::site::{KafkaSite, config, number, numbered};

const PUBLISHERS: std::ops::Range<u8> = 0..8;
/// How often a publisher tries: it shall be a load, not a storm.
const PACE: Duration = Duration::from_millis(5);

/// How appends went, over all publishers.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    acknowledged: u64,
    refused: u64,
}

/// Publishers that go on, each with one number behind the other, through every refusal.
struct Load {
    stop: CancellationToken,
    count: watch::Receiver<Count>,
    publishers: JoinSet<BTreeMap<(u8, i64), Position>>,
}

impl Load {
    fn on(log: &Arc<KafkaLog>) -> Self {
        let (stop, counting) = (CancellationToken::new(), watch::Sender::new(Count::default()));
        let count = counting.subscribe();
        let counting = Arc::new(counting);
        let mut publishers = JoinSet::new();
        for publisher in PUBLISHERS {
            publishers.spawn(publish(Arc::clone(log), publisher, stop.clone(), Arc::clone(&counting)));
        }
        Self { stop, count, publishers }
    }

    /// Waits until so many more are acknowledged.
    async fn acknowledged(&mut self, more: u64) {
        let wanted = self.count.borrow().acknowledged + more;
        self.count.wait_for(|count| count.acknowledged >= wanted).await.unwrap();
    }

    /// Waits until so many more are refused.
    async fn refused(&mut self, more: u64) {
        let wanted = self.count.borrow().refused + more;
        self.count.wait_for(|count| count.refused >= wanted).await.unwrap();
    }

    /// Ends it, and returns what was acknowledged and where.
    async fn end(self) -> BTreeMap<(u8, i64), Position> {
        self.stop.cancel();
        self.publishers.join_all().await.into_iter().flatten().collect()
    }
}

async fn publish(
    log: Arc<KafkaLog>,
    publisher: u8,
    stop: CancellationToken,
    counting: Arc<watch::Sender<Count>>,
) -> BTreeMap<(u8, i64), Position> {
    let (mut acknowledged, mut number) = (BTreeMap::new(), 0);
    let mut pace = tokio::time::interval(PACE);
    while !stop.is_cancelled() {
        pace.tick().await;
        match log.append(vec![numbered(publisher, number)]).await {
            Ok(positions) => {
                acknowledged.insert((publisher, number), positions[0]);
                number += 1;
                counting.send_modify(|count| count.acknowledged += 1);
            }
            // The same again, as a device would.
            Err(AppendError::Busy | AppendError::Unknown { .. }) => {
                counting.send_modify(|count| count.refused += 1);
            }
            Err(AppendError::Closed) => panic!("nobody closed the log"),
        }
    }
    acknowledged
}

/// Reads until each of these was delivered, and checks that it stands where its answer said, in its publisher's order.
async fn all_are_delivered(
    subscription: &mut dyn Subscription,
    acknowledged: &BTreeMap<(u8, i64), Position>,
) {
    let mut missing: BTreeSet<_> = acknowledged.iter().map(|(&who, &position)| (position, who)).collect();
    let mut last: BTreeMap<u8, (Position, i64)> = BTreeMap::new();
    while !missing.is_empty() {
        // Reading goes on by itself when the brokers are back; only lasting failures are told.
        for Delivery { position, entry } in subscription.next_batch(&ANY).await.unwrap().deliveries {
            let who @ (publisher, number) = number(&entry.expect("nothing is damaged"));
            missing.remove(&(position, who));
            let before = last.insert(publisher, (position, number));
            let is_behind =
                |&(before, number_before): &(Position, i64)| before >= position || number_before > number;
            assert!(!before.as_ref().is_some_and(is_behind), "{who:?} at {position:?} behind {before:?}");
        }
    }
}

async fn log_on(engines: &Engines, replication: u16) -> (Arc<KafkaLog>, KafkaConfig) {
    let config = KafkaConfig {
        delivery_timeout: Duration::from_secs(4),
        stall_after: Duration::from_secs(1),
        in_flight_entries_max: 100,
        ..config(&engines.brokers, replication)
    };
    (KafkaSite { config: config.clone() }.log().await, config)
}

/// Many appends at once, more than may be in flight: each is refused, and what they took is given back.
async fn memory_stays_bounded(log: &Arc<KafkaLog>, config: &KafkaConfig) {
    let mut appends = JoinSet::new();
    for publisher in 0..=250 {
        let log = Arc::clone(log);
        appends.spawn(async move { log.append(vec![numbered(publisher, i64::MAX)]).await.map(drop) });
    }
    while let Some(answer) = appends.join_next().await {
        assert!(log.entries_in_flight() <= config.in_flight_entries_max);
        assert!(matches!(answer.unwrap(), Err(AppendError::Busy | AppendError::Unknown { .. })));
    }
}

/// In one test, because a broker takes longer to start than what becomes of it. Frozen first: thawed, it is as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_refuses_appends_and_everything_goes_on_when_it_is_back() {
    let engines = Engines::start(1).await;
    an_outage_of_the_only_broker(&engines, "freeze", "thaw").await;
    engines.act("thaw", "kafka-1").await;
    an_outage_of_the_only_broker(&engines, "kill", "restart").await;
}

/// It ends with the broker harmed.
async fn an_outage_of_the_only_broker(engines: &Engines, harm: &str, heal: &str) {
    let (log, config) = log_on(engines, 1).await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let mut load = Load::on(&log);
    load.acknowledged(100).await;
    engines.act(harm, "kafka-1").await;
    load.refused(20).await;
    memory_stays_bounded(&log, &config).await;
    engines.act(heal, "kafka-1").await;
    load.acknowledged(100).await;
    let acknowledged = load.end().await;
    all_are_delivered(subscription.as_mut(), &acknowledged).await;

    // The consumer is in its group again, or still, and commits; what it has committed does not come again.
    let positions: Vec<_> = acknowledged.values().copied().collect();
    while subscription.commit(&positions).await.is_err() {}
    drop(subscription);
    let behind = log.append(vec![numbered(PUBLISHERS.end, 0)]).await.unwrap()[0];
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let mut is_there = false;
    while !is_there {
        for delivery in subscription.next_batch(&ANY).await.unwrap().deliveries {
            assert!(!positions.contains(&delivery.position), "{delivery:?} was committed");
            is_there |= delivery.position == behind;
        }
    }
    engines.act(harm, "kafka-1").await;
    a_log_closes_without_brokers(&log).await;
}

/// With an append that waits and a consumer that is a member: a process that is told to end has 25 s.
async fn a_log_closes_without_brokers(log: &Arc<KafkaLog>) {
    let (waiting, closed) = tokio::join!(
        log.append(vec![numbered(0, i64::MAX)]),
        tokio::time::timeout(Duration::from_secs(25), log.close()),
    );
    assert!(waiting.is_err() && closed.is_ok(), "{waiting:?}, {closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broker_of_three_is_killed_and_nothing_acknowledged_is_lost() {
    let engines = Engines::start(3).await;
    let (log, _) = log_on(&engines, 3).await;
    let mut subscription = log.subscribe("g", &[]).await.unwrap();
    let mut load = Load::on(&log);
    load.acknowledged(100).await;
    engines.act("kill", "kafka-2").await;
    load.acknowledged(200).await;
    engines.act("restart", "kafka-2").await;
    load.acknowledged(100).await;
    let acknowledged = load.end().await;
    all_are_delivered(subscription.as_mut(), &acknowledged).await;
    log.close().await;
}
