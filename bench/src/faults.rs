//! Does harm to a cluster, node after node, while things publish to it, and then looks for what is lost.
//!
//! Between two faults so many packs have to be acknowledged, so that a fast machine and a slow one are harmed at like places. The
//! load is an open loop well below what the machine takes: what recovers competes with it for the same cores. What has to last a
//! while, as a writer that is frozen, lasts while others are killed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::RngExt as _;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Fault};
use crate::http::Connection;
use crate::ledger::{Ledger, Load, Pace, PackNumber, Plan, PublishReport, Verdict};

/// How long a harmed cluster may take to acknowledge the packs that the next fault waits for.
const PROGRESS_WAIT_MAX: Duration = Duration::from_secs(120);
/// Longer than the session of a writer: when it wakes its lanes are another's.
const FROZEN: Duration = Duration::from_secs(15);
/// How long everything acknowledged may take to be stored at the end.
const SETTLE_MAX: Duration = Duration::from_secs(180);

/// Pause before a cluster that did not answer is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How much harm is done.
#[derive(Debug, Clone)]
pub struct Faults {
    /// How often each kind of node is killed.
    pub rounds: u32,
    /// Packs a second.
    pub rate: f64,
    /// Packs acknowledged between two faults.
    pub packs_between: u64,
    /// Brokers, and nodes of the store.
    pub engine_nodes: u32,
    /// Processes of each role.
    pub role_nodes: u32,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rounds: 1, rate: 200.0, packs_between: 300, engine_nodes: 3, role_nodes: 2 }
    }
}

/// One fault, and what followed. A pack that is missing was sent in the last step whose first pack is not above it.
#[derive(Debug, Clone, Serialize)]
pub struct Done {
    /// The fault and its nodes.
    pub what: String,
    /// The first pack that was sent after it began.
    pub first_pack: PackNumber,
    /// How long it took to be done: of a restart, until the nodes were ready.
    pub seconds: f64,
    /// How many seconds passed then until the next packs were acknowledged.
    pub progress_seconds: f64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    /// What was done, in order.
    pub done: Vec<Done>,
    /// What was published meanwhile.
    pub published: PublishReport,
    /// What was published while the ingest nodes were stopped in good order and started again, one after the other.
    pub rolling: PublishReport,
    /// What was read back.
    pub verdict: Verdict,
}

impl FaultReport {
    /// Whether nothing was lost, and no request broke while nodes ended in good order.
    pub fn holds(&self) -> bool {
        self.verdict.holds() && self.rolling.unanswered == 0 && hardly_refused(&self.rolling)
    }
}

/// Brokers that starve for seconds beside everything else on a small machine make ingest answer 503: of a hundred packs, not one.
/// A proxy that a node broke off on answers 502.
fn hardly_refused(published: &PublishReport) -> bool {
    let refused = published.answers.get(&503).copied().unwrap_or(0);
    let is_known = published.answers.keys().all(|status| matches!(status, 202 | 503));
    is_known && refused * 100 < published.packs_acknowledged
}

/// A ledger at a cluster, and its load.
#[derive(Debug)]
pub struct Publishing {
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<anyhow::Result<PublishReport>>,
    acknowledged: watch::Receiver<u64>,
}

impl Publishing {
    /// Publishes to a cluster until it is ended.
    pub fn start(ledger: &Arc<Ledger>, rate: f64) -> Self {
        let stop = CancellationToken::new();
        let load =
            Load { connections: 32, pace: Pace::Open(rate), packs: None, duration: None, resend: true };
        let running = tokio::spawn({
            let (ledger, stop) = (Arc::clone(ledger), stop.clone());
            async move { ledger.publish(&load, stop).await }
        });
        Self { ledger: Arc::clone(ledger), stop, running, acknowledged: ledger.acknowledged() }
    }

    /// Waits until so many packs more are acknowledged: how long that took.
    ///
    /// # Errors
    /// When it takes longer than any fault may.
    pub async fn progress(&mut self, packs: u64) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let wanted = *self.acknowledged.borrow_and_update() + packs;
        let reached = timeout(PROGRESS_WAIT_MAX, self.acknowledged.wait_for(|count| *count >= wanted)).await;
        match reached {
            Ok(reached) => reached.context("the ledger is gone")?,
            Err(_) => bail!(
                "{} of {packs} packs were not acknowledged within {PROGRESS_WAIT_MAX:?}",
                wanted - *self.ledger.acknowledged().borrow()
            ),
        };
        Ok(began.elapsed())
    }

    /// Packs acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        *self.acknowledged.borrow()
    }

    /// Ends the load.
    ///
    /// # Errors
    /// When it could not go on.
    pub async fn end(self) -> anyhow::Result<PublishReport> {
        self.stop.cancel();
        self.running.await.context("publishing panicked")?
    }
}

/// A ledger of a small fleet at the cluster's proxy.
///
/// # Errors
/// When the cluster refuses the set-up.
pub async fn ledger(cluster: &Cluster) -> anyhow::Result<Arc<Ledger>> {
    let plan = Plan { run: rand::rng().random(), channels: 4, things: 32, records_per_pack: 3 };
    Ok(Arc::new(Ledger::set_up(cluster.front, &cluster.admin, plan, None).await?))
}

/// Kills each kind of node, freezes a writer for longer than its session, and rolls over the ingest nodes.
///
/// # Errors
/// When the cluster makes no progress, or a node does not come back. What was lost is no error, but in the verdict.
pub async fn fault_test(cluster: &Cluster, faults: &Faults) -> anyhow::Result<FaultReport> {
    let ledger = ledger(cluster).await?;
    let mut harm =
        Harm { cluster, faults, publishing: Publishing::start(&ledger, faults.rate), done: Vec::new() };
    harm.publishing.progress(faults.packs_between).await?;
    for round in 0..faults.rounds {
        harm.round(round).await?;
    }
    let Harm { publishing, done, .. } = harm;
    let published = publishing.end().await?;

    let mut publishing = Publishing::start(&ledger, faults.rate);
    for node in 1..=faults.role_nodes {
        publishing.progress(faults.packs_between).await?;
        cluster.fault(Fault::Restart, &[&format!("ingest-{node}")]).await?;
    }
    publishing.progress(faults.packs_between).await?;
    let rolling = publishing.end().await?;
    let verdict = ledger.verify(SETTLE_MAX).await?;
    Ok(FaultReport { done, published, rolling, verdict })
}

struct Harm<'a> {
    cluster: &'a Cluster,
    faults: &'a Faults,
    publishing: Publishing,
    done: Vec<Done>,
}

impl Harm<'_> {
    /// One of each kind is killed, and a writer frozen: the others have to do without both.
    async fn round(&mut self, round: u32) -> anyhow::Result<()> {
        let Faults { role_nodes, engine_nodes, .. } = *self.faults;
        let role = |kind| format!("{kind}-{}", round % role_nodes + 1);
        let engine = |kind| format!("{kind}-{}", round % engine_nodes + 1);
        let frozen = role("writer");
        self.fault(Fault::Freeze, &[&frozen]).await?;
        let thaw_at = Instant::now() + FROZEN;
        for kind in ["ingest", "reader", "control-plane", "webhooks"] {
            let node = role(kind);
            self.fault(Fault::Kill, &[&node]).await?;
            self.fault(Fault::Restart, &[&node]).await?;
        }
        sleep_until(thaw_at).await;
        self.fault(Fault::Thaw, &[&frozen]).await?;
        // Not the one that has just lost its lanes: nobody writes until its session has ended, too.
        let writer = format!("writer-{}", (round + 1) % role_nodes + 1);
        let dead = [writer, engine("kafka"), engine("cassandra")];
        let dead = dead.each_ref().map(String::as_str);
        for node in dead {
            self.fault(Fault::Kill, &[node]).await?;
        }
        self.fault(Fault::Restart, &dead).await
    }

    /// Does it, and waits for the next packs.
    async fn fault(&mut self, fault: Fault, nodes: &[&str]) -> anyhow::Result<()> {
        let what = format!("{} {}", fault.word(), nodes.join(" "));
        let (began, first_pack) = (Instant::now(), self.publishing.ledger.next_pack());
        self.cluster.fault(fault, nodes).await?;
        let seconds = began.elapsed().as_secs_f64();
        let progress = self.publishing.progress(self.faults.packs_between).await;
        let progress = progress.with_context(|| format!("after {what}; before that {:?}", self.done))?;
        self.done.push(Done { what, first_pack, seconds, progress_seconds: progress.as_secs_f64() });
        Ok(())
    }
}

/// What came of an outage of the store.
#[derive(Debug, Clone, Serialize)]
pub struct OutageReport {
    /// Packs acknowledged while the store was gone.
    pub acknowledged_meanwhile: u64,
    /// Packs acknowledged each second, from the end of the outage on.
    pub arrival_rate: f64,
    /// Packs stored each second until the writers had caught up, from when the store was back.
    pub catch_up_rate: f64,
    /// What was published.
    pub published: PublishReport,
    /// What was read back.
    pub verdict: Verdict,
}

impl OutageReport {
    /// How much faster than packs arrived they were stored.
    pub fn catch_up_ratio(&self) -> f64 {
        self.catch_up_rate / self.arrival_rate
    }

    /// Whether nothing was lost, publishing went on, and the writers caught up at twice the rate of arrival.
    pub fn holds(&self) -> bool {
        self.verdict.holds()
            && hardly_refused(&self.published)
            && self.acknowledged_meanwhile > 0
            && self.catch_up_ratio() >= 2.0
    }
}

/// Kills every node of the store, has it gone for a while under load, and brings it back.
///
/// # Errors
/// As [`fault_test`].
pub async fn store_outage(
    cluster: &Cluster,
    faults: &Faults,
    gone: Duration,
) -> anyhow::Result<OutageReport> {
    let ledger = ledger(cluster).await?;
    let mut publishing = Publishing::start(&ledger, faults.rate);
    publishing.progress(faults.packs_between).await?;
    let nodes: Vec<String> = (1..=faults.engine_nodes).map(|node| format!("cassandra-{node}")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    cluster.fault(Fault::Kill, &nodes).await?;
    let (began, before) = (Instant::now(), publishing.acknowledged());
    while began.elapsed() < gone {
        publishing.progress(faults.packs_between).await?;
    }
    let acknowledged_meanwhile = publishing.acknowledged() - before;
    cluster.fault(Fault::Restart, &nodes).await?;

    let mut stored = Stored { ledger: &ledger, connection: None };
    let (stored_before, arrived_before, back) =
        (stored.packs().await?, publishing.acknowledged(), Instant::now());
    // Caught up: what had arrived a second ago is stored.
    loop {
        let arrived = publishing.acknowledged();
        publishing.progress(faults.rate.max(1.0) as u64).await?;
        if stored.packs().await? >= arrived {
            break;
        }
        if back.elapsed() > SETTLE_MAX {
            bail!("the writers did not catch up within {SETTLE_MAX:?}");
        }
    }
    let per_second = |packs: u64| packs as f64 / back.elapsed().as_secs_f64();
    let catch_up_rate = per_second(stored.packs().await?.saturating_sub(stored_before));
    let arrival_rate = per_second(publishing.acknowledged() - arrived_before);
    let published = publishing.end().await?;
    let verdict = ledger.verify(SETTLE_MAX).await?;
    Ok(OutageReport { acknowledged_meanwhile, arrival_rate, catch_up_rate, published, verdict })
}

/// How much of a ledger is stored, asked of a cluster that may still be coming back.
struct Stored<'a> {
    ledger: &'a Ledger,
    connection: Option<Connection>,
}

impl Stored<'_> {
    async fn packs(&mut self) -> anyhow::Result<u64> {
        let give_up = Instant::now() + SETTLE_MAX;
        loop {
            match self.ledger.total(&mut self.connection).await {
                Ok(records) => return Ok(records / u64::from(self.ledger.plan().records_per_pack)),
                Err(error) if Instant::now() > give_up => return Err(error),
                Err(_) => sleep(ASK_AGAIN_AFTER).await,
            }
        }
    }
}
