//! What the numbers were measured on: read from the machine at run time, never written by hand.

use std::fmt;
use std::io::Write as _;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use thalweg_bench::statistics::median;
use tokio::process::Command;

use crate::Bench;

/// The machine, the commit, and the settings of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// The commit of the tree that the bench was started in, with `-dirty` if files differ from it.
    pub(crate) commit: String,
    measured_at_unix_seconds: u64,
    processor: String,
    cores: usize,
    memory: String,
    kernel: String,
    data_on: String,
    /// What one fdatasync of 4 KiB took before the first round: median and longest. A durable answer can't be sooner.
    sync_millis: (f64, f64),
    /// Name of the server's program. Where it was is nobody's business.
    server: String,
    connections: usize,
    rounds: u32,
    seconds_per_side: f64,
}

/// Looks at the machine.
///
/// # Errors
/// When no file can be written where the data goes.
pub(crate) async fn describe(bench: &Bench) -> anyhow::Result<Machine> {
    let temporary = std::env::temp_dir().display().to_string();
    let disk = output("df", &["--output=fstype,source", &temporary]).await;
    Ok(Machine {
        commit: output("git", &["describe", "--always", "--dirty", "--exclude=*"]).await,
        measured_at_unix_seconds: unix_seconds(),
        processor: line_of("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory: line_of("/proc/meminfo", "MemTotal"),
        kernel: output("uname", &["-sr"]).await,
        data_on: disk.lines().last().unwrap_or_default().to_owned(),
        sync_millis: sync_millis()?,
        server: bench.server.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        connections: bench.connections,
        rounds: bench.rounds,
        seconds_per_side: bench.time.as_secs_f64(),
    })
}

/// Appends and syncs, as a log does.
fn sync_millis() -> anyhow::Result<(f64, f64)> {
    const SYNCS: usize = 200;
    let mut file = tempfile::tempfile()?;
    let mut millis = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[0x5a; 4_096])?;
        let started = Instant::now();
        file.sync_data()?;
        millis.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    let longest = millis.iter().copied().fold(0.0, f64::max);
    Ok((median(&millis), longest))
}

#[expect(clippy::disallowed_methods, reason = "a result says when it was measured")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What a command prints, or `unknown`: a machine without it can still be measured.
async fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().await;
    let text = output.ok().filter(|output| output.status.success());
    text.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// What stands behind the colon in the first line of a file that begins with `name`.
fn line_of(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    line.map_or("unknown", str::trim).to_owned()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit, processor, cores, memory, kernel, data_on, sync_millis, server, .. } = self;
        writeln!(f, "{server} at {commit}")?;
        writeln!(f, "{processor}, {cores} cores, {memory}, {kernel}, data on {data_on}")?;
        writeln!(
            f,
            "one fdatasync of 4 KiB: median {:.2} ms, longest {:.2} ms",
            sync_millis.0, sync_millis.1
        )?;
        write!(
            f,
            "{} connections, closed loop, {} rounds of {} s a side; server, bare part and client share the machine",
            self.connections, self.rounds, self.seconds_per_side
        )
    }
}
