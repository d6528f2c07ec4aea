//! Headers for browsers: those that the reference prints, and those that let a page of another origin use the API.

use std::net::TcpStream;

use serde_json::Value;

use crate::harness::{PASSWORD, Server, eventually};
use crate::raw::{Answer, dial, exchange};

/// What the reference prints on answers about users, tokens and passwords.
const OF_USERS: &[(&str, &str)] = &[
    ("content-type", "application/json"),
    ("strict-transport-security", "max-age=63072000; includeSubdomains"),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "*"),
    ("access-control-allow-headers", "*"),
];
/// What it prints on the others.
const OF_ENTITIES: &[(&str, &str)] =
    &[("content-type", "application/json"), ("access-control-expose-headers", "Location")];
const EMPTY: &[(&str, &str)] = &[("content-length", "0")];
const DEPRECATED: &[(&str, &str)] = &[(
    "warning-deprecated",
    "This endpoint will be depreciated in v1.0.0. It will be replaced with the bulk endpoint found at /connect.",
)];

/// One sample of the reference: the request line, its body, and what is printed of the answer. Words in capitals stand for what
/// the samples before it made.
struct Sample(&'static str, &'static str, u16, &'static [&'static [(&'static str, &'static str)]]);

const SAMPLES: &[Sample] = &[
    Sample("POST /users", r#"{"email":"EMAIL","password":"PASSWORD"}"#, 201, &[OF_USERS, EMPTY]),
    Sample("POST /tokens", r#"{"email":"EMAIL","password":"PASSWORD"}"#, 201, &[OF_USERS]),
    Sample("GET /users/USER", "", 200, &[OF_USERS]),
    Sample("GET /users", "", 200, &[OF_USERS]),
    Sample("PUT /users", r#"{"metadata":{"foo":"bar"}}"#, 200, &[OF_USERS, EMPTY]),
    Sample(
        "POST /things",
        r#"[{"id":"f2a7bd4e-0ac8-4e1f-8f83-7d9dbac51a23","name":"a"}]"#,
        201,
        &[OF_ENTITIES],
    ),
    Sample("POST /things", r#"[{"name":"a"},{"name":"b"}]"#, 201, &[OF_ENTITIES]),
    Sample("GET /things/THING", "", 200, &[OF_ENTITIES]),
    Sample("GET /things", "", 200, &[OF_ENTITIES]),
    Sample("PUT /things/THING", r#"{"name":"c"}"#, 200, &[OF_ENTITIES, EMPTY]),
    Sample(
        "POST /channels",
        r#"[{"id":"db4b7428-e278-4fe3-b85a-d65554d6abe9","name":"a"}]"#,
        201,
        &[OF_ENTITIES],
    ),
    Sample("POST /channels", r#"[{"name":"a"},{"name":"b"}]"#, 201, &[OF_ENTITIES]),
    Sample("GET /channels/CHANNEL", "", 200, &[OF_ENTITIES]),
    Sample("GET /channels", "", 200, &[OF_ENTITIES]),
    Sample("PUT /channels/CHANNEL", r#"{"name":"c"}"#, 200, &[OF_ENTITIES, EMPTY]),
    Sample(
        "POST /connect",
        r#"{"channel_ids":["CHANNEL"],"thing_ids":["THING"]}"#,
        200,
        &[OF_ENTITIES, EMPTY],
    ),
    Sample("PUT /channels/CHANNEL/things/THING", "", 200, &[OF_ENTITIES, EMPTY, DEPRECATED]),
    Sample("POST /identify/channels/CHANNEL/access-by-key", r#"{"token":"KEY"}"#, 200, &[OF_ENTITIES]),
    Sample(
        "POST /identify/channels/CHANNEL/access-by-id",
        r#"{"thing_id":"THING"}"#,
        200,
        &[OF_ENTITIES, EMPTY],
    ),
    Sample("POST /identify", r#"{"token":"KEY"}"#, 200, &[OF_ENTITIES]),
    Sample("POST /http/channels/CHANNEL/messages", r#"[{"n":"voltage","v":1}]"#, 202, &[EMPTY]),
    Sample("GET /channels/CHANNEL/messages?offset=0&limit=5", "", 200, &[OF_ENTITIES]),
    Sample(
        "PUT /disconnect",
        r#"{"thing_ids":["THING"],"channel_ids":["CHANNEL"]}"#,
        200,
        &[OF_ENTITIES, EMPTY],
    ),
    Sample("DELETE /channels/CHANNEL/things/THING", "", 204, &[OF_ENTITIES]),
    Sample("DELETE /things/THING", "", 204, &[OF_ENTITIES]),
    Sample("DELETE /channels/CHANNEL", "", 204, &[OF_ENTITIES]),
    Sample("PATCH /password", r#"{"old_password":"PASSWORD","password":"another one"}"#, 201, &[OF_USERS]),
    // Refusals have the same headers.
    Sample("POST /users", "{", 400, &[OF_USERS]),
    Sample("POST /tokens", r#"{"email":"EMAIL","password":"wrong"}"#, 401, &[OF_USERS]),
    Sample("GET /users/USER", "", 401, &[OF_USERS]),
    Sample("DELETE /users", "", 405, &[OF_USERS]),
    Sample("POST /things", "[]", 401, &[OF_ENTITIES]),
    Sample("PUT /channels/CHANNEL/things/THING", "", 401, &[OF_ENTITIES]),
    Sample("DELETE /connect", "", 405, &[OF_ENTITIES]),
    Sample("POST /http/channels/CHANNEL/messages", "[]", 401, &[OF_ENTITIES]),
    Sample("GET /nowhere", "", 404, &[OF_ENTITIES]),
];

/// What the samples made so far.
#[derive(Default)]
struct Made(Vec<(&'static str, String)>);

impl Made {
    fn put(&mut self, word: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.retain(|(known, _)| *known != word);
            self.0.push((word, value.to_owned()));
        }
    }

    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }

    fn learn(&mut self, answer: &Answer) {
        let location = answer.header("location").and_then(|path| path.strip_prefix("/users/"));
        self.put("USER", location);
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        self.put("TOKEN", body["token"].as_str());
        self.put("KEY", body["things"][0]["key"].as_str());
        self.put("THING", body["things"][0]["id"].as_str());
        self.put("CHANNEL", body["channels"][0]["id"].as_str());
    }
}

fn send(stream: &mut TcpStream, made: &Made, request: &str, body: &str) -> Answer {
    let (request, body) = (made.fill(request), made.fill(body));
    let credential =
        if request.contains("/http/") { made.fill("Thing KEY") } else { made.fill("Bearer TOKEN") };
    let sent = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nAuthorization: {credential}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(stream, sent.as_bytes())
}

#[tokio::test]
async fn each_sample_of_the_reference_has_the_headers_it_prints() {
    let server = Server::start();
    let mut stream = dial(&server);
    let mut made = Made::default();
    made.put("EMAIL", Some("test@example.com"));
    made.put("PASSWORD", Some(PASSWORD));
    for Sample(request, body, status, printed) in SAMPLES {
        let answer = send(&mut stream, &made, request, body);
        assert_eq!(answer.status, *status, "{request}: {answer:?}");
        for (name, value) in printed.iter().copied().flatten() {
            assert_eq!(answer.header(name), Some(*value), "{name} of {request}: {answer:?}");
        }
        if *status == 204 {
            assert_eq!(answer.header("content-length"), None, "{request}");
        }
        if printed.first().is_some_and(|first| !std::ptr::eq(*first, OF_USERS)) {
            assert_eq!(answer.header("x-frame-options"), None, "{request}");
        }
        made.learn(&answer);
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_use_every_route() {
    let server = Server::start();
    let mut stream = dial(&server);
    let routes = [
        ("POST", "/users"),
        ("POST", "/tokens"),
        ("PATCH", "/password"),
        ("PUT", "/things/x"),
        ("DELETE", "/channels/x"),
        ("POST", "/connect"),
        ("POST", "/identify"),
        ("POST", "/http/channels/x/messages/a/b"),
        ("GET", "/channels/x/messages"),
        ("GET", "/health"),
        ("GET", "/nowhere"),
    ];
    for (method, path) in routes {
        let preflight = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: x\r\nOrigin: https://console.example\r\n\
             Access-Control-Request-Method: {method}\r\nAccess-Control-Request-Headers: authorization,content-type\r\n\r\n"
        );
        let allowed = exchange(&mut stream, preflight.as_bytes());
        assert_eq!(allowed.status, 200, "{path}: {allowed:?}");
        assert_eq!(allowed.header("access-control-allow-origin"), Some("*"));
        let lists = |header: &str, value: &str| {
            let listed = allowed.header(header).unwrap_or_default();
            listed.split(',').any(|item| item.trim().eq_ignore_ascii_case(value))
        };
        assert!(lists("access-control-allow-methods", method), "{path}: {allowed:?}");
        for header in ["authorization", "content-type"] {
            assert!(lists("access-control-allow-headers", header), "{path}: {allowed:?}");
        }
        let simple =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nOrigin: https://console.example\r\n\r\n");
        let simple = exchange(&mut stream, simple.as_bytes());
        assert_eq!(simple.header("access-control-allow-origin"), Some("*"), "{path}: {simple:?}");
        assert_eq!(simple.header("access-control-allow-credentials"), None, "{path}");
    }
}

#[tokio::test]
async fn a_page_may_read_how_long_to_wait() {
    let server = Server::start_with(&["--rate-per-address", "0.01:1"]);
    let request = b"GET /things HTTP/1.1\r\nHost: x\r\nOrigin: https://console.example\r\n\r\n";
    let refused = eventually(async || {
        let answer = exchange(&mut dial(&server), request);
        if answer.status == 429 { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let exposed: Vec<_> =
        refused.headers.iter().filter(|(name, _)| name == "access-control-expose-headers").collect();
    assert_eq!(exposed[0].1, "Location");
    assert!(exposed[1].1.contains("Retry-After"), "{refused:?}");
}
