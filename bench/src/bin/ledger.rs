//! `thalweg-ledger`: publishes a load whose every record is known, and looks whether a server kept it.
//!
//! Exit status 0: the ledger holds; 1: it does not; 2: it could not be told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use hyper::Uri;
use serde_json::json;
use thalweg_bench::api::Login;
use thalweg_bench::cluster::Cluster;
use thalweg_bench::crowd::{Crowd, CrowdReport, P99_RATIO_MAX, crowd_test, is_back};
use thalweg_bench::faults::{Done, FaultReport, Faults, OutageReport, fault_test, store_outage};
use thalweg_bench::kills::{Ending, KillReport, Kills, kill_test};
use thalweg_bench::ledger::{Ledger, Load, Pace, Plan, PublishReport, Verdict};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Publishes records that are all different, remembers what was acknowledged, and reads everything back.
#[derive(Debug, Parser)]
#[command(name = "thalweg-ledger", version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish, and end.
    Publish,
    /// Read back what an earlier `publish` with the same `--state` published.
    Verify,
    /// Publish, then read back.
    Run,
    /// Start a server, kill it under load again and again on the same data, then read back. Needs no --base.
    Soak(Soak),
    /// Start a server, and crowd it with slow and silent connections while it is published to. Needs no --base.
    Crowd(CrowdOptions),
    /// Kill, freeze and stop the nodes of a cluster under load, then read back. Run it by `deploy/cluster with`.
    Harm(HarmOptions),
}

#[derive(Args)]
struct Options {
    /// Where the server is.
    #[arg(long, global = true, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    base: Uri,
    /// Email of a user who may create things and channels.
    #[arg(
        long,
        global = true,
        env = "THALWEG_ADMIN_EMAIL",
        default_value = "admin@example.com",
        value_name = "EMAIL"
    )]
    admin_email: String,
    /// Password of that user.
    #[arg(
        long,
        global = true,
        env = "THALWEG_ADMIN_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    admin_password: Option<String>,
    /// Channels to publish to.
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    channels: u32,
    /// Things that publish, each connected to every channel.
    #[arg(long, global = true, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    things: u32,
    /// Connections, each with one pack under way.
    #[arg(long, global = true, default_value_t = 64)]
    connections: usize,
    /// Records of one pack.
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    records_per_pack: u32,
    /// Packs to publish.
    #[arg(long, global = true)]
    packs: Option<u64>,
    /// How long to publish, such as `10s`; the default without --packs is 10s.
    #[arg(long, global = true, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Packs a second (open loop): latency counts from when a pack was due. Without it each connection sends the next
    /// pack when the last one is answered (closed loop).
    #[arg(long, global = true, value_name = "PACKS_PER_SECOND")]
    rate: Option<f64>,
    /// Send a pack again until there is an answer that says what became of it.
    #[arg(long, global = true)]
    resend: bool,
    /// File that remembers what was acknowledged, so that another process can verify or go on.
    #[arg(long, global = true, value_name = "FILE")]
    state: Option<PathBuf>,
    /// How long acknowledged records may take to be stored.
    #[arg(long, global = true, default_value = "30s", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// Print one line of JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

/// Without the password.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("base", &self.base).finish_non_exhaustive()
    }
}

#[derive(Debug, Args)]
struct Soak {
    /// The server's program.
    #[arg(long, value_name = "FILE")]
    server: PathBuf,
    /// How often it is killed.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// End it by SIGTERM: no request may break, and it has to end with success.
    #[arg(long)]
    stop: bool,
    /// What the moments follow from; printed, so that a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
    /// Directory for the server's data, kept afterwards; without it a temporary one.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct HarmOptions {
    /// The script that started the cluster.
    #[arg(long, default_value = "deploy/cluster", value_name = "FILE")]
    script: PathBuf,
    /// How often a node of each kind is killed.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long the whole store is gone at the end.
    #[arg(long, default_value = "2min", value_parser = humantime::parse_duration)]
    store_gone: Duration,
}

#[derive(Debug, Args)]
struct CrowdOptions {
    /// The server's program.
    #[arg(long, value_name = "FILE")]
    server: PathBuf,
    /// Connections of the crowd.
    #[arg(long, default_value_t = 10_000)]
    size: usize,
    /// Phases without the crowd, and as many with it.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long a phase lasts.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    phase: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("thalweg-ledger: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether the ledger holds, as far as it was asked.
async fn run(cli: Cli) -> anyhow::Result<bool> {
    let Cli { options, command } = cli;
    let (published, verdict) = match command {
        Command::Soak(soak) => return soak.run(options.json, options.settle).await,
        Command::Crowd(crowd) => return crowd.run(options.json).await,
        Command::Harm(harm) => return harm.run(options.json).await,
        Command::Publish => (Some(publish(&options).await?.1), None),
        Command::Run => {
            let (ledger, published) = publish(&options).await?;
            (Some(published), Some(ledger.verify(options.settle).await?))
        }
        Command::Verify => {
            let Some(state) = &options.state else { bail!("verify needs the --state of what was published") };
            let ledger = Ledger::open(options.target().await?, state)?;
            (None, Some(ledger.verify(options.settle).await?))
        }
    };
    if options.json {
        println!("{}", json!({ "published": published, "verdict": verdict }));
    } else {
        published.iter().for_each(print_published);
        verdict.iter().for_each(|verdict| println!("ledger\n{verdict}"));
    }
    Ok(verdict.as_ref().is_none_or(Verdict::holds))
}

async fn publish(options: &Options) -> anyhow::Result<(Arc<Ledger>, PublishReport)> {
    let load = options.load()?;
    let target = options.target().await?;
    let ledger = match &options.state {
        Some(state) if state.exists() => Ledger::open(target, state)?,
        state => Ledger::set_up(target, &options.login()?, options.plan(), state.as_deref()).await?,
    };
    let ledger = Arc::new(ledger);
    let stop = CancellationToken::new();
    let interrupted = tokio::spawn({
        let stop = stop.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
        }
    });
    let published = ledger.publish(&load, stop).await?;
    interrupted.abort();
    Ok((ledger, published))
}

impl Options {
    async fn target(&self) -> anyhow::Result<SocketAddr> {
        if self.base.scheme_str() != Some("http") || !matches!(self.base.path(), "" | "/") {
            bail!("--base {} is not of the form http://host:port", self.base);
        }
        let host = self.base.host().context("--base names no host")?.trim_matches(['[', ']']);
        let mut found = tokio::net::lookup_host((host, self.base.port_u16().unwrap_or(80)))
            .await
            .with_context(|| format!("--base {}", self.base))?;
        found.next().with_context(|| format!("{host} has no address"))
    }

    fn login(&self) -> anyhow::Result<Login> {
        let password = self.admin_password.clone();
        let password = password.context("--admin-password (or THALWEG_ADMIN_PASSWORD) is missing")?;
        Ok(Login { email: self.admin_email.clone(), password })
    }

    fn plan(&self) -> Plan {
        Plan {
            run: rand::random(),
            channels: self.channels,
            things: self.things,
            records_per_pack: self.records_per_pack,
        }
    }

    fn load(&self) -> anyhow::Result<Load> {
        const DURATION_DEFAULT: Duration = Duration::from_secs(10);
        let pace = match self.rate {
            None => Pace::Closed,
            Some(rate) if rate.is_finite() && rate > 0.0 => Pace::Open(rate),
            Some(rate) => bail!("--rate {rate} is no number of packs a second"),
        };
        if self.connections == 0 {
            bail!("--connections 0 publishes nothing");
        }
        let duration = self.duration.or_else(|| self.packs.is_none().then_some(DURATION_DEFAULT));
        Ok(Load { connections: self.connections, pace, packs: self.packs, duration, resend: self.resend })
    }
}

impl Soak {
    async fn run(self, json: bool, settle: Duration) -> anyhow::Result<bool> {
        let seed = self.seed.unwrap_or_else(rand::random);
        let (ending, ends) = if self.stop { (Ending::Stop, "stops") } else { (Ending::Kill, "kills") };
        eprintln!("{} {ends} of {}, seed {seed}", self.kills, self.server.display());
        let kills = Kills { ending, data: self.data_dir, settle, ..Kills::new(self.kills, seed) };
        let report = kill_test(&self.server, &kills).await.with_context(|| format!("seed {seed}"))?;
        if json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print_soak(&report);
        }
        // In good order no connection breaks, either.
        let PublishReport { unanswered, unanswered_at_first, .. } = report.published;
        // Before its first answer a connection may be one that no server took.
        let is_orderly = ending == Ending::Kill || unanswered == unanswered_at_first;
        Ok(report.verdict.holds() && is_orderly)
    }
}

impl HarmOptions {
    /// Whether nothing was lost, nothing broke in good order, and the writers caught up.
    async fn run(self, json: bool) -> anyhow::Result<bool> {
        let cluster = Cluster::from_environment(&self.script)?;
        let faults = Faults { rounds: self.rounds, ..Faults::default() };
        let report = fault_test(&cluster, &faults).await?;
        let outage = store_outage(&cluster, &faults, self.store_gone).await?;
        if json {
            println!("{}", json!({ "harm": report, "outage": outage }));
        } else {
            print_harm(&report);
            print_outage(&outage);
        }
        Ok(report.holds() && outage.holds())
    }
}

fn print_harm(report: &FaultReport) {
    println!("harm");
    for Done { what, first_pack, seconds, progress_seconds } in &report.done {
        println!(
            "  {what:<28} {seconds:>7.2} s; the next packs, from {first_pack:>7} on, {progress_seconds:>7.2} s"
        );
    }
    print_published(&report.published);
    println!("rolling over the ingest nodes");
    print_published(&report.rolling);
    println!("ledger\n{}", report.verdict);
}

fn print_outage(report: &OutageReport) {
    println!("the store was gone");
    println!("  {} packs acknowledged meanwhile", report.acknowledged_meanwhile);
    println!(
        "  {:.0} packs/s stored afterwards while {:.0}/s arrived: {:.2}x",
        report.catch_up_rate,
        report.arrival_rate,
        report.catch_up_ratio()
    );
    print_published(&report.published);
    println!("ledger\n{}", report.verdict);
}

impl CrowdOptions {
    /// Whether publishers bear it: their p99 is within its bound, every kind is closed, and memory comes back.
    async fn run(self, json: bool) -> anyhow::Result<bool> {
        let crowd = Crowd {
            connections: self.size,
            rounds: self.rounds,
            rounds_max: self.rounds,
            phase: self.phase,
            publishers: 16,
            packs_per_second: 200.0,
            arguments: Vec::new(),
        };
        let report = crowd_test(&self.server, &crowd).await?;
        if json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print_crowd(&report);
        }
        let closed_all_kinds = report.closed.iter().all(|(_, closed)| *closed > 0);
        let is_back = is_back(report.resident_alone, report.resident_after);
        Ok(report.verdict.holds() && report.p99_ratio <= P99_RATIO_MAX && closed_all_kinds && is_back)
    }
}

fn print_crowd(report: &CrowdReport) {
    println!("crowd");
    println!(
        "  p99 ms, quiet {:.1?}, crowded {:.1?}: {:.2}x",
        report.quiet_p99, report.crowded_p99, report.p99_ratio
    );
    println!("  {} packs accepted, {} not", report.packs_acknowledged, report.packs_failed);
    println!("  closed by the server {:?}", report.closed);
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "  resident MiB with the crowd {}, after {}; with as many packs and no crowd {}",
        mib(report.resident_peak),
        mib(report.resident_after),
        mib(report.resident_alone)
    );
    println!("ledger\n{}", report.verdict);
}

fn print_published(published: &PublishReport) {
    let PublishReport {
        packs_acknowledged,
        records_acknowledged,
        answers,
        unanswered,
        unanswered_at_first,
        resent,
        seconds,
        latency,
    } = published;
    let answers: Vec<_> = answers.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    println!("published");
    println!("  {packs_acknowledged} packs, {records_acknowledged} records acknowledged in {seconds:.2} s");
    println!(
        "  {:.0} packs/s, {:.0} records/s",
        published.packs_per_second(),
        published.records_per_second()
    );
    println!(
        "  answers {}; unanswered {unanswered} ({unanswered_at_first} on new connections); sent again {resent}",
        answers.join(", ")
    );
    println!(
        "  latency ms: p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3}",
        latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max
    );
}

fn print_soak(report: &KillReport) {
    let KillReport {
        seed,
        kills_under_load,
        kills_at_start,
        stop_seconds_max,
        ready_seconds_max,
        published,
        verdict,
    } = report;
    println!("soak, seed {seed}");
    println!("  {kills_under_load} ends under load, {kills_at_start} while starting");
    println!("  the slowest end in good order took {stop_seconds_max:.3} s");
    println!("  the slowest start was ready after {ready_seconds_max:.3} s");
    print_published(published);
    println!("ledger\n{verdict}");
}
