//! Engines of one test, which it may kill and freeze: `deploy/engines` starts them, and they end with the test. The tests of every
//! package that needs some take in this file.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub(crate) struct OwnEngines {
    dir: TempDir,
}

impl OwnEngines {
    /// Starts what these words of the script say; where it is, as the script prints it in this variable.
    pub(crate) async fn start(words: &[&str], variable: &str) -> (Self, String) {
        let dir = own_dir();
        let words = [&["start"], words].concat();
        let printed = run(dir.path(), &words).await;
        let address = printed.trim().strip_prefix(variable).and_then(|rest| rest.strip_prefix('='));
        (Self { dir }, address.unwrap().to_owned())
    }

    /// `kill`, `freeze`, `thaw` or `restart`, of a node or of some with spaces between: returns when it is done, a restart when
    /// they serve.
    pub(crate) async fn act(&self, action: &str, nodes: &str) {
        let words: Vec<&str> = std::iter::once(action).chain(nodes.split(' ')).collect();
        run(self.dir.path(), &words).await;
    }
}

impl Drop for OwnEngines {
    fn drop(&mut self) {
        let stopped = script(self.dir.path(), &["stop".to_owned()]);
        assert!(stopped.status.success() || std::thread::panicking(), "{stopped:?}");
    }
}

/// A folder that `deploy/engines with` looks into when the tests are over, should this one be killed.
#[expect(clippy::disallowed_methods, reason = "only the script knows where its folder is")]
fn own_dir() -> TempDir {
    let all = std::env::var("ENGINES_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    tempfile::Builder::new().prefix("own-").tempdir_in(all).unwrap()
}

async fn run(dir: &Path, words: &[&str]) -> String {
    let (dir, words) = (dir.to_owned(), words.iter().map(ToString::to_string).collect::<Vec<_>>());
    let output = tokio::task::spawn_blocking(move || {
        let output = script(&dir, &words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    });
    String::from_utf8(output.await.unwrap().stdout).unwrap()
}

fn script(dir: &Path, words: &[String]) -> Output {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let script = above.map(|folder| folder.join("deploy/engines")).find(|script| script.is_file()).unwrap();
    Command::new(script).args(words).arg("--dir").arg(dir).stdin(Stdio::null()).output().unwrap()
}
