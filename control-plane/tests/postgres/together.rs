//! Two control planes on one registry, at once.

use std::sync::Arc;
use std::time::Duration;

use domain::{ChannelId, ThingKey};
use futures::future::join_all;
use serde_json::{Value, json};
use store::PurgeTarget;
use store::suite::Flaky;
use tokio_util::sync::CancellationToken;

use crate::site::Site;
use crate::world::{Answer, PASSWORD, World, change_of_channel, change_of_thing, new_id, new_store, open};

/// What nobody has to wait for longer.
const SOON: Duration = Duration::from_secs(10);

async fn two() -> [Arc<World>; 2] {
    let one = World::new().await;
    let other = World::on(Arc::clone(&one.site), new_store(&one.site.directory().join("other"))).await;
    [Arc::new(one), Arc::new(other)]
}

fn statuses(answers: [Answer; 2]) -> [u16; 2] {
    let mut statuses = answers.map(|answer| answer.status.as_u16());
    statuses.sort_unstable();
    statuses
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, found).await.unwrap_or_else(|_| panic!("{what}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_given_once() {
    let [one, other] = two().await;
    for round in 0..10 {
        let kind = if round % 2 == 0 { "/things" } else { "/channels" };
        let shared = json!({"id": new_id()});
        let bulk = |place: usize| {
            let mut bulk = vec![json!({}); 20];
            bulk[place] = shared.clone();
            json!(bulk)
        };
        let answers =
            tokio::join!(one.post(kind, &one.admin, bulk(0)), other.post(kind, &other.admin, bulk(19)));
        assert_eq!(statuses(answers.into()), [201, 409]);
        for world in [&one, &other] {
            let page = world.get(&format!("{kind}?limit=1"), &world.admin).await.json();
            assert_eq!(page["total"], 20 * (round / 2 + 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_email_is_given_once() {
    let [one, other] = two().await;
    for round in 0..5 {
        let account =
            |name: &str| json!({"email": format!("{name}-{round}@example.com"), "password": PASSWORD});
        let answers =
            tokio::join!(one.post("/users", "", account("ann")), other.post("/users", "", account("ANN")));
        assert_eq!(statuses(answers.into()), [201, 409]);
    }
    assert_eq!(one.get("/users", &one.admin).await.json()["total"], 6);
}

/// Bulks and deletions, from both sides: no number of a list is given twice, none is missing, and the counts are those
/// of the rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_stay_exact() {
    let worlds = two().await;
    let user = worlds[0].user().await;
    let made = join_all((0..8).map(async |number| {
        let world = Arc::clone(&worlds[number % 2]);
        let mut left = Vec::new();
        for round in 0..5 {
            let bulk = vec![json!({"name": format!("{number}")}); 100 + round];
            let created = world.post("/things", &user.token, json!(bulk)).await.is(201).json();
            let mut ids: Vec<String> = created["things"]
                .as_array()
                .unwrap()
                .iter()
                .map(|thing| thing["id"].as_str().unwrap().to_owned())
                .collect();
            for id in ids.drain(..10) {
                world.delete(&format!("/things/{id}"), &user.token).await.is(204);
            }
            left.extend(ids);
        }
        left
    }));
    let mut wanted = made.await.concat();
    wanted.sort();
    for (world, direction) in worlds.iter().zip(["asc", "desc"]) {
        for token in [&user.token, &world.admin] {
            let mut seen = Vec::new();
            for offset in (0..wanted.len() + 300).step_by(300) {
                let query = format!("/things?limit=300&offset={offset}&dir={direction}");
                let page = world.get(&query, token).await.is(200).json();
                assert_eq!(page["total"], wanted.len());
                let ids = page["things"].as_array().unwrap().iter();
                seen.extend(ids.map(|thing| thing["id"].as_str().unwrap().to_owned()));
            }
            seen.sort();
            assert_eq!(seen, wanted, "{direction}");
        }
    }
}

/// Whoever is first: nothing is connected to what is gone, and nobody is told of an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_and_deleting_exclude_each_other() {
    let [one, other] = two().await;
    for _ in 0..10 {
        let (thing, key) = one.thing(&one.admin).await;
        let channel = one.channel(&one.admin).await;
        let ids = json!({"channel_ids": [channel], "thing_ids": [thing]});
        let path = format!("/channels/{channel}");
        let (connected, deleted) =
            tokio::join!(one.post("/connect", &one.admin, ids), other.delete(&path, &other.admin));
        assert_eq!(deleted.status, 204);
        assert!([200, 404].contains(&connected.status.as_u16()), "{connected:?}");
        for world in [&one, &other] {
            assert_eq!(world.access(&channel, &key).await, 403);
        }
    }
    assert_eq!(one.site.count("SELECT COUNT(*) FROM connections").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_changes_of_a_password_one_is_made() {
    let [one, other] = two().await;
    for _ in 0..3 {
        let user = one.user().await;
        let change = |new: &str| json!({"old_password": PASSWORD, "password": new});
        let [left, right] = ["another one 1", "another one 2"];
        let (first, second) = tokio::join!(
            one.patch("/password", &user.token, change(left)),
            other.patch("/password", &user.token, change(right))
        );
        let password = if first.status == 201 { left } else { right };
        let [made, refused] = statuses([first, second]);
        assert!(made == 201 && [401, 403, 409].contains(&refused), "{made} {refused}");
        for world in [&one, &other] {
            world.token(&user.email, password).await;
            world.get("/things", &user.token).await.refused(401);
        }
    }
}

/// What one of them changes is in force on both with its answer: each asks the registry.
#[tokio::test]
async fn a_change_of_one_is_in_force_on_the_other() {
    let [one, other] = two().await;
    let (thing, key) = one.thing(&one.admin).await;
    let channel = other.channel(&other.admin).await;
    one.connect(&one.admin, &channel, &thing).await;
    assert_eq!(other.access(&channel, &key).await, 200);
    other.delete(&format!("/channels/{channel}/things/{thing}"), &other.admin).await.is(204);
    assert_eq!(one.access(&channel, &key).await, 403);
    let digest = ThingKey::from_presented(&key).unwrap().digest();
    let grants = one.app.grants(&[(digest, channel.parse().unwrap())]).await.unwrap();
    assert!(grants[0].is_some_and(|grant| grant.connection.is_none()));
}

/// So is what one of them takes from a user.
#[tokio::test]
async fn what_one_takes_from_a_user_is_out_of_force_on_the_other() {
    let [one, other] = two().await;
    let (ann, bob) = (one.user().await, one.user().await);
    let (group, thing) = (one.group(&ann.token).await, one.thing(&ann.token).await.0);
    one.gather(&ann.token, &group, &[&thing]).await;
    let path = format!("/things/{thing}");
    let policy = json!({"subjects": [bob.id], "object": thing, "policies": ["read"]});
    for _ in 0..20 {
        one.gather(&ann.token, &group, &[&bob.id]).await;
        other.get(&path, &bob.token).await.is(200);
        one.scatter(&ann.token, &group, &[&bob.id]).await.is(204);
        other.get(&path, &bob.token).await.refused(404);
        other.post("/policies", &other.admin, policy.clone()).await.is(201);
        one.get(&path, &bob.token).await.is(200);
        other.put("/policies", &other.admin, policy.clone()).await.is(204);
        one.get(&path, &bob.token).await.refused(404);
        let key = one.post("/keys", &bob.token, json!({"type": 2})).await.is(201).json();
        other.get("/things", key["value"].as_str().unwrap()).await.is(200);
        one.delete(&format!("/keys/{}", key["id"].as_str().unwrap()), &bob.token).await.is(204);
        other.get("/things", key["value"].as_str().unwrap()).await.refused(401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_admins_who_unmake_each_other_one_is_left() {
    let [one, other] = two().await;
    let bob = one.user().await;
    let users = one.get("/users?email=admin", &one.admin).await.json();
    let ids = [users["Users"][0]["id"].as_str().unwrap(), bob.id.as_str()];
    let tokens = [one.admin.as_str(), bob.token.as_str()];
    let member = |id: &str| json!({"subjects": [id], "object": "authorities", "policies": ["member"]});
    let mut admin = 0;
    for _ in 0..10 {
        let second = 1 - admin;
        one.post("/policies", tokens[admin], member(ids[second])).await.is(201);
        tokio::join!(
            one.put("/policies", tokens[admin], member(ids[second])),
            other.put("/policies", tokens[second], member(ids[admin]))
        );
        let mut left = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            let refused = one.put("/policies", token, json!({})).await.status;
            if refused != 403 {
                left.push(index);
            }
        }
        assert_eq!(left.len(), 1, "{left:?}");
        admin = left[0];
    }
}

/// Publishing is one turn at a time, on both: each change once, by whoever comes to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_is_published_once_before_its_answer() {
    let worlds = two().await;
    let channel = worlds[0].channel(&worlds[0].admin).await;
    let things = join_all((0..8).map(async |number| {
        let world = &worlds[number % 2];
        let (thing, _) = world.thing(&world.admin).await;
        for _ in 0..5 {
            world.connect(&world.admin, &channel, &thing).await;
            world.delete(&format!("/channels/{channel}/things/{thing}"), &world.admin).await.is(204);
        }
        thing
    }));
    let mut wanted: Vec<_> = things
        .await
        .iter()
        .flat_map(|thing| [change_of_thing(thing); 10])
        .map(|change| format!("{change:?}"))
        .collect();
    let mut published: Vec<_> =
        worlds.iter().flat_map(|world| world.changes.take()).map(|change| format!("{change:?}")).collect();
    wanted.sort();
    published.sort();
    assert_eq!(published, wanted);
}

#[tokio::test]
async fn what_one_left_unpublished_is_published_by_the_other() {
    let [one, other] = two().await;
    let stop = CancellationToken::new();
    let background = tokio::spawn(other.app.clone().run(stop.clone()));
    let left = new_id();
    let insert = "INSERT INTO outbox (kind, entity_id) VALUES (3, $1)";
    one.site.execute(insert, &[&left]).await;
    let published =
        until("it is published", async || Some(other.changes.take()).filter(|all| !all.is_empty()));
    assert_eq!(published.await, [change_of_channel(&left)]);
    stop.cancel();
    background.await.unwrap();
}

#[tokio::test]
async fn a_key_ends_though_the_one_that_was_told_of_its_end_is_gone() {
    let [one, other] = two().await;
    let stop = CancellationToken::new();
    let background = tokio::spawn(other.app.clone().run(stop.clone()));
    let (thing, _) = one.thing(&one.admin).await;
    one.patch(&format!("/things/{thing}/key"), &one.admin, json!({"overlap": 1})).await.is(200);
    one.app.close().await;
    let published =
        until("it is published", async || Some(other.changes.take()).filter(|all| !all.is_empty()));
    assert_eq!(published.await, [change_of_thing(&thing)]);
    assert_eq!(other.site.count("SELECT COUNT(*) FROM thing_keys").await, 1);
    stop.cancel();
    background.await.unwrap();
}

#[tokio::test]
async fn a_purge_is_done_though_the_one_that_was_asked_for_it_is_gone() {
    let site = Arc::new(Site::new().await);
    let store = Arc::new(Flaky::new(new_store(site.directory()), 0));
    let (app, _) = open(&site, Arc::clone(&store) as _).await.unwrap();
    let stop = CancellationToken::new();
    let background = tokio::spawn(app.run(stop.clone()));
    let one = World::on(Arc::clone(&site), new_store(&site.directory().join("other"))).await;
    let channel: ChannelId = one.channel(&one.admin).await.parse().unwrap();
    one.delete(&format!("/channels/{channel}"), &one.admin).await.is(204);
    one.app.close().await;
    tokio::time::timeout(SOON, store.has_purged(&[PurgeTarget::Channel(channel)])).await.unwrap();
    until("it is forgotten", async || (site.count("SELECT COUNT(*) FROM purges").await == 0).then_some(()))
        .await;
    stop.cancel();
    background.await.unwrap();
}

/// Both find the same to do: it is done, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_both_begin_is_done() {
    let [one, other] = two().await;
    let (thing, old) = one.thing(&one.admin).await;
    one.patch(&format!("/things/{thing}/key"), &one.admin, json!({"overlap": 1})).await.is(200);
    let channels = join_all((0..20).map(|_| one.channel(&one.admin))).await;
    for channel in &channels {
        other.delete(&format!("/channels/{channel}"), &other.admin).await.is(204);
    }
    let stop = CancellationToken::new();
    let background = [&one, &other].map(|world| tokio::spawn(world.app.clone().run(stop.clone())));
    until("purges and keys have ended", async || {
        let left = one.site.count(
            "SELECT (SELECT COUNT(*) FROM purges) + (SELECT COUNT(*) FROM outbox)
                  + (SELECT COUNT(*) FROM thing_keys WHERE expires_at IS NOT NULL)",
        );
        (left.await == 0).then_some(())
    })
    .await;
    one.post("/identify", "", json!({"token": old})).await.refused(401);
    stop.cancel();
    for task in background {
        task.await.unwrap();
    }
    let page: Value = other.get("/things", &other.admin).await.json();
    assert_eq!(page["total"], 1);
}
