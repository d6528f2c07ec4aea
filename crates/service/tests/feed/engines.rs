//! Brokers of one test, which it may kill and freeze: `deploy/engines` starts them, and they end with the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub(crate) struct Engines {
    dir: TempDir,
    pub(crate) brokers: String,
}

impl Engines {
    pub(crate) async fn start(nodes: u16) -> Self {
        let dir = own_dir();
        let path = dir.path().to_owned();
        let nodes = nodes.to_string();
        let printed = blocking(move || run(&path, &["start", "kafka", "--nodes", &nodes])).await;
        let brokers = printed.trim().strip_prefix("THALWEG_KAFKA_BROKERS=").unwrap().to_owned();
        Self { dir, brokers }
    }

    /// `kill`, `freeze`, `thaw` or `restart`: returns when it is done, a restart when the broker serves.
    pub(crate) async fn act(&self, action: &'static str, node: &'static str) {
        let path = self.dir.path().to_owned();
        blocking(move || run(&path, &[action, node])).await;
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        let stopped = script(self.dir.path(), &["stop"]);
        assert!(stopped.status.success() || std::thread::panicking(), "{stopped:?}");
    }
}

/// A folder that `deploy/engines with` looks into when the tests are over, should this one be killed.
#[expect(clippy::disallowed_methods, reason = "only the script knows where its folder is")]
fn own_dir() -> TempDir {
    let all = std::env::var("ENGINES_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    tempfile::Builder::new().prefix("own-").tempdir_in(all).unwrap()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn run(dir: &Path, words: &[&str]) -> String {
    let output = script(dir, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn script(dir: &Path, words: &[&str]) -> Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/engines");
    Command::new(script).args(words).arg("--dir").arg(dir).stdin(Stdio::null()).output().unwrap()
}
