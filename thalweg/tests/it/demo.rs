//! `thalweg demo`: what it prints, that its commands work, what it leaves, and how it fails.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use reqwest::Method;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;

use crate::curl::replay;
use crate::harness::{ADMIN_EMAIL, ADMIN_PASSWORD, Server, eventually};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.arg("demo").args(arguments).env_remove("THALWEG_DEMO_PASSWORD");
    command
}

#[track_caller]
fn succeeded(output: Output) -> String {
    let (text, problems) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && problems.is_empty(), "{problems}\n{text}");
    text
}

/// The number before a word, in the summary that the demo ends with.
#[track_caller]
fn count(text: &str, before: &str) -> u64 {
    let summary = text.lines().find(|line| line.starts_with("In ")).unwrap_or_else(|| panic!("{text}"));
    let (number, _) = summary.split_once(before).unwrap_or_else(|| panic!("{summary}"));
    number.rsplit(' ').next().unwrap().replace(',', "").parse().unwrap()
}

/// The commands among what was printed.
fn commands(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("curl ") || line.starts_with("TOKEN=")).collect()
}

#[test]
fn without_a_terminal_it_prints_plain_lines_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let arguments = ["--duration", "1s", "--rate", "100", "--things", "3"];
    let text = succeeded(demo(&arguments).env("TMPDIR", temporary.path()).output().unwrap());
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let (sent, acknowledged) = (count(&text, " packs sent"), count(&text, " acknowledged"));
    assert!(sent > 0 && sent == acknowledged, "{text}");
    assert_eq!(count(&text, " records stored"), 5 * acknowledged, "{text}");
    for row in ["  cold-room-1  ", "  cold-room-2  ", "  cold-room-3  ", "packs: ", "records: "] {
        assert!(text.contains(row), "{row} in {text}");
    }
    let line = text.lines().find(|line| line.starts_with("  cold-room-1  ")).unwrap();
    assert!(line.contains("°C") && (line.contains("open") || line.contains("closed")), "{line}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    assert!(text.ends_with("demo --data-dir thalweg-demo\n"), "{text}");
}

/// A demo that runs until it is interrupted.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
    printed: String,
}

impl Running {
    /// Starts one, and waits until it publishes.
    fn start(arguments: &[&str]) -> Self {
        let mut child = demo(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, output, printed: String::new() };
        while !running.printed.contains("Ctrl-C ends it") {
            assert_ne!(running.output.read_line(&mut running.printed).unwrap(), 0, "{}", running.printed);
        }
        running
    }

    /// Ctrl-C; the exit code and everything printed.
    fn interrupt(mut self) -> (Option<i32>, String) {
        interrupt(&self.child);
        self.output.read_to_string(&mut self.printed).unwrap();
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.printed))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// In a shell with curl, where there is one; the next test needs neither.
#[tokio::test]
async fn the_printed_commands_work_as_they_are() {
    if !Command::new("curl").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("there is no curl: the commands were not typed");
        return;
    }
    let running = Running::start(&["--rate", "0.1"]);
    let lines = commands(&running.printed);
    assert_eq!(lines.len(), 7, "{lines:?}");
    let mut script = String::new();
    for line in &lines {
        script.push_str(&format!("{line}\necho \" [$?]\"\n"));
    }
    let typed = succeeded(Command::new("sh").args(["-c", &script]).output().unwrap());
    let answers: Vec<&str> = typed.split_terminator(" [0]\n").collect();
    assert_eq!(answers.len(), 7, "{typed}");
    for (answer, wanted) in answers.iter().zip([
        "HTTP/1.1 201 Created",
        "",
        r#"{"things":[{"id":""#,
        r#"{"channels":[{"id":""#,
        "HTTP/1.1 200 OK",
        "HTTP/1.1 202 Accepted",
        r#"{"offset":0,"limit":5,"format":"messages","total":"#,
    ]) {
        assert!(answer.starts_with(wanted), "{wanted}: {answer}");
    }
    assert_eq!(answers[1], "");
    eventually(async || {
        let page = Command::new("sh").args(["-c", lines[6]]).output().unwrap().stdout;
        let page = String::from_utf8(page).unwrap();
        page.contains(r#""name":"note","unit":"","#).then_some(()).ok_or(page)
    })
    .await;
    let (code, text) = running.interrupt();
    assert_eq!(code, Some(0), "{text}");
    assert!(count(&text, " records stored") >= 5 && text.contains("Its data is removed"), "{text}");
}

#[tokio::test]
async fn the_printed_commands_are_requests_that_succeed() {
    let running = Running::start(&["--rate", "0.1"]);
    let lines = commands(&running.printed);
    let mut token = String::new();
    for (line, status) in lines.iter().zip([201, 201, 201, 201, 200, 202, 200]) {
        let request =
            line.strip_prefix("TOKEN=$(").map_or(*line, |line| line.split_once(" | sed ").unwrap().0);
        let answer = replay(&request.replace("$TOKEN", &token)).await;
        assert_eq!(answer.status(), status, "{line}");
        if request != *line {
            token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        }
    }
    assert_eq!((lines.len(), running.interrupt().0), (7, Some(0)));
}

#[tokio::test]
async fn on_a_given_server_everything_stays() {
    let server = Server::start();
    let arguments = ["--url", &server.base, "--duration", "500ms", "--rate", "40", "--things", "4"];
    let text = succeeded(demo(&arguments).output().unwrap());
    assert!(text.ends_with("the commands above go on working.\n"), "{text}");
    let (email, password) = account(&text);
    let user = server.login(&email, &password).await;
    let things = user.request(Method::GET, "/things").send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(things["total"], 4);
    let page = replay(commands(&text)[6]).await.json::<Value>().await.unwrap();
    assert_eq!(page["total"], count(&text, " records stored"));

    // The same with an account that is there: its password is not printed.
    let arguments = ["--url", &server.base, "--duration", "100ms", "--email", ADMIN_EMAIL];
    let text = succeeded(demo(&arguments).env("THALWEG_DEMO_PASSWORD", ADMIN_PASSWORD).output().unwrap());
    assert!(!text.contains(ADMIN_PASSWORD) && commands(&text).len() == 6, "{text}");
}

#[tokio::test]
async fn a_directory_that_was_named_is_kept_and_can_be_served() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let arguments = ["--data-dir", data.to_str().unwrap(), "--duration", "200ms"];
    let text = succeeded(demo(&arguments).output().unwrap());
    assert!(text.contains("serve --listen 127.0.0.1:") && text.contains("(shown once)"), "{text}");
    let (email, password) = account(&text);
    let server = Server::start_in(directory.path(), &[]);
    let user = server.login(&email, &password).await;
    let things = user.request(Method::GET, "/things").send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(things["total"], 5);
}

/// What the printed login command logs in with.
fn account(text: &str) -> (String, String) {
    let line = commands(text).into_iter().find(|line| line.starts_with("TOKEN=")).unwrap();
    let (_, body) = line.split_once("-d '").unwrap();
    let body: Value = serde_json::from_str(body.split_once('\'').unwrap().0).unwrap();
    (body["email"].as_str().unwrap().to_owned(), body["password"].as_str().unwrap().to_owned())
}

#[track_caller]
fn fails(arguments: &[&str], code: i32, problem: &str) {
    let output = demo(arguments).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(problem), "{arguments:?}: {text}");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
}

#[tokio::test]
async fn what_stands_in_the_way_is_said() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fails(&["--url", &format!("http://{free}")], 69, "nothing answers at http://127.0.0.1:");
    let stranger = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    fails(&["--url", &stranger], 76, "is no Thalweg: GET http://127.0.0.1:");
    fails(&["--url", "https://example.com"], 64, "does not speak https");
    fails(&["--url", "127.0.0.1:8080"], 64, "it has to be like http://127.0.0.1:8080");
    fails(&["--url", "http://127.0.0.1:1", "--data-dir", "x"], 64, "cannot be used with");
    fails(&["--things", "0"], 64, "0 is not in 1..=100");
    fails(&["--rate", "0"], 64, "it has to be a number from 0.001 to 10000");

    let server = Server::start();
    let listen = server.base.strip_prefix("http://").unwrap();
    fails(&["--listen", listen], 69, "can't listen on 127.0.0.1:");
    let stranger = ["--url", &server.base, "--email", "nobody@example.com", "--password", "wrong password"];
    fails(&stranger, 76, "does not know the account nobody@example.com with this password");
    close_sign_up(&server.data_dir()).await;
    fails(&["--url", &server.base], 76, "sign-up is closed at http://127.0.0.1:");
}

/// A server that gives one answer, whatever it is asked: its address.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    format!("http://{address}")
}

/// As an admin will by the API of policies.
async fn close_sign_up(data: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(data.join("registry.sqlite"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let closed =
        sqlx::query("DELETE FROM policies WHERE subject = '*' AND object = 'user' AND relation = 'create'");
    assert_eq!(closed.execute(&pool).await.unwrap().rows_affected(), 1);
    pool.close().await;
}

#[test]
fn on_a_terminal_the_table_is_redrawn_within_its_width() {
    for no_color in [false, true] {
        let text = on_a_terminal(no_color);
        let drawings = text.matches("THING            TEMPERATURE").count();
        assert!(drawings >= 3, "{text}");
        assert!(
            text.contains("\u{1b}[10A") || text.contains("\u{1b}[11A"),
            "the table's lines are taken back: {text:?}"
        );
        assert_eq!(text.contains("\u{1b}[1m"), !no_color, "{text:?}");
        let (_, table) = text.split_once("Ctrl-C ends it").unwrap();
        for line in table.lines() {
            let width = console_width(line);
            assert!(
                width < 80 || line.starts_with("In ") || line.starts_with("Its data"),
                "{width}: {line:?}"
            );
        }
    }
}

/// What a demo prints to a terminal of 80 by 24 until it has drawn three times and was interrupted.
fn on_a_terminal(no_color: bool) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let side = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut command = demo(&["--things", "6"]);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR").stdout(side);
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let mut child = command.spawn().unwrap();
    drop(command);
    let (mut terminal, mut text) = (std::fs::File::from(terminal), String::new());
    let (mut buffer, mut interrupted) = ([0; 4_096], false);
    // A terminal ends with an error once nobody has its other side open.
    while let Ok(bytes @ 1..) = terminal.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..bytes]));
        if !interrupted && text.matches("THING            TEMPERATURE").count() >= 3 {
            interrupt(&child);
            interrupted = true;
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
    text.replace('\r', "")
}

/// Characters of a line without its escape codes, each one column wide in what the demo prints.
fn console_width(line: &str) -> usize {
    let mut width = 0;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' {
            characters.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            width += 1;
        }
    }
    width
}
