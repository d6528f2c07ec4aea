//! Settings of the change feed on Kafka, and what they mean to the client.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::feed::FeedError;

/// The one partition.
pub(super) const PARTITION: i32 = 0;
/// What its clients are for, in our logs.
pub(super) const FEED: &str = "the change feed";
/// How often a process asks where the feed ends.
pub(super) const CONFIRM_EVERY: Duration = Duration::from_millis(500);
/// How long one such question may take. One that a frozen broker answers later than that is not waited for.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long one fetch waits at the broker for a change to come: it comes back at once when there is one. Behind it on the same
/// connection waits the question where the feed ends.
const FETCH_WAIT: Duration = Duration::from_millis(200);
/// How long a broker may leave any request unanswered before its connection is given up: of a broker that froze, this is
/// what it takes to notice. The client wants it to be a second more than a fetch waits.
const SOCKET_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Bytes of a message. A change takes less than 100.
const MESSAGE_BYTES_MAX: u32 = 16 << 10;
/// Changes that wait to be sent: more than the relay publishes at a time.
const CHANGES_IN_FLIGHT_MAX: u32 = 20_000;

/// Settings of a change feed on Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaFeedConfig {
    /// Addresses of some of the brokers, `host:port`, separated by commas.
    pub brokers: String,
    /// The topic, which this installation has for itself.
    pub topic: String,
    /// On how many brokers each change is kept, of a topic that does not exist yet.
    pub replication: u16,
    /// How many of them must have a change before it counts as published, of a topic that does not exist yet.
    pub in_sync_min: u16,
    /// Age beyond which the brokers delete changes, of a topic that does not exist yet. A process that reads later than that
    /// asks for everything again.
    pub retention_age: Duration,
    /// How long a change is tried to be published: whoever revokes waits for it.
    pub delivery_timeout: Duration,
    /// How long what is cached is believed without a confirmation.
    pub stale_after: Duration,
}

impl Default for KafkaFeedConfig {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            topic: "thalweg.changes".into(),
            replication: 3,
            in_sync_min: 2,
            retention_age: Duration::from_secs(7 * 24 * 3_600),
            delivery_timeout: Duration::from_secs(4),
            stale_after: Duration::from_secs(5),
        }
    }
}

impl KafkaFeedConfig {
    pub(super) fn check(&self) -> Result<(), FeedError> {
        let wrong = |reason: &str| Err(FeedError::Unusable(reason.to_owned()));
        if self.in_sync_min == 0 || self.replication < self.in_sync_min {
            return wrong("in_sync_min has to be at least 1, and at most replication");
        }
        if self.delivery_timeout.is_zero() {
            return wrong("delivery_timeout has to be more than 0");
        }
        if self.stale_after <= 2 * CONFIRM_EVERY {
            return wrong("stale_after has to be longer than it takes to ask twice where the feed ends");
        }
        Ok(())
    }

    /// What every client has.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = kafka::client(&self.brokers);
        client
            .set("socket.timeout.ms", millis(SOCKET_TIMEOUT))
            .set("socket.connection.setup.timeout.ms", millis(SOCKET_TIMEOUT))
            .set("retry.backoff.ms", "50")
            .set("retry.backoff.max.ms", "250");
        client
    }

    /// A client that makes topics, and may wait for it.
    pub(super) fn admin(&self) -> ClientConfig {
        let mut client = self.client();
        client.set("socket.timeout.ms", "30000");
        client
    }

    /// A client that publishes.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut client = self.client();
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("message.timeout.ms", millis(self.delivery_timeout))
            .set("queue.buffering.max.messages", CHANGES_IN_FLIGHT_MAX.to_string());
        client
    }

    /// A client that reads.
    pub(super) fn follower(&self) -> ClientConfig {
        let mut client = self.client();
        client
            // The client wants a name. No group is ever joined, and nothing is ever committed.
            .set("group.id", format!("{}.nobody", self.topic))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Where the feed ends must not depend on a transaction that somebody left open on the topic: what is behind it is
            // published.
            .set("isolation.level", "read_uncommitted")
            // A place that is gone is told, and not replaced by another one.
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", millis(FETCH_WAIT))
            .set("fetch.error.backoff.ms", "50")
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.message.max.bytes", (256 << 10).to_string())
            .set("queued.max.messages.kbytes", "1024");
        client
    }
}

pub(super) fn millis(time: Duration) -> String {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_said() {
        let good = KafkaFeedConfig::default();
        assert!(good.check().is_ok());
        for bad in [
            KafkaFeedConfig { in_sync_min: 0, ..good.clone() },
            KafkaFeedConfig { replication: 1, ..good.clone() },
            KafkaFeedConfig { delivery_timeout: Duration::ZERO, ..good.clone() },
            KafkaFeedConfig { stale_after: Duration::from_secs(1), ..good },
        ] {
            assert!(matches!(bad.check(), Err(FeedError::Unusable(_))), "{bad:?}");
        }
    }

    /// The client checks its settings when it is made, and reaches for nobody yet.
    #[test]
    fn the_client_takes_these_settings() {
        let config = KafkaFeedConfig { brokers: "127.0.0.1:1".into(), ..KafkaFeedConfig::default() };
        config.producer().create::<rdkafka::producer::BaseProducer>().unwrap();
        config.follower().create::<rdkafka::consumer::BaseConsumer>().unwrap();
    }
}
