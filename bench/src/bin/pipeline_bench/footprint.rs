//! How soon is a server there, and what does it take while it does nothing?

use std::time::Duration;

use thalweg_bench::server::{Launch, Server};
use tokio::time::sleep;

use crate::Bench;
use crate::finding::{Findings, Goal};

/// How long a server is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(1);

/// Starts on empty directories.
pub(crate) async fn fresh(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let (mut seconds, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let data = tempfile::tempdir()?;
        let (server, ready) = Launch::serve(&bench.server, &data.path().join("data")).start().await?;
        seconds.push(ready.after.as_secs_f64());
        memory.push(idle_mebibytes(&server).await?);
        server.end().await?;
    }
    findings.add("seconds until a fresh server is ready", Goal::AtMost(0.5), seconds, String::new());
    findings.add("MiB resident, fresh and idle", Goal::AtMost(64.0), memory, String::new());
    let size = std::fs::metadata(&bench.server)?.len() as f64 / f64::from(1 << 20);
    findings.add("MiB of the binary", Goal::None, vec![size], String::new());
    Ok(())
}

/// Starts on a directory that holds many records, after a clean end and after a kill.
pub(crate) async fn with_records(
    bench: &Bench,
    launch: &Launch,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let (mut after_end, mut after_kill, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let (server, ready) = launch.start().await?;
        after_end.push(ready.after.as_secs_f64());
        memory.push(idle_mebibytes(&server).await?);
        server.kill().await?;
        let (server, ready) = launch.start().await?;
        after_kill.push(ready.after.as_secs_f64());
        server.end().await?;
    }
    let stored = format!("with {} records stored", bench.records);
    findings.add("seconds until ready, after a clean end", Goal::AtMost(2.0), after_end, stored.clone());
    findings.add("seconds until ready, after a kill", Goal::AtMost(2.0), after_kill, stored.clone());
    findings.add("MiB resident, idle after a start", Goal::AtMost(64.0), memory, stored);
    Ok(())
}

async fn idle_mebibytes(server: &Server) -> anyhow::Result<f64> {
    sleep(IDLE).await;
    Ok(server.resident_bytes()? as f64 / f64::from(1 << 20))
}
