//! What our clients of Kafka have in common: how they reach the brokers, how producers are answered, and how they tell of trouble.
//!
//! Knows no topic and no message. What a client is for says who makes it.

mod producer;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel as Level};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

pub use producer::producer;

/// First and longest pause before a broker is dialled again. Short: whoever publishes is told to come again after a second.
const RECONNECT_MILLIS: (u32, u32) = (50, 500);
/// How long an error that comes again and again is not told again. A client whose brokers are away says so many times a second.
const QUIET: Duration = Duration::from_secs(30);

/// What every client has. `brokers`: addresses (`host:port`) with commas between, to find the others by.
pub fn client(brokers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", brokers)
        .set("client.id", "thalweg")
        .set("socket.nagle.disable", "true")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", RECONNECT_MILLIS.0.to_string())
        .set("reconnect.backoff.max.ms", RECONNECT_MILLIS.1.to_string())
        .set("allow.auto.create.topics", "false");
    client
}

/// Tells in our logs what one client has to say. It recovers from nearly everything by itself, so that nothing of it is an
/// error of ours.
#[derive(Debug)]
pub struct Telling {
    of: &'static str,
    /// When each kind of error was last told.
    told: Mutex<Vec<(RDKafkaErrorCode, Instant)>>,
}

impl Telling {
    /// For a client of this: `the log`.
    pub fn of(of: &'static str) -> Self {
        Self { of, told: Mutex::default() }
    }

    /// A line of the client.
    pub fn line(&self, level: Level, facility: &str, text: &str) {
        let of = self.of;
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning => {
                tracing::warn!(facility, "kafka client of {of}: {text}");
            }
            Level::Notice | Level::Info | Level::Debug => {
                tracing::debug!(facility, "kafka client of {of}: {text}");
            }
        }
    }

    /// An error that concerns a client as a whole, like the loss of a broker: of one kind once in half a minute.
    pub fn trouble(&self, error: &KafkaError, reason: &str) {
        let of = self.of;
        if error.rdkafka_error_code().is_none_or(|code| self.is_due(code, Instant::now())) {
            tracing::warn!(%error, "kafka client of {of}: {reason}");
        } else {
            tracing::debug!(%error, "kafka client of {of}: {reason}");
        }
    }

    fn is_due(&self, code: RDKafkaErrorCode, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(_, at)| now.duration_since(*at) < QUIET);
        let is_due = told.iter().all(|(known, _)| *known != code);
        if is_due {
            told.push((code, now));
        }
        is_due
    }
}

impl ClientContext for Telling {
    fn log(&self, level: Level, facility: &str, text: &str) {
        self.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble(&error, reason);
    }
}

impl ConsumerContext for Telling {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_comes_again_is_told_once_in_half_a_minute() {
        let (telling, start) = (Telling::of("a test"), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let code = RDKafkaErrorCode::AllBrokersDown;
        let told: Vec<u64> = (0..90).filter(|second| telling.is_due(code, at(*second))).collect();
        assert_eq!(told, [0, 30, 60]);
        assert!(telling.is_due(RDKafkaErrorCode::Resolve, at(89)), "each kind by itself");
    }
}
