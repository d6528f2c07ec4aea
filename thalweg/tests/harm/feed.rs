//! The change feed is cut, and nothing else.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use reqwest::Method;
use serde_json::{Value, json};
use thalweg_bench::cluster::{Cluster, Fault};

use crate::harness::{Server, eventually};
use crate::{CONTROL_PLANES, alone, at_each_node, cluster, status};

/// How long a node may believe what it was told of a feed that it can't read.
const BELIEVED_FOR: Duration = Duration::from_secs(5);

/// Takes the topic of changes away. The log's topics stay.
async fn cut(cluster: &Cluster) {
    let brokers = cluster.engine("THALWEG_KAFKA_BROKERS").unwrap();
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for deleted in admin.delete_topics(&["thalweg.changes"], &AdminOptions::new()).await.unwrap() {
        deleted.unwrap();
    }
}

#[tokio::test]
async fn without_the_change_feed_what_is_revoked_is_dead_in_time_and_nobody_is_believed_from_before() {
    let _alone = alone().await;
    let (server, cluster) = (Server::start(), cluster());
    let user = server.user().await;
    let (kept, revoked) = (user.connected_thing().await, user.connected_thing().await);
    for thing in [&kept, &revoked] {
        for node in at_each_node(thing) {
            assert_eq!(status(&node).await, 202);
        }
    }
    cut(&cluster).await;
    let ids = json!({"channel_ids": [revoked.channel], "thing_ids": [revoked.id]});
    let answer = user.request(Method::PUT, "/disconnect").json(&ids).send().await.unwrap();
    let (answered, status_of_it) = (Instant::now(), answer.status());
    let body: Value = answer.json().await.unwrap();
    assert_eq!((status_of_it.as_u16(), body["code"].as_str()), (503, Some("not_in_force")), "{body}");
    for node in at_each_node(&revoked) {
        loop {
            let asked = Instant::now();
            match status(&node).await {
                202 => assert!(asked - answered < BELIEVED_FOR, "it may still publish"),
                status => {
                    assert_eq!(status, 403);
                    break;
                }
            }
        }
    }
    for node in at_each_node(&kept) {
        assert_eq!(status(&node).await, 202, "a control plane is asked each time");
    }
    cluster.fault(Fault::Kill, &CONTROL_PLANES).await.unwrap();
    for node in at_each_node(&kept) {
        assert_eq!(status(&node).await, 503, "nobody can say what it may do by now");
    }
    // A control plane that starts makes the topic where it is missing.
    cluster.fault(Fault::Restart, &CONTROL_PLANES).await.unwrap();
    for node in at_each_node(&kept) {
        eventually(async || {
            let metrics = reqwest::get(format!("{}/metrics", node.base)).await.unwrap().text().await.unwrap();
            if metrics.lines().any(|line| line == "change_feed_stale 0") {
                Ok(())
            } else {
                Err("it does not read the feed that was made anew".to_owned())
            }
        })
        .await;
        assert_eq!(status(&node).await, 202);
    }
}
