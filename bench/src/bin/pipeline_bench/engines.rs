//! How much of what real engines could take does a cluster take, with every promise kept?
//!
//! Engines, roles and client share one machine: what a role takes, an engine lacks. So nothing here says how fast a cluster is,
//! only what the pipeline adds to what its engines cost.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper::Method;
use thalweg_bench::api::Fleet;
use thalweg_bench::cluster::{Cluster, Fault};
use thalweg_bench::http::Connection;
use thalweg_bench::ledger::{Ledger, Plan, PublishReport};
use thalweg_bench::server::Launch;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::Bench;
use crate::finding::{Findings, Goal};
use crate::load::{SETTLE, THINGS, WARM_UP, publish, verified};

/// Connections of the comparison with no log: so many requests wait for the log together.
const CONNECTIONS: usize = 1_024;
/// A broker compiles what it runs while it runs it, and takes a core for that at first.
const BROKER_WARM_UP: Duration = Duration::from_secs(15);
/// The same of a database, of which both sides take their part.
const DATABASE_WARM_UP: Duration = Duration::from_secs(60);
/// Processes of each role in the cluster.
const WRITERS: u32 = 4;
const WEBHOOKS: [&str; 4] = ["webhooks-1", "webhooks-2", "webhooks-3", "webhooks-4"];
/// How often a writer's counters are read while it catches up.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a publish costs on Kafka.
pub(crate) async fn accepting(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let cluster = Cluster::from_environment(Path::new("deploy/cluster"))?;
    accept(bench, &cluster, findings).await
}

/// How fast writers catch up.
pub(crate) async fn catching_up(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let cluster = Cluster::from_environment(Path::new("deploy/cluster"))?;
    catch_up(bench, &cluster, findings).await
}

/// Everything that is asked about a cluster.
pub(crate) async fn all(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let cluster = Cluster::from_environment(Path::new("deploy/cluster"))?;
    accept(bench, &cluster, findings).await?;
    catch_up(bench, &cluster, findings).await?;
    pipeline(bench, &cluster, findings).await
}

/// Packs of one record by many connections, against the same ingest with nothing in the log's place. Who reads the log rests:
/// writers are measured by themselves, and nothing reads what the other side takes.
async fn accept(bench: &Bench, cluster: &Cluster, findings: &mut Findings) -> anyhow::Result<()> {
    let bench = &Bench { connections: CONNECTIONS, ..bench.clone() };
    let ledger = ledger(cluster, 1).await?;
    let bare = Launch {
        program: std::env::current_exe()?,
        arguments: vec!["bare-ingest".to_owned()],
        ..Launch::serve(&bench.server, Path::new(""))
    };
    let (bare, ready) = bare.start().await?;
    let fleet = Fleet::made_up(1, THINGS as usize);
    let bare_ledger = Arc::new(Ledger::new(ready.address, ledger.plan().clone(), fleet));
    let readers_of_the_log = [writers(WRITERS), WEBHOOKS.to_vec()].concat();
    cluster.fault(Fault::Kill, &readers_of_the_log).await?;
    let ingest = cluster.address_of("ingest-1")?;
    publish_to(bench, &ledger, ingest, BROKER_WARM_UP).await?;
    publish(bench, &bare_ledger, WARM_UP).await?;

    let (mut ratios, mut sides) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let ours = publish_to(bench, &ledger, ingest, bench.time).await?;
        let theirs = publish(bench, &bare_ledger, bench.time).await?;
        ratios.push(ours.packs_per_second() / theirs.packs_per_second());
        sides.push((ours, theirs));
    }
    bare.end().await?;
    cluster.fault(Fault::Restart, &readers_of_the_log).await?;
    settle(cluster, &ledger).await?;
    verified(&ledger).await?;

    let (ours, theirs) = &sides[sides.len() / 2];
    let absolute = format!(
        "e.g. {:.0} against {:.0} packs/s; p50 {:.1}, p99 {:.1} ms against {:.1}, {:.1} ms",
        ours.packs_per_second(),
        theirs.packs_per_second(),
        ours.latency.p50,
        ours.latency.p99,
        theirs.latency.p50,
        theirs.latency.p99,
    );
    findings.add("packs/s on Kafka / with no log, 1,024 connections", Goal::AtLeast(0.5), ratios, absolute);
    Ok(())
}

/// Writers that find a backlog of packs of 100 records, against bare batches of as many rows to the same database.
async fn catch_up(bench: &Bench, cluster: &Cluster, findings: &mut Findings) -> anyhow::Result<()> {
    warm_up(bench, cluster).await?;
    for count in [1, 2, WRITERS] {
        let (mut ratios, mut rates, mut costs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.rounds {
            let (ours, records) = backlog_drained(bench, cluster, count).await?;
            let bare = records as f64 / bare(records).await?;
            ratios.push(ours.records_per_second / bare);
            rates.push((ours.records_per_second, bare));
            costs.push(ours.cpu_seconds * 1e6 / records as f64);
        }
        let (ours, bare) = rates[rates.len() / 2];
        let absolute = format!(
            "e.g. {ours:.0} against {bare:.0} records/s; {:.1} µs of the writers' processors a record",
            costs[costs.len() / 2]
        );
        let (question, goal) = match count {
            1 => ("records/s of 1 writer / bare CQL batches", Goal::AtLeast(0.85)),
            2 => ("the same of 2 writers", Goal::None),
            _ => ("the same of 4 writers", Goal::None),
        };
        findings.add(question, goal, ratios, absolute);
    }
    Ok(())
}

/// A database compiles what it runs while it runs it: without this, who comes first would pay for it.
async fn warm_up(bench: &Bench, cluster: &Cluster) -> anyhow::Result<()> {
    let until = Instant::now() + DATABASE_WARM_UP;
    while Instant::now() < until {
        let (_, records) = backlog_drained(bench, cluster, 1).await?;
        bare(records).await?;
    }
    Ok(())
}

/// Publishes with no writer at work, and has so many of them store it: what came of that, and how many records it were.
async fn backlog_drained(bench: &Bench, cluster: &Cluster, count: u32) -> anyhow::Result<(Drained, u64)> {
    let ledger = ledger(cluster, 100).await?;
    cluster.fault(Fault::Kill, &writers(WRITERS)).await?;
    let backlog = publish_to(bench, &ledger, cluster.address_of("ingest-1")?, bench.time).await?;
    let drained = drain(cluster, count, backlog.records_acknowledged).await?;
    settle(cluster, &ledger).await?;
    cluster.fault(Fault::Restart, &writers(WRITERS)).await?;
    verified(&ledger).await?;
    Ok((drained, backlog.records_acknowledged))
}

/// From a request to the store, packs of 100 records, with all of the cluster at work.
async fn pipeline(bench: &Bench, cluster: &Cluster, findings: &mut Findings) -> anyhow::Result<()> {
    let ledger = ledger(cluster, 100).await?;
    let (mut of_bare, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let ours = publish_to(bench, &ledger, cluster.address_of("ingest-1")?, bench.time).await?;
        let wait = settle(cluster, &ledger).await?;
        let stored = ours.records_acknowledged as f64 / (ours.seconds + wait.as_secs_f64());
        let bare = ours.records_acknowledged as f64 / bare(ours.records_acknowledged).await?;
        of_bare.push(stored / bare);
        rates.push((ours.records_per_second(), stored, bare));
    }
    verified(&ledger).await?;
    let (accepted, stored, bare) = rates[rates.len() / 2];
    let absolute = format!("e.g. {stored:.0} stored, {accepted:.0} accepted, {bare:.0} bare records/s");
    findings.add("records/s of the whole pipeline / bare CQL batches", Goal::None, of_bare, absolute);
    Ok(())
}

/// What came of a backlog.
struct Drained {
    records_per_second: f64,
    /// Of all writers that took part.
    cpu_seconds: f64,
}

/// Starts writers, and measures from the first record that they store to the last.
async fn drain(cluster: &Cluster, count: u32, records: u64) -> anyhow::Result<Drained> {
    let nodes = writers(count);
    cluster.fault(Fault::Restart, &nodes).await?;
    let addresses: Vec<_> =
        nodes.iter().map(|node| cluster.address_of(node)).collect::<anyhow::Result<_>>()?;
    let mut began: Option<(Instant, u64)> = None;
    let give_up = Instant::now() + SETTLE;
    loop {
        let (mut stored, mut cpu_seconds) = (0, 0.0);
        for address in &addresses {
            let metrics = metrics(*address).await?;
            stored += metric(&metrics, "writer_records_total")? as u64;
            cpu_seconds += metric(&metrics, "process_cpu_seconds_total")?;
        }
        let now = Instant::now();
        if stored >= records {
            let (since, before) =
                began.context("the backlog was stored before it was looked at: publish for longer")?;
            let rate = (stored - before) as f64 / (now - since).as_secs_f64();
            return Ok(Drained { records_per_second: rate, cpu_seconds });
        }
        ensure!(now < give_up, "{stored} of {records} records were stored within {SETTLE:?}");
        if stored > 0 && began.is_none() {
            began = Some((now, stored));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn metrics(address: SocketAddr) -> anyhow::Result<String> {
    let mut connection = Connection::open(address).await?;
    let answer = connection.call(Method::GET, "/metrics", None, None).await?;
    Ok(String::from_utf8(answer.body.to_vec())?)
}

fn metric(metrics: &str, name: &str) -> anyhow::Result<f64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("a writer has no {name}"))?.parse()?)
}

fn writers(count: u32) -> Vec<&'static str> {
    ["writer-1", "writer-2", "writer-3", "writer-4"].into_iter().take(count as usize).collect()
}

/// A fleet that the cluster knows, and a ledger of packs of so many records. Reads go to the proxy.
async fn ledger(cluster: &Cluster, records: u32) -> anyhow::Result<Arc<Ledger>> {
    let plan = Plan { run: rand::random(), channels: 1, things: THINGS, records_per_pack: records };
    Ok(Arc::new(Ledger::set_up(cluster.front, &cluster.admin, plan, None).await?))
}

/// Publishes past the proxy, which would be measured with it.
async fn publish_to(
    bench: &Bench,
    ledger: &Arc<Ledger>,
    ingest: SocketAddr,
    time: Duration,
) -> anyhow::Result<PublishReport> {
    let reads = ledger.target();
    ledger.retarget(ingest);
    let published = publish(bench, ledger, time).await;
    ledger.retarget(reads);
    published
}

/// Waits until all that was acknowledged is stored.
async fn settle(cluster: &Cluster, ledger: &Ledger) -> anyhow::Result<Duration> {
    ledger.retarget(cluster.front);
    ledger.settled(Instant::now() + SETTLE).await
}

/// Seconds that bare batches of so many rows take.
async fn bare(rows: u64) -> anyhow::Result<f64> {
    let bare = Command::new(std::env::current_exe()?)
        .args(["bare-cql", "--rows", &rows.to_string()])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = timeout(SETTLE, bare).await.context("bare batches take for ever")??;
    ensure!(output.status.success(), "the bare store ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("the bare store printed {text:?}"))
}
