//! The document of the API is the API's: the same routes, shapes that its own examples have, a page that needs nobody else.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::document::{Document, Operation};
use crate::harness::Server;

const SOME_ID: &str = "2f1a4f0e-6a52-4b1c-9f5e-0f7c0a3f1d11";

/// Every path of the document is a route that takes the methods which the document says, and no others.
#[tokio::test]
async fn the_routes_are_those_of_the_document() {
    let server = Server::start();
    let document = Document::of(&server.base).await;
    let http = reqwest::Client::new();
    let paths: BTreeSet<&str> = document.operations().map(|operation| operation.path).collect();
    assert!(paths.len() > 30, "{paths:?}");
    for path in paths {
        let mut said: BTreeSet<String> = document
            .operations()
            .filter(|operation| operation.path == path)
            .map(|operation| operation.method.to_uppercase())
            .collect();
        if said.contains("GET") {
            said.insert("HEAD".to_owned());
        }
        let filled = path.replace("{file}", "page.js");
        let filled: String = filled
            .split('/')
            .map(|part| if part.starts_with('{') { SOME_ID } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let url = format!("{}{filled}", server.base);
        let answer = http.request(Method::from_bytes(b"BREW").unwrap(), url).send().await.unwrap();
        assert_eq!(answer.status(), 405, "{path}");
        let taken = answer.headers()["allow"].to_str().unwrap();
        assert_eq!(taken.split(',').map(str::to_owned).collect::<BTreeSet<_>>(), said, "{path}");
    }
}

#[tokio::test]
async fn every_operation_says_what_it_takes_and_answers_with_examples_of_that_shape() {
    let server = Server::start();
    let document = Document::of(&server.base).await;
    assert_eq!(document.text["openapi"], "3.1.0");
    let tags: BTreeSet<&str> =
        document.text["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    for Operation { path, method, said } in document.operations() {
        let what = format!("{method} {path}");
        assert!(ids.insert(said["operationId"].as_str().unwrap()), "{what}");
        assert!(said["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{what}");
        assert!(tags.contains(said["tags"][0].as_str().unwrap()), "{what}");
        let asks = said["security"].as_array().is_some_and(|all| !all.is_empty());
        assert!(!asks || said["responses"]["401"].is_object(), "{what}: a credential can be wrong");
        let bodies = said["requestBody"]["content"].as_object();
        for content in bodies.into_iter().flat_map(|content| content.values()) {
            document.valid(&content["schema"], &content["example"], &format!("the body of {what}"));
        }
        for (status, answer) in said["responses"].as_object().unwrap() {
            let answer = document.resolved(answer);
            assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{what} {status}");
            for (of, content) in answer["content"].as_object().into_iter().flatten() {
                if of.ends_with("json") {
                    document.valid(&content["schema"], &content["example"], &format!("{what} {status}"));
                }
            }
        }
        // What a template names, and nothing else, is a parameter of the path.
        let named: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = said["parameters"].as_array().into_iter().flatten();
        let in_path = parameters.filter(|parameter| parameter["in"] == "path");
        assert_eq!(
            in_path.map(|parameter| parameter["name"].as_str().unwrap()).collect::<BTreeSet<_>>(),
            named,
            "{what}"
        );
    }
}

/// The validator is one: it refuses what is not there, what is too much, and what is of another type.
#[tokio::test]
async fn an_answer_that_is_not_described_is_found() {
    let server = Server::start();
    let document = Document::of(&server.base).await;
    let shape = serde_json::json!({"$ref": "#/components/schemas/Refusal"});
    let refusal = |json: &str| document.validated(&shape, &serde_json::from_str::<Value>(json).unwrap());
    assert_eq!(refusal(r#"{"error":"x","record":0}"#), Ok(()));
    for wrong in ["{}", r#"{"error":1}"#, r#"{"error":"x","record":-1}"#, r#"{"error":"x","more":1}"#, "[]"] {
        assert!(refusal(wrong).is_err(), "{wrong}");
    }
    let user = serde_json::json!({"$ref": "#/components/schemas/User"});
    let no_id = serde_json::json!({"id": "me", "email": "me@example.com"});
    assert!(document.validated(&user, &no_id).is_err(), "formats count");
}

/// A browser that opens the page asks this server, and nobody else.
#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let server = Server::start();
    let http = reqwest::Client::new();
    let page = http.get(format!("{}/docs", server.base)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    for directive in policy.split("; ") {
        let mut sources = directive.split(' ').skip(1);
        assert!(sources.all(|source| ["'self'", "'none'", "data:"].contains(&source)), "{directive}");
        assert!(!directive.contains("data:") || directive.starts_with("img-src "), "{directive}");
    }
    assert!(policy.starts_with("default-src 'none'; "), "what is not named is forbidden: {policy}");

    let html = page.text().await.unwrap();
    let files = ["src=\"", "href=\""].into_iter().flat_map(|attribute| html.split(attribute).skip(1));
    let files: Vec<&str> = files.map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        assert!(!file.contains("//"), "{file} is of another origin");
        if file.starts_with("data:") {
            continue;
        }
        let answer = http.get(format!("{}/{file}", server.base)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
        let text = answer.text().await.unwrap();
        if file.ends_with(".css") {
            let loaded = text
                .split("url(")
                .skip(1)
                .filter(|url| !url.trim_start_matches(['"', '\'']).starts_with("data:"));
            assert_eq!(loaded.count() + text.matches("@import").count(), 0, "{file} loads another file");
        }
        if file.ends_with("page.js") {
            assert!(text.contains("validatorUrl: null"), "Swagger UI asks a validator elsewhere by itself");
            assert!(!text.contains("http:") && !text.contains("https:"), "{text}");
        }
    }
    let missing = http.get(format!("{}/docs/nothing.js", server.base)).send().await.unwrap();
    assert_eq!(missing.status(), 404);
    assert!(missing.json::<Value>().await.unwrap()["error"].is_string());
}

/// A file that is kept compressed is the same to who does not take it so.
#[tokio::test]
async fn a_file_is_sent_as_the_client_takes_it() {
    let server = Server::start();
    let url = format!("{}/docs/swagger-ui.css", server.base);
    let http = reqwest::Client::new();
    let plain = http.get(&url).send().await.unwrap();
    assert_eq!(plain.headers().get("content-encoding"), None);
    let plain = plain.bytes().await.unwrap();
    let compressed = http.get(&url).header("Accept-Encoding", "gzip, br").send().await.unwrap();
    assert_eq!(compressed.headers()["content-encoding"], "gzip");
    assert_eq!(compressed.headers()["vary"], "Accept-Encoding");
    let compressed = compressed.bytes().await.unwrap();
    let mut inflated = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&compressed[..]), &mut inflated).unwrap();
    assert!(inflated == plain && compressed.len() * 4 < plain.len());
}
