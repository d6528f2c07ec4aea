//! What is taken away is dead on every ingest node within a second of the answer that says so.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, Thing, User};
use crate::{at_each_node, status};

/// What is promised while the change feed can be read.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked for.
const ROUNDS: usize = 10;

/// Has each node cache that the thing may publish, takes that away, and sees it gone everywhere in time.
async fn revoked(user: &User<'_>, wanted: u16, revoke: impl AsyncFn(&User<'_>, &Thing)) {
    for _ in 0..ROUNDS {
        let thing = user.connected_thing().await;
        let nodes = at_each_node(&thing);
        for node in &nodes {
            assert_eq!(status(node).await, 202);
        }
        revoke(user, &thing).await;
        let answered = Instant::now();
        for node in &nodes {
            loop {
                let asked = Instant::now();
                match status(node).await {
                    202 => assert!(asked - answered < IN_FORCE_WITHIN, "it may still publish"),
                    status => {
                        assert_eq!(status, wanted);
                        break;
                    }
                }
            }
        }
    }
}

pub(crate) async fn a_disconnected_thing_is_refused_everywhere_within_a_second() {
    let server = Server::start();
    revoked(&server.user().await, 403, async |user, thing| {
        let ids = json!({"channel_ids": [thing.channel], "thing_ids": [thing.id]});
        let answer = user.request(Method::PUT, "/disconnect").json(&ids).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    })
    .await;
}

pub(crate) async fn a_deleted_thing_is_unknown_everywhere_within_a_second() {
    let server = Server::start();
    revoked(&server.user().await, 401, async |user, thing| {
        let answer = user.request(Method::DELETE, &format!("/things/{}", thing.id)).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    })
    .await;
}

pub(crate) async fn a_replaced_key_is_unknown_everywhere_within_a_second_and_the_new_one_works() {
    let server = Server::start();
    revoked(&server.user().await, 401, async |user, thing| {
        let path = format!("/things/{}/key", thing.id);
        let answer = user.request(Method::PATCH, &path).json(&json!({})).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let key = answer.json::<Value>().await.unwrap()["key"].as_str().unwrap().to_owned();
        for node in at_each_node(&Thing { key, ..thing.clone() }) {
            assert_eq!(status(&node).await, 202, "nobody has cached anything of the new key");
        }
    })
    .await;
}
