//! Question: what do a deep page and a look-up cost, against a shallow page and a small registry?
//!
//! Closed loop, one request at a time over the router, 100,000 things of one owner. Prints the median of each, and the
//! ratios that the design promises: a page at offset 99,990 within 2 times of one at offset 0. Then the same closed loop from 16
//! requests at a time: how many look-ups and changes a second.
//! Run: `cargo bench -p thalweg-control-plane`; on PostgreSQL too, in a database of its own, where THALWEG_POSTGRES_URL says
//! where one is: `deploy/engines with postgres -- cargo bench -p thalweg-control-plane`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{ChannelId, KeyDigest, ThingKey};
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use service::feed::Feed;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use store::{EmbeddedConfig, EmbeddedStore};
use thalweg_control_plane::{Config, ControlPlane, RegistryConfig};
use tower::ServiceExt as _;

const THINGS: usize = 100_000;
const REPEATS: usize = 301;

/// Requests at a time, where it is asked how many there are in a second.
const AT_ONCE: usize = 16;
/// Requests that are counted there.
const COUNTED: usize = 3_200;

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "a bench has no settings")]
async fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let admin_email = "admin@example.com".parse().expect("it is an address");
    let password = "12345678".parse().expect("it is long enough");
    let config = Config::new(directory.path(), admin_email, Some(password));
    println!("SQLite");
    measure(config.clone(), directory.path()).await;
    let Ok(server) = std::env::var("THALWEG_POSTGRES_URL") else { return };
    let (place, _) = server.rsplit_once('/').expect("it names a database");
    let database = format!("bench_{}", uuid::Uuid::new_v4().simple());
    run_on(&server, format!("CREATE DATABASE {database}")).await;
    let secret = URL_SAFE_NO_PAD.encode([7; 32]);
    let registry = RegistryConfig::Postgres {
        url: format!("{place}/{database}").parse().expect("it is that of the server"),
        token_secrets: format!("bench:{secret}").parse().expect("it is a secret"),
        sealing_secret: secret.parse().expect("it is a secret"),
    };
    println!("PostgreSQL");
    measure(Config { registry, ..config }, &directory.path().join("postgres")).await;
    run_on(&server, format!("DROP DATABASE {database} WITH (FORCE)")).await;
}

async fn run_on(server: &str, statement: String) {
    let mut connection = PgConnection::connect(server).await.expect("the server can be reached");
    let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await;
    done.expect("its user may make databases");
}

async fn measure(config: Config, directory: &Path) {
    let store = EmbeddedStore::open(&directory.join("store"), EmbeddedConfig::default());
    let store = Arc::new(store.expect("an empty directory can be opened"));
    let opened = Instant::now();
    let (app, _) = ControlPlane::open(config.clone(), Arc::new(Feed::default()), Arc::clone(&store) as _)
        .await
        .expect("an empty directory can be opened");
    println!("first start             {:>10.1?}", opened.elapsed());
    let router = app.router();
    let login = json!({"email": "admin@example.com", "password": "12345678"});
    let answer = request(&router, "POST", "/tokens", "", &login).await;
    let admin = answer["token"].as_str().expect("the login succeeds").to_owned();
    let account = json!({"email": "user@example.com", "password": "12345678"});
    request(&router, "POST", "/users", "", &account).await;
    let answer = request(&router, "POST", "/tokens", "", &account).await;
    let token = answer["token"].as_str().expect("the login succeeds").to_owned();

    let small = look_up(&app, &router, &admin).await;
    let began = Instant::now();
    for bulk in 0..THINGS / 1_000 {
        let things: Vec<Value> = (0..1_000)
            .map(|i| json!({"name": format!("thing {}", bulk * 1_000 + i), "metadata": {"i": i}}))
            .collect();
        request(&router, "POST", "/things", &token, &json!(things)).await;
    }
    println!("creating a thing        {:>10.1?} (in bulks of 1,000)", began.elapsed() / THINGS as u32);
    let large = look_up(&app, &router, &admin).await;
    println!("look-up of a grant      {small:>10.1?} with 1 thing, {large:.1?} with {THINGS}");

    for (who, token) in [("owner", &token), ("admin", &admin)] {
        let shallow = page(&router, token, "offset=0").await;
        let deep = page(&router, token, "offset=99990").await;
        let ratio = deep.as_secs_f64() / shallow.as_secs_f64();
        println!("page at offset 0        {shallow:>10.1?} ({who})");
        println!("page at offset 99,990   {deep:>10.1?} ({who}), {ratio:.2} times");
    }
    println!("page at offset 50,500   {:>10.1?}", page(&router, &token, "offset=50500").await);
    println!("page of 1,000           {:>10.1?}", page(&router, &token, "offset=50000&limit=1000").await);
    println!("page by part of a name  {:>10.1?}", page(&router, &token, "name=99999").await);
    println!("page in order of name   {:>10.1?}", page(&router, &token, "order=name").await);
    println!("page by metadata        {:>10.1?}", page(&router, &token, "metadata=%7B%22i%22:7%7D").await);

    let (thing, channel) =
        (create(&router, &token, "things").await, create(&router, &token, "channels").await);
    let path = format!("/channels/{channel}/things/{thing}");
    let mut times = Vec::new();
    for _ in 0..REPEATS / 2 {
        for method in ["PUT", "DELETE"] {
            let began = Instant::now();
            request(&router, method, &path, &token, &Value::Null).await;
            times.push(began.elapsed());
        }
    }
    println!("connect or disconnect   {:>10.1?} (committed and published)", median(times));

    let changes = at_once(async |number| {
        let method = if (number / AT_ONCE).is_multiple_of(2) { "PUT" } else { "DELETE" };
        request(&router, method, &path, &token, &Value::Null).await;
    })
    .await;
    println!("the same, {AT_ONCE} at once     {changes:>8.0}/s");
    let creates = at_once(async |_| drop(create(&router, &token, "things").await)).await;
    println!("creating one, {AT_ONCE} at once {creates:>8.0}/s");
    let question = question(&router, &token).await;
    let authority = app.authority();
    let look_ups = at_once(async |_| {
        authority
            .grant(&question.0, question.1)
            .await
            .expect("the registry answers")
            .expect("the key is known");
    })
    .await;
    println!("look-ups, {AT_ONCE} at once     {look_ups:>8.0}/s");
    let questions = vec![question; 1_000];
    let began = Instant::now();
    for _ in 0..10 {
        let grants = app.grants(&questions).await.expect("the registry answers");
        assert!(grants.iter().all(Option::is_some));
    }
    println!("1,000 look-ups together {:>10.1?} each", began.elapsed() / 10_000);

    app.close().await;
    drop((app, router));
    let opened = Instant::now();
    let again = ControlPlane::open(config, Arc::new(Feed::default()), store).await;
    println!("start with {THINGS}      {:>10.1?}", opened.elapsed());
    again.expect("what was closed can be opened").0.close().await;
}

/// [`COUNTED`] requests, [`AT_ONCE`] at a time: how many in a second.
async fn at_once(request: impl AsyncFn(usize)) -> f64 {
    let began = Instant::now();
    let loops = (0..AT_ONCE).map(async |start| {
        for number in (start..COUNTED).step_by(AT_ONCE) {
            request(number).await;
        }
    });
    futures::future::join_all(loops).await;
    COUNTED as f64 / began.elapsed().as_secs_f64()
}

/// The key and the channel of a thing that is connected.
async fn question(router: &Router, token: &str) -> (KeyDigest, ChannelId) {
    let created = request(router, "POST", "/things", token, &json!([{}])).await;
    let thing = created["things"][0]["id"].as_str().expect("it was created");
    let key = created["things"][0]["key"].as_str().expect("its creator may see it");
    let channel = create(router, token, "channels").await;
    let path = format!("/channels/{channel}/things/{thing}");
    request(router, "PUT", &path, token, &Value::Null).await;
    let digest = ThingKey::from_presented(key).expect("it is a key").digest();
    (digest, channel.parse().expect("it is an id"))
}

async fn look_up(app: &ControlPlane, router: &Router, token: &str) -> Duration {
    let (digest, channel) = question(router, token).await;
    let authority = app.authority();
    let mut times = Vec::new();
    for _ in 0..REPEATS {
        let began = Instant::now();
        let grant = authority.grant(&digest, channel).await.expect("the registry answers");
        times.push(began.elapsed());
        assert!(grant.is_some_and(|grant| grant.connection.is_some()));
    }
    median(times)
}

async fn page(router: &Router, token: &str, query: &str) -> Duration {
    let mut times = Vec::new();
    let repeats = if query.starts_with("offset") { REPEATS } else { 5 };
    for _ in 0..repeats {
        let began = Instant::now();
        let page = request(router, "GET", &format!("/things?{query}"), token, &Value::Null).await;
        times.push(began.elapsed());
        assert!(!page["things"].as_array().expect("it is a page").is_empty());
    }
    median(times)
}

async fn create(router: &Router, token: &str, kind: &str) -> String {
    let created = request(router, "POST", &format!("/{kind}"), token, &json!([{}])).await;
    created[kind][0]["id"].as_str().expect("it was created").to_owned()
}

async fn request(router: &Router, method: &str, path: &str, token: &str, body: &Value) -> Value {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::from(body.to_string()))
        .expect("it is a request");
    let answer = router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    let body = answer.into_body().collect().await.expect("a body in memory can be read").to_bytes();
    if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("it is JSON") }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
