//! Connecting and disconnecting.

use serde_json::json;

use crate::world::{World, change_of_thing, new_id};

async fn connected(world: &World, channel: &str, thing: &str) -> bool {
    let path = format!("/identify/channels/{channel}/access-by-id");
    let answer = world.post(&path, "", json!({ "thing_id": thing })).await;
    match answer.status.as_u16() {
        200 => answer.has_no_body(200).status == 200,
        _ => answer.refused(403).is_null(),
    }
}

#[tokio::test]
async fn things_and_channels_are_connected_and_disconnected_in_bulk() {
    let world = World::new().await;
    let user = world.user().await;
    let mut things = vec![world.thing(&user.token).await.0, world.thing(&user.token).await.0];
    things.sort();
    let channels = [world.channel(&user.token).await, world.channel(&user.token).await];
    let ids = json!({"channel_ids": channels, "thing_ids": [things[1], things[0], things[1]]});
    let changes = [change_of_thing(&things[0]), change_of_thing(&things[1])];
    let connect = world.post("/connect", &user.token, ids.clone()).await.has_no_body(200);
    assert_eq!(connect.header("access-control-expose-headers"), "Location");
    assert_eq!(world.changes.take(), changes);
    world.post("/connect", &user.token, ids.clone()).await.has_no_body(200);
    assert_eq!(world.changes.take(), [], "connecting again changes nothing");
    for channel in &channels {
        for thing in &things {
            assert!(connected(&world, channel, thing).await);
        }
    }
    world.put("/disconnect", &user.token, ids.clone()).await.has_no_body(200);
    assert_eq!(world.changes.take(), changes);
    world.put("/disconnect", &user.token, ids).await.has_no_body(200);
    assert_eq!(world.changes.take(), []);
    for channel in &channels {
        for thing in &things {
            assert!(!connected(&world, channel, thing).await);
        }
    }
}

#[tokio::test]
async fn one_is_connected_by_path_with_a_warning() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, key) = world.thing(&user.token).await;
    let channel = world.channel(&user.token).await;
    let path = format!("/channels/{channel}/things/{thing}");
    for _ in 0..2 {
        let answer = world.request_text("PUT", &path, &user.token, "").await.has_no_body(200);
        let warning = "This endpoint will be depreciated in v1.0.0. It will be replaced with the bulk endpoint found at \
                       /connect.";
        assert_eq!(answer.header("warning-deprecated"), warning);
        assert_eq!(answer.header("access-control-expose-headers"), "Location");
        assert_eq!(world.access(&channel, &key).await, 200);
    }
    for _ in 0..2 {
        world.delete(&path, &user.token).await.has_no_body(204);
        assert_eq!(world.access(&channel, &key).await, 403);
    }
    assert_eq!(world.changes.take(), [change_of_thing(&thing), change_of_thing(&thing)]);
    world.put(&path, "", json!({})).await.refused(401);
    world.delete(&path, "").await.refused(401);
}

#[tokio::test]
async fn nothing_is_connected_if_anything_is_unknown_or_foreign() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (thing, _) = world.thing(&ann.token).await;
    let channel = world.channel(&ann.token).await;
    let (foreign_thing, _) = world.thing(&bob.token).await;
    let foreign_channel = world.channel(&bob.token).await;
    let (no_thing, no_channel) = (new_id(), new_id());
    for (channels, things, field, hidden) in [
        (vec![&channel], vec![&thing, &foreign_thing], "thing_ids", &foreign_thing),
        (vec![&channel], vec![&thing, &no_thing], "thing_ids", &no_thing),
        (vec![&channel, &foreign_channel], vec![&thing], "channel_ids", &foreign_channel),
        (vec![&channel, &no_channel], vec![&thing], "channel_ids", &no_channel),
    ] {
        let ids = json!({"channel_ids": channels, "thing_ids": things});
        for refused in [
            world.post("/connect", &ann.token, ids.clone()).await.refused(404),
            world.put("/disconnect", &ann.token, ids).await.refused(404),
        ] {
            assert_eq!(refused["field"], field);
            assert!(refused["error"].as_str().unwrap().contains(hidden), "{refused} does not name {hidden}");
        }
        assert!(!connected(&world, &channel, &thing).await);
    }
    for (channel, thing) in
        [(&channel, &foreign_thing), (&foreign_channel, &thing), (&channel, &no_thing), (&no_channel, &thing)]
    {
        let path = format!("/channels/{channel}/things/{thing}");
        world.put(&path, &ann.token, json!({})).await.refused(404);
        world.delete(&path, &ann.token).await.refused(404);
    }
    assert_eq!(world.changes.take(), []);
    let ids = json!({"channel_ids": [channel], "thing_ids": [foreign_thing]});
    world.post("/connect", &world.admin, ids).await.is(200);
    assert!(connected(&world, &channel, &foreign_thing).await, "an admin may write both");
}

#[tokio::test]
async fn requests_that_name_no_ids_or_too_many_are_refused() {
    let world = World::new().await;
    let user = world.user().await;
    let id = new_id();
    let many = |count: usize| vec![id.clone(); count];
    for (body, field) in [
        (json!({"channel_ids": [], "thing_ids": [id]}), "channel_ids"),
        (json!({"channel_ids": [id], "thing_ids": []}), "thing_ids"),
        (json!({"channel_ids": [id]}), "thing_ids"),
        (json!({"thing_ids": [id]}), "channel_ids"),
        (json!({"channel_ids": id, "thing_ids": [id]}), "channel_ids"),
        (json!({"channel_ids": [id], "thing_ids": [id, 5]}), "thing_ids"),
        (json!({"channel_ids": [id], "thing_ids": [id, "nope"]}), "thing_ids"),
        (json!({"channel_ids": many(1_001), "thing_ids": [id]}), "channel_ids"),
    ] {
        for (method, path) in [("POST", "/connect"), ("PUT", "/disconnect")] {
            let refused = world.request(method, path, &user.token, body.clone()).await.refused(400);
            assert_eq!(refused["field"], field);
        }
    }
    let distinct = |count: usize| (0..count).map(|_| new_id()).collect::<Vec<_>>();
    let product = json!({"channel_ids": distinct(101), "thing_ids": distinct(100)});
    assert_eq!(world.post("/connect", &user.token, product).await.refused(400)["code"], "too_many");
    world.request_text("POST", "/connect", "", "{").await.refused(401);
    world.request_text("POST", "/connect", &user.token, "{").await.refused(400);
}
