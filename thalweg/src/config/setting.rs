//! A setting, as the command line defines it: the one place that knows how its names, its text and its default follow.

use std::any::TypeId;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Args as _};

use super::values::{bytes, print_bytes};
use crate::cli::Serve;
use crate::cli::cluster::Cluster;

/// The settings, in the order they are defined in.
#[derive(Debug)]
pub(crate) struct Settings(clap::Command);

impl Settings {
    pub(crate) fn defined() -> Self {
        Self(Serve::augment_args(clap::Command::new("settings")))
    }

    /// Those that mean something only to a process with roles.
    pub(crate) fn of_cluster() -> Self {
        Self(Cluster::augment_args(clap::Command::new("settings")))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Setting<'_>> {
        self.0.get_arguments().map(Setting)
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bytes,
    Duration,
    Number,
    Switch,
    Text,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a>(&'a Arg);

impl<'a> Setting<'a> {
    /// If the argument is a setting, and not one of clap's own.
    pub(crate) fn of(argument: &'a Arg) -> Option<Self> {
        argument.get_env().map(|_| Self(argument))
    }

    /// Its name in the file.
    pub(crate) fn key(self) -> &'a str {
        self.0.get_id().as_str()
    }

    /// Its variable in the environment.
    pub(crate) fn variable(self) -> &'a str {
        self.0
            .get_env()
            .and_then(|name| name.to_str())
            .expect("every setting has a variable with a plain name")
    }

    /// Its flag. Secrets that may not be seen by other users of the machine have none.
    pub(crate) fn flag(self) -> Option<String> {
        let name = self.0.get_long().filter(|_| !self.0.is_hide_set());
        name.map(|name| format!("--{name}"))
    }

    /// Whether its value may be shown to nobody.
    pub(crate) fn is_secret(self) -> bool {
        self.0.is_hide_env_values_set()
    }

    /// For a secret, the key in the file that names another file, which holds it.
    pub(crate) fn file_key(self) -> Option<String> {
        self.is_secret().then(|| format!("{}_file", self.key()))
    }

    /// For a secret, the variable that names a file, which holds it.
    pub(crate) fn file_variable(self) -> Option<String> {
        self.is_secret().then(|| format!("{}_FILE", self.variable()))
    }

    pub(crate) fn kind(self) -> Kind {
        let parser = self.0.get_value_parser().type_id();
        let is = |id: TypeId| parser == id;
        let numbers = [
            TypeId::of::<usize>(),
            TypeId::of::<u64>(),
            TypeId::of::<u32>(),
            TypeId::of::<u16>(),
            TypeId::of::<u8>(),
            TypeId::of::<f64>(),
            TypeId::of::<NonZeroUsize>(),
            TypeId::of::<NonZeroU64>(),
            TypeId::of::<NonZeroU32>(),
        ];
        match self.value_name() {
            "BYTES" => Kind::Bytes,
            _ if is(TypeId::of::<Duration>()) => Kind::Duration,
            _ if is(TypeId::of::<bool>()) => Kind::Switch,
            _ if numbers.into_iter().any(is) => Kind::Number,
            _ => Kind::Text,
        }
    }

    /// What separates its values, if it takes several.
    pub(crate) fn separator(self) -> Option<char> {
        self.0.get_value_delimiter()
    }

    /// What its value counts or is, in one word.
    pub(crate) fn unit(self) -> String {
        match self.kind() {
            Kind::Switch => "true or false".to_owned(),
            _ => self.value_name().to_lowercase(),
        }
    }

    /// Its default as people write it, if it has one.
    pub(crate) fn default(self) -> Option<String> {
        let values: Vec<_> =
            self.0.get_default_values().iter().map(|value| self.written(&value.to_string_lossy())).collect();
        let separator = self.separator().unwrap_or(',').to_string();
        match self.kind() {
            Kind::Switch if values.is_empty() => Some("false".to_owned()),
            _ => (!values.is_empty()).then(|| values.join(&separator)),
        }
    }

    /// What it is for, in a few sentences.
    pub(crate) fn meaning(self) -> String {
        let help = self.0.get_long_help().or_else(|| self.0.get_help());
        let text = help.map(ToString::to_string).unwrap_or_default().replace('\n', " ");
        // Clap takes it away.
        if text.ends_with('.') { text } else { text + "." }
    }

    /// A value as people write it: sizes and times in the largest unit that fits.
    pub(crate) fn written(self, text: &str) -> String {
        match self.kind() {
            Kind::Bytes => bytes(text).map(print_bytes).unwrap_or_else(|_| text.to_owned()),
            Kind::Duration => humantime::parse_duration(text)
                .map(|time| humantime::format_duration(time).to_string().replace(' ', ""))
                .unwrap_or_else(|_| text.to_owned()),
            _ => text.to_owned(),
        }
    }

    /// Why this can't be its value, if it can't. Never repeats the value.
    pub(crate) fn refusal(self, text: &str) -> Option<String> {
        let arg = self.0.clone();
        // A switch takes no value as a flag, but does everywhere else.
        let arg = if self.kind() == Kind::Switch { arg.action(ArgAction::Set) } else { arg };
        let command = clap::Command::new("value").no_binary_name(true).disable_help_flag(true).arg(arg);
        let flag = format!("--{}={text}", self.0.get_long().expect("every setting has a long name"));
        let error = command.try_get_matches_from([flag]).err()?;
        if let Some(source) = std::error::Error::source(&error) {
            return Some(source.to_string());
        }
        Some(match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) if !valid.is_empty() => {
                format!("has to be one of: {}", valid.join(", "))
            }
            _ => "has to have a value".to_owned(),
        })
    }

    /// The argument as its help shows it: with variable and default, and without the values that happen to be set.
    pub(crate) fn explained(self) -> Arg {
        let short = self.0.get_help().map(ToString::to_string).unwrap_or_default();
        let arg = self.0.clone().env(Resettable::Reset);
        // A switch has no value to show.
        let arg = if self.kind() == Kind::Switch { arg } else { arg.hide_default_value(true) };
        arg.help(format!("{short} {}", self.names().replace('\n', " "))).long_help(format!(
            "{}\n\n{}",
            self.meaning(),
            self.names()
        ))
    }

    /// Its variable and its default, in the brackets of a help, one a line.
    pub(crate) fn names(self) -> String {
        let variable = match self.file_variable() {
            Some(file) => format!("[env: {}, or {file} with the name of a file]", self.variable()),
            None => format!("[env: {}]", self.variable()),
        };
        format!("{variable}\n[default: {}]", self.default().unwrap_or_else(|| "none".to_owned()))
    }

    fn value_name(self) -> &'a str {
        let names = self.0.get_value_names().unwrap_or_default();
        names.first().map_or("value", |name| name.as_str())
    }
}
