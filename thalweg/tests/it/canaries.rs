//! Secrets that are put in through every door must not come out of the logs, the metrics or the files.
//!
//! Each is unique, so one hit tells which door it came through. What the API answers to its own caller is not searched.

mod doors;
mod search;

use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Server};
use doors::Visitor;
use search::Search;

/// What is known of a run's texts, and where each of them may be.
#[derive(Default)]
struct Canaries {
    /// Passwords, keys, tokens: nowhere.
    secrets: Vec<(String, String)>,
    /// Payloads, names, emails, texts that clients make up: stored if at all, but never in logs or metrics.
    private: Vec<(String, String)>,
}

impl Canaries {
    /// A new secret, named by its door.
    fn secret(&mut self, door: &str) -> String {
        let text = unique();
        self.secrets.push((door.to_owned(), text.clone()));
        text
    }

    /// A new text that is nobody's business, named by its door.
    fn private(&mut self, door: &str) -> String {
        let text = unique();
        self.private.push((door.to_owned(), text.clone()));
        text
    }
}

fn unique() -> String {
    format!("canary{}", uuid::Uuid::new_v4().simple())
}

#[tokio::test]
async fn no_secret_comes_out_at_trace_of_ours() {
    nothing_comes_out("info,thalweg=trace").await;
}

#[tokio::test]
async fn no_secret_comes_out_at_debug_of_everything() {
    nothing_comes_out("debug").await;
}

async fn nothing_comes_out(filter: &str) {
    let mut server = Server::start_recorded(&["--log-filter", filter, "--log-format", "json"]);
    let mut canaries = Canaries::default();
    canaries.secrets.push(("THALWEG_ADMIN_PASSWORD".to_owned(), ADMIN_PASSWORD.to_owned()));
    let request_id = unique();
    let (stored, thing) = {
        let visitor = Visitor::new(&server, &mut canaries, &request_id).await;
        visitor.visit_all(&mut canaries).await
    };
    thing.until_stored(1).await;
    let pages = [scrape(&server, "/metrics").await, scrape(&server, "/readyz?verbose").await];
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));

    let (out, log) = (server.recorded("stdout"), server.recorded("stderr"));
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "every line is JSON");
    for (name, text) in [("stdout", &out), ("stderr", &log), ("metrics", &pages[0]), ("readyz", &pages[1])] {
        let found = Search::in_text(text);
        for (door, text) in canaries.secrets.iter().chain(&canaries.private) {
            assert_eq!(found.form_of(text), None, "{door} came out of {name}");
        }
    }
    let files = Search::in_files(&server.data_dir());
    for (door, secret) in &canaries.secrets {
        assert_eq!(files.form_of(secret), None, "{door} is on the disk in the clear");
    }
    // The searches can find: what has to be there is found.
    assert!(Search::in_text(&log).form_of(&request_id).is_some(), "a request's id is in the log");
    assert!(pages[0].contains("ingest_packs_total{outcome=\"accepted\"} 1"), "{}", pages[0]);
    assert!(pages[1].contains("[+]store ok"), "{}", pages[1]);
    for text in stored {
        assert!(files.form_of(&text).is_some(), "{text} is stored, and not found");
    }
}

async fn scrape(server: &Server, path: &str) -> String {
    let answer = reqwest::get(format!("{}{path}", server.base)).await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.unwrap()
}

#[test]
fn a_secret_is_found_in_whatever_form_it_hides() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let secret = "canary0123456789?>~~\"x";
    let json = json!({ "a": secret }).to_string();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for (form, text) in [
        ("plain", format!("a {secret}!")),
        ("json", json),
        ("percent-encoded", percent.to_uppercase()),
        ("percent-encoded", percent),
        ("query", "q=canary0123456789%3F%3E~~%22x&".to_owned()),
        ("base64", STANDARD.encode(format!("user:{secret}"))),
        ("base64", STANDARD.encode(format!("x{secret}y"))),
        ("base64", URL_SAFE_NO_PAD.encode(format!("ab{secret}"))),
        ("hexadecimal", secret.bytes().map(|byte| format!("{byte:02x}")).collect()),
    ] {
        assert_eq!(Search::in_text(&text).form_of(secret), Some(form), "{text}");
    }
    assert_eq!(Search::in_text("canary0123456788").form_of(secret), None);
}
