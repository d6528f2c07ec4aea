//! A value that somebody gave, where it comes from, and what is wrong with it.
//!
//! Never repeats a secret.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::setting::Setting;

/// Bytes of a file that holds one secret.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Flag(String),
    Variable(String),
    File { path: PathBuf, line: usize },
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What is wrong with one setting, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(pub(crate) String);

/// Settings that nothing can run with. Has every problem that was found, not the first alone.
#[derive(Debug)]
pub(crate) struct BadSettings(pub(crate) Vec<Problem>);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<_> = self.0.iter().map(|problem| problem.0.as_str()).collect();
        f.write_str(&problems.join("\n"))
    }
}

impl std::error::Error for BadSettings {}

/// A value in the environment or the file.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(super) text: String,
    pub(super) source: Source,
}

impl Given {
    /// The secret that a file holds, without the end of its last line.
    pub(super) fn from_secret_file(path: &Path, source: Source) -> Result<Self, Problem> {
        let text = read_text(path, SECRET_FILE_BYTES_MAX)
            .map_err(|problem| Problem(format!("{}: {problem}", source.place())))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text).to_owned();
        Ok(Self { text, source })
    }

    /// Itself, if it can be the setting's value.
    pub(super) fn checked(self, setting: Setting<'_>) -> Result<Self, Problem> {
        let Some(why) = setting.refusal(&self.text) else { return Ok(self) };
        let value = if setting.is_secret() { String::new() } else { format!(" = {:?}", self.text) };
        Err(Problem(match &self.source {
            Source::Variable(name) => format!("{name}{value}: {why}"),
            source => format!("{}: {}{value}: {why}", source.place(), setting.key()),
        }))
    }
}

impl Source {
    /// Where to look, as a message begins.
    fn place(&self) -> String {
        match self {
            Self::Flag(name) | Self::Variable(name) => name.clone(),
            Self::File { path, line } => format!("{}:{line}", path.display()),
            Self::Default => "default".to_owned(),
        }
    }
}

/// A whole file of text, which may also be a pipe. Says what is wrong with it, and which it is.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("{} can't be read: {error}", path.display())),
        Ok(bytes) if bytes as u64 > bytes_max => {
            Err(format!("{} has more than {bytes_max} bytes", path.display()))
        }
        Ok(_) => Ok(text),
    }
}
