//! Settings from the environment: the variables that begin with `THALWEG_`.
//!
//! A variable that is set to nothing counts as not set, because compose files and shells can't easily unset one. One that
//! nobody knows is no error, because platforms put variables of their own there; it is mentioned, because it may be a slip.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use super::given::{Given, Problem, Source};
use super::nearest::nearest;
use super::setting::{Setting, Settings};
use crate::cli::Cli;

const PREFIX: &str = "THALWEG_";
/// The variable that names the file of settings.
pub(crate) const FILE_VARIABLE: &str = "THALWEG_CONFIG";

/// The variables of a process that concern us.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        let ours = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self::new(ours)
    }

    pub(crate) fn new(variables: impl IntoIterator<Item = (String, OsString)>) -> Self {
        let ours = |(name, value): &(String, OsString)| name.starts_with(PREFIX) && !value.is_empty();
        Self(variables.into_iter().filter(ours).collect())
    }

    /// The file of settings that it names.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.0.get(FILE_VARIABLE).map(PathBuf::from)
    }

    /// What it gives for a setting.
    pub(crate) fn given(&self, setting: Setting<'_>) -> Result<Option<Given>, Problem> {
        let name = setting.variable();
        let file = setting.file_variable().and_then(|file| self.0.get_key_value(&file));
        match (self.0.get(name), file) {
            (None, None) => Ok(None),
            (Some(_), Some((file, _))) => {
                Err(Problem(format!("{name} and {file} are both set: one of them has to go")))
            }
            (Some(value), None) => {
                let text = value.to_str().ok_or_else(|| Problem(format!("{name} is not UTF-8")))?;
                Given { text: text.to_owned(), source: Source::Variable(name.to_owned()) }
                    .checked(setting)
                    .map(Some)
            }
            (None, Some((file, path))) => {
                let source = Source::Variable(file.clone());
                Given::from_secret_file(Path::new(path), source)?.checked(setting).map(Some)
            }
        }
    }

    /// What a person should know of the variables that are no setting's and no argument's of another command.
    pub(crate) fn remarks(&self, settings: &Settings) -> Vec<String> {
        let mut known = variables_of(&Cli::command());
        for setting in settings.iter() {
            known.push(setting.variable().to_owned());
            known.extend(setting.file_variable());
        }
        self.0
            .iter()
            .filter(|(name, value)| !known.contains(name) && !is_service_link(name, &value.to_string_lossy()))
            .map(|(name, _)| unknown(name, &known))
            .collect()
    }
}

/// The variables that stand for arguments of a command and of those below it.
fn variables_of(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned()));
    own.chain(command.get_subcommands().flat_map(variables_of)).collect()
}

fn unknown(name: &str, known: &[String]) -> String {
    // Behind the prefix: with it, every name is like every other.
    let behind = |name| str::strip_prefix(name, PREFIX).unwrap_or(name);
    match nearest(behind(name), known.iter().map(|known| behind(known))) {
        Some(meant) => format!("{name} is no variable of a setting; did you mean {PREFIX}{meant}?"),
        None => format!("{name} is no variable of a setting"),
    }
}

/// What Kubernetes tells each container of the services beside it. A service named `thalweg-…` gives variables that begin
/// like ours: `…_SERVICE_HOST`, `…_SERVICE_PORT[_NAME]`, `…_PORT` with a URL, and `…_PORT_8080_TCP[_ADDR]`.
fn is_service_link(name: &str, value: &str) -> bool {
    let protocols = ["TCP", "UDP", "SCTP"];
    let is_url = protocols.iter().any(|known| value.starts_with(&format!("{}://", known.to_lowercase())));
    let of_port = |rest: &str| {
        let mut parts = rest.split('_');
        parts.next().is_some_and(|port| port.parse::<u16>().is_ok())
            && parts.next().is_some_and(|protocol| protocols.contains(&protocol))
            && parts.next().is_none_or(|what| matches!(what, "PROTO" | "PORT" | "ADDR"))
            && parts.next().is_none()
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url)
        || name.match_indices("_PORT_").any(|(at, link)| of_port(&name[at + link.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remarks(variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.into()));
        Environment::new(variables).remarks(&Settings::defined())
    }

    #[test]
    fn an_unknown_variable_is_mentioned_with_the_nearest_known_one() {
        assert_eq!(
            remarks(&[("THALWEG_LISTEM", "1"), ("THALWEG_MQTT", "1"), ("OTHER_LISTEM", "1")]),
            [
                "THALWEG_LISTEM is no variable of a setting; did you mean THALWEG_LISTEN?",
                "THALWEG_MQTT is no variable of a setting"
            ]
        );
    }

    #[test]
    fn what_the_platform_sets_is_not_mentioned() {
        let quiet = [
            ("THALWEG_SERVICE_HOST", "10.0.0.1"),
            ("THALWEG_SERVICE_PORT", "8080"),
            ("THALWEG_SERVICE_PORT_HTTP", "8080"),
            ("THALWEG_INGEST_SERVICE_PORT_HTTP_ALT", "8080"),
            ("THALWEG_PORT", "tcp://10.0.0.1:8080"),
            ("THALWEG_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("THALWEG_PORT_8080_TCP_PROTO", "tcp"),
            ("THALWEG_A_B_PORT_53_UDP_ADDR", "10.0.0.1"),
            ("THALWEG_WEBHOOKS_ALLOW_PRIVATE", "true"),
            ("THALWEG_ADMIN_PASSWORD_FILE", "/run/secrets/x"),
            ("THALWEG_CONFIG", "thalweg.toml"),
            ("THALWEG_DEMO_PASSWORD", "x"),
            ("THALWEG_NOTHING", ""),
        ];
        assert_eq!(remarks(&quiet), Vec::<String>::new());
        for slip in [("THALWEG_PORT", "8080"), ("THALWEG_PORT_80_HTTP", "x"), ("THALWEG_PORT_80_TCP_X", "x")]
        {
            assert_eq!(remarks(&[slip]).len(), 1, "{slip:?}");
        }
    }
}
