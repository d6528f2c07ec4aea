//! `thalweg-pipeline-bench`: answers written questions about a server, as ratios within one run.
//!
//! An absolute figure is only ever printed beside the ratio that gives it a meaning: what a bare part does on the same
//! machine, in the same minute, under the same client. The method is in `bench/README.md`.

mod bare;
mod bare_cql;
mod bare_ingest;
mod engines;
mod finding;
mod footprint;
mod load;
mod machine;
mod reads;
mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::runtime::Builder;

use crate::finding::Findings;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures a server against bare parts, in several rounds that alternate.
#[derive(Debug, Parser)]
#[command(name = "thalweg-pipeline-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    bench: Bench,
    #[command(subcommand)]
    bare: Option<Bare>,
}

/// The bare parts: each a process of its own, started by the bench.
#[derive(Debug, Subcommand)]
enum Bare {
    /// Reads a published body and answers 202.
    #[command(hide = true, name = "bare-responder")]
    Responder,
    /// Writes rows to fjall in batches, and prints how many seconds it took.
    #[command(hide = true, name = "bare-store")]
    Store {
        #[arg(long)]
        rows: u64,
        #[arg(long)]
        directory: PathBuf,
    },
    /// Checks packs as the server does, and keeps none.
    #[command(hide = true, name = "bare-ingest")]
    Ingest,
    /// Takes deliveries, and counts them.
    #[command(hide = true, name = "bare-receiver")]
    Receiver,
    /// Sends bodies as fast as it can.
    #[command(hide = true, name = "bare-sender")]
    Sender {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        bytes: usize,
    },
    /// Writes rows to a CQL database in batches, and prints how many seconds it took.
    #[command(hide = true, name = "bare-cql")]
    Cql {
        #[arg(long)]
        rows: u64,
        #[arg(long, env = "THALWEG_CQL_NODES", value_delimiter = ',', required = true)]
        nodes: Vec<String>,
    },
}

/// What is measured, and for how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct Bench {
    /// The server's program, built with --release.
    #[arg(long, default_value = "target/release/thalweg", value_name = "FILE")]
    pub(crate) server: PathBuf,
    /// Rounds of each comparison; a result is their median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// How long one side of a round publishes.
    #[arg(long, default_value = "4s", value_parser = humantime::parse_duration)]
    pub(crate) time: Duration,
    /// Connections that publish.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Records in the channel that is read.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) records: u64,
    /// Answer this question only; may be given again.
    #[arg(long, value_enum)]
    only: Vec<Question>,
    /// Write the results to bench/results/ as well.
    #[arg(long)]
    save: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Question {
    /// Packs of one record, against a bare responder.
    Accept,
    /// Packs of 100 records, against a bare store.
    Store,
    /// Pages of a large channel, and starting with it.
    Reads,
    /// Starting fresh, idle memory, size.
    Footprint,
    /// What webhooks deliver, and what they cost those who publish.
    Webhooks,
    /// A cluster against what its engines cost by themselves. Asked only if it is named: it takes a cluster, `deploy/cluster
    /// with --each 4 -- thalweg-pipeline-bench --only engines`.
    Engines,
    /// The first part of this: packs on Kafka.
    EnginesAccept,
    /// The second part: writers that find a backlog.
    EnginesCatchUp,
}

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("thalweg-pipeline-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The client takes one thread, to leave as much as it can to what is measured; a responder takes all, as the server does.
fn start(cli: Cli) -> anyhow::Result<()> {
    match cli.bare {
        None => Builder::new_current_thread().enable_all().build()?.block_on(run(cli.bench)),
        Some(Bare::Responder) => Builder::new_multi_thread().enable_all().build()?.block_on(bare::respond()),
        Some(Bare::Store { rows, directory }) => bare::store(rows, &directory),
        Some(Bare::Ingest) => {
            Builder::new_multi_thread().enable_all().build()?.block_on(bare_ingest::serve())
        }
        Some(Bare::Receiver) => {
            Builder::new_multi_thread().enable_all().build()?.block_on(webhooks::receive())
        }
        Some(Bare::Sender { to, bytes }) => {
            Builder::new_multi_thread().enable_all().build()?.block_on(webhooks::send(to, bytes))
        }
        Some(Bare::Cql { rows, nodes }) => {
            Builder::new_multi_thread().enable_all().build()?.block_on(bare_cql::store(rows, &nodes))
        }
    }
}

async fn run(bench: Bench) -> anyhow::Result<()> {
    let asked = |question| bench.only.is_empty() || bench.only.contains(&question);
    let mut findings = Findings::of(machine::describe(&bench).await?);
    if asked(Question::Accept) {
        load::packs_of_one(&bench, &mut findings).await?;
    }
    if asked(Question::Store) {
        load::packs_of_hundred(&bench, &mut findings).await?;
    }
    if asked(Question::Reads) {
        reads::pages(&bench, &mut findings).await?;
    }
    if asked(Question::Footprint) {
        footprint::fresh(&bench, &mut findings).await?;
    }
    if asked(Question::Webhooks) {
        webhooks::all(&bench, &mut findings).await?;
    }
    if bench.only.contains(&Question::EnginesAccept) {
        engines::accepting(&bench, &mut findings).await?;
    }
    if bench.only.contains(&Question::EnginesCatchUp) {
        engines::catching_up(&bench, &mut findings).await?;
    }
    if bench.only.contains(&Question::Engines) {
        engines::all(&bench, &mut findings).await?;
    }
    println!("\n{findings}");
    if bench.save {
        println!("\nsaved as {}", findings.save()?.display());
    }
    Ok(())
}
