//! What is shown: `config show`, the help, the example and the page, all from the same definitions.

use std::fs;
use std::path::Path;

use super::Place;

/// The part of `config show` about one setting: the assignment and where it comes from.
fn shown(place: &Place, line: &str, environment: &[(&str, &str)], key: &str) -> (String, String) {
    let ended = place.run(&format!("config show {line}"), environment);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let about = ended.out.lines().find(|line| line.trim_start_matches("# ").starts_with(key)).unwrap();
    let (assignment, source) = about.rsplit_once("  # ").unwrap();
    (assignment.trim_end().to_owned(), source.to_owned())
}

#[test]
fn a_flag_goes_before_a_variable_a_variable_before_the_file_and_the_file_before_the_default() {
    let place = Place::with_file("# the third line counts\n\nheader_timeout = \"3s\"\n");
    let file = ["--config", "thalweg.toml"].join(" ");
    let variable = [("THALWEG_HEADER_TIMEOUT", "2s")];
    let flag = "--header-timeout 1s";
    for (line, environment, value, source) in [
        (String::new(), &[][..], "30s", "default"),
        (file.clone(), &[][..], "3s", "file thalweg.toml:3"),
        (String::new(), &variable[..], "2s", "variable THALWEG_HEADER_TIMEOUT"),
        (file.clone(), &variable[..], "2s", "variable THALWEG_HEADER_TIMEOUT"),
        (flag.to_owned(), &[][..], "1s", "flag --header-timeout"),
        (format!("{file} {flag}"), &[][..], "1s", "flag --header-timeout"),
        (flag.to_owned(), &variable[..], "1s", "flag --header-timeout"),
        (format!("{file} {flag}"), &variable[..], "1s", "flag --header-timeout"),
    ] {
        let wanted = (format!("header_timeout = \"{value}\""), source.to_owned());
        assert_eq!(shown(&place, &line, environment, "header_timeout"), wanted, "{line} {environment:?}");
    }
}

#[test]
fn the_file_may_be_named_by_a_variable_and_a_flag_goes_before_it() {
    let place = Place::with_file("connections_max = 1\n");
    place.write("other.toml", "connections_max = 2\n");
    let variable = [("THALWEG_CONFIG", "thalweg.toml")];
    assert_eq!(shown(&place, "", &variable, "connections_max").0, "connections_max = 1");
    let other = shown(&place, "--config other.toml", &variable, "connections_max");
    assert_eq!(other, ("connections_max = 2".to_owned(), "file other.toml:1".to_owned()));
}

#[test]
fn a_variable_that_is_set_to_nothing_counts_as_not_set() {
    let nothing = [("THALWEG_LISTEN", ""), ("THALWEG_ADMIN_PASSWORD", ""), ("THALWEG_CONFIG", "")];
    let place = Place::new();
    assert_eq!(shown(&place, "", &nothing, "listen").1, "default");
    assert_eq!(shown(&place, "", &nothing, "admin_password").0, "# admin_password is not set");
}

#[test]
fn values_are_shown_as_people_write_them() {
    let place = Place::with_file(
        "body_bytes_max = 2097152\nin_flight_bytes_max = \"64MB\"\nlog_retention_age = \"90min\"\n",
    );
    for (key, value) in [
        ("body_bytes_max", "body_bytes_max = \"2MiB\""),
        ("in_flight_bytes_max", "in_flight_bytes_max = \"62500KiB\""),
        ("log_retention_age", "log_retention_age = \"1h30m\""),
        ("connections_max", "connections_max = 16000"),
    ] {
        assert_eq!(shown(&place, "--config thalweg.toml", &[], key).0, value);
    }
}

#[test]
fn what_is_shown_is_a_file_that_gives_the_same() {
    let place = Place::with_file(
        "listen = '127.0.0.1:1'\nadmin_email = 'b\"o@example.com'\nbody_timeout = '1m 5s'\n",
    );
    let first = place.run("config show --config thalweg.toml --connections-max 7", &[]);
    place.write("again.toml", &first.out);
    let again = place.run("config show --config again.toml", &[]);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.rsplit_once("  # ").unwrap().0.trim_end().to_owned()).collect()
    };
    assert_eq!(values(&first.out), values(&again.out), "{again:?}");
}

#[test]
fn secrets_are_shown_by_nothing() {
    let secret = "canary-1f2e3d4c";
    let long = format!("kid:{secret}{}", "A".repeat(64 - secret.len()));
    let quoted = format!("admin_password = {secret:?}\ntoken_secret = {long:?}\n");
    let place = Place::with_file(&quoted);
    place.write("password", secret);
    let variables = [("THALWEG_ADMIN_PASSWORD", secret), ("THALWEG_TOKEN_SECRET", long.as_str())];
    for (line, environment) in [
        ("show", &variables[..]),
        ("check", &variables[..]),
        ("show --config thalweg.toml", &[][..]),
        ("show --admin-password canary-1f2e3d4c", &[][..]),
        ("show", &[("THALWEG_ADMIN_PASSWORD_FILE", "password")][..]),
    ] {
        let ended = place.run(&format!("config {line}"), environment);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!format!("{ended:?}").contains("canary"), "{line}: {ended:?}");
    }
    assert_eq!(shown(&place, "", &variables, "admin_password").0, "# admin_password is set");
    let source = shown(&place, "--config thalweg.toml", &[], "token_secret").1;
    assert_eq!(source, "file thalweg.toml:2");

    // Nor are those that can't be used.
    place.write("bad.toml", "admin_password = \"canary\"\ntoken_secret = \"canary\"\n");
    place.write("broken.toml", "admin_password = \"canary-1f2e3d4c\n");
    place.write("typed.toml", "token_secret = [\"canary\"]\n");
    for (line, environment, code) in [
        ("--config bad.toml", &[][..], 78),
        ("--config broken.toml", &[][..], 78),
        ("--config typed.toml", &[][..], 78),
        ("--admin-password canary", &[][..], 64),
        ("--token-secret canary", &[][..], 64),
        ("", &[("THALWEG_ADMIN_PASSWORD", "canary"), ("THALWEG_TOKEN_SECRET", "canary:canary")][..], 78),
    ] {
        let ended = place.run(&format!("config check {line}"), environment);
        assert_eq!(ended.code, Some(code), "{line}: {ended:?}");
        assert!(!format!("{ended:?}").contains("canary"), "{line}: {ended:?}");
    }
}

/// The keys of every setting, as the example has them.
fn keys() -> Vec<String> {
    let example = Place::new().run("config example", &[]).out;
    let assignments = example.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(" = "));
    let keys: Vec<_> = assignments.map(|(key, _)| key.to_owned()).collect();
    assert!(keys.len() >= 14, "{keys:?}");
    keys
}

#[test]
fn every_flags_help_names_its_variable_and_its_default() {
    let (help, keys) = (Place::new().run("serve --help", &[]).out, keys());
    // One paragraph an argument: its own line and what follows, up to the next.
    let mut arguments: Vec<String> = Vec::new();
    for line in help.lines() {
        let head = line.trim_start();
        let is_key = line.strip_prefix("      ").is_some_and(|text| keys.iter().any(|key| key == text));
        if (head.starts_with('-') && !head.starts_with("- ")) || is_key {
            arguments.push(String::new());
        }
        if let Some(argument) = arguments.last_mut() {
            argument.push_str(head);
            argument.push(' ');
        }
    }
    for key in &keys {
        let flag = format!("--{} ", key.replace('_', "-"));
        let about = arguments.iter().find(|text| text.starts_with(&flag) || text.starts_with(key));
        let about = about.unwrap_or_else(|| panic!("{key} is not in {help}"));
        let variable = format!("[env: THALWEG_{}", key.to_uppercase());
        assert!(about.contains(&variable) && about.contains("[default: "), "{about}");
    }
    let config = arguments.iter().find(|text| text.starts_with("--config ")).unwrap();
    assert!(config.contains("[env: THALWEG_CONFIG] [default: none]"), "{config}");
    let without_variable: Vec<_> = arguments.iter().filter(|text| !text.contains("[env: THALWEG_")).collect();
    assert_eq!(without_variable.len(), 2, "only --help and --version: {without_variable:?}");
}

#[test]
fn the_short_help_names_them_too_and_no_value_that_happens_to_be_set() {
    let set = [("THALWEG_LISTEN", "127.0.0.1:9"), ("THALWEG_ADMIN_PASSWORD", "canary-1f2e")];
    for line in ["serve -h", "config show -h", "config check --help"] {
        let ended = Place::new().run(line, &set);
        assert_eq!(ended.code, Some(0));
        let words: Vec<_> = ended.out.split_whitespace().collect();
        let text = words.join(" ");
        assert!(text.contains("[env: THALWEG_LISTEN] [default: 127.0.0.1:8080]"), "{text}");
        assert!(!text.contains("canary") && !text.contains("127.0.0.1:9 "), "{text}");
    }
}

fn repository(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap()
}

#[test]
fn the_committed_example_and_page_are_what_the_definitions_give() {
    for (line, file) in
        [("config example", "deploy/thalweg.example.toml"), ("config reference", "docs/configuration.md")]
    {
        let made = Place::new().run(line, &[]).out;
        assert_eq!(repository(file), made, "{file} is out of date: run `make generated`");
    }
}

#[test]
fn the_example_without_its_comment_signs_gives_the_defaults() {
    let example = Place::new().run("config example", &[]).out;
    let assignments: Vec<_> = example
        .lines()
        .filter_map(|line| line.strip_prefix("# ").filter(|text| text.contains(" = ")))
        .collect();
    // What has no default has an empty value there, and is refused as long as that is left.
    let with_default: Vec<_> =
        assignments.iter().filter(|text| !text.ends_with(" = \"\"")).copied().collect();
    let place = Place::with_file(&with_default.join("\n"));
    for text in &with_default {
        let (key, _) = text.split_once(" = ").unwrap();
        let (from_file, source) = shown(&place, "--config thalweg.toml", &[], &format!("{key} = "));
        assert!(source.starts_with("file thalweg.toml:"), "{key}: {source}");
        assert_eq!(from_file, shown(&place, "", &[], &format!("{key} = ")).0);
    }
    place.write("whole.toml", &assignments.join("\n"));
    let whole = place.run("config check --config whole.toml", &[]);
    whole.refused(78, "admin_password: has fewer than 8 characters");
}

#[test]
fn the_exit_codes_of_the_help_are_those_of_the_handbook() {
    let help = Place::new().run("serve --help", &[]).out;
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let handbook = repository("docs/operating.md");
    let mut compared = 0;
    for line in codes.lines().filter(|line| line.starts_with("   ")) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(handbook.contains(&format!("| {code} | {meaning} |")), "{code}, {meaning}");
        compared += 1;
    }
    assert_eq!(compared, 11);
}
