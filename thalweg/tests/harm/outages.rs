//! What a cluster answers while a whole kind of node is gone, and that it recovers by itself.

use reqwest::Method;
use serde_json::json;
use thalweg_bench::cluster::Fault;

use crate::harness::{Server, Thing, eventually};
use crate::{alone, cluster};

const BROKERS: [&str; 3] = ["kafka-1", "kafka-2", "kafka-3"];
const CONTROL_PLANES: [&str; 2] = ["control-plane-1", "control-plane-2"];

async fn status(thing: &Thing) -> u16 {
    thing.post("").body(r#"[{"n":"a","v":1}]"#).send().await.unwrap().status().as_u16()
}

/// Publishes one after the other, of which each is told to come again.
async fn refused(thing: &Thing, publishes: usize) {
    for _ in 0..publishes {
        let answer = thing.post("").body(r#"[{"n":"a","v":1}]"#).send().await.unwrap();
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
    let at = |node| Thing { base: format!("http://{}", cluster.address_of(node).unwrap()), ..thing.clone() };
    let (first, second) = (at("ingest-1"), at("ingest-2"));
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
    let unknown = user.connected_thing().await;
    let nodes = ["ingest-1", "ingest-2"].map(|node| cluster.address_of(node).unwrap());
    let at = |thing: &Thing, node: usize| Thing { base: format!("http://{}", nodes[node]), ..thing.clone() };
    for node in 0..2 {
        assert_eq!(status(&at(&known, node)).await, 202);
    }
    cluster.fault(Fault::Kill, &CONTROL_PLANES).await.unwrap();
    for round in 0..20 {
        assert_eq!(
            status(&at(&known, round % 2)).await,
            202,
            "what is cached is served, for as long as it takes"
        );
        assert_eq!(status(&at(&unknown, round % 2)).await, 503, "nobody can say what this one may do");
    }
    cluster.fault(Fault::Restart, &CONTROL_PLANES).await.unwrap();
    for node in 0..2 {
        eventually(async || match status(&at(&unknown, node)).await {
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
