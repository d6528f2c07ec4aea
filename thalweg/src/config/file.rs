//! Settings from a file, in TOML: one key a setting, no tables.
//!
//! A key that nobody knows is an error, with its line and what was probably meant: a slip in a file must not become a
//! default in silence.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::given::{Given, Problem, Source, read_text};
use super::nearest::nearest;
use super::setting::{Kind, Setting, Settings};

/// Bytes of a file of settings. One with every setting and its meaning has a few thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file of settings, read and not yet understood.
#[derive(Debug)]
pub(crate) struct SettingsFile {
    path: PathBuf,
    /// Each key's line and value.
    entries: BTreeMap<String, (usize, Value)>,
}

impl SettingsFile {
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        Self::parse(path, &read_text(path, FILE_BYTES_MAX).map_err(Problem)?)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        let line_of = |span: Range<usize>| 1 + text[..span.start].matches('\n').count();
        // Without the text that it stands in: that may be a secret.
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, line_of);
            Problem(format!("{}:{line}: {}", path.display(), error.message().replace('\n', ", ")))
        })?;
        let entries = table.into_inner().into_iter().map(|(key, value)| {
            let line = line_of(key.span());
            (key.into_inner().into_owned(), (line, Value::of(value.get_ref())))
        });
        Ok(Self { path: path.to_owned(), entries: entries.collect() })
    }

    /// The keys that are no setting's.
    pub(crate) fn unknown_keys(&self, settings: &Settings) -> Vec<Problem> {
        let mut known = Vec::new();
        for setting in settings.iter() {
            known.push(setting.key().to_owned());
            known.extend(setting.file_key());
        }
        let unknown = self.entries.iter().filter(|(key, _)| !known.contains(key));
        let mut unknown: Vec<_> = unknown.map(|(key, (line, _))| (*line, key)).collect();
        unknown.sort_unstable();
        let describe = |(line, key): (usize, &String)| {
            let what = format!("{}:{line}: {key} is no setting", self.path.display());
            let folded = key.to_lowercase().replace('-', "_");
            Problem(match nearest(&folded, known.iter().map(String::as_str)) {
                Some(meant) => format!("{what}; did you mean {meant}?"),
                None => what,
            })
        };
        unknown.into_iter().map(describe).collect()
    }

    /// What it gives for a setting.
    pub(crate) fn given(&self, setting: Setting<'_>) -> Result<Option<Given>, Problem> {
        let key = setting.key();
        let file_key = setting.file_key();
        let file = file_key.as_ref().and_then(|file| self.entries.get_key_value(file));
        match (self.entries.get(key), file) {
            (None, None) => Ok(None),
            (Some(_), Some((file, (line, _)))) => {
                Err(self.problem(*line, format!("{key} and {file} are both set: one of them has to go")))
            }
            (Some((line, value)), None) => {
                let text =
                    value.text(setting).map_err(|problem| self.problem(*line, format!("{key} {problem}")))?;
                Given { text, source: self.source(*line) }.checked(setting).map(Some)
            }
            (None, Some((file, (line, value)))) => {
                let Value::Text(path) = value else {
                    return Err(self.problem(*line, format!("{file} has to be a text in quotes")));
                };
                let path = Path::new(path);
                Given::from_secret_file(path, self.source(*line))?.checked(setting).map(Some)
            }
        }
    }

    fn source(&self, line: usize) -> Source {
        Source::File { path: self.path.clone(), line }
    }

    fn problem(&self, line: usize, text: impl std::fmt::Display) -> Problem {
        Problem(format!("{}:{line}: {text}", self.path.display()))
    }
}

/// A value of the file: TOML's kinds, as far as a setting can use them.
#[derive(Debug)]
enum Value {
    Text(String),
    Number(String),
    Switch(bool),
    List(Vec<Value>),
    Table,
    /// A date, or an integer beyond 64 bits.
    Other,
}

impl Value {
    fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other, |number| Self::Number(number.to_string())),
            DeValue::Float(number) => Self::Number(number.as_str().to_owned()),
            DeValue::Boolean(on) => Self::Switch(*on),
            DeValue::Array(values) => {
                Self::List(values.iter().map(|value| Self::of(value.get_ref())).collect())
            }
            DeValue::Table(_) => Self::Table,
            DeValue::Datetime(_) => Self::Other,
        }
    }

    /// As a flag would have it.
    fn text(&self, setting: Setting<'_>) -> Result<String, &'static str> {
        let kind = setting.kind();
        match (self, setting.separator()) {
            (Self::Text(text), _) => Ok(text.clone()),
            (Self::Number(number), _) if matches!(kind, Kind::Bytes | Kind::Number) => Ok(number.clone()),
            (Self::Number(_), _) if kind == Kind::Duration => {
                Err("has no unit; write \"30s\", \"5min\" or \"7days\"")
            }
            (Self::Switch(on), _) if kind == Kind::Switch => Ok(on.to_string()),
            (Self::List(values), Some(separator)) => {
                let texts = values.iter().map(|value| value.text(setting));
                Ok(texts.collect::<Result<Vec<_>, _>>()?.join(&separator.to_string()))
            }
            (Self::List(_), None) => Err("takes one value, not a list"),
            (Self::Table, _) => Err("is a table; settings stand outside of tables"),
            _ => Err(match kind {
                Kind::Switch => "has to be true or false",
                Kind::Bytes | Kind::Number => "has to be a number",
                Kind::Duration | Kind::Text => "has to be a text in quotes",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    /// Kinds of settings that there may be, whether or not there is one now.
    #[derive(Debug, clap::Args, PartialEq)]
    struct Kinds {
        #[arg(long, env = "THALWEG_SWITCH")]
        switch: bool,
        #[arg(long, env = "THALWEG_LIST", value_delimiter = ',', value_name = "ADDRESSES")]
        list: Vec<IpAddr>,
        #[arg(long, env = "THALWEG_RATE", value_name = "PER_SECOND")]
        rate: Option<f64>,
        #[arg(long, env = "THALWEG_CHOICE", default_value = "auto", value_name = "CHOICE", value_parser = ["auto", "json"])]
        choice: String,
    }

    fn read(text: &str, flags: &str) -> Result<Kinds, String> {
        let file = SettingsFile::parse(Path::new("x.toml"), text).map_err(|problem| problem.0)?;
        let mut command = Kinds::augment_args(clap::Command::new("kinds").no_binary_name(true));
        for arg in command.clone().get_arguments() {
            let given = file.given(Setting::of(arg).unwrap()).map_err(|problem| problem.0)?;
            if let Some(given) = given {
                command = command.mut_arg(arg.get_id(), |arg| arg.default_value(given.text));
            }
        }
        let matches = command.try_get_matches_from(flags.split_whitespace()).unwrap();
        Ok(Kinds::from_arg_matches(&matches).unwrap())
    }

    fn kinds(switch: bool, list: &[&str], rate: Option<f64>, choice: &str) -> Kinds {
        let list = list.iter().map(|text| text.parse().unwrap()).collect();
        Kinds { switch, list, rate, choice: choice.to_owned() }
    }

    #[test]
    fn every_kind_of_setting_can_stand_in_a_file() {
        let all = "switch = true\nlist = ['10.0.0.1', '::1']\nrate = 0.5\nchoice = 'json'\n";
        for (text, flags, wanted) in [
            ("", "", kinds(false, &[], None, "auto")),
            (all, "", kinds(true, &["10.0.0.1", "::1"], Some(0.5), "json")),
            (all, "--list 10.0.0.9 --rate 2 --choice auto", kinds(true, &["10.0.0.9"], Some(2.0), "auto")),
            (
                "list = '10.0.0.1,::1'\nswitch = 'true'\nrate = 3",
                "",
                kinds(true, &["10.0.0.1", "::1"], Some(3.0), "auto"),
            ),
            ("switch = false", "--switch", kinds(true, &[], None, "auto")),
        ] {
            assert_eq!(read(text, flags), Ok(wanted), "{text} {flags}");
        }
    }

    #[test]
    fn what_cannot_be_says_what_could() {
        for (text, says) in [
            ("switch = 1", "x.toml:1: switch has to be true or false"),
            ("switch = 'on'", "x.toml:1: switch = \"on\": has to be one of: true, false"),
            ("list = ['10.0.0.1', 'x']", "x.toml:1: list = \"10.0.0.1,x\": invalid IP address syntax"),
            ("list = [1]", "x.toml:1: list has to be a text in quotes"),
            ("choice = 'xml'", "x.toml:1: choice = \"xml\": has to be one of: auto, json"),
            ("rate = 'fast'", "x.toml:1: rate = \"fast\": invalid float literal"),
            ("rate = 2026-01-01", "x.toml:1: rate has to be a number"),
        ] {
            assert_eq!(read(text, ""), Err(says.to_owned()));
        }
    }
}
