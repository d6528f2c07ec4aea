//! Tells the program which commit it is built from, and when that was made.
//!
//! The time is the commit's, not the build's: equal sources give equal programs. `BUILD_COMMIT` and
//! `BUILD_TIME` say it where the sources are not a clone. Only this crate is built again after a commit.

use std::path::{Path, PathBuf};
use std::process::Command;

const UNKNOWN: &str = "unknown";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let found = git_directory().and_then(|directory| {
        watch(&directory);
        Some((
            git(&["rev-parse", "HEAD"])?,
            git(&["show", "--no-patch", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd", "HEAD"])?,
        ))
    });
    let (commit, time) = found.unwrap_or((UNKNOWN.to_owned(), UNKNOWN.to_owned()));
    // Cargo also gives them to what it runs; with our prefix they would be taken for settings there.
    for (variable, found) in [("BUILD_COMMIT", commit), ("BUILD_TIME", time)] {
        println!("cargo::rerun-if-env-changed={variable}");
        #[expect(
            clippy::disallowed_methods,
            reason = "the environment is the only thing that talks to a build"
        )]
        let told = std::env::var(variable).ok().filter(|told| !told.is_empty());
        println!("cargo::rustc-env={variable}={}", told.unwrap_or(found));
    }
}

/// Where git keeps this clone's state; nothing if the sources only lie within another project's clone.
fn git_directory() -> Option<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.canonicalize().ok()?;
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    (top == sources).then_some(git(&["rev-parse", "--absolute-git-dir"])?.into())
}

/// A file that is not there would have this run at every build.
fn watch(git_directory: &Path) {
    for name in ["HEAD", "logs/HEAD"] {
        let file = git_directory.join(name);
        if file.is_file() {
            println!("cargo::rerun-if-changed={}", file.display());
        }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).env("TZ", "UTC").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
