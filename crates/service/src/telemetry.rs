//! Logs: JSON where a machine reads them, plain text on a terminal; each line about a request with its id.
//!
//! Never carries a key, a token, a payload or a person's email: what is logged are ids, numbers, fixed texts and the errors of
//! the system and of the engines.

use std::io::{self, IsTerminal as _, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::request_id;

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text if standard error is a terminal, else JSON.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Text for a person.
    Text,
}

/// The text names no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not one of: auto, json, text")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(UnknownFormat),
        }
    }
}

/// Starts logging to standard error. `filter` is in the syntax of `tracing_subscriber::EnvFilter`, such as `info` or
/// `info,thalweg_writer=debug`.
///
/// # Errors
/// The filter can't be read, or logging was started before.
pub fn start(filter: &str, format: Format) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::try_new(filter)?;
    let is_terminal = io::stderr().is_terminal();
    let is_json = match format {
        Format::Auto => !is_terminal,
        Format::Json => true,
        Format::Text => false,
    };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Tagged { is_json });
    if is_json {
        logs.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else if is_terminal {
        logs.with_target(false).try_init()
    } else {
        logs.with_target(false).with_ansi(false).try_init()
    }
}

/// Standard error, where a line that is written within a request gets its id.
#[derive(Debug, Clone, Copy)]
struct Tagged {
    is_json: bool,
}

impl MakeWriter<'_> for Tagged {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Tagged {
    /// Takes a whole line: that is how the subscriber writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        request_id::with_current(|id| match id {
            Some(id) => io::stderr().lock().write_all(&tagged(line, id, self.is_json)),
            None => io::stderr().lock().write_all(line),
        })?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

fn tagged(line: &[u8], id: &str, is_json: bool) -> Vec<u8> {
    let mut tagged = Vec::with_capacity(line.len() + id.len() + 20);
    match line {
        [b'{', fields @ ..] if is_json => {
            let id = serde_json::Value::from(id);
            let _ = write!(tagged, "{{\"request_id\":{id},");
            tagged.extend_from_slice(fields);
        }
        [text @ .., b'\n'] => {
            tagged.extend_from_slice(text);
            let _ = writeln!(tagged, " request_id={id}");
        }
        other => tagged.extend_from_slice(other),
    }
    tagged
}

/// Prints an error and everything that caused it, on one line.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Lets a line that overload, or an outage, repeats for each request through once a second.
#[derive(Debug)]
pub struct Quiet {
    since: Instant,
    /// The second in which it last spoke, from 1.
    spoke: AtomicU64,
    unlogged: AtomicU64,
}

impl Default for Quiet {
    fn default() -> Self {
        Self { since: Instant::now(), spoke: AtomicU64::new(0), unlogged: AtomicU64::new(0) }
    }
}

impl Quiet {
    /// How many lines were left out since the last one; nothing if this one is to be left out, too.
    pub fn speak(&self) -> Option<u64> {
        let second = self.since.elapsed().as_secs() + 1;
        if self.spoke.swap(second, Ordering::Relaxed) == second {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.unlogged.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged_text(line: &str, id: &str, is_json: bool) -> String {
        String::from_utf8(tagged(line.as_bytes(), id, is_json)).unwrap()
    }

    #[test]
    fn a_line_of_a_request_carries_its_id_in_either_form() {
        assert_eq!(
            tagged_text("{\"level\":\"WARN\",\"message\":\"m\"}\n", "a\"\\b", true),
            "{\"request_id\":\"a\\\"\\\\b\",\"level\":\"WARN\",\"message\":\"m\"}\n"
        );
        assert_eq!(tagged_text("WARN {m} a=1\n", "r-1", false), "WARN {m} a=1 request_id=r-1\n");
    }

    #[test]
    fn a_format_has_a_name() {
        for (text, format) in [("auto", Format::Auto), ("json", Format::Json), ("text", Format::Text)] {
            assert_eq!(text.parse(), Ok(format));
        }
        assert_eq!("JSON".parse::<Format>(), Err(UnknownFormat));
    }

    #[test]
    fn a_line_that_repeats_is_let_through_once_a_second() {
        let quiet = Quiet::default();
        assert_eq!(quiet.speak(), Some(0));
        let told = (0..1_000).filter_map(|_| quiet.speak()).count();
        assert!(told <= 1_000 - 900, "{told} of 1,000 within a moment");
    }
}
