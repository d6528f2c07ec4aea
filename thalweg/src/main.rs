//! The `thalweg` binary: reads the command line, and runs what it says.

mod cli;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let Command::Serve(settings) = Cli::parse().command;
    match start(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("thalweg: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(settings: cli::Serve) -> anyhow::Result<()> {
    service::telemetry::start(&settings.log_filter)
        .map_err(|error| anyhow::anyhow!("{error}").context("--log-filter can't be used"))?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(serve::cancel_on_signal(shutdown.clone()));
        serve::run(settings, shutdown).await
    })
}
