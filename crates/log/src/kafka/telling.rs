//! What the client library has to say, in our logs.

use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::KafkaError;

/// A line of the client. It recovers from nearly everything by itself, so that nothing of it is an error of ours.
pub(crate) fn line(level: Level, facility: &str, text: &str) {
    match level {
        Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning => {
            tracing::warn!(facility, "kafka client: {text}");
        }
        Level::Notice | Level::Info | Level::Debug => tracing::debug!(facility, "kafka client: {text}"),
    }
}

/// An error that concerns a client as a whole, like the loss of a broker.
pub(crate) fn error(error: &KafkaError, reason: &str) {
    tracing::warn!(%error, "kafka client: {reason}");
}
