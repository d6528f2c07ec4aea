//! The settings as text for people: `deploy/thalweg.example.toml` and `docs/configuration.md`.
//!
//! Both are committed as they are printed here, and held equal by a test.

use super::setting::{Setting, Settings};
use super::show::toml_value;

/// Columns of a filled line.
const COLUMNS: usize = 90;

/// A file with every setting, its meaning and its default.
pub(crate) fn example() -> String {
    let head = "# Settings of `thalweg serve`: every one there is, with its default.\n\
                # Take away the `#` before those that you change; docs/configuration.md explains how values are written.\n";
    Settings::defined().iter().fold(head.to_owned(), |text, setting| text + "\n" + &paragraph(setting))
}

fn paragraph(setting: Setting<'_>) -> String {
    let mut meaning = setting.meaning();
    if let Some(file) = setting.file_key() {
        meaning += &format!(" Or name a file that holds it: {file}.");
    }
    let default = setting.default().map_or_else(|| "\"\"".to_owned(), |text| toml_value(setting, &text));
    format!("{}# {} = {default}\n", wrapped(&meaning, "# "), setting.key())
}

/// Fills lines with the words of a text, each behind the same beginning.
pub(super) fn wrapped(text: &str, beginning: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{beginning}{word}")),
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// The page that explains the settings.
pub(crate) fn page() -> String {
    let head = "| key in the file | variable | flag | default | unit | meaning |\n| --- | --- | --- | --- | --- | --- |\n";
    let table = Settings::defined().iter().fold(head.to_owned(), |text, setting| text + &row(setting));
    include_str!("reference.md").replace("{table}", table.trim_end())
}

fn row(setting: Setting<'_>) -> String {
    let or_none = |text: Option<String>| text.map_or_else(|| "none".to_owned(), |text| format!("`{text}`"));
    format!(
        "| `{}` | `{}` | {} | {} | {} | {} |\n",
        setting.key(),
        setting.variable(),
        or_none(setting.flag()),
        or_none(setting.default()),
        setting.unit(),
        setting.meaning().replace('|', "\\|"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_the_example_needs_scrolling() {
        for line in example().lines() {
            assert!(line.chars().count() <= 110, "{line}");
        }
    }
}
