//! `GET /openapi.json`, and a page to read it and to try it out: Swagger UI, which loads nothing from elsewhere.
//!
//! Its files are in the program, compressed, and the page's own policy forbids the browser any other origin.

use std::io::Read as _;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::document::Document;
use crate::operation::{Answer, Operation, path_text, plain};
use crate::refusal::Refusal;
use crate::routes::Routes;
use crate::schema::{any_object, word};

/// The routes of [`routes`].
pub const ROUTES: &[&str] = &["/openapi.json", "/docs", "/docs/{file}"];

/// The page's own policy. Swagger UI has pictures in its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a browser may do with anything of the page.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

const HTML: &str = include_str!("../page/index.html");

/// A file of the page.
struct File {
    name: &'static str,
    media_type: &'static str,
    bytes: Stored,
}

/// How a file is kept.
#[derive(Clone, Copy)]
enum Stored {
    AsItIs(&'static [u8]),
    Compressed(&'static [u8]),
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! built {
    ($name:literal) => {
        Stored::Compressed(include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")))
    };
}

const FILES: [File; 6] = [
    File { name: "page.js", media_type: SCRIPT, bytes: Stored::AsItIs(include_bytes!("../page/page.js")) },
    File { name: "page.css", media_type: STYLE, bytes: Stored::AsItIs(include_bytes!("../page/page.css")) },
    File { name: "swagger-ui-bundle.js", media_type: SCRIPT, bytes: built!("swagger-ui-bundle.js") },
    File { name: "swagger-ui.css", media_type: STYLE, bytes: built!("swagger-ui.css") },
    File { name: "swagger-ui-license.txt", media_type: TEXT, bytes: built!("swagger-ui-license.txt") },
    File { name: "swagger-ui-notice.txt", media_type: TEXT, bytes: built!("swagger-ui-notice.txt") },
];

/// The document's text, as it is answered.
#[derive(Debug, Clone)]
pub struct Published(Bytes);

impl Published {
    /// Of a document, which does not change any more.
    pub fn new(document: &Document) -> Self {
        Self(document.json().into())
    }
}

/// The routes.
pub fn routes() -> Routes<Published> {
    let names = FILES.map(|file| file.name);
    let text = Value::from("…");
    Routes::default()
        .get(
            ROUTES[0],
            document,
            Operation::new("describe", "operation", "This document.")
                .answers(200, Answer::json("It.", any_object("OpenAPI 3.1."), json!({"openapi": "3.1.0"}))),
        )
        .get(
            ROUTES[1],
            page,
            Operation::new(
                "readDescription",
                "operation",
                "A page to read this document, and to try it out.",
            )
            .answers(200, Answer::of("text/html", "It.", plain("HTML."), text.clone())),
        )
        .get(
            ROUTES[2],
            file,
            Operation::new("readDescriptionFile", "operation", "A file of that page.")
                .takes(path_text("file", word("Its name.", names)))
                .answers(
                    200,
                    Answer::of("text/javascript", "It.", plain("A script."), text.clone())
                        .or("text/css", plain("A style sheet."), Some(text.clone()))
                        .or("text/plain", plain("A licence."), Some(text)),
                )
                .refused([Refusal::Unknown]),
        )
}

async fn document(State(Published(text)): State<Published>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn page() -> Response {
    (HEADERS, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], HTML).into_response()
}

async fn file(path: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    let known = path.ok().and_then(|Path(name)| FILES.iter().find(|file| file.name == name));
    let Some(file) = known else {
        let body = axum::Json(json!({ "error": "no such resource" }));
        return (StatusCode::NOT_FOUND, body).into_response();
    };
    let about = [
        (header::CONTENT_TYPE, file.media_type),
        (header::CACHE_CONTROL, "max-age=3600"),
        (header::VARY, "Accept-Encoding"),
    ];
    match file.bytes {
        Stored::AsItIs(bytes) => (HEADERS, about, bytes).into_response(),
        Stored::Compressed(bytes) if takes_gzip(&headers) => {
            (HEADERS, about, [(header::CONTENT_ENCODING, "gzip")], bytes).into_response()
        }
        Stored::Compressed(bytes) => (HEADERS, about, inflated(bytes)).into_response(),
    }
}

/// Every browser does. Source: RFC 9110, section 12.5.3; a weight of 0 is a refusal.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        is_gzip && parts.all(|part| !matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).expect("the build compressed it");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_whoever_says_so() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(takes("gzip") && takes("br;q=1.0, GZIP;q=0.8, *;q=0.1"));
        assert!(!takes("") && !takes("br") && !takes("gzip;q=0") && !takes("xgzip"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn every_file_inflates_and_names_no_licence_that_is_not_there() {
        for file in &FILES {
            let bytes = match file.bytes {
                Stored::AsItIs(bytes) => bytes.to_vec(),
                Stored::Compressed(bytes) => inflated(bytes),
            };
            assert!(std::str::from_utf8(&bytes).is_ok_and(|text| !text.is_empty()), "{}", file.name);
        }
    }

    #[test]
    fn the_page_asks_for_files_that_are_there() {
        for part in HTML.split(['"', '\'']).filter_map(|text| text.strip_prefix("docs/")) {
            assert!(FILES.iter().any(|file| file.name == part), "{part}");
        }
    }
}
