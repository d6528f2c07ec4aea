//! What the document of the API says of how a process is watched.

use openapi::schema::{AnyShape, named, object, text, word};
use openapi::{Answer, Operation, plain, query};
use serde_json::{Value, json};

use super::{HEALTH_JSON, TAG};

pub(super) fn health() -> Operation {
    let answer = |description: &str, status: &str| {
        Answer::of(HEALTH_JSON, description, named("Health"), example(status))
    };
    Operation::new("health", TAG, "Whether this process is ready, in the shape of Mainflux.")
        .answers(200, answer("It is.", "pass"))
        .answers(503, answer("It is not.", "fail"))
}

pub(super) fn lives() -> Operation {
    Operation::new("lives", TAG, "Whether this process runs.")
        .answers(200, Answer::of("text/plain", "It does.", plain("`ok`"), "ok\n".into()))
}

pub(super) fn ready() -> Operation {
    let not_ready = json!({"error": "not ready: log (full)"});
    let not_ready = Answer::json("It is not ready.", named("Refusal"), not_ready)
        .or("text/plain", plain("Lines, where they were asked for."), None)
        .with_header("Retry-After", "Seconds to wait.");
    Operation::new("ready", TAG, "Whether this process takes requests, and what they need works.")
        .takes(query("verbose", text("With it, whatever its value: a line for each check.")))
        .answers(200, Answer::of("text/plain", "It is ready.", plain("`ok`, or lines."), "ok\n".into()))
        .answers(503, not_ready)
}

pub(super) fn version() -> Operation {
    let example =
        json!({"name": "thalweg", "version": "0.1.0", "commit": "unknown", "build_time": "unknown"});
    Operation::new("version", TAG, "Which build this is.")
        .answers(200, Answer::json("It.", named("Build"), example))
}

pub(super) fn shapes() -> [(&'static str, AnyShape); 2] {
    let built = object("Which build this is.")
        .with("name", text("Of the program."))
        .with("version", text("Of the program."))
        .with("commit", text("What it was built from."))
        .with("build_time", text("When that was made."));
    let health = object("Of this process.")
        .with("status", word("Whether it is ready.", ["pass", "fail"]))
        .with("version", text("Of the program."))
        .with("commit", text("What it was built from."))
        .with("description", text("What it is."))
        .with("build_time", text("When that was made."));
    [("Health", health.closed()), ("Build", built.closed())]
}

fn example(status: &str) -> Value {
    json!({
        "status": status, "version": "0.1.0", "commit": "unknown", "description": "thalweg service",
        "build_time": "unknown",
    })
}
