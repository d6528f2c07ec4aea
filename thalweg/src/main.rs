//! The `thalweg` binary: reads the command line and the settings, and runs what they say.

mod banner;
mod cli;
mod config;
mod dead_letters;
mod demo;
mod described;
mod exit;
mod migrate;
mod open_files;
mod operation;
mod serve;

use std::process::ExitCode;

use service::telemetry::Format;
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};
use crate::config::environment::Environment;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    exit::ended_by(run)
}

fn run() -> anyhow::Result<()> {
    let (Cli { command }, report) = config::load(std::env::args_os(), &Environment::of_process())?;
    let (log_filter, log_format) = match &command {
        Command::Serve(configured) => (&configured.settings.log_filter, configured.settings.log_format),
        Command::Migrate(configured) => (&configured.settings.log_filter, configured.settings.log_format),
        Command::DeadLetters(command) => {
            let settings = &command.configured().settings;
            (&settings.log_filter, settings.log_format)
        }
        Command::Demo(settings) => (&settings.log_filter, Format::Auto),
        Command::Config(command) => return config::show::run(command, &report),
    };
    service::telemetry::start(log_filter, log_format)
        .map_err(|error| anyhow::anyhow!("{error}").context("logging can't be started"))?;
    report.log();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(serve::cancel_on_signal(shutdown.clone()));
        match command {
            Command::Serve(configured) => serve::run(configured.settings, shutdown).await,
            Command::Migrate(configured) => migrate::run(&configured.settings).await,
            Command::DeadLetters(command) => command.run().await,
            Command::Demo(settings) => demo::run(settings, shutdown).await,
            Command::Config(_) => Ok(()),
        }
    })
}
