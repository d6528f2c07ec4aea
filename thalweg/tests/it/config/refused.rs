//! What is refused, and what is only mentioned: each with the place to look at, all at once.

use super::Place;

#[test]
fn an_unknown_key_is_refused_with_its_line_and_what_was_meant() {
    let place = Place::with_file(
        "lisen = \"127.0.0.1:1\"\n\nheader-timeout = \"1s\"\nmqtt = 1\n[log]\nretention_bytes = 1\n",
    );
    let ended = place.run("config check --config thalweg.toml", &[]);
    for says in [
        "thalweg: thalweg.toml:1: lisen is no setting; did you mean listen?\n",
        "thalweg: thalweg.toml:3: header-timeout is no setting; did you mean header_timeout?\n",
        "thalweg: thalweg.toml:4: mqtt is no setting\n",
        "thalweg: thalweg.toml:5: log is no setting",
    ] {
        ended.refused(78, says);
    }
    assert_eq!(ended.out, "");
}

#[test]
fn a_value_that_cannot_be_is_refused_where_it_stands() {
    for (text, says) in [
        ("\n\nlisten = \"abc\"", "thalweg.toml:3: listen = \"abc\": invalid socket address syntax"),
        ("listen = 8080", "thalweg.toml:1: listen has to be a text in quotes"),
        ("header_timeout = 30", "thalweg.toml:1: header_timeout has no unit; write \"30s\""),
        ("header_timeout = \"30\"", "thalweg.toml:1: header_timeout = \"30\": time unit needed"),
        (
            "body_bytes_max = \"1 parsec\"",
            "body_bytes_max = \"1 parsec\": is no size; write bytes, or a number",
        ),
        ("body_bytes_max = true", "body_bytes_max has to be a number"),
        ("body_bytes_max = -1", "body_bytes_max = \"-1\": is no size"),
        ("connections_max = 1e3", "connections_max = \"1e3\": invalid digit"),
        ("connections_max = 99999999999999999999", "connections_max has to be a number"),
        ("connections_max = \"many\"", "connections_max = \"many\": invalid digit"),
        ("connections_max = [1]", "connections_max takes one value, not a list"),
        ("data_dir = \"\"", "data_dir = \"\": has to have a value"),
        ("listen = { port = 1 }", "listen is a table; settings stand outside of tables"),
        ("admin_email = \"nobody\"", "admin_email = \"nobody\": is not an email address"),
        ("log_filter = \"thalweg=loud\"", "log_filter = \"thalweg=loud\": is no filter"),
        ("admin_password = \"short\"", "thalweg.toml:1: admin_password: has fewer than 8 characters"),
        ("token_secret = \"abc\"", "thalweg.toml:1: token_secret: a secret is not written as `kid:secret`"),
        ("token_secret = \"a:b\"", "32 or more bytes in base64url, behind its name as in `kid:secret`"),
        ("token_secret = \" \"", "there have to be 1 to 4 secrets, each written as `kid:secret`"),
        ("listen = ", "thalweg.toml:1: "),
        ("a = 1\nlisten = '1'\nlisten = '2'", "thalweg.toml:3: duplicate key"),
    ] {
        let place = Place::with_file(text);
        for line in ["config check", "serve"] {
            place.run(&format!("{line} --config thalweg.toml"), &[]).refused(78, says);
        }
        assert!(!place.path("thalweg-data").exists(), "nothing is started");
    }
}

#[test]
fn a_bad_variable_is_named_and_a_bad_flag_is_a_matter_of_usage() {
    let place = Place::new();
    let variable = place.run("serve", &[("THALWEG_LISTEN", "abc")]);
    variable.refused(78, "thalweg: THALWEG_LISTEN = \"abc\": invalid socket address syntax\n");
    let overridden = place.run("config check --listen 127.0.0.1:1", &[("THALWEG_LISTEN", "abc")]);
    overridden.refused(78, "THALWEG_LISTEN");
    let secret = place.run("serve", &[("THALWEG_TOKEN_SECRET", "abc")]);
    secret.refused(78, "thalweg: THALWEG_TOKEN_SECRET: a secret is not written as `kid:secret`\n");
    place.run("serve --listen abc", &[]).refused(64, "invalid value 'abc' for '--listen <ADDRESS>'");
    place.run("serve --lisen 127.0.0.1:1", &[]).refused(64, "a similar argument exists: '--listen'");
    let flag = place.run("serve --token-secret abc", &[]);
    flag.refused(64, "token_secret has no flag, because other users of the machine can see flags");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let place = Place::with_file("lisen = \"1\"\nbody_timeout = \"1\"\n");
    let ended = place
        .run("config check --config thalweg.toml", &[("THALWEG_DATA_DIR_", "x"), ("THALWEG_LISTEN", "x")]);
    for says in ["thalweg.toml:1: lisen", "thalweg.toml:2: body_timeout", "THALWEG_LISTEN = \"x\""] {
        ended.refused(78, says);
    }
    assert!(ended.err.lines().all(|line| line.starts_with("thalweg: ")), "{ended:?}");
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    let place = Place::new();
    for (line, says) in [
        ("--header-timeout 0s", "header_timeout is 0"),
        ("--body-timeout 0s", "body_timeout is 0"),
        ("--connections-max 0", "connections_max is 0"),
        ("--records-per-pack-max 0", "records_per_pack_max is 0"),
        ("--body-bytes-max 0", "body_bytes_max is 0"),
        ("--log-retention-bytes 0", "log_retention_bytes is 0"),
        ("--log-retention-age 0s", "log_retention_age is 0"),
        (
            "--body-bytes-max 1GiB --in-flight-bytes-max 8GiB",
            "body_bytes_max is 1GiB: the log takes packs of up to",
        ),
        ("--in-flight-bytes-max 1MiB", "in_flight_bytes_max is 1MiB: with a body_bytes_max of 1MiB"),
        ("--connections-max 18446744073709551615", "connections_max is 18446744073709551615"),
        ("--in-flight-bytes-max 18446744073709551615", "in_flight_bytes_max is 18446744073709551615"),
    ] {
        place.run(&format!("config check {line}"), &[]).refused(78, says);
        place.run(&format!("serve {line}"), &[]).refused(78, says);
    }
}

#[test]
fn an_unknown_variable_is_mentioned_with_what_was_meant_and_is_no_error() {
    let environment = [
        ("THALWEG_LISTEM", "127.0.0.1:1"),
        ("THALWEG_BACKEND", "127.0.0.1:1"),
        ("THALWEG_WEBHOOKS_ALLOW_PRIVATE", "true"),
        ("THALWEG_SERVICE_HOST", "10.0.0.1"),
        ("THALWEG_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    let ended = Place::new().run("config check", &environment);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        ended.err,
        "thalweg: warning: THALWEG_BACKEND is no variable of a setting\n\
         thalweg: warning: THALWEG_LISTEM is no variable of a setting; did you mean THALWEG_LISTEN?\n"
    );
    assert_eq!(ended.out, "the settings can be used\n");
}

#[test]
fn a_secret_and_a_file_of_it_are_one_too_many() {
    let place = Place::with_file("admin_password = \"12345678\"\nadmin_password_file = \"password\"\n");
    place.write("password", "12345678\n");
    let both = [("THALWEG_ADMIN_PASSWORD", "12345678"), ("THALWEG_ADMIN_PASSWORD_FILE", "password")];
    let says = "THALWEG_ADMIN_PASSWORD and THALWEG_ADMIN_PASSWORD_FILE are both set";
    place.run("config check", &both).refused(78, says);
    let file = place.run("config check --config thalweg.toml", &[]);
    file.refused(78, "thalweg.toml:2: admin_password and admin_password_file are both set");
    // A variable goes before the file, whichever form each has.
    place.write("one.toml", "admin_password_file = \"nowhere\"\n");
    let ended = place.run("config check --config one.toml", &both[1..]);
    ended.refused(78, "one.toml:1: nowhere can't be read: No such file");
    place.write("one.toml", "admin_password_file = \"password\"\n");
    let ended = place.run("config show --config one.toml", &both[..1]);
    assert!(ended.out.contains("# variable THALWEG_ADMIN_PASSWORD\n"), "{ended:?}");
}

#[test]
fn a_file_that_is_not_there_or_no_text_is_named() {
    let place = Place::new();
    place
        .run("config check --config nowhere.toml", &[])
        .refused(78, "nowhere.toml can't be read: No such file");
    place.run("config check", &[("THALWEG_CONFIG", "nowhere.toml")]).refused(78, "nowhere.toml");
    place.run("config check --config .", &[]).refused(78, ". can't be read");
    std::fs::write(place.path("latin.toml"), b"listen = \"\xe4\"").unwrap();
    place.run("config check --config latin.toml", &[]).refused(78, "latin.toml can't be read");
    place.run("config check --config /dev/zero", &[]).refused(78, "/dev/zero has more than 1048576 bytes");
    place.write("bad-secret", "abc");
    let ended = place.run("config check", &[("THALWEG_TOKEN_SECRET_FILE", "bad-secret")]);
    ended.refused(78, "THALWEG_TOKEN_SECRET_FILE: a secret is not written as `kid:secret`");
}
