//! What a thing's key opens.

use domain::{ChannelProfile, Grant, KeyDigest, ThingKey};
use serde_json::json;

use crate::world::{World, new_id};

fn digest(key: &str) -> KeyDigest {
    ThingKey::from_presented(key).unwrap().digest()
}

#[tokio::test]
async fn a_key_opens_the_channels_its_thing_is_connected_to() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, key) = world.thing(&user.token).await;
    let [channel, other] = [world.channel(&user.token).await, world.channel(&user.token).await];
    world.connect(&user.token, &channel, &thing).await;
    let path = |channel: &str| format!("/identify/channels/{channel}/access-by-key");
    let answer = world.post(&path(&channel), "", json!({"token": key})).await.is(200);
    assert_eq!(answer.header("access-control-expose-headers"), "Location");
    assert_eq!(answer.json(), json!({"id": thing}));
    for closed in [&other, &new_id()] {
        world.post(&path(closed), "", json!({"token": key})).await.refused(403);
    }
    for unknown in ["no-such-key", "", "with space", &"x".repeat(1_000)] {
        world.post(&path(&channel), "", json!({"token": unknown})).await.refused(401);
    }
    for body in [json!({}), json!({"token": 5}), json!([])] {
        world.post(&path(&channel), "", body).await.refused(400);
    }
    world.post(&path("not-a-uuid"), "", json!({"token": key})).await.refused(403);
}

#[tokio::test]
async fn a_thing_is_known_by_its_key() {
    let world = World::new().await;
    let (thing, key) = world.thing(&world.admin).await;
    let answer = world.post("/identify", "", json!({"token": key})).await.is(200);
    assert_eq!(answer.json(), json!({"id": thing}));
    world.post("/identify", "", json!({"token": new_id()})).await.refused(401);
    for text in ["{}", "", "{\"token\":null}", "[]"] {
        world.request_text("POST", "/identify", "", text).await.refused(400);
    }
}

#[tokio::test]
async fn access_by_id_is_for_connected_things() {
    let world = World::new().await;
    let (thing, _) = world.thing(&world.admin).await;
    let channel = world.channel(&world.admin).await;
    let path = format!("/identify/channels/{channel}/access-by-id");
    world.post(&path, "", json!({"thing_id": thing})).await.refused(403);
    world.post(&path, "", json!({"thing_id": new_id()})).await.refused(403);
    world.connect(&world.admin, &channel, &thing).await;
    world.post(&path, "", json!({"thing_id": thing})).await.has_no_body(200);
    for body in [json!({}), json!({"thing_id": 5}), json!({"thing_id": "nope"})] {
        assert_eq!(world.post(&path, "", body).await.refused(400)["field"], "thing_id");
    }
}

#[tokio::test]
async fn the_pipeline_is_told_the_same() {
    let world = World::new().await;
    let (thing, key) = world.thing(&world.admin).await;
    let created = world.post("/channels", &world.admin, json!([{"bucket_width": "1d"}])).await.json();
    let channel = created["channels"][0]["id"].as_str().unwrap();
    let authority = world.app.authority();
    let (digest, nobody) = (digest(&key), digest("nobody"));
    let id = channel.parse().unwrap();
    let grant = |connection| Some(Grant { thing: thing.parse().unwrap(), connection });

    assert_eq!(authority.grant(&digest, id).await.unwrap(), grant(None));
    assert_eq!(authority.grant(&digest, new_id().parse().unwrap()).await.unwrap(), grant(None));
    assert_eq!(authority.grant(&nobody, id).await.unwrap(), None);
    world.connect(&world.admin, channel, &thing).await;
    let profile = ChannelProfile::from(domain::BucketWidth::Day);
    assert_eq!(authority.grant(&digest, id).await.unwrap(), grant(Some(profile)));
    assert_eq!(authority.grant(&nobody, id).await.unwrap(), None);
}

#[tokio::test]
async fn many_questions_are_answered_as_each_by_itself() {
    let world = World::new().await;
    let [(thing, key), (idle, idle_key)] = [world.thing(&world.admin).await, world.thing(&world.admin).await];
    let [channel, other] = [world.channel(&world.admin).await, world.channel(&world.admin).await];
    world.connect(&world.admin, &channel, &thing).await;
    let old = key.clone();
    let replaced = world.patch(&format!("/things/{thing}/key"), &world.admin, json!({"overlap": 60})).await;
    let new = replaced.json()["key"].as_str().unwrap().to_owned();
    let mut questions: Vec<_> = [
        (&old, &channel),
        (&new, &channel),
        (&new, &other),
        (&idle_key, &channel),
        (&new, &channel),
        (&"nobody".to_owned(), &channel),
        (&new, &new_id()),
    ]
    .map(|(key, channel)| (digest(key), channel.parse().unwrap()))
    .into();
    let [thing, idle] = [thing, idle].map(|id| id.parse().unwrap());
    let connected = Some(Grant { thing, connection: Some(ChannelProfile::default()) });
    let not_connected = |thing| Some(Grant { thing, connection: None });
    let mut answers = vec![
        connected,
        connected,
        not_connected(thing),
        not_connected(idle),
        connected,
        None,
        not_connected(thing),
    ];
    assert_eq!(world.app.grants(&questions).await.unwrap(), answers);
    assert_eq!(world.app.grants(&[]).await.unwrap(), []);
    for (question, answer) in questions.iter().zip(&answers) {
        assert_eq!(world.app.authority().grant(&question.0, question.1).await.unwrap(), *answer);
    }
    // More than one statement takes.
    while questions.len() < 2_500 {
        questions.extend_from_within(..7);
        answers.extend_from_within(..7);
    }
    assert_eq!(world.app.grants(&questions).await.unwrap(), answers);
}
