//! Logs on the broker that is there: each test has topics of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::{Entry, Position};
use thalweg_log::suite::{ANY, Site, entry};
use thalweg_log::{Delivery, KafkaConfig, KafkaLog, Log, Subscription};

pub(crate) struct KafkaSite {
    pub(crate) config: KafkaConfig,
}

impl KafkaSite {
    pub(crate) async fn log(&self) -> Arc<KafkaLog> {
        Arc::new(KafkaLog::open(self.config.clone()).await.unwrap())
    }
}

#[async_trait]
impl Site for KafkaSite {
    async fn open(&self) -> Arc<dyn Log> {
        self.log().await
    }
}

/// A log on the broker that `make test` has started.
pub(crate) fn site() -> KafkaSite {
    KafkaSite { config: config(&brokers(), 1) }
}

/// A log with a new topic on these brokers.
pub(crate) fn config(brokers: &str, replication: u16) -> KafkaConfig {
    static TOPICS: AtomicU32 = AtomicU32::new(0);
    let number = TOPICS.fetch_add(1, Ordering::Relaxed);
    KafkaConfig {
        brokers: brokers.into(),
        topic: format!("test-{}-{number}", std::process::id()),
        lanes: 4,
        replication,
        in_sync_min: replication.div_ceil(2),
        // The receptions of tests are long ago.
        retention_age: Duration::MAX,
        session_timeout: Duration::from_secs(3),
        ..KafkaConfig::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "where the broker is, is the one setting of these tests")]
pub(crate) fn brokers() -> String {
    let help = "THALWEG_KAFKA_BROKERS is not set. These tests need a broker: run `make test`, or \
                `deploy/engines with kafka -- cargo test -p thalweg-log --features engines --test kafka`";
    std::env::var("THALWEG_KAFKA_BROKERS").expect(help)
}

/// An entry that is known by its publisher and a number.
pub(crate) fn numbered(publisher: u8, number: i64) -> Entry {
    entry(publisher, number, format!("[{publisher},{number}]"))
}

/// What an entry of [`numbered`] is known by.
pub(crate) fn number(entry: &Entry) -> (u8, i64) {
    (entry.publisher.as_bytes()[0], entry.received.as_micros())
}

/// Takes batches until there is a delivery for which this holds, that one included.
pub(crate) async fn read_until(
    subscription: &mut dyn Subscription,
    mut is_last: impl FnMut(&Delivery) -> bool,
) -> Vec<Delivery> {
    let mut deliveries: Vec<Delivery> = Vec::new();
    while !deliveries.iter().any(&mut is_last) {
        deliveries.extend(subscription.next_batch(&ANY).await.unwrap().deliveries);
    }
    deliveries
}

/// The positions that are done when all of these are.
pub(crate) fn last_positions(deliveries: &[Delivery]) -> Vec<Position> {
    thalweg_log::Batch { deliveries: deliveries.to_vec() }.last_positions()
}
