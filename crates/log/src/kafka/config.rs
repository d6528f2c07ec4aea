//! Settings of the log on Kafka, and what they mean to the client.

use std::time::Duration;

use domain::limits::BODY_BYTES_MAX;
use rdkafka::ClientConfig;

use crate::contract::LogError;

/// Bytes of one message. The largest pack has to fit in with its key and headers, and a dead letter's reason; the
/// broker's own default leaves 12 bytes for them.
pub(crate) const MESSAGE_BYTES_MAX: usize = BODY_BYTES_MAX + (64 << 10);
/// Bytes that the client fetches ahead of our own buffer.
const PREFETCH_BYTES_MAX: usize = 4 << 20;

/// Settings of a log on Kafka. What is not said of time and memory are the brokers' own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Addresses of some of the brokers, `host:port`, separated by commas.
    pub brokers: String,
    /// The topic of the entries. Dead letters go to the one with `.dead-letters` behind it, and the names of consumer
    /// groups begin with it: several installations can share brokers.
    pub topic: String,
    /// Lanes of a topic that does not exist yet. It stays as it is made: another number would move things to other
    /// lanes, and their order would be lost.
    pub lanes: u32,
    /// On how many brokers each entry is kept, of a topic that does not exist yet.
    pub replication: u16,
    /// How many of them must have an entry before it counts as kept, of a topic that does not exist yet.
    pub in_sync_min: u16,
    /// Age beyond which the brokers delete entries, of a topic that does not exist yet. Unlike the embedded log they do so
    /// whether or not consumers have read them: what a group then misses is delivered to it as damage.
    pub retention_age: Duration,
    /// Bytes of entries that may wait for brokers: the log's share of memory.
    pub in_flight_bytes_max: usize,
    /// Entries that may wait for brokers.
    pub in_flight_entries_max: usize,
    /// How long an entry is tried to be delivered. Longer than it takes brokers to choose a new leader.
    pub delivery_timeout: Duration,
    /// If nothing was acknowledged for this long although entries wait, new ones are refused at once.
    pub stall_after: Duration,
    /// After how long without a sign of life a consumer's lanes go to others.
    pub session_timeout: Duration,
    /// Bytes of memory for entries that a consumer was sent and has not taken.
    pub fetched_bytes_max: usize,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            topic: "thalweg".into(),
            lanes: 16,
            replication: 3,
            in_sync_min: 2,
            retention_age: Duration::from_secs(7 * 24 * 3600),
            in_flight_bytes_max: 64 << 20,
            in_flight_entries_max: 65_536,
            delivery_timeout: Duration::from_secs(10),
            stall_after: Duration::from_secs(3),
            session_timeout: Duration::from_secs(10),
            fetched_bytes_max: 8 << 20,
        }
    }
}

impl KafkaConfig {
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let wrong = |reason: &str| Err(LogError::new("checking the settings of the log", reason));
        if self.lanes == 0 || self.lanes > i32::MAX as u32 {
            return wrong("lanes has to be at least 1");
        }
        if self.in_sync_min == 0 || self.replication < self.in_sync_min {
            return wrong("in_sync_min has to be at least 1, and at most replication");
        }
        if self.in_flight_bytes_max < MESSAGE_BYTES_MAX || self.in_flight_entries_max == 0 {
            return wrong(
                "in_flight_bytes_max and in_flight_entries_max have to have room for the largest pack",
            );
        }
        if self.delivery_timeout.is_zero() || self.session_timeout.is_zero() {
            return wrong("delivery_timeout and session_timeout have to be more than 0");
        }
        Ok(())
    }

    pub(crate) fn dead_letters(&self) -> String {
        format!("{}.dead-letters", self.topic)
    }

    /// What every client has.
    pub(crate) fn client(&self) -> ClientConfig {
        kafka::client(&self.brokers)
    }

    /// A client that appends.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut client = self.client();
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            // Of few under way none waits; many are gathered before the client has them (gate.rs).
            .set("linger.ms", "0")
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("message.timeout.ms", self.delivery_timeout.as_millis().to_string())
            // Our own bounds refuse first: these only have to leave room for them.
            .set("queue.buffering.max.messages", (2 * self.in_flight_entries_max).to_string())
            .set("queue.buffering.max.kbytes", (2 * self.in_flight_bytes_max / 1_024).max(1).to_string());
        client
    }

    /// A client that reads as a member of this group.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let session_millis = self.session_timeout.as_millis();
        let mut client = self.client();
        client
            .set("group.id", format!("{}.{group}", self.topic))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_millis.to_string())
            .set("heartbeat.interval.ms", (session_millis / 4).max(1).to_string())
            .set("max.poll.interval.ms", session_millis.max(300_000).to_string())
            .set("socket.timeout.ms", session_millis.max(10_000).to_string())
            .set("check.crcs", "true")
            .set("fetch.error.backoff.ms", "100")
            // What the client waits before it goes on once its own buffer was full: the default is a second.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("fetch.max.bytes", PREFETCH_BYTES_MAX.to_string())
            .set("queued.max.messages.kbytes", (PREFETCH_BYTES_MAX / 1_024).to_string())
            .set("statistics.interval.ms", "1000");
        client
    }
}
