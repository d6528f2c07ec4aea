//! A control plane on a registry of its own, and requests to it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use service::feed::{Change, ChangeFeed as _, Feed, FeedPosition, Follower};
use store::{EmbeddedConfig, EmbeddedStore, Store};
use thalweg_control_plane::{ControlPlane, OpenError};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::site::Site;

pub(crate) const ADMIN: &str = "admin@example.com";
pub(crate) const PASSWORD: &str = "correct horse 9";

/// One control plane. Its registry outlives it for as long as somebody holds [`World::site`].
pub(crate) struct World {
    pub(crate) site: Arc<Site>,
    pub(crate) app: ControlPlane,
    pub(crate) changes: Arc<Changes>,
    pub(crate) admin: String,
}

/// The changes that were published, in order.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<Vec<Change>>);

impl Changes {
    /// Those since the last call.
    pub(crate) fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Follower for Changes {
    fn apply(&self, change: Change, _: FeedPosition) {
        self.0.lock().unwrap().push(change);
    }

    fn everything_changed(&self, _: FeedPosition) {
        panic!("the feed of one process loses nothing");
    }
}

/// A user that the test made.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) token: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The answer has this status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// The answer is a refusal with this status, in the one shape that refusals have.
    #[track_caller]
    pub(crate) fn refused(self, status: u16) -> Value {
        let body = self.is(status).json();
        assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        body
    }

    /// The answer has no body, and says so in the way the reference prints.
    #[track_caller]
    pub(crate) fn has_no_body(self, status: u16) -> Self {
        assert_eq!(self.header("content-type"), "application/json");
        if status != 204 {
            assert_eq!(self.header("content-length"), "0");
        }
        assert!(self.body.is_empty(), "{self:?}");
        self.is(status)
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).to_str().unwrap()
    }
}

pub(crate) fn new_store(directory: &Path) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(&directory.join("store"), EmbeddedConfig::default()).unwrap())
}

/// Opens a control plane with a follower on its feed.
pub(crate) async fn open(
    site: &Site,
    store: Arc<dyn Store>,
) -> Result<(ControlPlane, Arc<Changes>), OpenError> {
    let (feed, changes) = (Arc::new(Feed::default()), Arc::new(Changes::default()));
    feed.follow(Arc::clone(&changes) as _);
    let (app, first_start) = ControlPlane::open(site.config(), feed, store).await?;
    assert_eq!(first_start.random_password(), None);
    Ok((app, changes))
}

impl World {
    pub(crate) async fn new() -> Self {
        let site = Arc::new(Site::new().await);
        let store = new_store(site.directory());
        Self::on(site, store).await
    }

    /// On a registry that may have been used before.
    pub(crate) async fn on(site: Arc<Site>, store: Arc<dyn Store>) -> Self {
        let (app, changes) = open(&site, store).await.unwrap();
        Self::of(site, app, changes).await
    }

    pub(crate) async fn of(site: Arc<Site>, app: ControlPlane, changes: Arc<Changes>) -> Self {
        let mut world = Self { site, app, changes, admin: String::new() };
        world.admin = world.token(ADMIN, PASSWORD).await;
        world
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.app.router().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A request with a JSON body (none for `null`) and a token (none for an empty one).
    pub(crate) async fn request(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.request_text(method, path, token, &text).await
    }

    pub(crate) async fn request_text(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::CONTENT_TYPE, "application/json");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.request("GET", path, token, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.request("POST", path, token, body).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str, body: Value) -> Answer {
        self.request("PUT", path, token, body).await
    }

    pub(crate) async fn patch(&self, path: &str, token: &str, body: Value) -> Answer {
        self.request("PATCH", path, token, body).await
    }

    pub(crate) async fn delete(&self, path: &str, token: &str) -> Answer {
        self.request("DELETE", path, token, Value::Null).await
    }

    pub(crate) async fn log_in(&self, email: &str, password: &str, from: Option<IpAddr>) -> Answer {
        let body = json!({"email": email, "password": password}).to_string();
        let request = Request::post("/tokens").header(header::CONTENT_TYPE, "application/json");
        let mut request = request.body(Body::from(body)).unwrap();
        if let Some(address) = from {
            request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 40_000))));
        }
        self.send(request).await
    }

    pub(crate) async fn token(&self, email: &str, password: &str) -> String {
        let answer = self.log_in(email, password, None).await.is(201);
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn user(&self) -> User {
        let email = format!("user-{}@example.com", Uuid::new_v4().simple());
        let created = self.post("/users", "", json!({"email": email, "password": PASSWORD})).await.is(201);
        let id = created.header("location").strip_prefix("/users/").unwrap().to_owned();
        let token = self.token(&email, PASSWORD).await;
        User { id, email, token }
    }

    /// A thing: its id and its key.
    pub(crate) async fn thing(&self, token: &str) -> (String, String) {
        let created = self.post("/things", token, json!([{"name": "thing"}])).await.is(201).json();
        let text = |field: &str| created["things"][0][field].as_str().unwrap().to_owned();
        (text("id"), text("key"))
    }

    pub(crate) async fn channel(&self, token: &str) -> String {
        let created = self.post("/channels", token, json!([{"name": "channel"}])).await.is(201);
        created.header("location").strip_prefix("/channels/").unwrap().to_owned()
    }

    pub(crate) async fn connect(&self, token: &str, channel: &str, thing: &str) {
        let ids = json!({"channel_ids": [channel], "thing_ids": [thing]});
        self.post("/connect", token, ids).await.is(200);
    }

    /// What a thing with this key is told on this channel.
    pub(crate) async fn access(&self, channel: &str, key: &str) -> u16 {
        let path = format!("/identify/channels/{channel}/access-by-key");
        self.post(&path, "", json!({ "token": key })).await.status.as_u16()
    }
}

pub(crate) fn change_of_thing(id: &str) -> Change {
    Change::Thing(id.parse().unwrap())
}

pub(crate) fn change_of_channel(id: &str) -> Change {
    Change::Channel(id.parse().unwrap())
}

pub(crate) fn new_id() -> String {
    Uuid::new_v4().to_string()
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
