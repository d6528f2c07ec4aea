//! What the demo does, as commands for a shell: each works as it is, pasted into any POSIX shell.
//!
//! Pure: texts in, texts out.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::client::{Account, Thing};
use super::settings::Base;

/// A command, and what it does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) purpose: &'static str,
    pub(super) line: String,
}

/// What the commands are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) base: &'a Base,
    pub(super) account: &'a Account,
    /// Whether the demo made the account: then its password may be shown, and anyone may make another one.
    pub(super) made_account: bool,
    pub(super) channel: &'a str,
    pub(super) thing: &'a Thing,
}

/// The commands, in the order in which one needs what another made.
pub(super) fn commands(subject: Subject<'_>) -> Vec<Command> {
    let Subject { base, account, made_account, channel, thing } = subject;
    let mut commands = Vec::new();
    let mut add = |purpose, line| commands.push(Command { purpose, line });
    if made_account {
        let another = json!({ "email": format!("another-{}", account.email), "password": "12345678" });
        add("make an account", post("-i", base, "/users", None, &another));
    }
    let password = if made_account { account.password.as_str() } else { "YOUR PASSWORD" };
    let log_in = json!({ "email": account.email, "password": password });
    let log_in = post("", base, "/tokens", None, &log_in);
    add("log in", format!(r#"TOKEN=$({log_in} | sed 's/.*"token":"\([^"]*\)".*/\1/')"#));
    let token = Some("Bearer $TOKEN");
    add("create a thing", post("", base, "/things", token, &json!([{ "name": "one more" }])));
    add("create a channel", post("", base, "/channels", token, &json!([{ "name": "one more" }])));
    let ids = json!({ "channel_ids": [channel], "thing_ids": [thing.id] });
    add("connect", post("-i", base, "/connect", token, &ids));
    let key = format!("Thing {}", thing.key);
    let pack = json!([{ "n": "note", "vs": "by hand" }]);
    add("publish", post("-i", base, &format!("/http/channels/{channel}/messages"), Some(&key), &pack));
    let page = quoted(&format!("{base}/channels/{channel}/messages?limit=5")).into_owned();
    add("read the newest", format!(r#"curl -s -H "Authorization: {key}" {page}"#));
    commands
}

/// A credential stands between double quotes, for its variable: keys and tokens hold nothing that a shell would see.
fn post(more: &str, base: &Base, path: &str, credential: Option<&str>, body: &Value) -> String {
    let more = if more.is_empty() { String::new() } else { format!(" {more}") };
    let credential = credential.map(|text| format!(r#" -H "Authorization: {text}""#)).unwrap_or_default();
    let (url, body) = (format!("{base}{path}"), body.to_string());
    let (url, body) = (quoted(&url), quoted(&body));
    format!(r#"curl -s{more} -X POST -H "Content-Type: application/json"{credential} {url} -d {body}"#)
}

/// A word of a shell, between single quotes where it has to be.
pub(super) fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:/@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(email: &str, made_account: bool) -> Vec<String> {
        let account = Account { email: email.to_owned(), password: "s3cret".to_owned() };
        let thing = Thing { id: "t".to_owned(), name: "n".to_owned(), key: "tk_k".to_owned() };
        let base = "http://127.0.0.1:8080".parse().unwrap();
        let subject = Subject { base: &base, account: &account, made_account, channel: "c", thing: &thing };
        commands(subject).into_iter().map(|command| command.line).collect()
    }

    #[test]
    fn the_real_address_ids_and_key_are_filled_in() {
        let json = r#"-H "Content-Type: application/json""#;
        let bearer = r#"-H "Authorization: Bearer $TOKEN""#;
        let at = "http://127.0.0.1:8080";
        assert_eq!(
            lines("a@example.com", true),
            [
                format!(
                    r#"curl -s -i -X POST {json} {at}/users -d '{{"email":"another-a@example.com","password":"12345678"}}'"#
                ),
                format!(
                    r#"TOKEN=$(curl -s -X POST {json} {at}/tokens -d '{{"email":"a@example.com","password":"s3cret"}}' | sed 's/.*"token":"\([^"]*\)".*/\1/')"#
                ),
                format!(r#"curl -s -X POST {json} {bearer} {at}/things -d '[{{"name":"one more"}}]'"#),
                format!(r#"curl -s -X POST {json} {bearer} {at}/channels -d '[{{"name":"one more"}}]'"#),
                format!(
                    r#"curl -s -i -X POST {json} {bearer} {at}/connect -d '{{"channel_ids":["c"],"thing_ids":["t"]}}'"#
                ),
                format!(
                    r#"curl -s -i -X POST {json} -H "Authorization: Thing tk_k" {at}/http/channels/c/messages -d '[{{"n":"note","vs":"by hand"}}]'"#
                ),
                format!(r#"curl -s -H "Authorization: Thing tk_k" '{at}/channels/c/messages?limit=5'"#),
            ]
        );
    }

    #[test]
    fn a_password_that_was_given_is_not_printed_and_quotes_are_quoted() {
        let lines = lines("o'neil@example.com", false);
        assert_eq!(lines.len(), 6);
        assert!(
            lines[0].contains(r#"'{"email":"o'\''neil@example.com","password":"YOUR PASSWORD"}'"#),
            "{}",
            lines[0]
        );
    }
}
