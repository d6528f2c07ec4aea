//! What do webhooks deliver, and what do they cost those who publish?
//!
//! The receiver is a process of its own that takes everything; both sides send to it, the one from the log, the other as fast as
//! a bare client can.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use hyper::Method;
use thalweg_bench::api::create_webhooks;
use thalweg_bench::http::Connection;
use thalweg_bench::ledger::{Ledger, Pace, Plan};
use thalweg_bench::server::{Launch, Ready, Server};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Bench;
use crate::finding::{Findings, Goal};
use crate::load::{THINGS, WARM_UP, publish, publish_at, verified};

/// Webhooks of each thing that publishes: each pack is as many deliveries, so that delivering takes the machine and not publishing.
const WEBHOOKS_EACH: usize = 16;
/// A delivery of a few records is about as long.
const BARE_BYTES: &str = "300";
/// Webhooks, of things that don't publish, beside those who do.
const OTHERS: usize = 1_000;
/// Requests that the bare client has under way: as many as webhooks let go to one host.
const UNDER_WAY: usize = 128;
/// Where the receiver takes deliveries.
const PATH: &str = "/in";

/// Takes every body and counts, until it is ended.
pub(crate) async fn receive() -> anyhow::Result<()> {
    let taken = Arc::new(AtomicU64::new(0));
    let take = async |State(taken): State<Arc<AtomicU64>>, _body: Bytes| {
        taken.fetch_add(1, Ordering::Relaxed);
        StatusCode::NO_CONTENT
    };
    let count = async |State(taken): State<Arc<AtomicU64>>| taken.load(Ordering::Relaxed).to_string();
    let app = Router::new()
        .route("/readyz", get(async || StatusCode::OK))
        .route("/taken", get(count))
        .route(PATH, post(take))
        .with_state(taken);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// Sends bodies of so many bytes with the usual client, until it is ended.
pub(crate) async fn send(to: SocketAddr, bytes: usize) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let body = Bytes::from(vec![b'x'; bytes]);
    let mut senders = JoinSet::new();
    for _ in 0..UNDER_WAY {
        let (client, body) = (client.clone(), body.clone());
        senders.spawn(async move {
            loop {
                let request = client.post(format!("http://{to}{PATH}")).body(body.clone());
                request.send().await?.error_for_status()?.bytes().await?;
            }
        });
    }
    let ended: Option<Result<reqwest::Result<()>, _>> = senders.join_next().await;
    Ok(ended.context("nobody sends")???)
}

pub(crate) async fn all(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    deliveries(bench, findings).await?;
    cost(bench, findings).await
}

/// Deliveries a second, against a bare client with bodies of about the same size. Things publish as much as that client could deliver; beside
/// it they publish to a server without webhooks, so that both sides have the same left. What waits for its webhook goes together, so
/// there is no backlog.
async fn deliveries(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let (data, plain_data) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (receiver, at) = part(bench, vec!["bare-receiver".to_owned()]).await?;
    let (server, ledger, launch) = start(bench, data.path()).await?;
    let (plain, plain_ledger, _) = start(bench, plain_data.path()).await?;
    let url = format!("http://{}{PATH}", at.address);
    create_webhooks(ledger.target(), &launch.admin, &ledger.fleet().things, WEBHOOKS_EACH, &url).await?;
    for ledger in [&ledger, &plain_ledger] {
        publish(bench, ledger, WARM_UP).await?;
    }
    quiet(at.address).await?;

    let (mut beside_publishing, mut alone, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let sender = bare_sender(bench, at.address)?;
        sleep(WARM_UP).await;
        let waiting = async || {
            sleep(bench.time).await;
            Ok(())
        };
        let bare_alone = rate(at.address, waiting).await?;
        let pace = Pace::Open(bare_alone / WEBHOOKS_EACH as f64);
        let publishing = async || publish_at(pace, bench, &plain_ledger, bench.time).await.map(drop);
        let bare = rate(at.address, publishing).await?;
        sender.kill().await?;
        let publishing = async || publish_at(pace, bench, &ledger, bench.time).await.map(drop);
        let ours = rate(at.address, publishing).await?;
        quiet(at.address).await?;
        beside_publishing.push(ours / bare);
        alone.push(ours / bare_alone);
        rates.push((ours, bare, bare_alone));
    }
    for ledger in [&ledger, &plain_ledger] {
        verified(ledger).await?;
    }
    for part in [server, plain, receiver] {
        part.end().await?;
    }
    let (ours, bare, bare_alone) = rates[rates.len() / 2];
    let absolute = format!("e.g. {ours:.0} against {bare:.0} a second");
    findings.add(
        "deliveries/s / bare reqwest loop, both beside publishing",
        Goal::AtLeast(0.6),
        beside_publishing,
        absolute,
    );
    let absolute = format!("e.g. {ours:.0} against {bare_alone:.0} a second");
    findings.add("deliveries/s beside publishing / bare reqwest loop alone", Goal::None, alone, absolute);
    Ok(())
}

fn bare_sender(bench: &Bench, to: SocketAddr) -> anyhow::Result<Server> {
    let arguments =
        ["bare-sender", "--to", &to.to_string(), "--bytes", BARE_BYTES].map(str::to_owned).to_vec();
    let program = std::env::current_exe()?;
    Launch { program, arguments, ..Launch::serve(&bench.server, Path::new("")) }.spawn()
}

/// Deliveries that the receiver takes in a second of something.
async fn rate(receiver: SocketAddr, during: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let (before, began) = (taken(receiver).await?, Instant::now());
    during().await?;
    Ok((taken(receiver).await? - before) as f64 / began.elapsed().as_secs_f64())
}

/// Packs a second beside a thousand webhooks of other things, against the same without.
async fn cost(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let (with_data, without_data) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (with, with_ledger, launch) = start(bench, with_data.path()).await?;
    let (without, without_ledger, _) = start(bench, without_data.path()).await?;
    let others = Plan { run: 1, channels: 1, things: OTHERS as u32, records_per_pack: 1 };
    let others = Ledger::set_up(with_ledger.target(), &launch.admin, others, None).await?;
    create_webhooks(others.target(), &launch.admin, &others.fleet().things, 1, "http://127.0.0.1:9/").await?;
    for ledger in [&with_ledger, &without_ledger] {
        publish(bench, ledger, WARM_UP).await?;
    }
    let mut ratios = Vec::new();
    for _ in 0..bench.rounds {
        let ours = publish(bench, &with_ledger, bench.time).await?;
        let theirs = publish(bench, &without_ledger, bench.time).await?;
        ratios.push(ours.packs_per_second() / theirs.packs_per_second());
    }
    with.end().await?;
    without.end().await?;
    findings.add(
        "packs/s beside 1,000 webhooks of others / without",
        Goal::AtLeast(0.95),
        ratios,
        String::new(),
    );
    Ok(())
}

async fn start(bench: &Bench, data: &Path) -> anyhow::Result<(Server, Arc<Ledger>, Launch)> {
    let mut launch = Launch::serve(&bench.server, &data.join("data"));
    launch.arguments.push("--webhooks-allow-private".to_owned());
    let (server, ready) = launch.start().await?;
    let plan = Plan { run: rand::random(), channels: 1, things: THINGS, records_per_pack: 1 };
    let ledger = Ledger::set_up(ready.address, &launch.admin, plan, None).await?;
    Ok((server, Arc::new(ledger), launch))
}

async fn part(bench: &Bench, arguments: Vec<String>) -> anyhow::Result<(Server, Ready)> {
    let program = std::env::current_exe()?;
    Launch { program, arguments, ..Launch::serve(&bench.server, Path::new("")) }.start().await
}

/// How many deliveries the receiver has taken.
async fn taken(receiver: SocketAddr) -> anyhow::Result<u64> {
    let answer = Connection::open(receiver).await?.call(Method::GET, "/taken", None, None).await?;
    std::str::from_utf8(&answer.body)?.parse().context("the receiver's count is no number")
}

/// Waits until nothing is delivered any more.
async fn quiet(receiver: SocketAddr) -> anyhow::Result<()> {
    const LOOK_EVERY: Duration = Duration::from_millis(500);
    let give_up = Instant::now() + crate::load::SETTLE;
    let mut before = taken(receiver).await?;
    loop {
        sleep(LOOK_EVERY).await;
        let now = taken(receiver).await?;
        if now == before {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "deliveries go on and on");
        before = now;
    }
}
