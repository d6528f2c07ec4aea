//! The receivers of the document, each as a process: what they answer, and what they do.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use thalweg_outbound::signing::{Secret, sign};
use thalweg_outbound::{Client, Guard, Target};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::cases::{JSON, cases};
use crate::document::block;

/// Far longer than anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A receiver that runs; ended when dropped.
struct Receiver {
    lines: Lines<BufReader<ChildStdout>>,
    target: Target,
    client: Client,
    _process: Child,
    _folder: TempDir,
}

impl Receiver {
    /// Writes a receiver into a folder of its own and runs it with `secret`, as `command` says.
    async fn start(
        language: &str,
        file: &str,
        command: impl FnOnce(&Path) -> Command,
        secret: &Secret,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), block(language)).unwrap();
        let mut process = command(folder.path())
            .current_dir(folder.path())
            .env("WEBHOOK_SECRET", secret.expose().as_str())
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("what runs {language} is not there ({error}): `make test` installs it")
            });
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first =
            tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("it ended");
        let port = first.strip_prefix("listening on ").unwrap_or_else(|| panic!("{first}"));
        let guard = Guard { allow_private: true };
        let target = Target::parse(&format!("http://127.0.0.1:{port}/hooks"), &guard).unwrap();
        Self { lines, target, client: Client::new(guard), _process: process, _folder: folder }
    }

    async fn post(&self, headers: http::HeaderMap, body: &'static str) -> u16 {
        let answer =
            self.client.post(&self.target, headers, Bytes::from_static(body.as_bytes()), PATIENCE).await;
        answer.unwrap().status.as_u16()
    }

    async fn handled(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap().expect("it ended")
    }
}

async fn check(language: &str, file: &str, command: impl FnOnce(&Path) -> Command) {
    let secret = Secret::generate();
    let mut receiver = Receiver::start(language, file, command, &secret).await;
    for case in cases(&secret) {
        let expected = if case.records.is_some() { 204 } else { 401 };
        assert_eq!(
            receiver.post(case.headers.clone(), case.body).await,
            expected,
            "{language}: {}",
            case.what
        );
        if let Some(records) = case.records {
            assert_eq!(
                receiver.handled().await,
                format!("{}: {records} records", case.id()),
                "{}",
                case.what
            );
            // Once more: it is taken and nothing is done, as the next line shows.
            assert_eq!(receiver.post(case.headers, case.body).await, 204, "{language}: {} again", case.what);
        }
    }
    let now = cases(&secret)[0].headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
    let last = sign(&[&secret], "msg_last", now, JSON.as_bytes()).unwrap();
    assert_eq!(receiver.post(last, JSON).await, 204);
    assert_eq!(receiver.handled().await, "msg_last: 1 records", "{language}");
}

#[tokio::test]
async fn the_receiver_in_python_believes_what_it_should() {
    let command = |_: &Path| {
        let mut command = Command::new("python3");
        command.args(["-B", "receiver.py"]);
        command
    };
    check("python", "receiver.py", command).await;
}

#[tokio::test]
async fn the_receiver_in_javascript_believes_what_it_should() {
    let command = |_: &Path| {
        let mut command = Command::new("node");
        command.arg("receiver.mjs");
        command
    };
    check("javascript", "receiver.mjs", command).await;
}

#[tokio::test]
async fn the_receiver_in_go_believes_what_it_should() {
    // Built first and run by itself: what `go run` has started outlives it.
    let command = |folder: &Path| {
        let mut build = std::process::Command::new("go");
        build
            .args(["build", "-o", "receiver", "receiver.go"])
            .current_dir(folder)
            .env("GOTOOLCHAIN", "local");
        let built = build
            .output()
            .unwrap_or_else(|error| panic!("what runs Go is not there ({error}): `make test` installs it"));
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Command::new(folder.join("receiver"))
    };
    check("go", "receiver.go", command).await;
}
