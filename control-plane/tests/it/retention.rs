//! The retention of channels: who is told of it, and what is deleted when.

use std::sync::Arc;

use domain::{BucketWidth, ChannelId, ChannelProfile, ReceivedAt, Retention, ThingKey, Timestamp};
use serde_json::{Value, json};
use service::clock;
use store::suite::{Flaky, number_row};
use store::{Store, WriteBatch, WriteRow};
use tokio_util::sync::CancellationToken;

use crate::site::Site;
use crate::world::{User, World, change_of_channel, new_store};

const HOUR_MICROS: i64 = 3_600_000_000;

async fn channel(world: &World, user: &User, body: Value) -> ChannelId {
    let created = world.post("/channels", &user.token, json!([body])).await.is(201);
    created.header("location").strip_prefix("/channels/").unwrap().parse().unwrap()
}

async fn profile(world: &World, user: &User, channel: ChannelId) -> ChannelProfile {
    world.app.authority().user_read(&user.token, channel).await.unwrap()
}

#[tokio::test]
async fn a_retention_is_shown_unless_it_is_the_default() {
    let world = World::new().await;
    let user = world.user().await;
    let body = json!([{"retention": "7d"}, {"retention": "90d", "bucket_width": "1d"}, {"retention": "400d"},
        {"retention": "forever"}, {"retention": null}, {}]);
    let created = world.post("/channels", &user.token, body).await.is(201).json();
    let channels = created["channels"].as_array().unwrap();
    let shown: Vec<_> = channels.iter().map(|channel| channel.get("retention")).collect();
    let text = [json!("7d"), json!("90d"), json!("400d")];
    assert_eq!(shown, [Some(&text[0]), Some(&text[1]), Some(&text[2]), None, None, None]);
    let listed = world.get("/channels", &user.token).await.json();
    assert_eq!(&listed["channels"], &created["channels"]);
    for (view, retention) in channels.iter().zip([Retention::Days7, Retention::Days90, Retention::Days400]) {
        let id = view["id"].as_str().unwrap();
        assert_eq!(&world.get(&format!("/channels/{id}"), &user.token).await.json(), view);
        let width = if retention == Retention::Days90 { BucketWidth::Day } else { BucketWidth::Hour };
        assert_eq!(profile(&world, &user, id.parse().unwrap()).await, ChannelProfile::new(width, retention));
    }
    for wrong in [json!("8d"), json!(7), json!("7D"), json!([])] {
        let refused =
            world.post("/channels", &user.token, json!([{}, {"retention": wrong}])).await.refused(400);
        assert_eq!((&refused["record"], &refused["field"]), (&json!(1), &json!("retention")), "{refused}");
    }
    assert_eq!(world.get("/channels", &user.token).await.json()["total"], 6);
}

/// What is cached of a channel is asked for again when its retention became shorter, and not before the answer.
#[tokio::test]
async fn a_retention_becomes_shorter_in_force_and_never_longer() {
    let world = World::new().await;
    let user = world.user().await;
    let id = channel(&world, &user, json!({"name": "a", "retention": "400d"})).await;
    let path = format!("/channels/{id}");
    world.changes.take();
    let created = ChannelProfile::new(BucketWidth::Hour, Retention::Days400);
    for same in [json!({"name": "b"}), json!({"retention": "400d"}), json!({"retention": null})] {
        world.put(&path, &user.token, same).await.has_no_body(200);
    }
    assert_eq!(world.changes.take(), []);
    for (to, retention) in [("90d", Retention::Days90), ("7d", Retention::Days7)] {
        let body = json!({"name": to, "retention": to});
        world.put(&path, &user.token, body).await.has_no_body(200);
        assert_eq!(world.changes.take(), [change_of_channel(&id.to_string())]);
        assert_eq!(Some(profile(&world, &user, id).await), created.shortened(retention));
        assert_eq!(
            world.get(&path, &user.token).await.json(),
            json!({"id": id, "name": to, "retention": to})
        );
        for longer in ["400d", "forever"] {
            let body = json!({"name": "c", "retention": longer});
            let refused = world.put(&path, &user.token, body).await.refused(400);
            assert_eq!(refused["field"], "retention");
            let text = refused["error"].as_str().unwrap();
            assert!(text.contains(&format!("from {to} to {longer}")), "{text}");
        }
        assert_eq!(
            world.get(&path, &user.token).await.json()["name"],
            to,
            "a refused change changes nothing"
        );
    }
    let (thing, key) = world.thing(&user.token).await;
    world.connect(&user.token, &id.to_string(), &thing).await;
    let key = ThingKey::from_presented(&key).unwrap();
    let grant = world.app.authority().grant(&key.digest(), id).await.unwrap().unwrap();
    assert_eq!(grant.connection, created.shortened(Retention::Days7));
}

async fn store_old_record(store: &dyn Store, channel: ChannelId, profile: ChannelProfile, age_micros: i64) {
    let nanos = (clock::unix_micros() - age_micros) * 1_000;
    let row = WriteRow { profile, ..number_row(channel, domain::ThingId::from_bytes([1; 16]), nanos, 1.0) };
    store.append(WriteBatch { rows: vec![row], positions: Vec::new() }).await.unwrap();
}

async fn blocks(store: &dyn Store, channel: ChannelId, profile: ChannelProfile) -> usize {
    let (all, direction) = (store::TimeRange::ALL, store::Direction::Ascending);
    store.blocks(channel, profile, all, direction, None, 100).await.unwrap().len()
}

/// Of each channel with a retention what ended an hour before its cut-off goes, also if the store is away at first, and at
/// once when a retention becomes shorter; channels that keep for ever are not touched.
#[tokio::test]
async fn what_has_expired_is_swept() {
    let site = Arc::new(Site::new().await);
    let store = Arc::new(Flaky::new(new_store(site.directory()), 0));
    let world = World::on(site, Arc::clone(&store) as _).await;
    let user = world.user().await;
    let mut channels = Vec::new();
    for retention in ["7d", "90d", "400d", "forever"] {
        let id = channel(&world, &user, json!({"retention": retention, "bucket_width": "5m"})).await;
        let profile = profile(&world, &user, id).await;
        let kept = profile.retention.seconds().unwrap_or(0) * 1_000_000;
        // Long gone, gone for less than an hour, and still there.
        for age in [kept + 30 * 24 * HOUR_MICROS, kept + HOUR_MICROS / 2, kept - HOUR_MICROS] {
            store_old_record(&*store, id, profile, age).await;
        }
        channels.push((id, profile));
    }
    store.go_away(2);
    let mut expired = store.expired();
    let began = ReceivedAt::from_micros(clock::unix_micros() - HOUR_MICROS);
    let stop = CancellationToken::new();
    let background = tokio::spawn(world.app.clone().run(stop.clone()));
    expired.wait_for(|expired| expired.len() >= 3).await.unwrap();
    let ended = ReceivedAt::from_micros(clock::unix_micros() - HOUR_MICROS);
    for &(id, profile) in &channels {
        let asked: Vec<(ChannelProfile, Timestamp)> = expired
            .borrow()
            .iter()
            .filter(|(of, ..)| *of == id)
            .map(|(_, of, before)| (*of, *before))
            .collect();
        let left = blocks(&*store, id, profile).await;
        if profile.retention == Retention::Forever {
            assert_eq!((asked.len(), left), (0, 3));
            continue;
        }
        assert!(asked.iter().all(|(of, _)| *of == profile));
        let times = profile.cut_off(began)..=profile.cut_off(ended);
        assert!(asked.iter().all(|(_, before)| times.contains(before)), "{asked:?}");
        assert_eq!(left, 2, "{profile:?}");
    }

    // The one that kept for ever gets a retention, and is swept without waiting for the next round.
    let (id, forever) = channels[3];
    let swept = expired.borrow().len();
    world.put(&format!("/channels/{id}"), &user.token, json!({"retention": "7d"})).await.is(200);
    expired.wait_for(|expired| expired[swept..].iter().any(|(of, ..)| *of == id)).await.unwrap();
    assert_eq!(
        expired.borrow().iter().find(|(of, ..)| *of == id).unwrap().1,
        forever.shortened(Retention::Days7).unwrap()
    );
    assert_eq!(blocks(&*store, id, forever).await, 2, "those of the last week and of an hour ahead");
    stop.cancel();
    background.await.unwrap();
}
