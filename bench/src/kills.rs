//! Ends a server under load, again and again on the same data, and then looks for what is lost: by SIGKILL, or in good order by
//! SIGTERM.
//!
//! The moments follow from a seed and from how much was acknowledged, so that a fast machine and a slow one kill at
//! like places. Only processes started here are killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ledger, Load, Pace, Plan, PublishReport, Verdict};
use crate::server::{Launch, Server};

/// How long a server may take to acknowledge the packs that a kill waits for, before it counts as stuck.
const PROGRESS_WAIT_MAX: Duration = Duration::from_secs(60);
/// A kill right after an acknowledgement would always hit the same place of a server's loop: it comes up to this later.
const KILL_DELAY_MICROS_MAX: u64 = 20_000;
/// A kill of a server that is starting comes up to this long after its start.
const START_KILL_MICROS_MAX: u64 = 300_000;

/// Packs acknowledged between two ends in good order, at least: by then every connection is open, and whatever breaks is the end's
/// doing.
const PACKS_BEFORE_STOP_MIN: u64 = 500;

/// How a server is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGKILL, sometimes before it is ready.
    Kill,
    /// SIGTERM, and it has to end with success.
    Stop,
}

/// How to kill.
#[derive(Debug, Clone)]
pub struct Kills {
    /// With which signal.
    pub ending: Ending,
    /// How often.
    pub kills: u32,
    /// What the moments follow from.
    pub seed: u64,
    /// Packs acknowledged between two kills, at most; the least is one.
    pub packs_between_max: u64,
    /// Channels that are published to.
    pub channels: u32,
    /// Things that publish.
    pub things: u32,
    /// Connections that they publish over.
    pub connections: usize,
    /// Records of one pack.
    pub records_per_pack: u32,
    /// How long everything acknowledged may take to be stored, after the last start.
    pub settle: Duration,
    /// Arguments for the server besides those of [`Launch::serve`].
    pub arguments: Vec<String>,
    /// Where the data goes; without a directory, into one that is deleted afterwards.
    pub data: Option<PathBuf>,
}

impl Kills {
    /// So many kills, of a load that small machines bear.
    pub fn new(kills: u32, seed: u64) -> Self {
        Self {
            ending: Ending::Kill,
            kills,
            seed,
            packs_between_max: 4_000,
            channels: 2,
            things: 16,
            connections: 32,
            records_per_pack: 3,
            settle: Duration::from_secs(60),
            arguments: Vec::new(),
            data: None,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct KillReport {
    /// What the moments followed from: the same seed kills after the same acknowledgements.
    pub seed: u64,
    /// Kills of a server under load.
    pub kills_under_load: u32,
    /// Kills of a server that was not ready yet.
    pub kills_at_start: u32,
    /// The longest that an end in good order took, in seconds.
    pub stop_seconds_max: f64,
    /// The longest that a start on the killed server's data took, in seconds.
    pub ready_seconds_max: f64,
    /// Everything that was published, over all kills.
    pub published: PublishReport,
    /// What was read back after the last start.
    pub verdict: Verdict,
}

/// Starts `program` as `thalweg serve`, publishes to it, kills it `kills.kills` times and starts it again on the same data,
/// ends it in good order once, and reads everything back.
///
/// # Errors
/// When the server does not start, ends by itself, makes no progress, refuses the set-up, or does not end with success
/// after SIGTERM. What it lost or made up is no error, but in the verdict.
pub async fn kill_test(program: &Path, kills: &Kills) -> anyhow::Result<KillReport> {
    let temporary = tempfile::tempdir()?;
    let data = kills.data.clone().unwrap_or_else(|| temporary.path().join("data"));
    let mut launch = Launch::serve(program, &data);
    launch.arguments.extend(kills.arguments.iter().cloned());
    let mut random = StdRng::seed_from_u64(kills.seed);
    let (server, ready) = launch.start().await?;
    let plan = Plan {
        run: random.random(),
        channels: kills.channels,
        things: kills.things,
        records_per_pack: kills.records_per_pack,
    };
    let ledger = Arc::new(Ledger::set_up(ready.address, &launch.admin, plan, None).await?);

    let stop = CancellationToken::new();
    let publishing = tokio::spawn({
        let (ledger, stop, connections) = (Arc::clone(&ledger), stop.clone(), kills.connections);
        // Every pack of unknown fate is sent again: a server that can't tell that it has it already will double it.
        let load = Load { connections, pace: Pace::Closed, packs: None, duration: None, resend: true };
        async move { ledger.publish(&load, stop).await }
    });
    let killed = Killing { launch: &launch, ledger: &ledger, random, kills }.run(server).await;
    stop.cancel();
    let published = publishing.await.context("publishing panicked")??;
    let mut killed = killed?;

    // A clean end must keep as much as a kill does.
    killed.stop_max = killed.stop_max.max(end_in_order(killed.server).await?);
    let (server, ready) = launch.start().await?;
    killed.ready_max = killed.ready_max.max(ready.after);
    ledger.retarget(ready.address);
    let verdict = ledger.verify(kills.settle).await;
    let verdict = verdict.with_context(|| format!("the server printed:\n{}", server.printed()))?;
    server.end().await?;
    Ok(KillReport {
        seed: kills.seed,
        kills_under_load: killed.under_load,
        kills_at_start: killed.at_start,
        stop_seconds_max: killed.stop_max.as_secs_f64(),
        ready_seconds_max: killed.ready_max.as_secs_f64(),
        published,
        verdict,
    })
}

struct Killing<'a> {
    launch: &'a Launch,
    ledger: &'a Ledger,
    random: StdRng,
    kills: &'a Kills,
}

struct Killed {
    server: Server,
    under_load: u32,
    at_start: u32,
    ready_max: Duration,
    stop_max: Duration,
}

/// Ends a server in good order: how long it took.
async fn end_in_order(server: Server) -> anyhow::Result<Duration> {
    let asked = Instant::now();
    let status = server.end().await?;
    if !status.success() {
        bail!("the server ended with {status} after SIGTERM");
    }
    Ok(asked.elapsed())
}

impl Killing<'_> {
    async fn run(mut self, server: Server) -> anyhow::Result<Killed> {
        let mut killed = Killed {
            server,
            under_load: 0,
            at_start: 0,
            ready_max: Duration::ZERO,
            stop_max: Duration::ZERO,
        };
        let mut acknowledged = self.ledger.acknowledged();
        while killed.under_load + killed.at_start < self.kills.kills {
            self.progress(&mut acknowledged).await.with_context(|| {
                format!(
                    "after {} kills; the server printed:\n{}",
                    killed.under_load + killed.at_start,
                    killed.server.printed()
                )
            })?;
            self.delay(KILL_DELAY_MICROS_MAX).await;
            match self.kills.ending {
                Ending::Kill => killed.server.kill().await?,
                Ending::Stop => killed.stop_max = killed.stop_max.max(end_in_order(killed.server).await?),
            }
            killed.under_load += 1;
            // Recovery is where a half-written end is met: one start in four is killed as well.
            while self.kills.ending == Ending::Kill
                && killed.under_load + killed.at_start < self.kills.kills
                && self.random.random_ratio(1, 4)
            {
                let starting = self.launch.spawn()?;
                self.delay(START_KILL_MICROS_MAX).await;
                starting.kill().await?;
                killed.at_start += 1;
            }
            let (server, ready) = self.launch.start().await?;
            killed.server = server;
            killed.ready_max = killed.ready_max.max(ready.after);
            self.ledger.retarget(ready.address);
        }
        // The last start, too, must take what comes.
        self.progress(&mut acknowledged).await?;
        Ok(killed)
    }

    /// Waits until a random number of packs more is acknowledged.
    async fn progress(&mut self, acknowledged: &mut watch::Receiver<u64>) -> anyhow::Result<()> {
        let least = match self.kills.ending {
            Ending::Kill => 1,
            Ending::Stop => PACKS_BEFORE_STOP_MIN.min(self.kills.packs_between_max),
        };
        let more = self.random.random_range(least..=self.kills.packs_between_max);
        let wanted = *acknowledged.borrow() + more;
        let reached = timeout(PROGRESS_WAIT_MAX, acknowledged.wait_for(|count| *count >= wanted)).await;
        let reached = reached.map(|count| count.map(|_| ()));
        match reached {
            Ok(reached) => reached.context("the ledger is gone"),
            Err(_) => {
                let missing = wanted.saturating_sub(*acknowledged.borrow());
                bail!("{missing} of {more} packs were not acknowledged within {PROGRESS_WAIT_MAX:?}")
            }
        }
    }

    async fn delay(&mut self, micros_max: u64) {
        sleep(Duration::from_micros(self.random.random_range(0..micros_max))).await;
    }
}
