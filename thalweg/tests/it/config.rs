//! Settings: where they come from, what is refused, and how a process that can't go on ends.

mod exits;
mod first_start;
mod refused;
mod roles;
mod shown;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A directory to run the binary in, with nothing of the test's own environment.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a file of settings in it, `thalweg.toml`.
    fn with_file(text: &str) -> Self {
        let place = Self::new();
        place.write("thalweg.toml", text);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.args(line.split_whitespace()).env_clear().current_dir(self.0.path());
        command
    }

    /// Runs it to its end.
    fn run(&self, line: &str, environment: &[(&str, &str)]) -> Ended {
        Ended::of(&self.command(line).envs(environment.iter().copied()).output().unwrap())
    }
}

/// What a process said, and how it ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// It ended with this code, and said this.
    #[track_caller]
    fn refused(&self, code: i32, says: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(says), "{says:?} is not in {self:?}");
    }
}
