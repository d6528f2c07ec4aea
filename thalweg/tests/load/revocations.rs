//! What is taken away while the server has more to do than it can: 1,000 times each kind, and none is in force later than a second
//! after its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::alone;
use crate::harness::{ADMIN_EMAIL, ADMIN_PASSWORD, Server, Thing, User};

/// How often each kind is taken away, by how many at a time.
const ROUNDS: u64 = 1_000;
const AT_A_TIME: u64 = 8;
/// Connections that publish meanwhile, each the next pack as soon as it is answered.
const PUBLISHERS: usize = 12;
const PACK: &str = r#"[{"n":"a","v":1}]"#;
/// What is promised.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(1);

/// Publishes until it is told to end.
struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    publishers: JoinSet<()>,
}

impl Load {
    fn start(thing: &Thing) -> Self {
        let (stop, accepted) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut publishers = JoinSet::new();
        for _ in 0..PUBLISHERS {
            let (thing, stop, accepted) = (thing.clone(), Arc::clone(&stop), Arc::clone(&accepted));
            publishers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = thing.post("").body(PACK).send().await.unwrap();
                    assert_eq!(answer.status(), 202);
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, accepted, publishers }
    }

    fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.publishers.join_all().await;
    }
}

/// Requests with one credential.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    base: String,
    credential: String,
}

impl Client {
    fn of(user: &User<'_>, server: &Server) -> Self {
        let credential = format!("Bearer {}", user.token);
        Self { http: user.http.clone(), base: server.base.clone(), credential }
    }

    fn with(&self, credential: String) -> Self {
        Self { credential, ..self.clone() }
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = request.header("Authorization", &self.credential);
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn does(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, path, &body).await;
        assert!((200..300).contains(&status), "{path} {body}: {status} {answer}");
        answer
    }
}

/// One that can lose something, and what it can then no longer do.
#[derive(Clone)]
struct Case {
    owner: Client,
    admin: Client,
    bob: Client,
    bob_id: String,
    bob_email: String,
    thing: Thing,
    group: String,
    org: String,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Disconnect,
    ThingKey,
    ApiKey,
    GroupMember,
    OrgMember,
    Role,
    Policy,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Disconnect,
        Self::ThingKey,
        Self::ApiKey,
        Self::GroupMember,
        Self::OrgMember,
        Self::Role,
        Self::Policy,
    ];

    /// Gives it, uses it, takes it away, and uses it until that is refused: how long that took.
    async fn round(self, case: &mut Case) -> Duration {
        let (post, put, delete) = (Method::POST, Method::PUT, Method::DELETE);
        let members = format!("/orgs/{}/members", case.org);
        let role = |role: &str| json!({"members": [{"email": case.bob_email, "role": role}]});
        let thing = format!("/things/{}", case.thing.id);
        let view = (Method::GET, thing.clone(), Value::Null);
        let rename = (put.clone(), thing.clone(), json!({"name": "x"}));
        match self {
            Self::Disconnect => {
                let ids = json!({"channel_ids": [case.thing.channel], "thing_ids": [case.thing.id]});
                case.owner.does(post, "/connect", ids.clone()).await;
                case.publishes(&case.thing.clone(), 403, async |case| {
                    _ = case.owner.does(put, "/disconnect", ids).await
                })
                .await
            }
            Self::ThingKey => {
                let ids = json!({"channel_ids": [case.thing.channel], "thing_ids": [case.thing.id]});
                case.owner.does(post, "/connect", ids).await;
                let old = case.thing.clone();
                let mut key = String::new();
                let path = format!("{thing}/key");
                let took = case.publishes(&old, 401, async |case| {
                    let answer = case.owner.does(Method::PATCH, &path, Value::Null).await;
                    key = answer["key"].as_str().unwrap().to_owned();
                });
                let took = took.await;
                case.thing.key = key;
                took
            }
            Self::ApiKey => {
                let issued = case.owner.does(post, "/keys", json!({"type": 2})).await;
                let of = |field: &str| issued[field].as_str().unwrap().to_owned();
                let (user, path) =
                    (case.owner.with(format!("Bearer {}", of("value"))), format!("/keys/{}", of("id")));
                case.uses(&user, &view, 401, async |case| {
                    _ = case.owner.does(delete, &path, Value::Null).await
                })
                .await
            }
            Self::GroupMember => {
                let (path, ids) =
                    (format!("/groups/{}/members", case.group), json!({"members": [case.bob_id]}));
                case.owner.does(post, &path, ids.clone()).await;
                let bob = case.bob.clone();
                case.uses(&bob, &view, 404, async |case| _ = case.owner.does(delete, &path, ids).await).await
            }
            Self::OrgMember => {
                case.owner.does(post, &members, role("viewer")).await;
                let (bob, ids) = (case.bob.clone(), json!({"member_ids": [case.bob_id]}));
                case.uses(&bob, &view, 404, async |case| _ = case.owner.does(delete, &members, ids).await)
                    .await
            }
            Self::Role => {
                case.owner.does(post, &members, role("editor")).await;
                let bob = case.bob.clone();
                let viewer = role("viewer");
                let took = case
                    .uses(&bob, &rename, 403, async |case| _ = case.owner.does(put, &members, viewer).await)
                    .await;
                case.owner.does(delete, &members, json!({"member_ids": [case.bob_id]})).await;
                took
            }
            Self::Policy => {
                let policy =
                    json!({"subjects": [case.bob_id], "object": case.thing.id, "policies": ["read"]});
                case.admin.does(post, "/policies", policy.clone()).await;
                let bob = case.bob.clone();
                case.uses(&bob, &view, 404, async |case| _ = case.admin.does(put, "/policies", policy).await)
                    .await
            }
        }
    }
}

impl Case {
    async fn of(server: &Server) -> Self {
        let (owner, bob) = (server.user().await, server.user().await);
        let admin = Client::of(&server.login(ADMIN_EMAIL, ADMIN_PASSWORD).await, server);
        let thing = owner.connected_thing().await;
        let (owner, bob) = (Client::of(&owner, server), Client::of(&bob, server));
        let me = bob.does(Method::GET, "/users", Value::Null).await["Users"][0].clone();
        let create = async |path: &str| {
            owner.does(Method::POST, path, json!({"name": "c"})).await;
            let page = owner.does(Method::GET, path, Value::Null).await;
            page[&path[1..]][0]["id"].as_str().unwrap().to_owned()
        };
        let (group, org) = (create("/groups").await, create("/orgs").await);
        owner.does(Method::POST, &format!("/groups/{group}/members"), json!({"members": [thing.id]})).await;
        owner.does(Method::POST, &format!("/orgs/{org}/groups"), json!({"group_ids": [group]})).await;
        let of = |field: &str| me[field].as_str().unwrap().to_owned();
        Self { owner, admin, bob_id: of("id"), bob_email: of("email"), bob, thing, group, org }
    }

    /// A request that is answered well until it is taken away, and from then on with this status.
    async fn uses(
        &self,
        user: &Client,
        (method, path, body): &(Method, String, Value),
        refused: u16,
        take: impl AsyncFnOnce(&Self),
    ) -> Duration {
        assert_eq!(user.ask(method.clone(), path, body).await.0, 200, "{path}");
        take(self).await;
        until(refused, async || user.ask(method.clone(), path, body).await.0).await
    }

    /// The same, of publishing.
    async fn publishes(&self, thing: &Thing, refused: u16, take: impl AsyncFnOnce(&Self)) -> Duration {
        let publish = async || thing.post("").body(PACK).send().await.unwrap().status().as_u16();
        assert_eq!(publish().await, 202);
        take(self).await;
        until(refused, publish).await
    }
}

/// How long after now a request that was still answered well was sent.
async fn until(refused: u16, ask: impl AsyncFn() -> u16) -> Duration {
    let answered = Instant::now();
    let mut in_force = Duration::ZERO;
    loop {
        let asked = answered.elapsed();
        match ask().await {
            200 | 202 => in_force = asked,
            status => {
                assert_eq!(status, refused);
                return in_force;
            }
        }
        assert!(in_force < 10 * IN_FORCE_WITHIN, "it is still in force");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_1_000_revocations_of_each_kind_under_load_none_is_in_force_a_second_later() {
    let _alone = alone().await;
    let server = Server::start();
    let loaded = server.user().await.connected_thing().await;
    let mut cases = Vec::new();
    for _ in 0..AT_A_TIME {
        cases.push(Case::of(&server).await);
    }
    let load = Load::start(&loaded);
    for kind in Kind::ALL {
        let (began, before) = (Instant::now(), load.accepted());
        let rounds = cases.drain(..).map(async |mut case| {
            let mut longest = Duration::ZERO;
            for _ in 0..ROUNDS / AT_A_TIME {
                longest = longest.max(kind.round(&mut case).await);
            }
            (case, longest)
        });
        let (used, times): (Vec<_>, Vec<_>) = join_all(rounds).await.into_iter().unzip();
        cases = used;
        let longest = times.into_iter().max().unwrap();
        let packs = load.accepted() - before;
        println!("{kind:?}: longest in force {longest:?}; {packs} packs beside it in {:?}", began.elapsed());
        assert!(longest < IN_FORCE_WITHIN, "{kind:?}: {longest:?}");
        assert!(packs > ROUNDS, "there was no load: {packs} packs");
    }
    load.end().await;
}
