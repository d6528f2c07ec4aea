//! The internal listener, and those who ask it: over real connections, on a real registry.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{ChannelId, Grant, KeyDigest, ThingKey};
use futures::StreamExt as _;
use http::header;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use service::authority::{Authority, ReadDenied};
use service::internal::{InternalSecrets, RemoteAuthority, RemoteConfig};
use service::metrics::RemoteAuthorityMetrics;
use service::server::{self, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::world::{World, new_id};

/// What one node has in flight at a time: connections, each with one request. Fewer than it may have, so that a busy machine
/// answers each in time, too.
const CONNECTIONS: usize = 4_000;
/// Much longer than a question may take: who waits for as long waits for ever.
const LONG: Duration = Duration::from_secs(30);

fn secrets(bytes: &[u8]) -> InternalSecrets {
    let named = |byte: &u8| format!("k{byte}:{}", URL_SAFE_NO_PAD.encode([*byte; 32]));
    bytes.iter().map(named).collect::<Vec<_>>().join(",").parse().unwrap()
}

fn bearer(byte: u8) -> String {
    format!("Bearer {}", URL_SAFE_NO_PAD.encode([byte; 32]))
}

/// A control plane's internal listener, which can die and come back.
struct Listener {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Listener {
    async fn start(world: &World, accepted: &[u8], address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counting = Arc::clone(&requests);
        let count = from_fn(move |request: Request, next: Next| {
            counting.fetch_add(1, Ordering::Relaxed);
            next.run(request)
        });
        let router = world.app.internal_router(secrets(accepted)).layer(count);
        let stop = CancellationToken::new();
        let config = ServerConfig { drain_max: Duration::ZERO, ..ServerConfig::default() };
        let serving = tokio::spawn(server::serve(listener, router, config, stop.clone()));
        Self { address, requests, stop, serving }
    }

    /// Every connection is broken, whatever is on it.
    async fn die(self) -> SocketAddr {
        self.stop.cancel();
        self.serving.await.unwrap();
        self.address
    }
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn remote(addresses: &[SocketAddr], secret: u8) -> RemoteAuthority {
    let urls = addresses.iter().map(|address| format!("http://{address}").parse().unwrap()).collect();
    RemoteAuthority::new(RemoteConfig::new(urls, secrets(&[secret])), RemoteAuthorityMetrics::default())
}

/// Accepts connections and says nothing, like a process that is frozen.
async fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Nothing listens there.
async fn nobody() -> SocketAddr {
    silent().await.1
}

fn unknown(number: u64) -> KeyDigest {
    ThingKey::from_presented(&format!("unknown-{number}")).unwrap().digest()
}

async fn send(router: axum::Router, request: Request) -> (u16, Vec<u8>) {
    let answer = router.oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
}

fn post(path: &str, credential: &str, body: impl Into<Body>) -> Request {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    request.header(header::AUTHORIZATION, credential).body(body.into()).unwrap()
}

fn question(key: &str, channel: &str) -> Value {
    let digest = ThingKey::from_presented(key).unwrap().digest();
    json!({"key": URL_SAFE_NO_PAD.encode(digest.as_bytes()), "channel": channel})
}

#[tokio::test]
async fn without_the_secret_nothing_is_said_and_neither_listener_has_the_others_routes() {
    let world = World::new().await;
    let internal = || world.app.internal_router(secrets(&[1, 2]));
    for credential in ["", "Bearer", &bearer(3), &format!("Bearer {}", world.admin), "Thing abc"] {
        for path in ["/grants", "/user-read", "/things", "/nowhere"] {
            let answer = send(internal(), post(path, credential, "{}")).await;
            assert_eq!(answer, (401, Vec::new()), "{credential:?} {path}");
        }
        let asked = Request::get("/grants").header(header::AUTHORIZATION, credential).body(Body::empty());
        assert_eq!(send(internal(), asked.unwrap()).await.0, 401);
    }
    for byte in [1, 2] {
        assert_eq!(send(internal(), post("/grants", &bearer(byte), r#"{"questions":[]}"#)).await.0, 200);
    }
    for path in ["/things", "/users", "/tokens", "/channels", "/identify", "/metrics", "/nowhere"] {
        assert_eq!(send(internal(), post(path, &bearer(1), "{}")).await.0, 404, "{path}");
    }
    for path in ["/grants", "/user-read"] {
        assert_eq!(send(world.app.router(), post(path, &bearer(1), "{}")).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn questions_are_answered_in_their_order() {
    let world = World::new().await;
    let (thing, key) = world.thing(&world.admin).await;
    let [channel, other] = [world.channel(&world.admin).await, world.channel(&world.admin).await];
    world.connect(&world.admin, &channel, &thing).await;
    let ask = async |body: Value| {
        let request = post("/grants", &bearer(1), body.to_string());
        send(world.app.internal_router(secrets(&[1])), request).await
    };
    let questions = [
        question(&key, &other),
        question("nobody's", &channel),
        question(&key, &channel),
        question(&key, &channel),
        question(&key, &new_id()),
    ];
    let (status, body) = ask(json!({ "questions": questions })).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let connected = json!({"thing": thing, "connection": {"bucket_width": "1h"}});
    let known = json!({"thing": thing});
    assert_eq!((status, &body), (200, &json!({"grants": [known, null, connected, connected, known]})));

    let many = |count| json!({"questions": vec![question(&key, &channel); count]});
    let (status, body) = ask(many(1_000)).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, body["grants"].as_array().unwrap().len()), (200, 1_000));
    assert_eq!(ask(many(1_001)).await.0, 400);
    let (status, body) = ask(many(10_000)).await;
    assert_eq!(status, 413);
    assert!(String::from_utf8_lossy(&body).contains("262144 bytes"), "{body:?}");
    for malformed in [json!({}), json!({"questions": [{"key": "AAAA", "channel": channel}]}), json!([])] {
        assert_eq!(ask(malformed).await.0, 400);
    }
}

#[tokio::test]
async fn whoever_asks_from_afar_is_told_the_same() {
    let world = World::new().await;
    let (thing, key) = world.thing(&world.admin).await;
    let (channel, user) = (world.channel(&world.admin).await, world.user().await);
    world.connect(&world.admin, &channel, &thing).await;
    let listener = Listener::start(&world, &[2, 1], ANY).await;
    let remote = remote(&[listener.address], 1);
    let [channel, strange] = [&channel, &new_id()].map(|id| id.parse::<ChannelId>().unwrap());
    let digest = ThingKey::from_presented(&key).unwrap().digest();
    let near = world.app.authority();
    for key in [digest, unknown(1)] {
        for channel in [channel, strange] {
            let (near, far) = (near.grant(&key, channel).await, remote.grant(&key, channel).await);
            assert_eq!(near.unwrap(), far.unwrap());
        }
    }
    let profile = near.user_read(&world.admin, channel).await.unwrap();
    assert_eq!(remote.user_read(&world.admin, channel).await.unwrap(), profile);
    for (token, channel, invalid) in
        [(&user.token, channel, false), (&world.admin, strange, false), (&"x".to_owned(), channel, true)]
    {
        match remote.user_read(token, channel).await {
            Err(ReadDenied::InvalidToken) => assert!(invalid),
            Err(ReadDenied::UnknownChannel) => assert!(!invalid),
            other => panic!("{other:?}"),
        }
    }
    listener.die().await;
}

#[tokio::test]
async fn a_process_with_another_secret_is_told_nothing() {
    let world = World::new().await;
    let listener = Listener::start(&world, &[1], ANY).await;
    let stranger = remote(&[listener.address], 9);
    let channel = new_id().parse().unwrap();
    let error = stranger.grant(&unknown(1), channel).await.unwrap_err();
    assert!(format!("{:?}", error.0).contains("internal secret"), "{error:?}");
    let denied = stranger.user_read(&world.admin, channel).await.unwrap_err();
    assert!(matches!(denied, ReadDenied::Unavailable(_)));
    listener.die().await;
}

/// Things that exist, connected to one channel.
async fn fleet(world: &World, things: usize) -> (ChannelId, Vec<KeyDigest>) {
    let channel = world.channel(&world.admin).await;
    let created = world.post("/things", &world.admin, json!(vec![json!({}); things])).await.is(201).json();
    let created = created["things"].as_array().unwrap();
    let ids: Vec<&Value> = created.iter().map(|thing| &thing["id"]).collect();
    let ids = json!({"channel_ids": [channel], "thing_ids": ids});
    world.post("/connect", &world.admin, ids).await.is(200);
    let key = |thing: &Value| ThingKey::from_presented(thing["key"].as_str().unwrap()).unwrap().digest();
    (channel.parse().unwrap(), created.iter().map(key).collect())
}

/// A node that was restarted: everything asks at once, as many at a time as there are connections; every hundredth question is
/// about a thing that exists.
async fn ask_all(
    remote: &RemoteAuthority,
    (channel, known): &(ChannelId, Vec<KeyDigest>),
    questions: usize,
) -> HashMap<&'static str, usize> {
    let asks = (0..questions).map(|number| async move {
        let known = number.is_multiple_of(100).then(|| known[number / 100 % known.len()]);
        let key = known.unwrap_or_else(|| unknown(number as u64));
        let began = Instant::now();
        let answer = remote.grant(&key, *channel).await;
        assert!(began.elapsed() < LONG, "answered after {:?}", began.elapsed());
        match (answer, known) {
            (Ok(Some(Grant { connection: Some(_), .. })), Some(_)) => "granted",
            (Ok(None), None) => "unknown",
            (Err(_), _) => "unanswered",
            other => panic!("{other:?}"),
        }
    });
    let mut outcomes = HashMap::new();
    let mut answers = futures::stream::iter(asks).buffer_unordered(CONNECTIONS);
    while let Some(outcome) = answers.next().await {
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_asks_in_few_requests_and_every_thing_is_answered() {
    const QUESTIONS: usize = 200_000;
    let world = World::new().await;
    let fleet = fleet(&world, 1_000).await;
    let listener = Listener::start(&world, &[1], ANY).await;
    let outcomes = ask_all(&remote(&[listener.address], 1), &fleet, QUESTIONS).await;
    assert_eq!(outcomes, HashMap::from([("granted", QUESTIONS / 100), ("unknown", QUESTIONS * 99 / 100)]));
    let requests = listener.requests.load(Ordering::Relaxed);
    println!("{QUESTIONS} questions took {requests} requests");
    assert!(requests <= QUESTIONS / 100, "{requests} requests");
    listener.die().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_dies_leaves_nobody_waiting_and_is_found_again() {
    let world = World::new().await;
    let fleet = fleet(&world, 100).await;
    let listener = Listener::start(&world, &[1], ANY).await;
    let remote = remote(&[listener.address], 1);
    let answered = HashMap::from([("granted", 10), ("unknown", 990)]);
    assert_eq!(ask_all(&remote, &fleet, 1_000).await, answered);
    let requests = Arc::clone(&listener.requests);
    let before = requests.load(Ordering::Relaxed);
    let dies = async {
        // It dies while it answers: some of these may be answered, or none.
        while requests.load(Ordering::Relaxed) < before + 5 {
            tokio::task::yield_now().await;
        }
        listener.die().await
    };
    let (outcomes, address) = tokio::join!(ask_all(&remote, &fleet, 40_000), dies);
    assert!(outcomes["unanswered"] > 0, "{outcomes:?}");
    let listener = Listener::start(&world, &[1], address).await;
    let outcomes = ask_all(&remote, &fleet, 1_000).await;
    assert_eq!(outcomes, answered);
    listener.die().await;
}

/// One that refuses connections, and one that takes them and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_control_plane_lives_no_look_up_fails() {
    let world = World::new().await;
    let fleet = fleet(&world, 100).await;
    let listener = Listener::start(&world, &[1], ANY).await;
    let (_held, frozen) = silent().await;
    for dead in [nobody().await, frozen] {
        let remote = remote(&[dead, listener.address], 1);
        let outcomes = ask_all(&remote, &fleet, 5_000).await;
        assert_eq!(outcomes, HashMap::from([("granted", 50), ("unknown", 4_950)]));
        for _ in 0..10 {
            remote.user_read(&world.admin, fleet.0).await.unwrap();
        }
    }
    listener.die().await;
}

#[tokio::test]
async fn more_questions_than_may_wait_are_refused_at_once() {
    let (_held, frozen) = silent().await;
    let urls = vec![format!("http://{frozen}").parse().unwrap()];
    let config = RemoteConfig { questions_max: 10, ..RemoteConfig::new(urls, secrets(&[1])) };
    let remote = RemoteAuthority::new(config, RemoteAuthorityMetrics::default());
    let channel: ChannelId = new_id().parse().unwrap();
    let began = Instant::now();
    let asks = (0..100).map(|number| {
        let remote = remote.clone();
        async move { (remote.grant(&unknown(number), channel).await.unwrap_err(), began.elapsed()) }
    });
    let errors = futures::future::join_all(asks).await;
    let refused = |(error, after): &&(service::authority::AuthorityError, Duration)| {
        format!("{:?}", error.0).contains("Full") && *after < Duration::from_secs(3)
    };
    assert_eq!(errors.iter().filter(refused).count(), 90);
    assert!(began.elapsed() < LONG, "the others are not waited for any longer");
    // Nobody waits any more: there is room again.
    let again = remote.grant(&unknown(0), channel).await.unwrap_err();
    assert!(!format!("{:?}", again.0).contains("Full"), "{again:?}");
}

/// Bodies that never end hold every place that there is.
#[tokio::test]
async fn a_control_plane_takes_on_no_more_than_it_can() {
    let world = World::new().await;
    let router = world.app.internal_router(secrets(&[1]));
    let mut held = Vec::new();
    loop {
        let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let mut request = Box::pin(router.clone().oneshot(post("/grants", &bearer(1), endless)));
        match futures::poll!(&mut request) {
            std::task::Poll::Pending => held.push(request),
            std::task::Poll::Ready(answer) => {
                let answer = answer.unwrap();
                assert_eq!(
                    (answer.status().as_u16(), &answer.headers()["retry-after"]),
                    (503, &"1".parse().unwrap())
                );
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["code"], "busy");
                break;
            }
        }
    }
    assert!((5..200).contains(&held.len()), "{}", held.len());
    let user_read = json!({"token": world.admin, "channel": new_id()}).to_string();
    let answer = send(router.clone(), post("/user-read", &bearer(1), user_read)).await;
    assert_eq!(answer.0, 200, "users have places of their own");
    drop(held);
    assert_eq!(send(router, post("/grants", &bearer(1), r#"{"questions":[]}"#)).await.0, 200);
}
