//! A server under test as a child process: started, waited for, ended politely or killed.
//!
//! Only ever ends the process that it started itself, through the handle of that child.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::Login;
use crate::http::Connection;

/// How long a server may take to listen and be ready, with any amount of data.
const READY_WAIT_MAX: Duration = Duration::from_secs(120);
/// How long a server may take to end after SIGTERM: it promises 25 s.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks at whether a server is ready: small beside the times that are measured.
const READY_POLL_PAUSE: Duration = Duration::from_millis(2);
/// Lines of its output that are kept for an error message.
const LINES_KEPT: usize = 20;
/// What a server prints once it listens, followed by the port.
const LISTENS_AT: &str = "http://127.0.0.1:";

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The admin that its first start creates.
    pub admin: Login,
}

impl Launch {
    /// `thalweg serve` on a free port, with its data in `data`.
    pub fn serve(program: &Path, data: &Path) -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir"].map(String::from);
        let data = data.to_string_lossy().into_owned();
        Self {
            program: program.to_owned(),
            arguments: arguments.into_iter().chain([data]).collect(),
            admin: Login {
                email: "admin@example.com".to_owned(),
                password: "a password for one run".to_owned(),
            },
        }
    }

    /// Starts the process, without waiting for anything.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn spawn(&self) -> anyhow::Result<Server> {
        // Before the fork: what the system takes to load the program is part of a start.
        let started = Instant::now();
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env("THALWEG_ADMIN_EMAIL", &self.admin.email)
            .env("THALWEG_ADMIN_PASSWORD", &self.admin.password)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {}", self.program.display()))?;
        let lines = Arc::new(Mutex::new(VecDeque::with_capacity(LINES_KEPT)));
        let (found, address) = mpsc::channel(1);
        let stdout = child.stdout.take().context("the child has no standard output")?;
        let stderr = child.stderr.take().context("the child has no standard error")?;
        tokio::spawn(follow(stdout, Arc::clone(&lines), found.clone()));
        tokio::spawn(follow(stderr, Arc::clone(&lines), found));
        Ok(Server { child, started, address, lines })
    }

    /// Starts the process and waits until it answers 200 to `GET /readyz`: where it listens, and how long it took.
    ///
    /// # Errors
    /// When it ends before that, or takes longer than any server may.
    pub async fn start(&self) -> anyhow::Result<(Server, Ready)> {
        let mut server = self.spawn()?;
        let ready = server.ready().await?;
        Ok((server, ready))
    }
}

/// A server that is ready.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// Where it listens.
    pub address: SocketAddr,
    /// Time from its start until it was ready.
    pub after: Duration,
}

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    started: Instant,
    address: mpsc::Receiver<SocketAddr>,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    /// Waits until the server listens and is ready.
    ///
    /// # Errors
    /// When it ends before that, or takes longer than any server may; the error holds the last lines it printed.
    pub async fn ready(&mut self) -> anyhow::Result<Ready> {
        let deadline = self.started + READY_WAIT_MAX;
        let address = match timeout_at(deadline, self.address.recv()).await {
            Ok(Some(address)) => address,
            Ok(None) => bail!("the server ended before it listened; it printed:\n{}", self.printed()),
            Err(_) => bail!(
                "no line with {LISTENS_AT}<port> within {READY_WAIT_MAX:?}; it printed:\n{}",
                self.printed()
            ),
        };
        while !answers_ready(address).await {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended ({status}) before it was ready; it printed:\n{}", self.printed());
            }
            if Instant::now() > deadline {
                bail!("the server was not ready within {READY_WAIT_MAX:?}; it printed:\n{}", self.printed());
            }
            sleep(READY_POLL_PAUSE).await;
        }
        Ok(Ready { address, after: self.started.elapsed() })
    }

    /// Id of the process, as long as it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let id = self.id().context("the server has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// When it had ended already: nobody asked it to.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server had ended by itself ({status}); it printed:\n{}", self.printed());
        }
        self.child.kill().await.context("can't kill the server")
    }

    /// SIGTERM, and waits until the process has drained.
    ///
    /// # Errors
    /// When it had ended already or takes longer than any server may.
    pub async fn end(mut self) -> anyhow::Result<ExitStatus> {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let id =
            id.with_context(|| format!("the server had ended by itself; it printed:\n{}", self.printed()))?;
        kill_process(id, Signal::TERM).context("can't signal the server")?;
        match timeout(DRAIN_WAIT_MAX, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                bail!("the server did not end within {DRAIN_WAIT_MAX:?} of SIGTERM:\n{}", self.printed())
            }
        }
    }

    /// The last lines that it printed.
    pub fn printed(&self) -> String {
        let lines = self.lines.lock().expect("nothing panics while it holds the lines");
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }
}

async fn answers_ready(address: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(address).await else { return false };
    let answer = connection.call(Method::GET, "/readyz", None, None).await;
    answer.is_ok_and(|answer| answer.status == StatusCode::OK)
}

/// Reads a stream to its end, so that the server never blocks on it; tells the first address that it names.
async fn follow(
    stream: impl AsyncRead + Unpin,
    kept: Arc<Mutex<VecDeque<String>>>,
    found: mpsc::Sender<SocketAddr>,
) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = listens_at(&line) {
            let _ = found.try_send(address);
        }
        let mut kept = kept.lock().expect("nothing panics while it holds the lines");
        if kept.len() == LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

/// The address in a line, unless it is the one that asks for any port.
fn listens_at(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(LISTENS_AT)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let port = rest[..digits].parse().ok().filter(|port| *port != 0)?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_any_line_that_names_it() {
        let at = |line| listens_at(line).map(|address| address.port());
        assert_eq!(at("INFO listening on http://127.0.0.1:40321/ (all APIs)"), Some(40321));
        assert_eq!(at(r#"{"message":"ready","address":"http://127.0.0.1:81"}"#), Some(81));
        assert_eq!(at("will listen on http://127.0.0.1:0"), None);
        assert_eq!(at("opening the log"), None);
    }
}
