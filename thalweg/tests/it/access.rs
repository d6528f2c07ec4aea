//! Who may publish and read, and how fast that ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, Thing, eventually};

const PACK: &str = r#"[{"n":"a","v":1}]"#;

async fn publish_status(thing: &Thing) -> u16 {
    thing.post("").body(PACK).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_key_works_in_either_scheme_and_only_on_connected_channels() {
    let server = Server::start();
    let user = server.user().await;
    let thing = user.connected_thing().await;
    let path = |channel: &str| format!("{}/http/channels/{channel}/messages", server.base);
    let send = async |channel: &str, authorization: Option<String>| {
        let request = thing.http.post(path(channel)).header("Content-Type", "application/json").body(PACK);
        let request =
            authorization.into_iter().fold(request, |request, value| request.header("Authorization", value));
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.text().await.unwrap();
        assert!(
            status == 202 || serde_json::from_str::<Value>(&body).unwrap()["error"].is_string(),
            "{body}"
        );
        status
    };
    let basic = |user: &str, password: &str| {
        use base64::Engine as _;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Some(format!("Basic {pair}"))
    };
    let key = Some(format!("Thing {}", thing.key));
    assert_eq!(send(&thing.channel, key.clone()).await, 202);
    assert_eq!(send(&thing.channel, basic("", &thing.key)).await, 202);
    assert_eq!(send(&thing.channel, basic("any name", &thing.key)).await, 202);

    assert_eq!(send(&thing.channel, None).await, 401);
    assert_eq!(send(&thing.channel, basic(&thing.key, "")).await, 401);
    assert_eq!(send(&thing.channel, Some("Thing no-such-key".into())).await, 401);
    assert_eq!(send(&thing.channel, Some(format!("Bearer {}", user.token))).await, 401);
    let (unconnected, unknown) = (user.channel().await, uuid::Uuid::new_v4().to_string());
    for channel in [unconnected.as_str(), unknown.as_str(), "no-uuid"] {
        assert_eq!(send(channel, key.clone()).await, 403, "{channel}");
        assert_eq!(send(channel, Some("Thing no-such-key".into())).await, 401, "{channel}");
    }
}

#[tokio::test]
async fn a_thing_publishes_only_where_it_is_connected_now() {
    let server = Server::start();
    let user = server.user().await;
    let thing = user.connected_thing().await;
    let ids = json!({"channel_ids": [thing.channel], "thing_ids": [thing.id]});
    for _ in 0..20 {
        assert_eq!(publish_status(&thing).await, 202);
        let answer = user.request(Method::PUT, "/disconnect").json(&ids).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(publish_status(&thing).await, 403, "the answer to a disconnect means it is in force");
        assert_eq!(thing.read("").await.0, 403);
        user.connect(&thing.channel, &thing.id).await;
    }
}

/// The race that a naive cache loses: publishes keep filling the cache while access is taken away.
#[tokio::test]
async fn no_publish_that_begins_after_a_revocation_was_answered_is_accepted() {
    let server = Server::start();
    let user = server.user().await;
    for round in 0..10 {
        let thing = user.connected_thing().await;
        let (revoked, accepted_late) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let publishers: Vec<_> = (0..8)
            .map(|_| {
                let (thing, revoked, late) =
                    (thing.clone(), Arc::clone(&revoked), Arc::clone(&accepted_late));
                tokio::spawn(async move {
                    loop {
                        let began_after = revoked.load(Ordering::SeqCst);
                        let accepted = publish_status(&thing).await == 202;
                        if began_after && accepted {
                            late.fetch_add(1, Ordering::SeqCst);
                        }
                        if !accepted {
                            return;
                        }
                    }
                })
            })
            .collect();
        eventually(async || match thing.page("limit=1").await["total"].as_u64() {
            Some(0) | None => Err("nothing is stored".to_owned()),
            Some(_) => Ok(()),
        })
        .await;
        let (method, path) = match round % 3 {
            0 => (Method::DELETE, format!("/channels/{}/things/{}", thing.channel, thing.id)),
            1 => (Method::DELETE, format!("/things/{}", thing.id)),
            _ => (Method::DELETE, format!("/channels/{}", thing.channel)),
        };
        let answer = user.request(method, &path).send().await.unwrap();
        assert_eq!(answer.status(), 204);
        revoked.store(true, Ordering::SeqCst);
        for publisher in publishers {
            publisher.await.unwrap();
        }
        assert_eq!(accepted_late.load(Ordering::SeqCst), 0, "{path}");
    }
}

#[tokio::test]
async fn reading_takes_a_connected_thing_or_the_owner_or_an_admin() {
    let server = Server::start();
    let (owner, stranger) = (server.user().await, server.user().await);
    let admin = server.login(crate::harness::ADMIN_EMAIL, crate::harness::ADMIN_PASSWORD).await;
    let thing = owner.connected_thing().await;
    thing.publish(&json!([{"n": "a", "v": 1}])).await;
    thing.until_stored(1).await;
    let path = format!("/channels/{}/messages", thing.channel);
    for (user, status) in [(&owner, 200), (&admin, 200), (&stranger, 404)] {
        assert_eq!(user.request(Method::GET, &path).send().await.unwrap().status(), status);
    }
    let other = owner.connected_thing().await;
    assert_eq!(Thing { channel: thing.channel.clone(), ..other }.read("").await.0, 403);
    let bare = thing.http.get(format!("{}{path}", server.base)).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    let forged = thing.http.get(format!("{}{path}", server.base)).bearer_auth("a.b.c").send().await.unwrap();
    assert_eq!(forged.status(), 401);
}

#[tokio::test]
async fn a_deleted_channel_is_purged_and_its_id_is_never_free_again() {
    let server = Server::start();
    let (user, stranger) = (server.user().await, server.user().await);
    let thing = user.connected_thing().await;
    thing.publish(&json!([{"n": "a", "v": 1}])).await;
    thing.until_stored(1).await;
    let deleted = user.request(Method::DELETE, &format!("/channels/{}", thing.channel)).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    for user in [&user, &stranger] {
        let again =
            user.request(Method::POST, "/channels").json(&json!([{"id": thing.channel, "name": "again"}]));
        assert_eq!(again.send().await.unwrap().status(), 409);
    }
    assert_eq!(thing.read("").await.0, 403);
}

#[tokio::test]
async fn a_deleted_things_records_go_and_those_of_others_stay() {
    let server = Server::start();
    let user = server.user().await;
    let channel = user.channel().await;
    let (gone, stays) = (user.thing_on(&channel).await, user.thing_on(&channel).await);
    for thing in [&gone, &stays] {
        thing
            .publish(&json!([{"n": "a", "t": 1_700_000_000, "v": 1}, {"n": "b", "t": 1_000_000_000, "v": 2}]))
            .await;
    }
    stays.until_stored(4).await;
    let deleted = user.request(Method::DELETE, &format!("/things/{}", gone.id)).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    stays.until_stored(2).await;
    let page = stays.page("limit=100").await;
    assert!(
        page["messages"].as_array().unwrap().iter().all(|message| message["publisher"] == *stays.id),
        "{page}"
    );
    let server = {
        drop(user);
        server.kill_and_restart()
    };
    Thing { base: server.base.clone(), ..stays }.until_stored(2).await;
}

/// Packs that were accepted and not stored yet when their thing was deleted are not stored either.
#[tokio::test]
async fn packs_still_in_the_log_when_their_thing_is_deleted_leave_nothing() {
    let server = Server::start();
    let user = server.user().await;
    let channel = user.channel().await;
    let (gone, stays) = (user.thing_on(&channel).await, user.thing_on(&channel).await);
    let pack = |n: i64| {
        Value::from_iter((0..2_000).map(|i| json!({"n": "a", "t": 1_700_000_000 + n * 2_000 + i, "v": i})))
    };
    let publishing: Vec<_> = (0..10)
        .map(|n| {
            let gone = gone.clone();
            tokio::spawn(async move { gone.publish(&pack(n)).await })
        })
        .collect();
    for publish in publishing {
        publish.await.unwrap();
    }
    let deleted = user.request(Method::DELETE, &format!("/things/{}", gone.id)).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    // The log is in order: once this is stored, so would be what came before.
    stays.publish(&json!([{"n": "end", "v": 1}])).await;
    eventually(async || match stays.page("name=end").await["total"].as_u64() {
        Some(1) => Ok(()),
        _ => Err("the last pack is not stored".to_owned()),
    })
    .await;
    stays.until_stored(1).await;
}

#[tokio::test]
async fn a_rotated_key_is_dead_at_once() {
    let server = Server::start();
    let user = server.user().await;
    let thing = user.connected_thing().await;
    assert_eq!(publish_status(&thing).await, 202);
    let rotated = user
        .request(Method::PATCH, &format!("/things/{}/key", thing.id))
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(rotated.status(), 200);
    let key = rotated.json::<Value>().await.unwrap()["key"].as_str().unwrap().to_owned();
    assert_eq!(publish_status(&thing).await, 401);
    let thing = Thing { key, ..thing };
    eventually(async || match publish_status(&thing).await {
        202 => Ok(()),
        status => Err(format!("the new key answers {status}")),
    })
    .await;
}
