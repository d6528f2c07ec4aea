//! Servers that start: what they print, and that they run with what they were told.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::Place;

const ADDRESS: &str = "http://127.0.0.1:";

/// A server process that has printed its lines.
struct Started {
    child: Child,
    lines: Vec<String>,
    base: String,
}

impl Started {
    fn on(place: &Place, environment: &[(&str, &str)]) -> Self {
        let mut command = place.command("serve --listen 127.0.0.1:0");
        command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let lines: Vec<_> = out.lines().map_while(Result::ok).take(5).collect();
        let base = lines.iter().flat_map(|line| line.split_whitespace());
        let base = base.clone().find(|word| word.starts_with(ADDRESS)).unwrap_or_default().to_owned();
        Self { child, lines, base }
    }

    async fn login(&self, password: &str) -> reqwest::StatusCode {
        let account = json!({"email": "admin@example.com", "password": password});
        let url = format!("{}/tokens", self.base);
        reqwest::Client::new().post(url).json(&account).send().await.unwrap().status()
    }

    /// Ends it; what it logged.
    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
        let mut logged = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut logged).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{logged}");
        logged
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_start_prints_five_lines_and_a_made_password_goes_into_a_file_off_a_terminal() {
    let place = Place::new();
    let server = Started::on(&place, &[]);
    assert_eq!(server.lines.len(), 5, "{:?}", server.lines);
    assert!(server.lines[0].contains(&server.base) && !server.base.is_empty(), "{:?}", server.lines);
    for (line, says) in server.lines.iter().zip(["thalweg ", "data: ", "admin: ", "try it: ", "more: "]) {
        assert!(line.starts_with(says), "{line}");
    }
    let file = place.path("thalweg-data/admin-password");
    assert!(server.lines[2].contains("thalweg-data/admin-password"), "{:?}", server.lines);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let password = fs::read_to_string(&file).unwrap().trim_end().to_owned();
    assert!(password.len() >= 20);
    assert!(!server.lines.concat().contains(&password));
    assert_eq!(server.login(&password).await, 201);
    let logged = server.end();
    assert!(!logged.contains(&password), "{logged}");

    fs::remove_file(&file).unwrap();
    let server = Started::on(&place, &[]);
    assert_eq!(server.lines.len(), 5, "{:?}", server.lines);
    assert!(!file.exists(), "only the first start makes a password");
    assert_eq!(server.login(&password).await, 201);
    server.end();
}

#[tokio::test]
async fn secrets_are_read_from_files_without_the_end_of_the_line() {
    let place = Place::with_file("admin_password_file = 'password'\n");
    place.write("password", "a password in a file\r\n");
    place.write("token-secrets", &format!("new:{}\nold:{}\n", "A".repeat(43), "B".repeat(42) + "A"));
    let files = [("THALWEG_CONFIG", "thalweg.toml"), ("THALWEG_TOKEN_SECRET_FILE", "token-secrets")];
    let server = Started::on(&place, &files);
    assert_eq!(server.login("a password in a file").await, 201);
    assert_eq!(server.login("a password in a file\r\n").await, 401);
    assert!(!place.path("thalweg-data/token-secret").exists(), "the given ones take its place");
    assert!(!place.path("thalweg-data/admin-password").exists(), "no password was made");
    server.end();
}

#[tokio::test]
async fn a_server_logs_what_it_does_not_know() {
    let place = Place::new();
    let environment = [("THALWEG_LISTEM", "x")];
    let logged = Started::on(&place, &environment).end();
    let level_of = |about: &str| {
        let line = logged.lines().find(|line| line.contains(about)).unwrap_or_else(|| panic!("{logged}"));
        serde_json::from_str::<Value>(line).unwrap()["level"].as_str().unwrap().to_owned()
    };
    assert_eq!(level_of("did you mean THALWEG_LISTEN?"), "WARN");
}
