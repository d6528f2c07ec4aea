//! Exit codes, each provoked as it happens in life. 70 is a defect of ours: there is none to provoke.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Instant;

use super::{Ended, Place};
use crate::harness::{PATIENCE, Server};

/// No user's number: what `nobody` is on most systems.
const NOBODY: u32 = 65_534;

#[track_caller]
fn serve_ends(place: &Place, line: &str, code: i32, says: &str) {
    let ended = place.run(&format!("serve --listen 127.0.0.1:0 {line}"), &[]);
    ended.refused(code, says);
    assert!(ended.err.lines().filter(|line| line.starts_with("thalweg: ")).count() >= 2, "{ended:?}");
    assert_eq!(ended.out, "", "a server that can't start says so on standard error only");
}

#[test]
fn help_is_no_failure_and_a_bad_command_line_is_64() {
    let place = Place::new();
    for line in ["--help", "serve --help", "--version", "config --help"] {
        assert_eq!(place.run(line, &[]).code, Some(0), "{line}");
    }
    for line in ["", "sevre", "serve --nothing", "serve --listen", "config", "serve extra"] {
        assert_eq!(place.run(line, &[]).code, Some(64), "{line}");
    }
}

#[test]
fn data_of_a_newer_version_or_of_another_kind_is_65() {
    let data = Server::start().kill();
    let place = Place::new();
    let line = format!("--data-dir {}", data.path().join("data").display());
    let spoil = |file: &str, content: &[u8], says: &str| {
        let path = data.path().join("data").join(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, content).unwrap();
        serve_ends(&place, &line, 65, says);
        fs::write(&path, good).unwrap();
    };
    spoil("store/FORMAT", b"99\n", "start a newer build");
    spoil("store/FORMAT", b"none\n", "which is no format");
    spoil("token-secret", b"nonsense", "token-secret is malformed: a secret is not written as `kid:secret`");
    spoil("sealing-secret", b"nonsense", "sealing-secret is malformed");
    let other = "A".repeat(43);
    spoil("sealing-secret", other.as_bytes(), "does not belong to this registry");
    fs::write(data.path().join("data/registry.sqlite-wal"), b"").unwrap();
    spoil("registry.sqlite", &b"not a database ".repeat(1_000), "the registry is damaged");
}

#[test]
fn an_address_that_cannot_be_had_is_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let place = Place::new();
    for (address, says) in [(address.to_string(), "in use"), ("192.0.2.1:8080".to_owned(), "can't listen on")]
    {
        let ended = place.run(&format!("serve --listen {address}"), &[]);
        ended.refused(69, says);
        ended.refused(69, "end what listens there or choose another address");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_73_and_one_that_is_not_permitted_77() {
    let place = Place::new();
    place.write("file", "");
    serve_ends(&place, "--data-dir file/data", 73, "can't create file/data (--data-dir, THALWEG_DATA_DIR)");

    fs::set_permissions(place.0.path(), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(place.path("closed")).unwrap();
    fs::set_permissions(place.path("closed"), Permissions::from_mode(0o555)).unwrap();
    // The binary itself may stand where only the user of the tests can read.
    fs::copy(env!("CARGO_BIN_EXE_thalweg"), place.path("thalweg")).unwrap();
    let mut command = Command::new(place.path("thalweg"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "closed/data"]);
    command.env_clear().current_dir(place.0.path());
    if fs::metadata(place.path("closed")).unwrap().uid() == 0 {
        // To root everything is permitted.
        command.uid(NOBODY).gid(NOBODY);
    }
    Ended::of(&command.output().unwrap()).refused(77, "can't create closed/data");
}

#[test]
fn what_cannot_be_read_or_written_is_74() {
    let place = Place::new();
    fs::create_dir_all(place.path("data/store/FORMAT")).unwrap();
    serve_ends(&place, "--data-dir data", 74, "can't open the store in data");
    let place = Place::new();
    fs::create_dir_all(place.path("data/token-secret")).unwrap();
    serve_ends(&place, "--data-dir data", 74, "data/token-secret can't be read or written");
    let place = Place::new();
    fs::create_dir_all(place.path("data/lock")).unwrap();
    serve_ends(&place, "--data-dir data", 74, "can't write in data");
}

#[test]
fn a_directory_in_use_is_75() {
    let server = Server::start();
    let line = format!("--data-dir {}", server.data_dir().display());
    serve_ends(&Place::new(), &line, 75, "is in use by another process");
}

#[test]
fn a_second_signal_ends_at_once_with_128_and_its_number() {
    for (second, code) in [("TERM", 143), ("INT", 130)] {
        let mut server = Server::start();
        let address = server.base.strip_prefix("http://").unwrap().to_owned();
        // A request that is never finished: the stop waits for it.
        let mut half = TcpStream::connect(&address).unwrap();
        let head = "POST /users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                    Content-Length: 99\r\nExpect: 100-continue\r\n\r\n";
        half.write_all(head.as_bytes()).unwrap();
        // Once it asks for the body, the request is in flight.
        half.read_exact(&mut [0; "HTTP/1.1 100 Continue\r\n\r\n".len()]).unwrap();
        server.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&address).is_ok() {
            assert!(Instant::now() < deadline, "the listener is closed once a stop has begun");
        }
        server.signal(second);
        assert_eq!(server.exit_code(), Some(code), "{second}");
    }
}
