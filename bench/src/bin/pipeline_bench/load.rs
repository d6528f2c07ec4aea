//! How much of what bare parts could take does the server take, with every promise kept?
//!
//! Both sides get the same packs from the same client over as many connections, by turns. The ledger is verified at
//! the end: a server that is fast because it forgets has no result.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use thalweg_bench::api::Fleet;
use thalweg_bench::ledger::{Ledger, Load, Pace, Plan, PublishReport};
use thalweg_bench::server::{Launch, Server};
use tokio::process::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Bench;
use crate::finding::{Findings, Goal};

/// Things that publish: one for each of the usual 64 connections.
pub(crate) const THINGS: u32 = 64;
/// How long everything may take to be stored after a load, before the bench gives up.
pub(crate) const SETTLE: Duration = Duration::from_secs(300);
/// Both sides run for so long before the first round, unmeasured.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// Accepted, durable packs of one record, against a responder that reads the body and answers 202.
pub(crate) async fn packs_of_one(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let (server, ledger) = start(bench, data.path(), 1).await?;
    let bare = Launch {
        program: std::env::current_exe()?,
        arguments: vec!["bare-responder".to_owned()],
        ..Launch::serve(&bench.server, data.path())
    };
    let (bare, bare_ready) = bare.start().await?;
    let (things, plan) = (THINGS as usize, ledger.plan().clone());
    let bare_ledger = Arc::new(Ledger::new(bare_ready.address, plan, Fleet::made_up(1, things)));
    publish(bench, &ledger, WARM_UP).await?;
    ledger.settled(Instant::now() + SETTLE).await?;
    publish(bench, &bare_ledger, WARM_UP).await?;

    let (mut ratios, mut backlogs, mut waits, mut sides) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let ours = publish(bench, &ledger, bench.time).await?;
        let ended = Instant::now();
        let left = ledger.records_acknowledged().saturating_sub(ledger.total(&mut None).await?);
        ledger.settled(ended + SETTLE).await?;
        let wait = ended.elapsed();
        let theirs = publish(bench, &bare_ledger, bench.time).await?;
        ratios.push(ours.packs_per_second() / theirs.packs_per_second());
        backlogs.push(left as f64 / ours.records_per_second());
        waits.push(wait.as_secs_f64());
        sides.push((ours, theirs));
    }
    verified(&ledger).await?;
    bare.end().await?;
    server.end().await?;

    let (ours, theirs) = &sides[sides.len() / 2];
    let absolute = format!(
        "e.g. {:.0} against {:.0} packs/s; p50 {:.2}, p99 {:.2}, p99.9 {:.2} ms against {:.2}, {:.2}, {:.2} ms",
        ours.packs_per_second(),
        theirs.packs_per_second(),
        ours.latency.p50,
        ours.latency.p99,
        ours.latency.p99_9,
        theirs.latency.p50,
        theirs.latency.p99,
        theirs.latency.p99_9,
    );
    findings.add("durable packs of 1 record / bare axum responder", Goal::AtLeast(0.4), ratios, absolute);
    findings.add(
        "backlog when the load ends, in seconds of load",
        Goal::AtMost(1.0),
        backlogs,
        String::new(),
    );
    findings.add(
        "seconds from the end of the load until all is stored",
        Goal::AtMost(1.0),
        waits,
        String::new(),
    );
    Ok(())
}

/// Accepted and stored records in packs of 100, against bare batches to the same kind of store.
pub(crate) async fn packs_of_hundred(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let (server, ledger) = start(bench, data.path(), 100).await?;
    publish(bench, &ledger, WARM_UP).await?;
    ledger.settled(Instant::now() + SETTLE).await?;

    let (mut of_accepted, mut of_bare, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let ours = publish(bench, &ledger, bench.time).await?;
        let wait = ledger.settled(Instant::now() + SETTLE).await?;
        let stored = ours.records_acknowledged as f64 / (ours.seconds + wait.as_secs_f64());
        let bare = ours.records_acknowledged as f64 / bare_store(ours.records_acknowledged).await?;
        of_accepted.push(stored / ours.records_per_second());
        of_bare.push(stored / bare);
        rates.push((ours.records_per_second(), stored, bare));
    }
    verified(&ledger).await?;
    server.end().await?;

    let (accepted, stored, bare) = rates[rates.len() / 2];
    let absolute = format!("e.g. {stored:.0} stored, {accepted:.0} accepted records/s");
    findings.add("records/s stored / accepted, packs of 100", Goal::None, of_accepted, absolute);
    let absolute = format!("e.g. {stored:.0} against {bare:.0} records/s");
    findings.add(
        "records/s stored / bare fjall batches of 1,000 rows",
        Goal::AtLeast(0.4),
        of_bare,
        absolute,
    );
    Ok(())
}

/// A fresh server, and a ledger of packs of so many records.
pub(crate) async fn start(
    bench: &Bench,
    data: &std::path::Path,
    records: u32,
) -> anyhow::Result<(Server, Arc<Ledger>)> {
    let launch = Launch::serve(&bench.server, &data.join("data"));
    let (server, ready) = launch.start().await?;
    let plan = Plan { run: rand::random(), channels: 1, things: THINGS, records_per_pack: records };
    let ledger = Ledger::set_up(ready.address, &launch.admin, plan, None).await?;
    Ok((server, Arc::new(ledger)))
}

/// Publishes in a closed loop for a time. Every pack must be accepted: a refusal is cheaper than what is measured.
pub(crate) async fn publish(
    bench: &Bench,
    ledger: &Arc<Ledger>,
    time: Duration,
) -> anyhow::Result<PublishReport> {
    publish_at(Pace::Closed, bench, ledger, time).await
}

/// The same at a pace.
pub(crate) async fn publish_at(
    pace: Pace,
    bench: &Bench,
    ledger: &Arc<Ledger>,
    time: Duration,
) -> anyhow::Result<PublishReport> {
    let load =
        Load { connections: bench.connections, pace, packs: None, duration: Some(time), resend: false };
    let report = ledger.publish(&load, CancellationToken::new()).await?;
    let refused: u64 =
        report.answers.iter().filter(|(status, _)| **status != 202).map(|(_, count)| count).sum();
    ensure!(report.packs_acknowledged > 0, "no pack was accepted: {:?}", report.answers);
    let share = (refused + report.unanswered) as f64 / report.packs_acknowledged as f64;
    if share > 0.001 {
        bail!("{refused} packs refused and {} unanswered: {:?}", report.unanswered, report.answers);
    }
    Ok(report)
}

/// Fails unless every record that was acknowledged is there exactly once, and nothing else.
pub(crate) async fn verified(ledger: &Ledger) -> anyhow::Result<()> {
    let verdict = ledger.verify(SETTLE).await?;
    ensure!(verdict.holds(), "a server that does not keep what it accepts has no result:\n{verdict}");
    Ok(())
}

/// Seconds that bare batches of so many rows take, in a directory of their own.
async fn bare_store(rows: u64) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    let output = Command::new(std::env::current_exe()?)
        .args(["bare-store", "--rows", &rows.to_string(), "--directory"])
        .arg(directory.path().join("bare"))
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(output.status.success(), "the bare store ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("the bare store printed {text:?}"))
}
