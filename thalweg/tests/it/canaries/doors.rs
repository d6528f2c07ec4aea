//! Every door of the API, and what is put in through it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::Canaries;
use crate::harness::{PATIENCE, Server, Thing};

/// A client with an account and a connected thing, whose credentials are canaries, too.
pub(super) struct Visitor {
    http: Client,
    base: String,
    request_id: String,
    email: String,
    password: String,
    token: String,
    thing: Thing,
}

/// Where a request with an id in its path goes.
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/users/{}"),
    ("GET", "/things/{}"),
    ("PUT", "/things/{}"),
    ("DELETE", "/things/{}"),
    ("PATCH", "/things/{}/key"),
    ("GET", "/channels/{}"),
    ("PUT", "/channels/{}"),
    ("DELETE", "/channels/{}"),
    ("GET", "/channels/{}/messages"),
    ("PUT", "/channels/{}/things/{}"),
    ("DELETE", "/channels/{}/things/{}"),
    ("POST", "/identify/channels/{}/access-by-key"),
    ("POST", "/identify/channels/{}/access-by-id"),
    ("GET", "/webhooks/{}"),
    ("POST", "/http/channels/{}/messages"),
    ("POST", "/http/channels/x/messages/{}"),
    ("GET", "/{}"),
    ("BREW", "/things/{}"),
];

/// Where a query string or a body goes.
const PLACES: &[(&str, &str)] = &[
    ("POST", "/users"),
    ("GET", "/users"),
    ("PUT", "/users"),
    ("POST", "/tokens"),
    ("PATCH", "/password"),
    ("POST", "/things"),
    ("GET", "/things"),
    ("POST", "/channels"),
    ("GET", "/channels"),
    ("POST", "/connect"),
    ("PUT", "/disconnect"),
    ("POST", "/identify"),
    ("GET", "/metrics"),
    ("GET", "/readyz"),
    ("GET", "/health"),
    ("POST", "/http/channels/{channel}/messages"),
    ("GET", "/channels/{channel}/messages"),
    ("PUT", "/things/{thing}"),
    ("PATCH", "/things/{thing}/key"),
    ("POST", "/webhooks/{thing}"),
    ("PUT", "/channels/{channel}"),
    ("POST", "/identify/channels/{channel}/access-by-key"),
    ("POST", "/identify/channels/{channel}/access-by-id"),
];

/// Bodies around a secret. `{}` is where it goes.
const BODIES: &[(&str, &str)] = &[
    ("application/json", r#"{"email":"nobody@example.com","password":"{}"}"#),
    ("application/json", r#"{"email":"{}","password":"12345678"}"#),
    ("application/json", r#"{"email":["{}"],"password":{"a":"{}"}}"#),
    ("application/json", r#"{"old_password":"{}","password":"{}"}"#),
    ("application/json", r#"{"old_password":7,"password":"{}"}"#),
    ("application/json", r#"{"token":"{}"}"#),
    ("application/json", r#"{"token":{"{}":1}}"#),
    ("application/json", r#"{"key":"{}","overlap":"{}"}"#),
    ("application/json", r#"[{"key":"{}"}]"#),
    ("application/json", r#"[{"id":"{}"}]"#),
    ("application/json", r#"{"thing_id":"{}"}"#),
    ("application/json", r#"{"channel_ids":["{}"],"thing_ids":["{}"]}"#),
    (
        "application/json",
        r#"[{"name":"{}","format":"json","url":"https://user:{}@127.0.0.1/{}","secret":"{}"}]"#,
    ),
    ("application/json", r#"{"{}":true}"#),
    ("application/json", r#"{"password":"{}""#),
    ("application/json", r#""{}""#),
    ("application/json", "{}"),
    ("application/json; charset={}", r#"{"password":1}"#),
    ("application/senml+json", r#"[{"n":"a","v":"{}"}]"#),
    ("application/senml+json", r#"[{"n":"a","v":1,"{}_":1}]"#),
    ("application/senml+json", r#"[{"n":"a b {}","v":1}]"#),
    ("application/senml+json", r#"[{"n":"a","v":1,"t":"{}"}]"#),
    ("application/x-www-form-urlencoded", "email=nobody%40example.com&password={}"),
    ("text/plain", "{}"),
    ("{}", r#"{"password":1}"#),
    ("", "{}"),
];

/// Credentials that are none.
const AUTHORIZATIONS: &[&str] = &[
    "Bearer {}",
    "Thing {}",
    "Basic {}",
    "Digest {}",
    "{}",
    "bearer  {}",
    "Thing {} {}",
    "Bearer e30.{}.x",
    "ApiKey {}:{}",
];

impl Visitor {
    pub(super) async fn new(server: &Server, canaries: &mut Canaries, request_id: &str) -> Self {
        let password = canaries.secret("the password of an account");
        let email = format!("{}@example.com", canaries.private("the email of an account"));
        let http = Client::new();
        let account = json!({"email": email, "password": password});
        let made = http.post(format!("{}/users", server.base)).json(&account).send().await.unwrap();
        assert_eq!(made.status(), 201);
        let user = server.login(&email, &password).await;
        let thing = user.connected_thing().await;
        canaries.secrets.push(("a login token".to_owned(), signature(&user.token).to_owned()));
        canaries.secrets.push(("a thing's key".to_owned(), thing.key.clone()));
        let (token, base) = (user.token, server.base.clone());
        Self { http, base, request_id: request_id.to_owned(), email, password, token, thing }
    }

    /// Goes through every door. Returns what is stored rightly, and a thing with one record.
    pub(super) async fn visit_all(self, canaries: &mut Canaries) -> (Vec<String>, Thing) {
        let stored = self.use_the_api(canaries).await;
        self.paths(canaries).await;
        self.queries_and_bodies(canaries).await;
        self.headers(canaries).await;
        self.garbage(canaries);
        (stored, self.thing)
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let path = path.replace("{channel}", &self.thing.channel).replace("{thing}", &self.thing.id);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, format!("{}{path}", self.base)).header("X-Request-Id", &self.request_id)
    }

    /// Rightly, with secrets that are valid.
    async fn use_the_api(&self, canaries: &mut Canaries) -> Vec<String> {
        let (name, metadata) = (canaries.private("a thing's name"), canaries.private("metadata"));
        let thing = json!([{"name": name, "metadata": {&metadata: metadata}}]);
        let made =
            self.request("POST", "/things").bearer_auth(&self.token).json(&thing).send().await.unwrap();
        assert_eq!(made.status(), 201);
        let made: Value = made.json().await.unwrap();
        let (id, key) =
            (made["things"][0]["id"].as_str().unwrap(), made["things"][0]["key"].as_str().unwrap());
        canaries.secrets.push(("a second thing's key".to_owned(), key.to_owned()));
        let path = format!("/things/{id}/key");
        let rotated = self.request("PATCH", &path).bearer_auth(&self.token).json(&json!({"overlap": 60}));
        let rotated: Value = rotated.send().await.unwrap().json().await.unwrap();
        canaries.secrets.push(("a rotated key".to_owned(), rotated["key"].as_str().unwrap().to_owned()));
        let identified = self.request("POST", "/identify").json(&json!({"token": key})).send().await.unwrap();
        assert_eq!(identified.status(), 200);

        let payload = canaries.private("a payload");
        let pack = json!([{"n": "a", "vs": payload, &payload: 1}]).to_string();
        let basic = STANDARD.encode(format!("user:{}", self.thing.key));
        let published = self.request("POST", "/http/channels/{channel}/messages").body(pack);
        let published = published.header("Content-Type", "application/senml+json");
        let published = published.header("Authorization", format!("Basic {basic}")).send().await.unwrap();
        assert_eq!(published.status(), 202);

        let changed = canaries.secret("a new password");
        let change = json!({"old_password": self.password, "password": changed});
        let answer = self.request("PATCH", "/password").bearer_auth(&self.token).json(&change).send().await;
        assert_eq!(answer.unwrap().status(), 201);
        let login = json!({"email": self.email, "password": changed});
        let answer = self.request("POST", "/tokens").json(&login).send().await.unwrap();
        let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        canaries.secrets.push(("another login token".to_owned(), signature(&token).to_owned()));
        vec![name, metadata, payload]
    }

    async fn paths(&self, canaries: &mut Canaries) {
        for (method, route) in ROUTES {
            let secret = canaries.secret(&format!("a path of {method} {route}"));
            let request = self.request(method, &route.replace("{}", &secret));
            let key = format!("Thing {}", self.thing.key);
            request.header("Authorization", key).body("{}").send().await.unwrap();
            let secret = canaries.secret(&format!("a path of {method} {route}, percent-encoded"));
            let hidden: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let request = self.request(method, &route.replace("{}", &hidden));
            request.bearer_auth(&self.token).json(&json!([])).send().await.unwrap();
        }
    }

    async fn queries_and_bodies(&self, canaries: &mut Canaries) {
        for (method, place) in PLACES {
            for query in
                ["token={}", "authorization={}&limit={}", "name={}&password={}", "metadata=%7B%22{}", "{}"]
            {
                let secret = canaries.secret(&format!("the query of {method} {place}"));
                let path = format!("{place}?{}", query.replace("{}", &secret));
                self.request(method, &path).bearer_auth(&self.token).send().await.unwrap();
            }
        }
        for (place, (kind, body)) in
            PLACES.iter().flat_map(|place| BODIES.iter().map(move |body| (place, body)))
        {
            let (method, path) = place;
            let secret = canaries.secret(&format!("{kind}: {body} in {method} {path}"));
            let request = self.request(method, path).body(body.replace("{}", &secret));
            let request = request.header("Content-Type", kind.replace("{}", &secret));
            let credential = if path.contains("/messages") {
                format!("Thing {}", self.thing.key)
            } else {
                format!("Bearer {}", self.token)
            };
            request.header("Authorization", credential).send().await.unwrap();
        }
    }

    async fn headers(&self, canaries: &mut Canaries) {
        for (method, place) in PLACES {
            for authorization in AUTHORIZATIONS {
                let secret = canaries.secret(&format!("{authorization} of {method} {place}"));
                let request = self.request(method, place).json(&json!({}));
                let authorization = authorization.replace("{}", &secret);
                request.header("Authorization", authorization).send().await.unwrap();
            }
            let basic = canaries.secret(&format!("Basic of {method} {place}"));
            self.request(method, place).basic_auth("user", Some(basic)).send().await.unwrap();
            let mut request = self.http.request(method.parse().unwrap(), format!("{}{place}", self.base));
            for header in [
                "Cookie",
                "User-Agent",
                "Referer",
                "Origin",
                "X-Api-Key",
                "Accept",
                "Content-Encoding",
                "If-Match",
            ] {
                request = request.header(header, canaries.secret(&format!("{header} of {method} {place}")));
            }
            let longer_than_an_id = canaries.secret("an X-Request-Id that is too long").repeat(4);
            request.header("X-Request-Id", longer_than_an_id).send().await.unwrap();
        }
    }

    /// What is no HTTP, or hardly.
    fn garbage(&self, canaries: &mut Canaries) {
        for garbage in [
            "{} / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /{} HTTP/9.9\r\n\r\n",
            "GET /{} HTTP/1.1\r\n{}\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n",
            "GET http://user:{}@127.0.0.1/things?token={} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            "POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{}",
            "{}",
        ] {
            let secret = canaries.secret(garbage);
            let mut stream = TcpStream::connect(self.base.trim_start_matches("http://")).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(garbage.replace("{}", &secret).as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

/// The part of a token that nobody can make up.
fn signature(token: &str) -> &str {
    token.rsplit('.').next().unwrap()
}
