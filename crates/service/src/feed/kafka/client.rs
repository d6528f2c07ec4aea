//! What the client library has to say, in our logs.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Where clients of the feed speak. They recover from nearly everything by themselves, so that nothing of it is an error of
/// ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling;

impl ClientContext for Telling {
    fn log(&self, level: Level, facility: &str, text: &str) {
        match level {
            Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning => {
                tracing::warn!(facility, "kafka client of the change feed: {text}");
            }
            Level::Notice | Level::Info | Level::Debug => {
                tracing::debug!(facility, "kafka client of the change feed: {text}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, "kafka client of the change feed: {reason}");
    }
}

impl ConsumerContext for Telling {}
