//! Endpoints of webhooks for tests: what they do with what comes, and what came.

use std::collections::{BTreeMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::harness::{Thing, User, eventually};

/// What an endpoint does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Takes,
    Answers(u16),
    AsksToWait(&'static str),
    Redirects,
    Hangs,
}

/// What came to an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) at: Instant,
    /// Whether it was taken.
    pub(crate) taken: bool,
}

impl Received {
    /// The values of its records.
    pub(crate) fn values(&self) -> Vec<i64> {
        let records = self.body.get("messages").unwrap_or(&self.body).as_array().unwrap();
        let value =
            |record: &Value| record.get("value").or(record.get("v")).unwrap().as_f64().unwrap() as i64;
        records.iter().map(value).collect()
    }
}

/// A server of endpoints: each path has a mood of its own.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) base: String,
    address: SocketAddr,
    state: Arc<Inner>,
    serving: Arc<Mutex<Option<Serving>>>,
}

/// Endpoints that are served, until it is dropped. Its connections end with its runtime.
struct Serving(Option<Runtime>);

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Default)]
struct Inner {
    moods: Mutex<BTreeMap<String, Mood>>,
    received: Mutex<Vec<Received>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let (state, listener) = (Arc::new(Inner::default()), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let serving = Arc::new(Mutex::new(Some(serve(listener, &state))));
        Self { base: format!("http://{address}"), address, state, serving }
    }

    /// Nobody listens there any more, and all connections end.
    pub(crate) fn goes_down(&self) {
        self.serving.lock().unwrap().take();
    }

    /// It is back where it was.
    pub(crate) async fn comes_up(&self) {
        // The one before closes its socket when its threads come to it.
        let listener =
            eventually(async || TcpListener::bind(self.address).map_err(|error| error.to_string())).await;
        *self.serving.lock().unwrap() = Some(serve(listener, &self.state));
    }

    pub(crate) fn is(&self, path: &str, mood: Mood) {
        self.state.moods.lock().unwrap().insert(path.to_owned(), mood);
    }

    pub(crate) fn received(&self, path: &str) -> Vec<Received> {
        let received = self.state.received.lock().unwrap();
        received.iter().filter(|received| received.path == path).cloned().collect()
    }

    /// The values of the records that an endpoint took, in the order it took them.
    pub(crate) fn values(&self, path: &str) -> Vec<i64> {
        let taken = self.received(path).into_iter().filter(|received| received.taken);
        taken.flat_map(|received| received.values()).collect()
    }
}

fn serve(listener: TcpListener, state: &Arc<Inner>) -> Serving {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let router = Router::new().fallback(receive).with_state(Arc::clone(state));
    listener.set_nonblocking(true).unwrap();
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        axum::serve(listener, router).await
    });
    Serving(Some(runtime))
}

async fn receive(State(inner): State<Arc<Inner>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let mood = inner.moods.lock().unwrap().get(&path).copied().unwrap_or(Mood::Takes);
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let taken = mood == Mood::Takes;
    inner.received.lock().unwrap().push(Received { path, headers, body, at: Instant::now(), taken });
    match mood {
        Mood::Takes => StatusCode::OK.into_response(),
        Mood::Answers(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Mood::AsksToWait(seconds) => {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds)]).into_response()
        }
        Mood::Redirects => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        Mood::Hangs => std::future::pending().await,
    }
}

/// A webhook of a thing; its path in the API.
pub(crate) async fn webhook(user: &User<'_>, thing: &Thing, url: &str, format: &str) -> String {
    let path = format!("/webhooks/{}", thing.id);
    let body = json!([{"name": "a webhook", "format": format, "url": url}]);
    let made = user.request(Method::POST, &path).json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
    let list = get(user, &path).await;
    let id = list["webhooks"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    format!("{path}/{id}")
}

pub(crate) async fn get(user: &User<'_>, path: &str) -> Value {
    let answer = user.request(Method::GET, path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

/// Publishes a record with this value.
pub(crate) async fn publish(thing: &Thing, value: i64) {
    thing.publish(&json!([{"n": "count", "bt": 1_700_000_000, "t": value, "v": value}])).await;
}

/// Waits until an endpoint has taken all the values up to this one.
pub(crate) async fn until_taken(receiver: &Receiver, path: &str, count: i64) {
    eventually(async || {
        let taken: HashSet<i64> = receiver.values(path).into_iter().collect();
        let missing: Vec<i64> = (0..count).filter(|value| !taken.contains(value)).collect();
        match missing.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(format!("{path} lacks {} of {count}, first {first}", missing.len())),
        }
    })
    .await;
}

/// Values come in order but for repetitions: what is delivered twice is delivered as it was.
pub(crate) fn is_in_order(values: &[i64]) -> bool {
    let mut firsts = Vec::new();
    let mut seen = HashSet::new();
    for value in values {
        if seen.insert(value) {
            firsts.push(*value);
        }
    }
    firsts.is_sorted()
}
