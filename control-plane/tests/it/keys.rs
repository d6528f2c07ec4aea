//! API keys: issued, used, shown, revoked.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use service::authority::ReadDenied;

use crate::world::{World, new_id};

#[tokio::test]
async fn a_key_works_until_it_is_revoked_and_issues_no_others() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let channel = world.channel(&ann.token).await;
    let issued = world.post("/keys", &ann.token, json!({"type": 2, "duration": 10_000})).await.is(201).json();
    let (id, token) = (issued["id"].as_str().unwrap(), issued["value"].as_str().unwrap());
    let path = format!("/keys/{id}");
    world.post("/things", token, json!([{"name": "by key"}])).await.is(201);
    let read = async || world.app.authority().user_read(token, channel.parse().unwrap()).await;
    read().await.unwrap();
    let shown = world.get(&path, &ann.token).await.is(200).json();
    let wanted = json!({
        "id": id, "issuer_id": ann.id, "subject": ann.email, "type": 2,
        "issued_at": issued["issued_at"], "expires_at": issued["expires_at"],
    });
    assert_eq!(shown, wanted);
    world.post("/keys", &ann.token, json!({"type": 2, "duration": 0})).await.is(201);
    let page = world.get("/keys", &ann.token).await.is(200).json();
    assert_eq!((&page["total"], &page["keys"][0]), (&json!(2), &wanted));
    assert_eq!(page["keys"][1].get("expires_at"), None);
    assert_eq!(world.get("/keys?offset=1", token).await.json()["keys"].as_array().unwrap().len(), 1);
    assert_eq!(world.get("/keys", &bob.token).await.json()["total"], 0);

    world.post("/keys", token, json!({"type": 2})).await.refused(403);
    world.get(&path, &bob.token).await.refused(404);
    world.delete(&path, &bob.token).await.refused(404);
    world.get("/things", token).await.is(200);
    world.delete(&path, &ann.token).await.has_no_body(204);
    world.get("/things", token).await.refused(401);
    assert!(matches!(read().await, Err(ReadDenied::InvalidToken)));
    world.get(&path, &ann.token).await.refused(404);
    world.delete(&path, &ann.token).await.refused(404);
    world.get(&format!("/keys/{}", new_id()), &world.admin).await.refused(404);
    world.get("/keys/x", &ann.token).await.refused(404);
    assert_eq!(world.get("/keys", &ann.token).await.json()["total"], 1);
}

#[tokio::test]
async fn an_admins_key_is_an_admin_for_as_long_as_its_user_is() {
    let world = World::new().await;
    let user = world.user().await;
    let thing = world.thing(&world.admin).await.0;
    let member = json!({"subjects": [user.id], "object": "authorities", "policies": ["member"]});
    world.post("/policies", &world.admin, member.clone()).await.is(201);
    let key = world.post("/keys", &user.token, json!({"type": 2})).await.is(201).json();
    let token = key["value"].as_str().unwrap();
    world.get(&format!("/things/{thing}"), token).await.is(200);
    world.put("/policies", &world.admin, member).await.is(204);
    world.get(&format!("/things/{thing}"), token).await.refused(404);
    world.delete(&format!("/keys/{}", key["id"].as_str().unwrap()), &world.admin).await.is(204);
    world.get("/things", token).await.refused(401);
}

#[tokio::test]
async fn a_key_ends_when_it_says_and_is_forgotten() {
    let world = World::new().await;
    let user = world.user().await;
    let began = Instant::now();
    let key = world.post("/keys", &user.token, json!({"type": 2, "duration": 1})).await.is(201).json();
    let token = key["value"].as_str().unwrap();
    while world.get("/things", token).await.status != 401 {
        assert!(began.elapsed() < Duration::from_secs(30), "the key does not end");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "it was issued after that, and ended early");
    let path = format!("/keys/{}", key["id"].as_str().unwrap());
    for _ in 0..2 {
        world.get(&path, &user.token).await.refused(404);
        world.delete(&path, &user.token).await.refused(404);
    }
    assert_eq!(world.get("/keys", &user.token).await.json()["total"], 0);
    world.post("/keys", &user.token, json!({"type": 2})).await.is(201);
    assert_eq!(world.site.count("SELECT COUNT(*) FROM api_keys").await, 1);
}

#[tokio::test]
async fn keys_are_listed_in_the_order_that_is_asked_for() {
    let world = World::new().await;
    let user = world.user().await;
    let mut issued = Vec::new();
    for _ in 0..5 {
        let key = world.post("/keys", &user.token, json!({"type": 2})).await.is(201).json();
        issued.push(key["id"].as_str().unwrap().to_owned());
    }
    let listed = async |query: &str| {
        let page = world.get(&format!("/keys?{query}"), &user.token).await.is(200).json();
        let ids = page["keys"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(listed("").await, issued);
    assert_eq!(listed("dir=asc&order=").await, issued);
    assert_eq!(listed("dir=desc&limit=2&offset=1").await, [issued[3].clone(), issued[2].clone()]);
    let mut sorted = issued.clone();
    sorted.sort();
    assert_eq!(listed("order=id").await, sorted);
    sorted.reverse();
    assert_eq!(listed("order=id&dir=desc").await, sorted);
    for query in ["order=name", "order=issued_at", "dir=up"] {
        let refused = world.get(&format!("/keys?{query}"), &user.token).await.refused(400);
        assert_eq!(refused["field"], query.split_once('=').unwrap().0);
    }
}

#[tokio::test]
async fn keys_that_cannot_be_are_refused_by_field() {
    let world = World::new().await;
    let user = world.user().await;
    for (body, field) in [
        (json!({}), "type"),
        (json!({"type": 7, "duration": 2}), "type"),
        (json!({"type": 0}), "type"),
        (json!({"type": "2"}), "type"),
        (json!({"type": 2, "duration": -1}), "duration"),
        (json!({"type": 2, "duration": 1.5}), "duration"),
        (json!({"type": 2, "duration": "10"}), "duration"),
        (json!({"type": 2, "duration": u64::MAX}), "duration"),
    ] {
        assert_eq!(world.post("/keys", &user.token, body).await.refused(400)["field"], field);
    }
    world.post("/keys", "", json!({"type": 2})).await.refused(401);
    world.request("POST", "/keys", &user.token, Value::Null).await.refused(400);
}
