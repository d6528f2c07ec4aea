//! Deliveries of a courier on a log of its own: what endpoints can do to a webhook, in times that a test can wait for.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use domain::senml::Format;
use domain::{BucketWidth, ChannelId, Entry, Protocol, ReceivedAt, Subtopic};
use http::{HeaderMap, StatusCode};
use log::{EmbeddedConfig, EmbeddedLog, Log};
use serde_json::{Value, json};
use service::clock;
use service::feed::Feed;
use thalweg_control_plane::ControlPlane;
use thalweg_control_plane::delivery::DeliveryConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::site::Site;
use crate::world::{Changes, World, new_store};

const PATIENCE: Duration = Duration::from_secs(60);

/// An endpoint: it answers what it is told to, then 200, when it is told to.
#[derive(Default)]
struct Endpoint {
    answers: Mutex<VecDeque<u16>>,
    received: Mutex<Vec<(HeaderMap, Value)>>,
    /// How long it takes.
    takes: Mutex<Duration>,
    /// Nothing is answered while this is so.
    holds: watch::Sender<bool>,
    /// Requests that were not answered yet, and the most there were at a time.
    open: Mutex<(usize, usize)>,
}

impl Endpoint {
    async fn start() -> (Arc<Self>, String) {
        let endpoint = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state(Arc::clone(&endpoint));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (endpoint, url)
    }

    fn will_answer(&self, answers: impl IntoIterator<Item = u16>) {
        self.answers.lock().unwrap().extend(answers);
    }

    fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    fn hold(&self, holds: bool) {
        self.holds.send_replace(holds);
    }

    /// Waits until so many requests have come.
    async fn until_received(&self, count: usize) {
        let received = async {
            while self.count() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, received).await.unwrap();
    }

    fn most_at_a_time(&self) -> usize {
        self.open.lock().unwrap().1
    }

    fn values(&self) -> Vec<i64> {
        let received = self.received.lock().unwrap();
        received.iter().map(|(_, body)| body["messages"][0]["value"].as_i64().unwrap()).collect()
    }

    fn signatures(&self) -> Vec<String> {
        let received = self.received.lock().unwrap();
        received
            .iter()
            .map(|(headers, _)| headers["webhook-signature"].to_str().unwrap().to_owned())
            .collect()
    }
}

async fn receive(State(endpoint): State<Arc<Endpoint>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let body = serde_json::from_slice(&body).unwrap();
    endpoint.received.lock().unwrap().push((headers, body));
    let answer = endpoint.answers.lock().unwrap().pop_front().unwrap_or(200);
    {
        let (open, most) = &mut *endpoint.open.lock().unwrap();
        *open += 1;
        *most = *open.max(most);
    }
    let takes = *endpoint.takes.lock().unwrap();
    tokio::time::sleep(takes).await;
    endpoint.holds.subscribe().wait_for(|holds| !holds).await.unwrap();
    endpoint.open.lock().unwrap().0 -= 1;
    StatusCode::from_u16(answer).unwrap()
}

/// A world whose deliveries are made.
struct Post {
    world: World,
    log: Arc<dyn Log>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Post {
    async fn start(config: DeliveryConfig) -> Self {
        let site = Arc::new(Site::new().await);
        let mut settings = site.config();
        settings.deliveries = DeliveryConfig { allow_private: true, ..config };
        let store = new_store(site.directory());
        let (feed, changes) = (Arc::new(Feed::default()), Arc::new(Changes::default()));
        let (app, _) = ControlPlane::open(settings, feed, store).await.unwrap();
        let log = open_log(&site.directory().join("log"));
        let stop = CancellationToken::new();
        let run = app.courier().clone().run(Arc::clone(&log), stop.clone());
        let task = tokio::spawn(async move { run.await.unwrap() });
        app.courier().status().running().await;
        Self { world: World::of(site, app, changes).await, log, stop, task }
    }

    async fn finish(self) -> World {
        self.stop.cancel();
        self.task.await.unwrap();
        self.log.close().await;
        self.world
    }

    async fn publish(&self, thing: &str, value: i64) {
        self.publish_pack(thing, json!([{"n": "a", "v": value}])).await;
    }

    async fn publish_pack(&self, thing: &str, pack: Value) {
        let entry = Entry {
            channel: ChannelId::from_bytes([7; 16]),
            profile: BucketWidth::Hour.into(),
            publisher: thing.parse().unwrap(),
            subtopic: Subtopic::default(),
            protocol: Protocol::Http,
            format: Format::Json,
            received: ReceivedAt::from_micros(clock::unix_micros()),
            payload: pack.to_string().into(),
        };
        self.log.append(vec![entry]).await.unwrap();
    }

    /// A webhook of a new thing of the admin's: the thing, and the webhook's path.
    async fn webhook(&self, url: &str) -> (String, String) {
        let admin = &self.world.admin;
        let (thing, _) = self.world.thing(admin).await;
        let path = format!("/webhooks/{thing}");
        let hook = json!({"name": "x", "format": "json", "url": url});
        self.world.post(&path, admin, hook).await.is(201);
        let list = self.world.get(&path, admin).await.json();
        let id = list["webhooks"][0]["id"].as_str().unwrap().to_owned();
        (thing, format!("{path}/{id}"))
    }

    async fn view(&self, path: &str) -> Value {
        self.world.get(path, &self.world.admin).await.is(200).json()
    }

    /// Waits until the webhook looks so.
    async fn until(&self, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        let looked = async {
            loop {
                let view = self.view(path).await;
                if is(&view) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, looked).await {
            Ok(view) => view,
            Err(_) => panic!("it stays {}", self.view(path).await),
        }
    }
}

fn open_log(directory: &Path) -> Arc<dyn Log> {
    Arc::new(EmbeddedLog::open(directory, EmbeddedConfig::default(), &[]).unwrap().0)
}

fn counter(view: &Value, name: &str) -> i64 {
    view["counters"][name].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_gone_is_left_alone_until_its_webhook_is_enabled() {
    let post = Post::start(DeliveryConfig::default()).await;
    let (endpoint, url) = Endpoint::start().await;
    let (thing, path) = post.webhook(&url).await;
    endpoint.will_answer([410]);
    post.publish(&thing, 1).await;
    let view = post.until(&path, |view| view["enabled"] == false).await;
    assert_eq!((&view["disabled_reason"], counter(&view, "pending")), (&json!("gone"), 1));
    post.publish(&thing, 2).await;
    post.world.post(&format!("{path}/enable"), &post.world.admin, Value::Null).await.is(200);
    post.publish(&thing, 3).await;
    let view =
        post.until(&path, |view| counter(view, "delivered") >= 2 && counter(view, "pending") == 0).await;
    assert_eq!((&view["status"], counter(&view, "failed")), (&json!("ok"), 1));
    assert_eq!(endpoint.values()[..2], [1, 1], "what was kept comes again");
    post.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_whose_every_try_fails_for_long_is_disabled_and_says_so() {
    let disable_after = Duration::from_millis(1_500);
    let post = Post::start(DeliveryConfig { disable_after, ..DeliveryConfig::default() }).await;
    let (endpoint, url) = Endpoint::start().await;
    let (thing, path) = post.webhook(&url).await;
    endpoint.will_answer([500; 100]);
    post.publish(&thing, 1).await;
    let view = post.until(&path, |view| view["enabled"] == false).await;
    assert_eq!((&view["status"], &view["disabled_reason"]), (&json!("disabled"), &json!("failing")));
    assert!(counter(&view, "pending") == 1 && endpoint.count() >= 2, "{view}");
    post.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_is_listed_and_can_be_replayed() {
    let give_up_after = Duration::from_secs(2);
    let post = Post::start(DeliveryConfig { give_up_after, ..DeliveryConfig::default() }).await;
    let (endpoint, url) = Endpoint::start().await;
    let (thing, path) = post.webhook(&url).await;
    let admin = post.world.admin.clone();
    endpoint.will_answer([500; 1_000]);
    post.publish(&thing, 1).await;
    post.until(&path, |view| counter(view, "replayable") == 1).await;
    let tried = endpoint.count();
    assert!(tried >= 1);
    let page = post.world.get(&format!("{path}/deliveries?state=expired"), &admin).await.is(200).json();
    assert_eq!((&page["total"], &page["deliveries"][0]["records"]), (&json!(1), &json!(1)));
    endpoint.answers.lock().unwrap().clear();
    let id = &page["deliveries"][0]["id"];
    let replay = format!("{path}/replay");
    let replayed = post.world.post(&replay, &admin, json!({"delivery": id})).await.is(200).json();
    assert_eq!(replayed["replayed"], 1);
    let view =
        post.until(&path, |view| counter(view, "delivered") == 1 && counter(view, "pending") == 0).await;
    assert_eq!((counter(&view, "replayable"), counter(&view, "expired")), (0, 1));
    assert_eq!(endpoint.received.lock().unwrap().last().unwrap().0["webhook-id"], id.as_str().unwrap());
    post.world.post(&replay, &admin, json!({"delivery": id})).await.refused(404);
    post.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_a_day_after_a_rotation_each_secret_signs() {
    let post = Post::start(DeliveryConfig::default()).await;
    let (endpoint, url) = Endpoint::start().await;
    let (thing, path) = post.webhook(&url).await;
    for value in 1..=3 {
        post.publish(&thing, value).await;
        post.until(&path, |view| counter(view, "delivered") == value).await;
        post.world.post(&format!("{path}/secret"), &post.world.admin, Value::Null).await.is(200);
    }
    let signatures = endpoint.signatures();
    let counts: Vec<usize> = signatures.iter().map(|signatures| signatures.split(' ').count()).collect();
    assert_eq!(counts, [1, 2, 3], "{signatures:?}");
    post.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_disabled_and_enabled_during_a_try_has_no_second_one_beside_it() {
    let post = Post::start(DeliveryConfig::default()).await;
    let (endpoint, url) = Endpoint::start().await;
    let (thing, path) = post.webhook(&url).await;
    let admin = post.world.admin.clone();
    endpoint.hold(true);
    post.publish(&thing, 1).await;
    endpoint.until_received(1).await;
    // Something of another thing has what changed looked at.
    let (other, other_url) = Endpoint::start().await;
    let (other_thing, _) = post.webhook(&other_url).await;
    for (value, end) in (1..).zip(["disable", "enable"]) {
        post.world.post(&format!("{path}/{end}"), &admin, Value::Null).await.is(200);
        post.publish(&other_thing, value).await;
        other.until_received(value as usize).await;
    }
    post.publish(&thing, 2).await;
    post.publish(&other_thing, 3).await;
    other.until_received(3).await;
    endpoint.hold(false);
    post.until(&path, |view| counter(view, "delivered") == 2).await;
    assert_eq!((endpoint.values(), endpoint.most_at_a_time()), (vec![1, 2], 1));
    post.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_replayed_during_a_first_try_waits_for_it() {
    let give_up_after = Duration::from_millis(500);
    let post = Post::start(DeliveryConfig { give_up_after, ..DeliveryConfig::default() }).await;
    let admin = post.world.admin.clone();
    let (endpoint, url) = Endpoint::start().await;
    let (other, other_url) = Endpoint::start().await;
    let [(thing, path), (other_thing, other_path)] =
        [post.webhook(&url).await, post.webhook(&other_url).await];
    for (endpoint, thing) in [(&endpoint, &thing), (&other, &other_thing)] {
        endpoint.will_answer([500; 100]);
        post.publish(thing, 1).await;
    }
    for (endpoint, path) in [(&endpoint, &path), (&other, &other_path)] {
        post.until(path, |view| counter(view, "replayable") == 1).await;
        endpoint.answers.lock().unwrap().clear();
    }
    let (before, others_before) = (endpoint.count(), other.count());
    endpoint.hold(true);
    post.publish(&thing, 2).await;
    endpoint.until_received(before + 1).await;
    // What is replayed after it tells that it was looked for both.
    for path in [&path, &other_path] {
        post.world.post(&format!("{path}/replay"), &admin, Value::Null).await.is(200);
    }
    other.until_received(others_before + 1).await;
    assert_eq!(endpoint.count(), before + 1);
    endpoint.hold(false);
    post.until(&path, |view| counter(view, "pending") == 0).await;
    assert_eq!(endpoint.most_at_a_time(), 1);
    post.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_after_more_came_than_fits_comes_before_it() {
    let post = Post::start(DeliveryConfig::default()).await;
    let (endpoint, url) = Endpoint::start().await;
    let (thing, path) = post.webhook(&url).await;
    endpoint.hold(true);
    endpoint.will_answer([500]);
    post.publish(&thing, 1).await;
    endpoint.until_received(1).await;
    // More than half a MiB waits, which is more than a line holds.
    let text = "x".repeat(100_000);
    for value in 2..=9 {
        post.publish_pack(&thing, json!([{"n": "a", "v": value}, {"n": "b", "vs": text}])).await;
    }
    post.until(&path, |view| counter(view, "pending") > 0).await;
    endpoint.hold(false);
    post.until(&path, |view| counter(view, "delivered") >= 5 && counter(view, "pending") == 0).await;
    let values = endpoint.values();
    assert!(values[..3] == [1, 1, 2] && values.is_sorted(), "{values:?}");
    post.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_take_their_time_leave_places_to_the_others() {
    let places = DeliveryConfig { first_tries_max: 4, ..DeliveryConfig::default() };
    let post = Post::start(places).await;
    let (slow, slow_url) = Endpoint::start().await;
    *slow.takes.lock().unwrap() = Duration::from_millis(2_100);
    let (quick, quick_url) = Endpoint::start().await;
    let (quick_thing, _) = post.webhook(&quick_url).await;
    let mut things = Vec::new();
    for _ in 0..4 {
        things.push(post.webhook(&slow_url).await);
    }
    for (thing, _) in &things {
        post.publish(thing, 1).await;
    }
    for (_, path) in &things {
        post.until(path, |view| counter(view, "delivered") == 1).await;
    }
    // From now on they are known. All of them want a place again.
    slow.hold(true);
    for (thing, _) in &things {
        post.publish(thing, 2).await;
    }
    slow.until_received(5).await;
    post.publish(&quick_thing, 1).await;
    quick.until_received(1).await;
    assert_eq!(slow.count(), 5, "one of four places is theirs");
    slow.hold(false);
    for (_, path) in &things {
        post.until(path, |view| counter(view, "delivered") == 2).await;
    }
    post.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_hangs_holds_no_more_places_than_one_host_may_have() {
    const OF_ONE_HOST: usize = 128;
    let places = DeliveryConfig { first_tries_max: OF_ONE_HOST + 1, ..DeliveryConfig::default() };
    let post = Post::start(places).await;
    let (crowded, crowded_url) = Endpoint::start().await;
    let (other, other_url) = Endpoint::start().await;
    let (other_thing, _) = post.webhook(&other_url).await;
    let mut things = Vec::new();
    for _ in 0..OF_ONE_HOST + 8 {
        things.push(post.webhook(&crowded_url).await);
    }
    crowded.hold(true);
    for (thing, _) in &things {
        post.publish(thing, 1).await;
    }
    crowded.until_received(OF_ONE_HOST).await;
    post.publish(&other_thing, 1).await;
    other.until_received(1).await;
    assert_eq!(crowded.count(), OF_ONE_HOST);
    crowded.hold(false);
    for (_, path) in &things {
        let view = post.until(path, |view| counter(view, "delivered") == 1).await;
        assert_eq!(counter(&view, "attempts"), 1, "{view}");
    }
    assert_eq!(crowded.most_at_a_time(), OF_ONE_HOST);
    post.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_the_endpoint_never_takes_does_not_keep_the_others() {
    let post = Post::start(DeliveryConfig::default()).await;
    let (endpoint, url) = Endpoint::start().await;
    let (thing, path) = post.webhook(&url).await;
    // Three times in order; then those behind it are tried, which is what the answer after is for.
    endpoint.will_answer([400, 400, 400]);
    post.publish(&thing, 1).await;
    post.until(&path, |view| counter(view, "failed") >= 1).await;
    post.publish(&thing, 2).await;
    post.until(&path, |view| counter(view, "pending") == 0).await;
    assert_eq!(endpoint.values(), [1, 1, 1, 2, 1]);
    post.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_moves_on_also_where_there_is_no_webhook_and_starts_again_where_it_was() {
    let post = Post::start(DeliveryConfig::default()).await;
    let (endpoint, url) = Endpoint::start().await;
    let (thing, path) = post.webhook(&url).await;
    post.publish("00000000-0000-4000-8000-000000000001", 1).await;
    post.publish(&thing, 1).await;
    post.until(&path, |view| counter(view, "delivered") == 1).await;
    let world = post.finish().await;
    let log = open_log(&world.site.directory().join("log"));
    let mut subscription = log.subscribe("webhooks", &[]).await.unwrap();
    assert_eq!(subscription.backlog(), 0, "everything was committed at the stop");
    let wait = log::BatchLimits { entries_max: 1, bytes_max: 1, linger: Duration::ZERO };
    let more = tokio::time::timeout(Duration::from_millis(50), subscription.next_batch(&wait)).await;
    assert!(more.is_err() && endpoint.count() == 1);
}
