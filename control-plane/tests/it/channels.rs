//! Channels: creating, showing, changing, deleting.

use domain::BucketWidth;
use serde_json::json;
use service::authority::ReadDenied;

use crate::world::{World, change_of_channel, new_id};

#[tokio::test]
async fn one_channel_answers_its_location_and_itself() {
    let world = World::new().await;
    let user = world.user().await;
    let id = new_id();
    let body = json!([{"id": id, "name": "channel_name", "metadata": {"a": 1}}]);
    let created = world.post("/channels", &user.token, body).await.is(201);
    assert_eq!(created.header("location"), format!("/channels/{id}"));
    assert_eq!(created.header("access-control-expose-headers"), "Location");
    let channel = json!({"id": id, "name": "channel_name", "metadata": {"a": 1}});
    assert_eq!(created.json(), json!({"channels": [channel]}));
    assert_eq!(world.get(&format!("/channels/{id}"), &user.token).await.is(200).json(), channel);
    let single = world.post("/channels", &user.token, json!({"name": "single"})).await.is(201);
    assert!(single.header("location").starts_with("/channels/"));
}

#[tokio::test]
async fn several_channels_answer_in_order_or_not_at_all() {
    let world = World::new().await;
    let user = world.user().await;
    let ids = [new_id(), new_id()];
    let body = json!([{"id": ids[0], "name": "a"}, {"id": ids[1], "name": "b"}]);
    let created = world.post("/channels", &user.token, body).await.is(201);
    assert!(!created.headers.contains_key("location"));
    let wanted = json!({"channels": [{"id": ids[0], "name": "a"}, {"id": ids[1], "name": "b"}]});
    assert_eq!(created.json(), wanted);

    let fresh = new_id();
    for (second, status, field) in [
        (json!({"id": ids[0]}), 409, "id"),
        (json!({"id": fresh}), 400, "id"),
        (json!({"id": "nope"}), 400, "id"),
        (json!({"bucket_width": "2h"}), 400, "bucket_width"),
        (json!({"bucket_width": 3_600}), 400, "bucket_width"),
        (json!({"name": []}), 400, "name"),
        (json!({"metadata": []}), 400, "metadata"),
    ] {
        let refused =
            world.post("/channels", &user.token, json!([{"id": fresh}, second])).await.refused(status);
        assert_eq!((&refused["record"], &refused["field"]), (&json!(1), &json!(field)), "{refused}");
        world.get(&format!("/channels/{fresh}"), &user.token).await.refused(404);
    }
    world.post("/channels", &user.token, json!([])).await.refused(400);
    world.post("/channels", "", json!([{}])).await.refused(401);
    assert_eq!(world.get("/channels", &user.token).await.json()["total"], 2);
}

#[tokio::test]
async fn the_bucket_width_is_chosen_once() {
    let world = World::new().await;
    let user = world.user().await;
    let body = json!([{"bucket_width": "5m"}, {"bucket_width": "1h"}, {"bucket_width": "1d"}]);
    let created = world.post("/channels", &user.token, body).await.is(201).json();
    let channels = created["channels"].as_array().unwrap();
    let widths: Vec<_> = channels.iter().map(|channel| channel.get("bucket_width")).collect();
    assert_eq!(widths, [Some(&json!("5m")), None, Some(&json!("1d"))]);

    let id = channels[0]["id"].as_str().unwrap();
    let path = format!("/channels/{id}");
    let refused =
        world.put(&path, &user.token, json!({"name": "x", "bucket_width": "1h"})).await.refused(400);
    assert_eq!(refused["field"], "bucket_width");
    world.put(&path, &user.token, json!({"name": "renamed", "bucket_width": "5m"})).await.has_no_body(200);
    let shown = world.get(&path, &user.token).await.json();
    assert_eq!(shown, json!({"id": id, "name": "renamed", "bucket_width": "5m"}));
    let profile = world.app.authority().user_read(&user.token, id.parse().unwrap()).await.unwrap();
    assert_eq!(profile.bucket_width, BucketWidth::FiveMinutes);
}

#[tokio::test]
async fn channels_are_hidden_from_others_and_open_to_admins() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let id = world.channel(&ann.token).await;
    let authority = world.app.authority();
    for (path, id) in [(format!("/channels/{id}"), id.clone()), (format!("/channels/{}", new_id()), new_id())]
    {
        assert_eq!(world.get(&path, &bob.token).await.refused(404)["error"], "no such channel");
        world.put(&path, &bob.token, json!({"name": "mine"})).await.refused(404);
        world.delete(&path, &bob.token).await.refused(404);
        let denied = authority.user_read(&bob.token, id.parse().unwrap()).await;
        assert!(matches!(denied, Err(ReadDenied::UnknownChannel)), "{denied:?}");
    }
    assert_eq!(world.get("/channels", &bob.token).await.json()["channels"], json!([]));
    assert_eq!(world.get("/channels", &world.admin).await.json()["channels"][0]["id"], id);
    world.get(&format!("/channels/{id}"), &world.admin).await.is(200);
    for token in [&ann.token, &world.admin] {
        assert!(authority.user_read(token, id.parse().unwrap()).await.is_ok());
    }
    let denied = authority.user_read("not.a.token", id.parse().unwrap()).await;
    assert!(matches!(denied, Err(ReadDenied::InvalidToken)), "{denied:?}");
}

#[tokio::test]
async fn a_deleted_channel_is_gone_and_its_id_is_never_free() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let id = world.channel(&ann.token).await;
    let (thing, key) = world.thing(&ann.token).await;
    world.connect(&ann.token, &id, &thing).await;
    world.changes.take();
    let path = format!("/channels/{id}");
    world.delete(&path, &ann.token).await.has_no_body(204);
    assert_eq!(world.changes.take(), [change_of_channel(&id)]);
    assert_eq!(world.access(&id, &key).await, 403);
    world.get(&path, &ann.token).await.refused(404);
    world.delete(&path, &ann.token).await.refused(404);
    let denied = world.app.authority().user_read(&ann.token, id.parse().unwrap()).await;
    assert!(matches!(denied, Err(ReadDenied::UnknownChannel)), "{denied:?}");
    for token in [&ann.token, &bob.token, &world.admin] {
        assert_eq!(
            world.post("/channels", token, json!([{"id": id}])).await.refused(409)["code"],
            "id_taken"
        );
    }
    world.get(&format!("/things/{thing}"), &ann.token).await.is(200);
}
