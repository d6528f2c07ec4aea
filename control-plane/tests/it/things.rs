//! Things: creating, showing, changing, deleting, and their keys.

use axum::body::Body;
use domain::KeyDigest;
use http::{Request, header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, change_of_thing, new_id};

#[tokio::test]
async fn things_are_created_in_the_order_of_the_request() {
    let world = World::new().await;
    let user = world.user().await;
    let id = new_id();
    let body =
        json!([{"id": id.to_uppercase(), "name": "a", "metadata": {"x": [1, 2.5]}, "unknown": true}, {}]);
    let answer = world.post("/things", &user.token, body).await.is(201);
    assert_eq!(answer.header("access-control-expose-headers"), "Location");
    assert!(
        answer.body.starts_with(format!(r#"{{"things":[{{"id":"{id}","name":"a","key":"tk_"#).as_bytes())
    );
    let created = answer.json();
    let things = created["things"].as_array().unwrap();
    assert_eq!(created.as_object().unwrap().len(), 1);
    let key = things[0]["key"].as_str().unwrap();
    assert_eq!(things[0], json!({"id": id, "name": "a", "key": key, "metadata": {"x": [1, 2.5]}}));
    assert_eq!(things[1].as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "key", "name"]);
    assert_ne!(things[1]["key"], things[0]["key"]);
    for thing in things {
        let path = format!("/things/{}", thing["id"].as_str().unwrap());
        assert_eq!(world.get(&path, &user.token).await.is(200).json(), *thing);
    }
    let single = world.post("/things", &user.token, json!({"name": "single"})).await.is(201).json();
    assert_eq!(single["things"][0]["name"], "single");
}

#[tokio::test]
async fn a_bulk_create_is_all_or_nothing_and_names_the_record() {
    let world = World::new().await;
    let user = world.user().await;
    let (taken, _) = world.thing(&user.token).await;
    let fresh = new_id();
    let v1 = "c232ab00-9414-11ec-b3c8-9f6bdeced846";
    for (second, status, field) in [
        (json!({"id": taken}), 409, "id"),
        (json!({"id": fresh}), 400, "id"),
        (json!({"id": "not-a-uuid"}), 400, "id"),
        (json!({"id": v1}), 400, "id"),
        (json!({"id": 5}), 400, "id"),
        (json!({"name": 5}), 400, "name"),
        (json!({"name": "x".repeat(1_025)}), 400, "name"),
        (json!({"name": "nul \u{0}"}), 400, "name"),
        (json!({"metadata": "text"}), 400, "metadata"),
        (json!({"metadata": {"a": "x".repeat(16 << 10)}}), 400, "metadata"),
        (json!({"key": "my-own"}), 400, "key"),
    ] {
        let body = json!([{"id": fresh, "name": "a"}, second]);
        let refused = world.post("/things", &user.token, body).await.refused(status);
        assert_eq!((&refused["record"], &refused["field"]), (&json!(1), &json!(field)), "{refused}");
        world.get(&format!("/things/{fresh}"), &user.token).await.refused(404);
    }
    assert_eq!(world.get("/things", &user.token).await.json()["total"], 1);
    world.post("/things", &user.token, json!([{"id": fresh, "name": "x".repeat(1_024)}])).await.is(201);
}

#[tokio::test]
async fn bodies_that_are_no_list_of_things_are_refused() {
    let world = World::new().await;
    let user = world.user().await;
    for text in ["", "[{", "[]", "[1]", "[[]]", "1", "null", "\"x\"", &"[".repeat(200)] {
        world.request_text("POST", "/things", &user.token, text).await.refused(400);
    }
    let many = vec![json!({}); 1_001];
    assert_eq!(world.post("/things", &user.token, json!(many)).await.refused(400)["code"], "too_many");
    let large = format!("[{{\"name\":\"{}\"}}]", "x".repeat(2 << 20));
    world.request_text("POST", "/things", &user.token, &large).await.refused(413);
    for content_type in [Some("text/plain"), None] {
        let mut request =
            Request::post("/things").header(header::AUTHORIZATION, format!("Bearer {}", user.token));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        world.send(request.body(Body::from("[{}]")).unwrap()).await.refused(415);
    }
    world.request_text("POST", "/things", "", "[{").await.refused(401);
    assert_eq!(world.get("/things", &user.token).await.json()["total"], 0);
    world.post("/things", &user.token, json!(vec![json!({}); 1_000])).await.is(201);
    assert_eq!(world.get("/things", &user.token).await.json()["total"], 1_000);
}

#[tokio::test]
async fn an_update_changes_what_it_names() {
    let world = World::new().await;
    let user = world.user().await;
    let (id, key) = world.thing(&user.token).await;
    let path = format!("/things/{id}");
    let body = json!({"name": "renamed", "metadata": {"a": 1}, "id": new_id(), "key": "ignored"});
    world.put(&path, &user.token, body).await.has_no_body(200);
    let shown = world.get(&path, &user.token).await.json();
    assert_eq!(shown, json!({"id": id, "name": "renamed", "key": key, "metadata": {"a": 1}}));
    world.put(&path, &user.token, json!({"name": "again"})).await.has_no_body(200);
    world.put(&path, &user.token, json!({})).await.has_no_body(200);
    let shown = world.get(&path, &user.token).await.json();
    assert_eq!(shown, json!({"id": id, "name": "again", "key": key, "metadata": {"a": 1}}));
    world.put(&path, &user.token, json!({"metadata": {}})).await.has_no_body(200);
    assert_eq!(world.get(&path, &user.token).await.json(), json!({"id": id, "name": "again", "key": key}));
    for (body, field) in [(json!({"name": 1}), "name"), (json!({"metadata": 1}), "metadata")] {
        let refused = world.put(&path, &user.token, body).await.refused(400);
        assert_eq!((&refused["field"], &refused["record"]), (&json!(field), &Value::Null));
    }
    world.put(&path, &user.token, json!([])).await.refused(400);
    world.put(&path, "", json!({})).await.refused(401);
}

#[tokio::test]
async fn things_are_hidden_from_others_and_open_to_admins() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (id, key) = world.thing(&ann.token).await;
    let path = format!("/things/{id}");
    let nobody = format!("/things/{}", new_id());
    for path in [&path, &nobody, "/things/not-a-uuid"] {
        let hidden = world.get(path, &bob.token).await.refused(404);
        assert_eq!(hidden["error"], "no such thing");
        world.put(path, &bob.token, json!({"name": "mine"})).await.refused(404);
        world.delete(path, &bob.token).await.refused(404);
        world.patch(&format!("{path}/key"), &bob.token, Value::Null).await.refused(404);
        world.get(path, "").await.refused(401);
    }
    assert_eq!(world.get("/things", &bob.token).await.json()["things"], json!([]));
    assert_eq!(world.get(&path, &world.admin).await.is(200).json()["key"], key);
    assert_eq!(world.get("/things", &world.admin).await.json()["things"][0]["id"], id);
    world.put(&path, &world.admin, json!({"name": "by the admin"})).await.is(200);
    assert_eq!(world.get(&path, &ann.token).await.json()["name"], "by the admin");
}

#[tokio::test]
async fn a_deleted_thing_is_gone_with_its_key_and_its_id_is_never_free() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (id, key) = world.thing(&ann.token).await;
    let channel = world.channel(&ann.token).await;
    world.connect(&ann.token, &channel, &id).await;
    world.changes.take();
    let path = format!("/things/{id}");
    let deleted = world.delete(&path, &ann.token).await.has_no_body(204);
    assert_eq!(deleted.header("access-control-expose-headers"), "Location");
    assert_eq!(world.changes.take(), [change_of_thing(&id)]);
    world.get(&path, &ann.token).await.refused(404);
    world.delete(&path, &ann.token).await.refused(404);
    world.post("/identify", "", json!({"token": key})).await.refused(401);
    assert_eq!(world.access(&channel, &key).await, 401);
    for token in [&ann.token, &bob.token, &world.admin] {
        assert_eq!(world.post("/things", token, json!([{"id": id}])).await.refused(409)["record"], 0);
    }
    assert_eq!(world.get("/things", &ann.token).await.json()["total"], 0);
    world.post("/channels", &ann.token, json!([{"id": id}])).await.is(201);
}

#[tokio::test]
async fn a_replaced_key_is_dead_when_the_answer_arrives() {
    let world = World::new().await;
    let user = world.user().await;
    let (id, old) = world.thing(&user.token).await;
    let channel = world.channel(&user.token).await;
    world.connect(&user.token, &channel, &id).await;
    world.changes.take();
    let request = Request::patch(format!("/things/{id}/key"));
    let request = request.header(header::AUTHORIZATION, format!("Bearer {}", user.token));
    let answer = world.send(request.body(Body::empty()).unwrap()).await.is(200).json();
    let new = answer["key"].as_str().unwrap();
    assert_eq!(world.changes.take(), [change_of_thing(&id)]);
    assert_eq!((world.access(&channel, &old).await, world.access(&channel, new).await), (401, 200));
    assert_eq!(world.get(&format!("/things/{id}"), &user.token).await.json()["key"], new);
    let path = format!("/things/{id}/key");
    for (body, field) in [
        (json!({"overlap": -1}), "overlap"),
        (json!({"overlap": 604_801}), "overlap"),
        (json!({"overlap": "60"}), "overlap"),
        (json!({"overlap": 1.5}), "overlap"),
        (json!({"key": "my-own"}), "key"),
    ] {
        assert_eq!(world.patch(&path, &user.token, body).await.refused(400)["field"], field);
    }
    world.patch(&path, "", json!({})).await.refused(401);
    assert_eq!(world.access(&channel, new).await, 200, "a refused request replaces nothing");
}

#[tokio::test]
async fn with_an_overlap_both_keys_work_and_a_second_change_shortens_it() {
    let world = World::new().await;
    let user = world.user().await;
    let (id, first) = world.thing(&user.token).await;
    let channel = world.channel(&user.token).await;
    world.connect(&user.token, &channel, &id).await;
    let path = format!("/things/{id}/key");
    let mut keys = vec![first];
    for overlap in [604_800, 60] {
        let answer = world.patch(&path, &user.token, json!({ "overlap": overlap })).await.is(200).json();
        keys.push(answer["key"].as_str().unwrap().to_owned());
    }
    for key in &keys {
        assert_eq!(world.access(&channel, key).await, 200);
        assert_eq!(
            world.post("/identify", "", json!({"token": key})).await.is(200).json(),
            json!({"id": id})
        );
    }
    world.patch(&path, &user.token, json!({"overlap": 0})).await.is(200);
    for key in &keys {
        assert_eq!(world.access(&channel, key).await, 401);
    }
}

#[tokio::test]
async fn no_key_is_stored_in_the_clear() {
    let world = World::new().await;
    let (_, key) = world.thing(&world.admin).await;
    world.app.close().await;
    assert!(!world.site.holds(key.as_bytes()).await);
    let digest: KeyDigest = domain::ThingKey::from_presented(&key).unwrap().digest();
    assert!(world.site.holds(digest.as_bytes()).await, "its digest is what is stored");
    assert!(Uuid::try_parse(&key).is_err());
}
