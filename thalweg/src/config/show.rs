//! `thalweg config`: prints the settings as they are, as they may be, or that they are good.

use std::io::{self, Write as _};

use super::setting::{Kind, Setting, Settings};
use super::{Report, Source, reference};
use crate::cli::ConfigCommand;

/// Runs one of them.
pub(crate) fn run(command: &ConfigCommand, report: &Report) -> anyhow::Result<()> {
    let text = match command {
        ConfigCommand::Show(_) => show(report),
        ConfigCommand::Check(_) => "the settings can be used\n".to_owned(),
        ConfigCommand::Example => reference::example(),
        ConfigCommand::Reference => reference::page(),
    };
    report.print();
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Every setting with its value and where that comes from, as a file of settings that gives the same. Secrets are left
/// out.
pub(crate) fn show(report: &Report) -> String {
    let settings = Settings::defined();
    let lines: Vec<_> = settings
        .iter()
        .map(|setting| {
            let (text, source) = &report.values[setting.key()];
            (assignment(setting, text.as_deref()), source)
        })
        .collect();
    let width = lines.iter().map(|(text, _)| text.chars().count()).max().unwrap_or_default();
    let line = |(text, source): &(String, &Source)| format!("{text:width$}  # {source}\n");
    lines.iter().map(line).collect()
}

fn assignment(setting: Setting<'_>, text: Option<&str>) -> String {
    match text {
        None => format!("# {} is not set", setting.key()),
        Some(_) if setting.is_secret() => format!("# {} is set", setting.key()),
        Some(text) => format!("{} = {}", setting.key(), toml_value(setting, text)),
    }
}

/// As it stands in a file.
pub(super) fn toml_value(setting: Setting<'_>, text: &str) -> String {
    match setting.kind() {
        Kind::Number | Kind::Switch => text.to_owned(),
        _ => toml::Value::from(text).to_string(),
    }
}
