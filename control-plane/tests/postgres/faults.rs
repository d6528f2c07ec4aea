//! What becomes of requests when the server, another control plane or the way to the server fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ThingKey;
use futures::future::join_all;
use serde_json::json;
use service::feed::Feed;
use sqlx::Connection as _;
use thalweg_control_plane::ControlPlane;
use tokio_util::sync::CancellationToken;

use crate::engines::Engines;
use crate::proxy::Proxy;
use crate::site::Site;
use crate::world::{Answer, World, new_store};

/// What no request takes longer for, whatever fails: a wait for a connection, and a statement without an answer.
const ANSWERED_MAX: Duration = Duration::from_secs(17);
/// What a recovery may take on a busy machine.
const RECOVERED_MAX: Duration = Duration::from_secs(30);

/// Sessions that have lock `number` of this database, and do nothing.
async fn idle_holders(site: &Site, number: i64) -> i64 {
    let query = "SELECT l.objid::bigint, COUNT(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                 WHERE l.locktype = 'advisory' AND l.granted AND a.state = 'idle in transaction'
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY 1";
    let mut connection = site.connect().await;
    let holders: Vec<(i64, i64)> = sqlx::query_as(query).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    holders.into_iter().find(|(lock, _)| *lock == number).map_or(0, |(_, holders)| holders)
}

/// A control plane that reaches its server through a proxy.
async fn behind(proxy: &Proxy, site: &Arc<Site>, directory: &str) -> World {
    let url = site.url_text().replace(site.place(), &proxy.address.to_string());
    let store = new_store(&site.directory().join(directory));
    let opened = ControlPlane::open(site.config_at(&url), Arc::new(Feed::default()), store).await;
    World::of(Arc::clone(site), opened.unwrap().0, Arc::default()).await
}

/// Blocks the way while the control plane behind it has this lock and does nothing.
async fn freeze(proxy: &Proxy, site: &Site, number: i64) {
    until("it freezes in a transaction", async || {
        proxy.block();
        let mut is_frozen = true;
        for _ in 0..3 {
            is_frozen &= idle_holders(site, number).await == 1;
        }
        if !is_frozen {
            proxy.unblock();
        }
        is_frozen
    })
    .await;
}

#[track_caller]
fn is_unavailable(answer: Answer) {
    assert!(!answer.header("retry-after").is_empty());
    answer.refused(503);
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let found = async {
        while !look().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(RECOVERED_MAX, found).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_loses_nothing_and_is_found_again() {
    let engines = Engines::start().await;
    let site = Arc::new(Site::on(&engines.url).await);
    let world = World::on(Arc::clone(&site), new_store(site.directory())).await;
    let (thing, key) = world.thing(&world.admin).await;
    let channel = world.channel(&world.admin).await;
    world.connect(&world.admin, &channel, &thing).await;
    let question = (ThingKey::from_presented(&key).unwrap().digest(), channel.parse().unwrap());

    // Requests of all kinds while the server goes.
    let creating = async {
        let mut created = Vec::new();
        loop {
            let answer = world.post("/things", &world.admin, json!([{}])).await;
            match answer.status.as_u16() {
                201 => created.push(answer.json()["things"][0]["id"].as_str().unwrap().to_owned()),
                _ => {
                    is_unavailable(answer);
                    return created;
                }
            }
        }
    };
    let ((), created) = tokio::join!(engines.act("kill"), creating);
    assert!(!world.app.answers().await);
    assert!(world.app.grants(&[question]).await.is_err());
    let path = format!("/channels/{channel}/things/{thing}");
    let answers = tokio::join!(world.get("/things", &world.admin), world.delete(&path, &world.admin));
    <[Answer; 2]>::from(answers).into_iter().for_each(is_unavailable);

    engines.act("restart").await;
    until("it writes again", async || world.post("/channels", &world.admin, json!([{}])).await.status == 201)
        .await;
    assert!(world.app.answers().await);
    assert!(world.app.grants(&[question]).await.unwrap()[0].is_some());
    for id in created {
        world.get(&format!("/things/{id}"), &world.admin).await.is(200);
    }
    // The connections that rested meanwhile do not show up one by one in answers.
    for answer in join_all((0..32).map(|_| world.get("/things", &world.admin))).await {
        answer.is(200);
    }
    world.app.close().await;
}

/// Frozen with the lock of those who write, it stops the others for less time than they wait. Woken, it has lost what it
/// was about to do, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_frozen_while_it_writes_stops_nobody_for_long() {
    let site = Arc::new(Site::new().await);
    let proxy = Proxy::to(site.place()).await;
    let frozen = Arc::new(behind(&proxy, &site, "frozen").await);
    let other = World::on(Arc::clone(&site), new_store(&site.directory().join("other"))).await;
    let stop = CancellationToken::new();
    let writing = tokio::spawn({
        let (frozen, stop) = (Arc::clone(&frozen), stop.clone());
        async move {
            let mut created = 0;
            while !stop.is_cancelled() {
                let answer = frozen.post("/things", &frozen.admin, json!([{}])).await;
                match answer.status.as_u16() {
                    201 => created += 1,
                    _ => is_unavailable(answer),
                }
            }
            created
        }
    });
    freeze(&proxy, &site, 1).await;
    let began = Instant::now();
    other.post("/things", &other.admin, json!([{"name": "of the other"}])).await.is(201);
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(500), "nobody had the lock: {waited:?}");
    assert_eq!(idle_holders(&site, 1).await, 0);

    stop.cancel();
    proxy.unblock();
    let created: i64 = writing.await.unwrap();
    until("it goes on", async || frozen.post("/things", &frozen.admin, json!([{}])).await.status == 201)
        .await;
    let page = other.get("/things?limit=1", &other.admin).await.json();
    assert_eq!(page["total"], created + 2, "what was not answered is not there");
}

/// Frozen while it publishes, it keeps nobody from writing, and another publishes in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_frozen_while_it_publishes_is_replaced() {
    let site = Arc::new(Site::new().await);
    let proxy = Proxy::to(site.place()).await;
    let frozen = Arc::new(behind(&proxy, &site, "frozen").await);
    let other = World::on(Arc::clone(&site), new_store(&site.directory().join("other"))).await;
    let (thing, _) = other.thing(&other.admin).await;
    let channel = other.channel(&other.admin).await;
    let path = format!("/channels/{channel}/things/{thing}");
    let stop = CancellationToken::new();
    let changing = tokio::spawn({
        let (frozen, stop, path) = (Arc::clone(&frozen), stop.clone(), path.clone());
        async move {
            while !stop.is_cancelled() {
                for method in ["PUT", "DELETE"] {
                    let answer = frozen.request(method, &path, &frozen.admin, json!({})).await;
                    if !answer.status.is_success() {
                        is_unavailable(answer);
                    }
                }
            }
        }
    });
    freeze(&proxy, &site, 2).await;
    let began = Instant::now();
    other.post("/things", &other.admin, json!([{}])).await.is(201);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    until("another publishes", async || {
        other.request("PUT", &path, &other.admin, json!({})).await.status == 200
    })
    .await;
    assert!(!other.changes.take().is_empty());

    stop.cancel();
    proxy.unblock();
    changing.await.unwrap();
    until("it goes on", async || frozen.delete(&path, &frozen.admin).await.status == 204).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let site = Arc::new(Site::new().await);
    let proxy = Proxy::to(site.place()).await;
    let world = behind(&proxy, &site, "lost").await;
    world.thing(&world.admin).await;
    proxy.block();
    let began = Instant::now();
    let requests = (0..12).map(async |number| match number % 2 {
        0 => world.get("/things", &world.admin).await,
        _ => world.post("/things", &world.admin, json!([{}])).await,
    });
    join_all(requests).await.into_iter().for_each(is_unavailable);
    assert!(began.elapsed() < ANSWERED_MAX, "{:?}", began.elapsed());
    proxy.unblock();
    until("it writes again", async || world.post("/things", &world.admin, json!([{}])).await.status == 201)
        .await;
    world.get("/things", &world.admin).await.is(200);
}
