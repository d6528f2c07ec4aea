//! Reads dead letters back, for a person: from a number on, up to the end that the topic has when it is asked.

use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfig as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::contract::{LogError, StoredLetter};
use crate::kafka::config::KafkaConfig;
use crate::kafka::record::{offset_of, stored_letter};

/// Letters are in one partition: they are few, and read in the order they were buried.
const PARTITION: i32 = 0;
/// How long the brokers may take for all that is asked for.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// How long one question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The group that the client wants to be told. Nobody joins it.
const GROUP: &str = "dead-letters";

/// Blocks.
pub(crate) fn read(
    config: &KafkaConfig,
    from: u64,
    letters_max: usize,
) -> Result<Vec<StoredLetter>, LogError> {
    let topic = config.dead_letters();
    let context = || format!("reading the topic {topic}");
    let failed = |error: rdkafka::error::KafkaError| LogError::new(context(), error);
    let consumer = BaseConsumer::from_config(&config.consumer(GROUP)).map_err(failed)?;
    let (oldest, end) = consumer.fetch_watermarks(&topic, PARTITION, ANSWER_WITHIN).map_err(failed)?;
    let from = i64::try_from(from).unwrap_or(i64::MAX).max(oldest);
    let mut letters = Vec::new();
    if from >= end || letters_max == 0 {
        return Ok(letters);
    }
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(&topic, PARTITION, Offset::Offset(from)).map_err(failed)?;
    consumer.assign(&place).map_err(failed)?;
    let give_up = Instant::now() + READ_WITHIN;
    while letters.len() < letters_max {
        let left = give_up.saturating_duration_since(Instant::now());
        let Some(message) = consumer.poll(left) else {
            return Err(LogError::new(context(), "the brokers don't deliver them"));
        };
        let letter = stored_letter(&message.map_err(failed)?);
        let is_last = letter.number + 1 >= offset_of(end);
        letters.push(letter);
        if is_last {
            break;
        }
    }
    Ok(letters)
}
