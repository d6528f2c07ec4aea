//! The tool as a person runs it.

use std::net::SocketAddr;
use std::path::Path;

use tokio::process::Command;

use crate::faulty::Fault;
use crate::serve_with;

/// Exit status and standard output.
async fn ledger(address: SocketAddr, state: &Path, arguments: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_thalweg-ledger"))
        .args(["--base", &format!("http://{address}"), "--admin-password", "12345678"])
        .args(["--settle", "0s", "--records-per-pack", "3", "--packs", "70", "--state"])
        .arg(state)
        .args(arguments.split(' '))
        .output()
        .await
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn publish_and_verify_are_two_processes() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("ledger");
    let address = serve_with(Fault::None).await;
    let (status, text) = ledger(address, &state, "publish").await;
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("70 packs, 210 records acknowledged"), "{text}");
    let (status, text) = ledger(address, &state, "verify --json").await;
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &report["verdict"]["acknowledged"]), (Some(0), &210.into()), "{text}");
}

#[tokio::test]
async fn a_ledger_that_does_not_hold_fails_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let address = serve_with(Fault::Lose).await;
    let (status, text) = ledger(address, &directory.path().join("ledger"), "run").await;
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("DOES NOT HOLD"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (status, _) = ledger(([127, 0, 0, 1], 9).into(), &directory.path().join("ledger"), "run").await;
    assert_eq!(status, Some(2));
}
