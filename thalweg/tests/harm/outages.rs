//! What a cluster answers while a whole kind of node is gone, and that it recovers by itself.

use reqwest::Method;
use serde_json::json;
use thalweg_bench::cluster::Fault;

use crate::harness::{Server, Thing, eventually};
use crate::{CONTROL_PLANES, PACK, alone, at_each_node, cluster, status};

const BROKERS: [&str; 3] = ["kafka-1", "kafka-2", "kafka-3"];

/// Publishes one after the other, of which each is told to come again.
async fn refused(thing: &Thing, publishes: usize) {
    for _ in 0..publishes {
        let answer = thing.post("").body(PACK).send().await.unwrap();
        let retry_after = answer.headers().get("retry-after").cloned();
        assert_eq!(answer.status(), 503, "{}", answer.text().await.unwrap());
        assert!(retry_after.is_some(), "a publish that was refused is told when to come again");
    }
}

#[tokio::test]
async fn without_brokers_every_publish_is_answered_503_with_retry_after_until_they_are_back() {
    let _alone = alone().await;
    let (server, cluster) = (Server::start(), cluster());
    let thing = server.user().await.connected_thing().await;
    assert_eq!(status(&thing).await, 202);
    cluster.fault(Fault::Kill, &BROKERS).await.unwrap();
    let [first, second] = at_each_node(&thing);
    // The first that comes to a node waits for them, and so would, later, one a second; all at the same time, that is one wait.
    tokio::join!(refused(&first, 20), refused(&second, 20), refused(&thing, 4));
    cluster.fault(Fault::Restart, &BROKERS).await.unwrap();
    eventually(async || match status(&thing).await {
        202 => Ok(()),
        status => Err(format!("it still answers {status}")),
    })
    .await;
}

#[tokio::test]
async fn without_a_control_plane_things_that_are_known_keep_publishing() {
    let _alone = alone().await;
    let (server, cluster) = (Server::start(), cluster());
    let user = server.user().await;
    let known = user.connected_thing().await;
    let (known_at, unknown_at) = (at_each_node(&known), at_each_node(&user.connected_thing().await));
    for known in &known_at {
        assert_eq!(status(known).await, 202);
    }
    cluster.fault(Fault::Kill, &CONTROL_PLANES).await.unwrap();
    for round in 0..20 {
        assert_eq!(
            status(&known_at[round % 2]).await,
            202,
            "what is cached is served, for as long as it takes"
        );
        assert_eq!(status(&unknown_at[round % 2]).await, 503, "nobody can say what this one may do");
    }
    cluster.fault(Fault::Restart, &CONTROL_PLANES).await.unwrap();
    for unknown in &unknown_at {
        eventually(async || match status(unknown).await {
            202 => Ok(()),
            status => Err(format!("it still answers {status}")),
        })
        .await;
    }
    // And changes are made again.
    let ids = json!({"channel_ids": [known.channel], "thing_ids": [known.id]});
    let answer = user.request(Method::PUT, "/disconnect").json(&ids).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}
