//! Publishes changes: idempotent, acknowledged by every broker in sync, and never waited for without end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use kafka::Telling;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientContext, Message as _};
use tokio::sync::oneshot;

use super::config::{FEED, KafkaFeedConfig, PARTITION};
use super::{message, topic};
use crate::feed::{Change, ChangePublisher, FeedError, FeedPosition};

type Client = BaseProducer<Deliveries>;

/// What a broker says of a message: the offset that it has, if that is known.
type Delivered = Result<Option<u64>, KafkaError>;

/// Publishes to a change feed on Kafka.
pub struct KafkaPublisher {
    config: KafkaFeedConfig,
    /// The place behind the last change that this process published.
    end: AtomicU64,
    /// Another one from when the client said that it can do no more.
    client: RwLock<Arc<Client>>,
}

impl KafkaPublisher {
    /// Reaches the brokers, and makes the topic where it is missing.
    ///
    /// # Errors
    /// [`FeedError`] if no broker answers, or the topic can't be this feed.
    pub async fn open(config: KafkaFeedConfig) -> Result<Self, FeedError> {
        config.check()?;
        topic::ensure(&config).await?;
        let client = RwLock::new(connect(&config)?);
        Ok(Self { config, end: AtomicU64::new(0), client })
    }

    async fn send(&self, client: &Client, changes: &[Change]) -> Delivered {
        let mut answers = Vec::with_capacity(changes.len());
        for &change in changes {
            let (answer, answered) = oneshot::channel();
            let payload = message::encode(change);
            let record = BaseRecord::<(), _, _>::with_opaque_to(&self.config.topic, Box::new(answer));
            let record = record.partition(PARTITION).payload(&payload);
            client.send(record).map_err(|(error, _refused)| error)?;
            answers.push(answered);
        }
        let mut last = None;
        for answer in answers {
            last = last.max(answer.await.unwrap_or(Err(KafkaError::Canceled))?);
        }
        Ok(last)
    }

    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// After some failures a client that promises not to write twice can't go on, and says so: another one can.
    fn replace_if_broken(&self, broken: &Arc<Client>) {
        let Some((code, reason)) = broken.client().fatal_error() else { return };
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&client, broken) {
            return;
        }
        match connect(&self.config) {
            Ok(fresh) => {
                tracing::warn!(%code, reason, "the client of the change feed could not go on and is replaced");
                let old = std::mem::replace(&mut *client, fresh);
                // The last one to drop it waits for what it still has to answer.
                tokio::task::spawn_blocking(move || drop(old));
            }
            Err(error) => tracing::error!(%error, "the client of the change feed can't be replaced"),
        }
    }
}

#[async_trait]
impl ChangePublisher for KafkaPublisher {
    async fn publish(&self, changes: &[Change]) -> Result<FeedPosition, FeedError> {
        let client = self.client();
        match self.send(&client, changes).await {
            Ok(last) => {
                let end = last.map_or(0, |offset| offset + 1);
                Ok(FeedPosition(self.end.fetch_max(end, Ordering::AcqRel).max(end)))
            }
            Err(error) => {
                self.replace_if_broken(&client);
                Err(FeedError::unavailable(format!("publishing {} changes", changes.len()), error))
            }
        }
    }
}

impl std::fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaPublisher").field("topic", &self.config.topic).finish_non_exhaustive()
    }
}

fn connect(config: &KafkaFeedConfig) -> Result<Arc<Client>, FeedError> {
    kafka::producer(&config.producer(), Deliveries(Telling::of(FEED)))
        .map_err(|error| FeedError::unavailable("making a client of the brokers", error))
}

/// Where the client answers.
struct Deliveries(Telling);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.trouble(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Delivered>>;

    fn delivery(&self, result: &DeliveryResult<'_>, answer: Self::DeliveryOpaque) {
        let delivered = match result {
            Ok(message) => Ok(u64::try_from(message.offset()).ok()),
            // Published before, and not known where: the broker no longer remembers what it told us.
            Err((error, _))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::DuplicateSequenceNumber) =>
            {
                Ok(None)
            }
            Err((error, _)) => Err(error.clone()),
        };
        // Whoever asked may have stopped waiting.
        let _ = answer.send(delivered);
    }
}
