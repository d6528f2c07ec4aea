//! What the people who run a server see: health, metrics, logs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_EMAIL, ADMIN_PASSWORD, Server, Thing, eventually};

async fn get(server: &Server, path: &str) -> (u16, String, String) {
    let answer = reqwest::get(format!("{}{path}", server.base)).await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (answer.status().as_u16(), kind, answer.text().await.unwrap())
}

async fn metrics(server: &Server) -> String {
    let (status, kind, text) = get(server, "/metrics").await;
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    text
}

/// The value of one series.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn health_and_version_tell_the_build() {
    let server = Server::start();
    // It listens a moment before its writer runs.
    eventually(async || match get(&server, "/readyz").await {
        (200, ..) => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    let (status, kind, text) = get(&server, "/health").await;
    let health: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, kind.as_str()), (200, "application/health+json"));
    assert_eq!((&health["status"], &health["version"]), (&json!("pass"), &json!(env!("CARGO_PKG_VERSION"))));
    for field in ["commit", "description", "build_time"] {
        assert!(health[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {health}");
    }
    let (status, _, text) = get(&server, "/version").await;
    let version: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &version["commit"]), (200, &health["commit"]));
    let ready = "[+]serving ok\n[+]log ok\n[+]store ok\n[+]registry ok\n[+]writer ok\n[+]webhooks ok\nreadyz check passed\n";
    assert_eq!(
        get(&server, "/readyz?verbose").await,
        (200, "text/plain; charset=utf-8".into(), ready.into())
    );
    assert_eq!(get(&server, "/livez").await.0, 200);
}

#[tokio::test]
async fn the_metrics_count_what_was_done() {
    let server = Server::start();
    let user = server.user().await;
    let thing = user.connected_thing().await;
    thing.publish(&json!([{"n": "a", "v": 1}, {"n": "b", "v": 2}])).await;
    thing.publish(&json!([{"n": "a", "v": 3, "t": -5}])).await;
    for (body, status) in [("[", 400), ("[{\"n\":\"a b\",\"v\":1}]", 400)] {
        assert_eq!(thing.post("").body(body).send().await.unwrap().status(), status);
    }
    let stranger = Thing { key: "nobody's".to_owned(), ..thing.clone() };
    let stranger = stranger.post("").body("[]").send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    let wrong = json!({"email": "nobody@example.com", "password": "not the password"});
    user.http.post(format!("{}/tokens", server.base)).json(&wrong).send().await.unwrap();
    thing.until_stored(3).await;
    // A commit comes about once a second.
    let text = eventually(async || {
        let text = metrics(&server).await;
        let lag = value(&text, "log_lag_entries{group=\"writer\"}");
        let committed = value(&text, "writer_last_commit_timestamp_seconds");
        if lag == 0.0 && committed > 0.0 { Ok(text) } else { Err(text) }
    })
    .await;
    for (series, expected) in [
        ("ingest_packs_total{outcome=\"accepted\"}", 2.0),
        ("ingest_packs_total{outcome=\"malformed\"}", 1.0),
        ("ingest_packs_total{outcome=\"bad_name\"}", 1.0),
        ("ingest_packs_total{outcome=\"unauthenticated\"}", 1.0),
        ("ingest_packs_total{outcome=\"unavailable\"}", 0.0),
        ("ingest_records_total", 3.0),
        ("ingest_publish_seconds_count", 2.0),
        ("ingest_in_flight_bytes", 0.0),
        ("log_end_offset", 2.0),
        ("log_appended_entries_total", 2.0),
        ("log_writable", 1.0),
        ("writer_records_total", 3.0),
        ("control_plane_password_checks_total{outcome=\"passed\"}", 1.0),
        ("control_plane_password_checks_total{outcome=\"failed\"}", 1.0),
        ("control_plane_purges_pending", 0.0),
        (
            "http_requests_total{service=\"control_plane\",route=\"/things\",method=\"POST\",status=\"2xx\"}",
            1.0,
        ),
        (
            "http_requests_total{service=\"ingest\",route=\"/http/channels/{channel}/messages\",method=\"POST\",status=\"2xx\"}",
            2.0,
        ),
    ] {
        assert_eq!(value(&text, series), expected, "{series}:\n{text}");
    }
    for series in [
        "access_cache_lookups_total{result=\"miss\"}",
        "access_cache_lookups_total{result=\"hit\"}",
        "log_size_bytes",
        "reader_records_total",
        "reader_reads_total{outcome=\"page\"}",
        "writer_store_delay_seconds_count",
        "writer_last_commit_timestamp_seconds",
        "control_plane_changes_published_total",
        "http_connections_open",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_threads",
        "process_start_time_seconds",
    ] {
        assert!(value(&text, series) > 0.0, "{series}:\n{text}");
    }
}

/// A metric as a scrape and as the documentation show it: type, labels, meaning.
type Described = BTreeMap<String, (String, BTreeSet<String>, String)>;

fn scraped(text: &str) -> Described {
    let mut found = Described::new();
    let words = |line: &str, start: &str| {
        let rest = line.strip_prefix(start)?;
        rest.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.to_owned()))
    };
    for line in text.lines() {
        if let Some((name, help)) = words(line, "# HELP ") {
            found.entry(name).or_default().2 = help;
        } else if let Some((name, kind)) = words(line, "# TYPE ") {
            found.entry(name).or_default().0 = kind;
        } else if let Some((series, labels)) = line.split_once('{') {
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| series.strip_suffix(end).filter(|name| found.contains_key(*name)));
            let labels = labels.split("\",").filter_map(|label| label.split_once("=\""));
            let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
            found.get_mut(name.unwrap_or(series)).unwrap().1.extend(labels);
        }
    }
    found
}

fn documented(text: &str) -> Described {
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ").collect();
        let [name, kind @ ("counter" | "gauge" | "histogram"), labels, meaning] = cells[..] else {
            return None;
        };
        let labels = labels.split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        Some((name.trim_end_matches('`').to_owned(), (kind.to_owned(), labels, meaning.to_owned())))
    });
    rows.collect()
}

fn table(described: &Described) -> String {
    let row = |(name, (kind, labels, meaning)): (&String, &(String, BTreeSet<String>, String))| {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{name}` | {kind} | {} | {meaning} |\n", labels.join(", "))
    };
    described.iter().map(row).collect()
}

#[tokio::test]
async fn every_metric_is_documented_as_it_is() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    thing.publish(&json!([{"n": "a", "v": 1}])).await;
    thing.until_stored(1).await;
    let scraped = scraped(&metrics(&server).await);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let text = std::fs::read_to_string(file).unwrap();
    // What only roles of a cluster have, this server does not show.
    let (before, behind) = text.split_once("### Only in a cluster").unwrap();
    let documented = documented(&[before, behind.split_once("\n### ").unwrap().1].concat());
    assert!(scraped == documented, "docs/operating.md has to say:\n{}", table(&scraped));
    for (name, (kind, _, meaning)) in &scraped {
        assert!(meaning.ends_with('.'), "{name}: {meaning}");
        let is_total = name.ends_with("_total");
        assert!(is_total == (kind == "counter") || name.starts_with("process_"), "{name} is a {kind}");
    }
}

#[tokio::test]
async fn a_line_of_the_log_is_json_and_carries_the_request_it_is_about() {
    let mut server = Server::start_recorded(&["--log-filter", "info,thalweg=debug"]);
    let client = reqwest::Client::new();
    let request = client.post(format!("{}/tokens?secret=1", server.base)).header("X-Request-Id", "r-42");
    let answer = request.json(&json!({"email": "a"})).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-request-id"].to_str().unwrap()), (400, "r-42"));
    let made = client.get(format!("{}/nowhere", server.base)).send().await.unwrap();
    let made = made.headers()["x-request-id"].to_str().unwrap().to_owned();
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));

    let log = server.recorded("stderr");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let about =
        |id: &str| lines.iter().find(|line| line["request_id"] == id).unwrap_or_else(|| panic!("{log}"));
    let line = about("r-42");
    for (field, value) in [
        ("level", json!("DEBUG")),
        ("message", json!("request answered")),
        ("method", json!("POST")),
        ("route", json!("/tokens")),
        ("status", json!(400)),
        ("request_bytes", json!(13)),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert!(line["timestamp"].is_string() && line["took"].is_string(), "{line}");
    assert_eq!(about(&made)["route"], "none");
    assert!(lines.iter().any(|line| line["message"] == "stopped"), "{log}");
}

#[tokio::test]
async fn the_audit_tells_which_request_made_a_change() {
    let server = Server::start();
    let admin = server.login(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    let create = admin.request(Method::POST, "/things").header("X-Request-Id", "r-44");
    let created: Value = create.json(&json!([{"name": "a"}])).send().await.unwrap().json().await.unwrap();
    let delete = format!("/things/{}", created["things"][0]["id"].as_str().unwrap());
    let deleted = admin.request(Method::DELETE, &delete).send().await.unwrap();
    let made = deleted.headers()["x-request-id"].to_str().unwrap();
    for (request, action) in [("r-44", "thing.create"), (made, "thing.delete")] {
        let found = admin.request(Method::GET, &format!("/audit?request={request}"));
        let found: Value = found.send().await.unwrap().json().await.unwrap();
        let entries = found["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 1, "{found}");
        assert_eq!(
            (&entries[0]["action"], &entries[0]["entity"]),
            (&json!(action), &created["things"][0]["id"])
        );
    }
}

#[tokio::test]
async fn text_logs_are_asked_for_and_have_no_colours_off_a_terminal() {
    let mut server = Server::start_recorded(&["--log-format", "text", "--log-filter", "debug"]);
    let client = reqwest::Client::new();
    client.get(format!("{}/livez", server.base)).header("X-Request-Id", "r-43").send().await.unwrap();
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    let log = server.recorded("stderr");
    assert!(
        log.lines().any(|line| line.contains("request answered") && line.ends_with(" request_id=r-43")),
        "{log}"
    );
    assert!(!log.contains('\u{1b}'), "{log}");
}
