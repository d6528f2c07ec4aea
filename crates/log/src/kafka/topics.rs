//! The topics that a log needs: made if they are missing, left as they are otherwise.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{Client, ClientContext, DefaultClientContext};
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use crate::contract::LogError;
use crate::kafka::config::{KafkaConfig, MESSAGE_BYTES_MAX};

/// How long brokers may take to make the topics and to choose their leaders.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long one question to them may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How soon it is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Makes the topics where they are missing, and waits until each lane has a leader. Returns how many lanes there are.
pub(crate) async fn ensure(config: &KafkaConfig) -> Result<u32, LogError> {
    let failed = |error| LogError::new(format!("reaching the brokers at {}", config.brokers), error);
    let admin: AdminClient<DefaultClientContext> = config.client().create().map_err(failed)?;
    make(config, &admin).await?;
    await_leaders(admin, config).await
}

async fn make(config: &KafkaConfig, admin: &AdminClient<DefaultClientContext>) -> Result<(), LogError> {
    let (message, age) = (MESSAGE_BYTES_MAX.to_string(), millis(config.retention_age));
    let (in_sync, dead_letters) = (config.in_sync_min.to_string(), config.dead_letters());
    let topic = |name, lanes: u32, retention| {
        NewTopic::new(name, lanes as i32, TopicReplication::Fixed(i32::from(config.replication)))
            .set("min.insync.replicas", &in_sync)
            .set("cleanup.policy", "delete")
            .set("retention.ms", retention)
            .set("retention.bytes", "-1")
            .set("max.message.bytes", &message)
            .set("message.timestamp.type", "CreateTime")
            // An ingest node whose clock is ahead still delivers what it accepts.
            .set("message.timestamp.after.max.ms", "9223372036854775807")
            .set("unclean.leader.election.enable", "false")
    };
    let topics = [topic(&config.topic, config.lanes, age.as_str()), topic(&dead_letters, 1, "-1")];
    let options =
        AdminOptions::new().operation_timeout(Some(READY_WITHIN)).request_timeout(Some(READY_WITHIN));
    let context = || format!("making the topics {} and {dead_letters}", config.topic);
    let made =
        admin.create_topics(&topics, &options).await.map_err(|error| LogError::new(context(), error))?;
    for topic in made {
        match topic {
            Ok(name) => tracing::info!(name, "topic made"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, error)) => return Err(LogError::new(context(), error)),
        }
    }
    Ok(())
}

async fn await_leaders(
    admin: AdminClient<DefaultClientContext>,
    config: &KafkaConfig,
) -> Result<u32, LogError> {
    let give_up = Instant::now() + READY_WITHIN;
    let admin = std::sync::Arc::new(admin);
    loop {
        let (asked, topics) = (std::sync::Arc::clone(&admin), [config.topic.clone(), config.dead_letters()]);
        let ask = move || lanes_with_leaders(asked.inner(), &topics, ANSWER_WITHIN);
        let answer = tokio::task::spawn_blocking(ask).await;
        let reason = match answer {
            Ok(Ok(lanes)) => return Ok(lanes),
            Ok(Err(reason)) => reason,
            Err(error) => error.to_string(),
        };
        if Instant::now() >= give_up {
            return Err(LogError::new(format!("waiting for the topic {}", config.topic), reason));
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

/// How many lanes the first of the topics has, if each lane of all of them has a leader; blocks.
pub(crate) fn lanes_with_leaders(
    client: &Client<impl ClientContext>,
    topics: &[String],
    within: Duration,
) -> Result<u32, String> {
    let mut counts = topics.iter().map(|name| {
        let metadata = client.fetch_metadata(Some(name), within);
        let metadata = metadata.map_err(|error| error.to_string())?;
        let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
        if partitions.is_empty() || partitions.iter().any(|partition| partition.leader() < 0) {
            return Err(format!("not every lane of {name} has a leader"));
        }
        Ok(partitions.len() as u32)
    });
    let lanes = counts.next().unwrap_or(Ok(0))?;
    counts.try_for_each(|count| count.map(drop))?;
    Ok(lanes)
}

fn millis(age: Duration) -> String {
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX).to_string()
}
