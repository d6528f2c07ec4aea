//! Nonsense on every route: a 4xx in our shape, never a 5xx, and the server goes on.

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use reqwest::Method;
use serde_json::Value;

use crate::harness::Server;

/// Routes with a place for an id, and what they take.
const ROUTES: &[(&str, &str)] = &[
    ("POST", "/users"),
    ("PUT", "/users"),
    ("GET", "/users/{}"),
    ("GET", "/users?{}"),
    ("POST", "/tokens"),
    ("PATCH", "/password"),
    ("POST", "/things"),
    ("GET", "/things?{}"),
    ("GET", "/things/{}"),
    ("PUT", "/things/{}"),
    ("DELETE", "/things/{}"),
    ("PATCH", "/things/{}/key"),
    ("POST", "/channels"),
    ("GET", "/channels?{}"),
    ("GET", "/channels/{}"),
    ("PUT", "/channels/{}"),
    ("DELETE", "/channels/{}"),
    ("POST", "/connect"),
    ("PUT", "/disconnect"),
    ("PUT", "/channels/{}/things/{}"),
    ("DELETE", "/channels/{}/things/{}"),
    ("POST", "/identify"),
    ("POST", "/identify/channels/{}/access-by-key"),
    ("POST", "/identify/channels/{}/access-by-id"),
    ("POST", "/http/channels/{}/messages/{}"),
    ("GET", "/channels/{}/messages?{}"),
];

const TEXTS: &[&str] = &[
    "x",
    "%00",
    "%FF",
    "..",
    "%2e%2e",
    "00000000-0000-0000-0000-000000000000",
    "%F0%9F%92%A9",
    "'--",
    "a=b",
    "limit=1e9",
    "limit=%00",
    "offset=18446744073709551616",
    "from=-1e400",
    "metadata=%7B",
    "metadata=%5B%5D",
    "dir=%20",
    "order=drop",
    "name=%25",
];

const BODIES: &[&str] = &[
    "",
    "null",
    "0",
    "\"\"",
    "[]",
    "{}",
    "[[]]",
    "[{}]",
    "[null]",
    "{\"id\":1}",
    "[{\"id\":null}]",
    "[{\"name\":{}}]",
    "[{\"metadata\":[]}]",
    "[{\"metadata\":null,\"name\":\"\\u0000\"}]",
    "{\"email\":[],\"password\":{}}",
    "{\"token\":0}",
    "{\"channel_ids\":\"x\",\"thing_ids\":null}",
    "{\"channel_ids\":[\"x\"],\"thing_ids\":[\"\"]}",
    "{\"thing_id\":\"\"}",
    "{\"overlap\":-1}",
    "{\"old_password\":\"\",\"password\":\"\"}",
    "[{\"bucket_width\":\"1y\"}]",
    "[{\"retention\":\"1y\"}]",
    "{\"metadata\":\"\"}",
    "{",
    "\u{feff}[]",
    "1e999",
];

fn pick<'a>(rng: &mut StdRng, from: &[&'a str]) -> &'a str {
    from[rng.random_range(0..from.len())]
}

fn body(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..4) {
        0 => {
            let mut bytes = vec![0; rng.random_range(0..300)];
            rng.fill_bytes(&mut bytes);
            bytes
        }
        1 => "[".repeat(rng.random_range(1..100_000)).into_bytes(),
        _ => pick(rng, BODIES).as_bytes().to_vec(),
    }
}

#[tokio::test]
async fn nothing_answers_5xx_and_every_refusal_says_why() {
    let server = Server::start();
    let user = server.user().await;
    let (channel, thing) = (user.channel().await, user.thing().await);
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    for round in 0..1_500 {
        let (method, route) = ROUTES[round % ROUTES.len()];
        let mut path = route.to_owned();
        while path.contains("{}") {
            let text = match rng.random_range(0..3) {
                0 => channel.as_str(),
                1 => thing.0.as_str(),
                _ => pick(&mut rng, TEXTS),
            };
            path = path.replacen("{}", text, 1);
        }
        let mut request = user
            .http
            .request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", server.base));
        request = match rng.random_range(0..5) {
            0 => request,
            1 => request.header("Authorization", format!("Thing {}", thing.1)),
            2 => request.header("Authorization", pick(&mut rng, TEXTS)),
            _ => request.bearer_auth(&user.token),
        };
        request = match rng.random_range(0..6) {
            0 => request,
            1 => request.header("Content-Type", pick(&mut rng, TEXTS)),
            _ => request.header("Content-Type", "application/json"),
        };
        let answer = request.body(body(&mut rng)).send().await.unwrap();
        let status = answer.status().as_u16();
        assert!(status < 500, "seed {seed}, round {round}: {method} {path} answers {status}");
        if status >= 400 {
            let text = answer.text().await.unwrap();
            let refusal: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            assert!(
                refusal["error"].is_string(),
                "seed {seed}, round {round}: {method} {path} {status}: {text}"
            );
        }
    }
    assert_eq!(reqwest::get(format!("{}/readyz", server.base)).await.unwrap().status(), 200);
}
