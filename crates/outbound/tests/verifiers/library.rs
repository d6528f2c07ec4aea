//! The library of Standard Webhooks, which nobody of us has written.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use thalweg_outbound::signing::Secret;

use crate::cases::cases;

#[expect(clippy::disallowed_methods, reason = "only the script knows where the library is")]
fn python() -> String {
    let set = std::env::var("STANDARD_WEBHOOKS_PYTHON");
    set.expect("`make test` says where the library is: deploy/verifiers with -- COMMAND")
}

#[test]
fn the_library_of_standard_webhooks_believes_what_it_should() {
    let secret = Secret::generate();
    let cases = cases(&secret);
    let asked: Vec<_> = cases
        .iter()
        .map(|case| {
            let headers = case.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
            json!({"secret": *secret.expose(), "headers": Value::Object(headers.collect()), "body": case.body})
        })
        .collect();
    let mut child = Command::new(python())
        .args(["-B", "-c", include_str!("library.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(&asked).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let believed: Vec<bool> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(believed.len(), cases.len());
    for (case, believed) in cases.iter().zip(believed) {
        assert_eq!(believed, case.records.is_some(), "{}", case.what);
    }
}
