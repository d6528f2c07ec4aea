//! A producer and the thread that takes its answers.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, ProducerContext};

/// How long an idle thread waits for an answer at a time. The client's own threaded producer waits 100 ms, and spins through
/// the last of them: a hundredth of a core for each idle producer. It bounds how long a dropped producer lives on, too.
const WAIT: Duration = Duration::from_secs(1);

/// A producer whose answers go to `context`, on a thread of their own. It ends soon after the producer is dropped.
///
/// # Errors
/// [`KafkaError::ClientCreation`] if the settings make no sense, or no thread can be started.
pub fn producer<C: ProducerContext + 'static>(
    config: &ClientConfig,
    context: C,
) -> KafkaResult<Arc<BaseProducer<C>>> {
    let producer = Arc::new(BaseProducer::from_config_and_context(config, context)?);
    let polled = Arc::downgrade(&producer);
    let poll = move || {
        while let Some(producer) = polled.upgrade() {
            producer.poll(WAIT);
        }
    };
    let thread = thread::Builder::new().name("kafka-answers".to_owned()).spawn(poll);
    thread.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
    Ok(producer)
}
