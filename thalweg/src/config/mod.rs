//! Settings: a flag goes before the environment, the environment before the file, and the file before the default.
//!
//! They are defined once, as the arguments of [`Serve`](crate::cli::Serve). Variables and the file are read here, each value is checked as
//! the argument it stands for, and then takes the place of that argument's default: so there is one parser of values, and
//! clap decides what goes before what. A value that another one overrides is checked, too. Starts nothing.

pub(crate) mod check;
pub(crate) mod environment;
mod file;
mod given;
mod nearest;
mod reference;
pub(crate) mod setting;
pub(crate) mod show;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory as _, FromArgMatches as _};

use crate::cli::{Cli, Command, ConfigCommand, Configured};
use crate::config::environment::Environment;
use crate::config::file::SettingsFile;
use crate::config::given::{BadSettings, Given, Source};
use crate::config::setting::{Setting, Settings};
use crate::exit;

/// The commands that take the settings.
const WITH_SETTINGS: [&[&str]; 6] = [
    &["serve"],
    &["config", "show"],
    &["config", "check"],
    &["migrate"],
    &["dead-letters", "list"],
    &["dead-letters", "replay"],
];

/// Why the settings of a cluster do nothing.
const ALL_IN_ONE: &str = "without THALWEG_ROLE everything is kept in the data directory";

/// Each setting's value and where it comes from, for those who want to see it.
#[derive(Debug)]
pub(crate) struct Report {
    /// By key: the value as it was given, and its source.
    values: BTreeMap<String, (Option<String>, Source)>,
    /// What a person should know, though it is no error.
    pub(crate) remarks: Vec<String>,
    /// Variables that are set and do nothing here, with the reason.
    pub(crate) without_effect: Vec<(String, &'static str)>,
}

impl Report {
    /// Prints what the operator should know, where nothing is logged.
    #[expect(clippy::print_stderr, reason = "standard output has the answer")]
    fn print(&self) {
        for remark in &self.remarks {
            eprintln!("thalweg: warning: {remark}");
        }
        for (variable, why) in &self.without_effect {
            eprintln!("thalweg: {variable} has no effect: {why}");
        }
    }

    /// Logs what the operator should know.
    pub(crate) fn log(&self) {
        for remark in &self.remarks {
            tracing::warn!("{remark}");
        }
        for (variable, why) in &self.without_effect {
            tracing::info!(variable, why, "a variable has no effect");
        }
    }
}

/// Why nothing can be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The command line is not understood; or asks for help, which is not run either.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The settings can't be used.
    #[error(transparent)]
    Settings(#[from] BadSettings),
}

/// Reads the command line and what else its settings come from.
pub(crate) fn load(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<(Cli, Report), LoadError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = parse(command(), &arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let settings = Settings::defined();
    let mut report = Report {
        values: BTreeMap::new(),
        remarks: environment.remarks(&settings),
        without_effect: Vec::new(),
    };
    refuse_flags_of_secrets(&settings, leaf(&matches))?;
    let Some(configured) = configured(&cli.command) else { return Ok((cli, report)) };
    let file = configured.config.clone().or_else(|| environment.file());
    let given = given(&settings, environment, file.as_deref())?;
    let matches = parse(with_defaults(command(), &given), &arguments)?;
    cli = Cli::from_arg_matches(&matches)?;
    report.values = settings.iter().map(|setting| value_of(setting, leaf(&matches), &given)).collect();
    if let Some(configured) = self::configured(&cli.command) {
        if configured.settings.cluster.role.is_empty() {
            report.without_effect.extend(idle_settings(&report.values));
        }
        let problems = check::problems(&configured.settings);
        if !problems.is_empty() {
            return Err(BadSettings(problems).into());
        }
    }
    Ok((cli, report))
}

/// The settings of a cluster that are given to a process without a role.
fn idle_settings(values: &BTreeMap<String, (Option<String>, Source)>) -> Vec<(String, &'static str)> {
    let is_given = |key| values.get(key).is_some_and(|(_, source)| !matches!(source, Source::Default));
    let settings = Settings::of_cluster();
    let given = settings.iter().filter(|setting| is_given(setting.key()));
    given.map(|setting| (setting.variable().to_owned(), ALL_IN_ONE)).collect()
}

/// A secret without a flag has an argument all the same, for the rest of its definition. It can't be given.
fn refuse_flags_of_secrets(settings: &Settings, matches: &ArgMatches) -> Result<(), clap::Error> {
    let given = |setting: &Setting<'_>| {
        setting.flag().is_none()
            && matches.ids().any(|id| id.as_str() == setting.key())
            && matches.value_source(setting.key()) == Some(ValueSource::CommandLine)
    };
    settings.iter().find(given).map_or(Ok(()), |setting| Err(no_flag(setting)))
}

fn no_flag(setting: Setting<'_>) -> clap::Error {
    let (key, variable) = (setting.key(), setting.variable());
    let text = format!("{key} has no flag, because other users of the machine can see flags; set {variable}");
    command().error(ErrorKind::UnknownArgument, text)
}

fn configured(command: &Command) -> Option<&Configured> {
    match command {
        Command::DeadLetters(command) => Some(command.configured()),
        Command::Serve(configured)
        | Command::Migrate(configured)
        | Command::Config(ConfigCommand::Show(configured) | ConfigCommand::Check(configured)) => {
            Some(configured)
        }
        _ => None,
    }
}

/// What file and environment give, by key. Fails with everything that is wrong in either.
fn given(
    settings: &Settings,
    environment: &Environment,
    file: Option<&Path>,
) -> Result<BTreeMap<String, Given>, BadSettings> {
    let (mut given, mut problems) = (BTreeMap::new(), Vec::new());
    let file = match file.map(SettingsFile::read) {
        None => None,
        Some(Ok(file)) => Some(file),
        Some(Err(problem)) => {
            problems.push(problem);
            None
        }
    };
    problems.extend(file.iter().flat_map(|file| file.unknown_keys(settings)));
    for setting in settings.iter() {
        let from_file = file.as_ref().map(|file| file.given(setting)).into_iter();
        // The later one stays.
        for value in from_file.chain([environment.given(setting)]) {
            match value {
                Ok(None) => {}
                Ok(Some(value)) => drop(given.insert(setting.key().to_owned(), value)),
                Err(problem) => problems.push(problem),
            }
        }
    }
    if problems.is_empty() { Ok(given) } else { Err(BadSettings(problems)) }
}

/// The command line, explained. Variables are named in its help, and read by [`Environment`].
pub(crate) fn command() -> clap::Command {
    let end = format!("{}\n\n{}", without_flags(), exit::table());
    on_settings(Cli::command(), |argument| match Setting::of(&argument) {
        Some(setting) => setting.explained(),
        None => argument,
    })
    .mut_subcommand("serve", |serve| serve.after_long_help(end))
}

/// The end of the help: the settings that no flag shows.
fn without_flags() -> String {
    let settings = Settings::defined();
    let paragraphs = settings.iter().filter(|setting| setting.flag().is_none()).map(|setting| {
        let indent = " ".repeat(10);
        let meaning = reference::wrapped(&setting.meaning(), &indent);
        format!(
            "      {}\n{meaning}\n{indent}{}",
            setting.key(),
            setting.names().replace('\n', &format!("\n{indent}"))
        )
    });
    format!("Settings without a flag:\n{}", paragraphs.collect::<Vec<_>>().join("\n\n"))
}

/// The command line with other defaults.
fn with_defaults(command: clap::Command, given: &BTreeMap<String, Given>) -> clap::Command {
    on_settings(command, |argument| match given.get(argument.get_id().as_str()) {
        Some(value) => argument.default_value(value.text.clone()),
        None => argument,
    })
}

fn on_settings(command: clap::Command, mut change: impl FnMut(Arg) -> Arg) -> clap::Command {
    fn at(command: clap::Command, path: &[&str], change: &mut impl FnMut(Arg) -> Arg) -> clap::Command {
        match path.split_first() {
            Some((name, rest)) => command.mut_subcommand(name, |inner| at(inner, rest, change)),
            None => command.mut_args(change),
        }
    }
    WITH_SETTINGS.iter().fold(command, |command, path| at(command, path, &mut change))
}

fn parse(command: clap::Command, arguments: &[OsString]) -> Result<ArgMatches, clap::Error> {
    command.try_get_matches_from(arguments).map_err(|mut error| {
        let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return error };
        let name = argument.split_whitespace().next().unwrap_or_default().trim_start_matches('-');
        let key = name.replace('-', "_");
        match Settings::defined().iter().find(|setting| setting.is_secret() && setting.key() == key) {
            Some(setting) if setting.flag().is_none() => no_flag(setting),
            Some(_) => {
                let shown = ContextValue::String("(secret)".to_owned());
                error.insert(ContextKind::InvalidValue, shown);
                error
            }
            None => error,
        }
    })
}

fn leaf(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, inner)) => leaf(inner),
        None => matches,
    }
}

fn value_of(
    setting: Setting<'_>,
    matches: &ArgMatches,
    given: &BTreeMap<String, Given>,
) -> (String, (Option<String>, Source)) {
    let key = setting.key();
    let source = match (matches.value_source(key), given.get(key), setting.flag()) {
        (Some(ValueSource::CommandLine), _, Some(flag)) => Source::Flag(flag),
        (_, Some(given), _) => given.source.clone(),
        _ => Source::Default,
    };
    let texts = matches.get_raw(key).map(|raw| {
        let texts: Vec<_> = raw.map(|value| setting.written(&value.to_string_lossy())).collect();
        texts.join(&setting.separator().unwrap_or(',').to_string())
    });
    (key.to_owned(), (texts, source))
}
