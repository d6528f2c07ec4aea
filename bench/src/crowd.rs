//! A crowd of slow and silent connections around a few honest publishers: what do they notice, and what is left of it?
//!
//! Rounds alternate between quiet and crowded, because only what the same machine did in the same minute can be compared.
//! Whoever of the crowd is closed by the server comes back at once, for as long as the round lasts. Memory is compared with that
//! of a second server, which has as much published to it and never sees a crowd.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::{Method, StatusCode};
use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use serde::Serialize;
use serde_json::json;
use tokio::runtime::{self, Handle, Runtime};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::Thing;
use crate::http::Connection;
use crate::ledger::{Ledger, Load, Pace, Plan, Verdict};
use crate::server::{Launch, Server};
use crate::statistics::median;

mod client;

use client::{Seen, Target};

/// What publishers bear: their 99th percentile with the crowd, over the one without.
pub const P99_RATIO_MAX: f64 = 2.0;
/// How long a crowd may take to be connected.
const GATHER_MAX: Duration = Duration::from_secs(120);
/// How long memory may take to come back: the allocator keeps what is free for 10 s, in case it is asked for again.
const CALM_MAX: Duration = Duration::from_secs(60);
/// How many times faster a server without a crowd is published to: nobody asks how long its packs take.
const ALONE_PACE: f64 = 10.0;
/// Between two looks at the server's memory.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// How to crowd a server.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// Connections of the crowd.
    pub connections: usize,
    /// Rounds: each is one quiet phase and one crowded one.
    pub rounds: u32,
    /// Rounds at most: on a busy machine the first ones may say little, so there are more until the publishers bear it.
    pub rounds_max: u32,
    /// How long a phase lasts.
    pub phase: Duration,
    /// Connections that publish, meanwhile and before.
    pub publishers: usize,
    /// Packs a second that they publish.
    pub packs_per_second: f64,
    /// Arguments for the server besides those of [`Launch::serve`].
    pub arguments: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct CrowdReport {
    /// 99th percentile of the publishers' latency in milliseconds, for each round without the crowd.
    pub quiet_p99: Vec<f64>,
    /// The same with the crowd.
    pub crowded_p99: Vec<f64>,
    /// Median of the crowded ones over median of the quiet ones.
    pub p99_ratio: f64,
    /// Connections of the crowd that the server closed, by what they did.
    pub closed: Vec<(&'static str, u64)>,
    /// Packs answered 202.
    pub packs_acknowledged: u64,
    /// Packs without an answer, or answered otherwise.
    pub packs_failed: u64,
    /// The server's resident memory in bytes with the crowd, the most of all rounds.
    pub resident_peak: u64,
    /// What it came down to after the crowd was gone.
    pub resident_after: u64,
    /// The most of a server that took as many packs without a crowd.
    pub resident_alone: u64,
    /// What was read back.
    pub verdict: Verdict,
}

/// Raises this process's limit of open files as far as it may: a crowd needs one for each connection.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Without it a large crowd fails to connect, and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Starts `program` as `thalweg serve`, publishes to it with and without a crowd around, and reads everything back.
///
/// # Errors
/// When the server does not start, or ends, the crowd can't gather, or nothing can be published.
pub async fn crowd_test(program: &Path, crowd: &Crowd) -> anyhow::Result<CrowdReport> {
    raise_file_limit();
    let temporary = tempfile::tempdir()?;
    let launch = launch(program, crowd, &temporary.path().join("data"));
    let (server, ready) = launch.start().await?;
    let ledger = ledger(ready.address, &launch).await?;
    let large = crate::api::Fleet::create(ready.address, &launch.admin, 1, 1).await?;
    let target = Target {
        address: ready.address,
        channel: large.channels[0].clone(),
        credential: large.things[0].authorization()?,
    };
    fill(&target, &large.things[0]).await?;
    let mut crowding = Crowding {
        crowd,
        thread: CrowdThread::start()?,
        server: &server,
        ledger: &ledger,
        target: Arc::new(target),
        seen: Arc::new(Seen::default()),
        acknowledged: 0,
        failed: 0,
    };
    // The first packs are slower than those behind them.
    crowding.publish().await?;
    let (mut quiet_p99, mut crowded_p99, mut resident_peak) = (Vec::new(), Vec::new(), 0);
    for round in 1..=crowd.rounds_max {
        quiet_p99.push(crowding.publish().await?);
        let (p99, resident) = crowding.crowded_round().await?;
        crowded_p99.push(p99);
        resident_peak = resident_peak.max(resident);
        if round >= crowd.rounds && ratio(&crowded_p99, &quiet_p99) <= P99_RATIO_MAX {
            break;
        }
    }
    let resident_alone = crowding.alone(program).await?;
    let resident_after = crowding.calm(resident_alone).await?;
    let Crowding { acknowledged, failed, seen, .. } = crowding;
    let verdict = ledger.verify(Duration::from_secs(60)).await?;
    server.end().await?;
    Ok(CrowdReport {
        p99_ratio: ratio(&crowded_p99, &quiet_p99),
        quiet_p99,
        crowded_p99,
        closed: seen.closed(),
        packs_acknowledged: acknowledged,
        packs_failed: failed,
        resident_peak,
        resident_after,
        resident_alone,
        verdict,
    })
}

struct Crowding<'a> {
    crowd: &'a Crowd,
    thread: CrowdThread,
    server: &'a Server,
    ledger: &'a Arc<Ledger>,
    target: Arc<Target>,
    seen: Arc<Seen>,
    acknowledged: u64,
    failed: u64,
}

/// Where the crowd runs. A crowd has machines of its own. Here it has a thread, which gives way to whatever else runs: what is
/// measured is what the server lets the publishers feel of it, not what the crowd takes of their processor.
struct CrowdThread(Option<Runtime>);

impl CrowdThread {
    fn start() -> std::io::Result<Self> {
        let mut runtime = runtime::Builder::new_multi_thread();
        // Of a thread, on Linux. Where it may not, it is measured as it is.
        let give_way = || {
            let _ = nice(19);
        };
        Ok(Self(Some(runtime.worker_threads(1).on_thread_start(give_way).enable_all().build()?)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it runs until it is dropped").handle()
    }
}

impl Drop for CrowdThread {
    fn drop(&mut self) {
        // Waiting for it would hold up the runtime that this is dropped in.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Crowding<'_> {
    /// Publishes for one phase: the 99th percentile of the latency.
    async fn publish(&mut self) -> anyhow::Result<f64> {
        let load = Load {
            connections: self.crowd.publishers,
            pace: Pace::Open(self.crowd.packs_per_second),
            packs: None,
            duration: Some(self.crowd.phase),
            resend: false,
        };
        let published = self.ledger.publish(&load, CancellationToken::new()).await?;
        if published.packs_acknowledged == 0 {
            bail!("nothing was accepted; the server printed:\n{}", self.server.printed());
        }
        self.acknowledged += published.packs_acknowledged;
        let answers: u64 = published.answers.values().sum();
        self.failed += answers - published.packs_acknowledged + published.unanswered;
        Ok(published.latency.p99)
    }

    /// Publishes while the crowd is there: the 99th percentile, and the server's memory at the end.
    async fn crowded_round(&mut self) -> anyhow::Result<(f64, u64)> {
        let stop = CancellationToken::new();
        let gathered = Arc::new(AtomicU64::new(0));
        let mut members = JoinSet::new();
        for number in 0..self.crowd.connections {
            let (target, seen) = (Arc::clone(&self.target), Arc::clone(&self.seen));
            let (gathered, stop) = (Arc::clone(&gathered), stop.clone());
            let member = async move {
                let member = client::crowd_in(number, &target, &seen, &gathered);
                stop.run_until_cancelled(member).await
            };
            members.spawn_on(member, self.thread.handle());
        }
        let wanted = self.crowd.connections as u64;
        let gathering = async {
            while gathered.load(Ordering::Relaxed) < wanted {
                sleep(LOOK_PAUSE).await;
            }
        };
        timeout(GATHER_MAX, gathering)
            .await
            .with_context(|| format!("{} of {wanted} connected", gathered.load(Ordering::Relaxed)))?;
        let p99 = self.publish().await;
        let resident = self.server.resident_bytes();
        stop.cancel();
        while let Some(ended) = members.join_next().await {
            if let Some(Err(error)) = ended.context("a task of the crowd panicked")? {
                return Err(error.context("the crowd could not go on"));
            }
        }
        Ok((p99?, resident?))
    }

    /// Publishes as many packs to a server without a crowd, at several times the pace: the most memory that it takes.
    async fn alone(&self, program: &Path) -> anyhow::Result<u64> {
        let temporary = tempfile::tempdir()?;
        let launch = launch(program, self.crowd, &temporary.path().join("data"));
        let (server, ready) = launch.start().await?;
        let ledger = ledger(ready.address, &launch).await?;
        let load = Load {
            connections: self.crowd.publishers,
            pace: Pace::Open(ALONE_PACE * self.crowd.packs_per_second),
            packs: Some(self.acknowledged),
            duration: None,
            resend: false,
        };
        let (mut most, mut looks) = (0, interval(LOOK_PAUSE));
        let mut published = pin!(ledger.publish(&load, CancellationToken::new()));
        let published = loop {
            tokio::select! {
                published = &mut published => break published?,
                _ = looks.tick() => most = server.resident_bytes()?.max(most),
            }
        };
        if published.packs_acknowledged < self.acknowledged {
            bail!(
                "only {} of {} packs were accepted without a crowd",
                published.packs_acknowledged,
                self.acknowledged
            );
        }
        server.end().await?;
        Ok(most)
    }

    /// Waits until memory is no more than without a crowd, with the stated slack, or for as long as it may take.
    async fn calm(&self, alone: u64) -> anyhow::Result<u64> {
        let deadline = Instant::now() + CALM_MAX;
        loop {
            let resident = self.server.resident_bytes()?;
            if is_back(alone, resident) || Instant::now() > deadline {
                return Ok(resident);
            }
            sleep(LOOK_PAUSE).await;
        }
    }
}

/// Whether memory is back where it would be without the crowd: within a third, because the store's own buffers grow, and are emptied
/// from time to time.
pub fn is_back(alone: u64, after: u64) -> bool {
    after <= alone + alone / 3
}

fn launch(program: &Path, crowd: &Crowd, data: &Path) -> Launch {
    let mut launch = Launch::serve(program, data);
    launch.arguments.extend(crowd.arguments.iter().cloned());
    launch
}

async fn ledger(address: SocketAddr, launch: &Launch) -> anyhow::Result<Arc<Ledger>> {
    let plan = Plan { run: rand::random(), channels: 1, things: 16, records_per_pack: 3 };
    Ok(Arc::new(Ledger::set_up(address, &launch.admin, plan, None).await?))
}

/// Stores one large page: what those who do not read ask for.
async fn fill(target: &Target, thing: &Thing) -> anyhow::Result<()> {
    const RECORDS: u32 = 1_000;
    let text = "x".repeat(500);
    let record = |second| json!({"n": "large", "t": 1_700_000_000 + second, "vs": text});
    let pack = serde_json::Value::from_iter((0..RECORDS).map(record)).to_string();
    let mut connection = Connection::open(target.address).await?;
    let path = format!("/http/channels/{}/messages", target.channel);
    let authorization = thing.authorization()?;
    let answer = connection.call(Method::POST, &path, Some(&authorization), Some(pack.into())).await?;
    if answer.status != StatusCode::ACCEPTED {
        bail!("POST {path} answered {}", answer.status);
    }
    let page = format!("/channels/{}/messages?limit=1", target.channel);
    let stored = format!("\"total\":{RECORDS},");
    let stored_all = async {
        loop {
            let answer = connection.call(Method::GET, &page, Some(&authorization), None).await?;
            if String::from_utf8_lossy(&answer.body).contains(&stored) {
                return anyhow::Ok(());
            }
            sleep(LOOK_PAUSE).await;
        }
    };
    timeout(CALM_MAX, stored_all).await.context("the large page is not stored")?
}

fn ratio(crowded: &[f64], quiet: &[f64]) -> f64 {
    median(crowded) / median(quiet)
}
