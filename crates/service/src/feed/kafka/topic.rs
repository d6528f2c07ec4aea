//! The topic: made if it is missing, and left as it is otherwise.

use std::sync::Arc;
use std::time::Duration;

use kafka::Telling;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::Instant;

use super::config::{FEED, KafkaFeedConfig, millis};
use crate::feed::FeedError;

/// How long brokers may take to make the topic and to choose its leader.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long one question to them may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How soon it is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

type Admin = AdminClient<Telling>;

/// Makes the topic where it is missing, and waits until it has a leader.
pub(super) async fn ensure(config: &KafkaFeedConfig) -> Result<(), FeedError> {
    let admin = Admin::from_config_and_context(&config.admin(), Telling::of(FEED)).map_err(|error| {
        FeedError::unavailable(format!("reaching the brokers at {}", config.brokers), error)
    })?;
    make(config, &admin).await?;
    await_leader(Arc::new(admin), config).await
}

async fn make(config: &KafkaFeedConfig, admin: &Admin) -> Result<(), FeedError> {
    let (in_sync, age) = (config.in_sync_min.to_string(), millis(config.retention_age));
    let topic = NewTopic::new(&config.topic, 1, TopicReplication::Fixed(i32::from(config.replication)))
        .set("min.insync.replicas", &in_sync)
        .set("cleanup.policy", "delete")
        .set("retention.ms", &age)
        .set("retention.bytes", "-1")
        // Who publishes with a clock that is wrong has changes neither deleted at once nor refused.
        .set("message.timestamp.type", "LogAppendTime")
        .set("unclean.leader.election.enable", "false");
    let options =
        AdminOptions::new().operation_timeout(Some(READY_WITHIN)).request_timeout(Some(READY_WITHIN));
    let failed = |error| FeedError::unavailable(format!("making the topic {}", config.topic), error);
    let made = admin.create_topics([&topic], &options).await.map_err(failed)?;
    for topic in made {
        match topic {
            Ok(name) => tracing::info!(name, "topic of the change feed made"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, error)) => return Err(failed(KafkaError::AdminOp(error))),
        }
    }
    Ok(())
}

async fn await_leader(admin: Arc<Admin>, config: &KafkaFeedConfig) -> Result<(), FeedError> {
    let give_up = Instant::now() + READY_WITHIN;
    loop {
        let (asked, topic) = (Arc::clone(&admin), config.topic.clone());
        let answer = tokio::task::spawn_blocking(move || partitions(&asked, &topic)).await;
        let reason = match answer {
            Ok(Ok(1)) => return Ok(()),
            Ok(Ok(count)) => {
                return Err(FeedError::Unusable(format!(
                    "the topic {} has {count} partitions; with more than one, changes have no order",
                    config.topic
                )));
            }
            Ok(Err(reason)) => reason,
            Err(error) => error.to_string(),
        };
        if Instant::now() >= give_up {
            return Err(FeedError::unavailable(format!("waiting for the topic {}", config.topic), reason));
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

/// How many partitions the topic has, if each of them has a leader; blocks.
fn partitions(admin: &Admin, topic: &str) -> Result<usize, String> {
    let metadata = admin.inner().fetch_metadata(Some(topic), ANSWER_WITHIN);
    let metadata = metadata.map_err(|error| error.to_string())?;
    let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
    if partitions.is_empty() || partitions.iter().any(|partition| partition.leader() < 0) {
        return Err("it has no leader yet".to_owned());
    }
    Ok(partitions.len())
}
