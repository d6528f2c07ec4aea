//! The ledger: publishes packs of unique records, remembers what was acknowledged, and reads everything back.
//!
//! It never asks a server what it has acknowledged, and never takes back what a 202 promised. The server may be killed
//! and started again elsewhere in the middle: see [`Ledger::retarget`].

mod outcomes;
mod plan;
mod publish;
mod verify;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

pub use self::outcomes::Outcome;
use self::outcomes::Outcomes;
pub use self::plan::{FIRST_SECOND, PackNumber, Plan, RECORDS_MAX, RecordNumber, STEP_NANOS, UNIT};
pub use self::publish::{Latency, Load, Pace, PublishReport};
pub use self::verify::Verdict;
use crate::api::{Fleet, Login};

/// What was published to one server, over all its restarts.
#[derive(Debug)]
pub struct Ledger {
    plan: Plan,
    fleet: Fleet,
    target: watch::Sender<SocketAddr>,
    outcomes: Mutex<Outcomes>,
    next: AtomicU64,
    acknowledged: watch::Sender<u64>,
}

impl Ledger {
    /// Creates channels and things at a server, and a ledger of what will be published to them.
    ///
    /// With `state`, a path at which nothing is yet, outcomes are kept in a file too: [`Ledger::open`] reads it.
    ///
    /// # Errors
    /// When the server refuses the set-up, or the file can't be made.
    pub async fn set_up(
        target: SocketAddr,
        login: &Login,
        plan: Plan,
        state: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let fleet = Fleet::create(target, login, plan.channels as usize, plan.things as usize).await?;
        let outcomes = match state {
            Some(path) => Outcomes::create(path, &plan, &fleet)?,
            None => Outcomes::default(),
        };
        Ok(Self::of(target, plan, fleet, outcomes))
    }

    /// A ledger in memory, of channels and things that are there already.
    pub fn new(target: SocketAddr, plan: Plan, fleet: Fleet) -> Self {
        Self::of(target, plan, fleet, Outcomes::default())
    }

    /// Goes on with the ledger that a file holds.
    ///
    /// # Errors
    /// When the file is missing or no ledger.
    pub fn open(target: SocketAddr, state: &Path) -> anyhow::Result<Self> {
        let (outcomes, plan, fleet) = Outcomes::open(state)?;
        Ok(Self::of(target, plan, fleet, outcomes))
    }

    fn of(target: SocketAddr, plan: Plan, fleet: Fleet, outcomes: Outcomes) -> Self {
        Self {
            next: AtomicU64::new(outcomes.next()),
            acknowledged: watch::Sender::new(outcomes.acknowledged()),
            target: watch::Sender::new(target),
            outcomes: Mutex::new(outcomes),
            plan,
            fleet,
        }
    }

    /// From now on the server is at another address. Publishing that goes on meanwhile follows.
    pub fn retarget(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Where the server is.
    pub fn target(&self) -> SocketAddr {
        *self.target.borrow()
    }

    /// What is published.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The channels and things.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Packs answered 202 so far, and a way to wait for more.
    pub fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// What became of a pack.
    pub fn outcome(&self, pack: PackNumber) -> Outcome {
        self.outcomes().of(pack)
    }

    /// The first pack that nobody has sent yet.
    pub fn next_pack(&self) -> PackNumber {
        self.next.load(Ordering::Relaxed)
    }

    fn take_number(&self) -> PackNumber {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn note_sent(&self, pack: PackNumber) -> anyhow::Result<()> {
        self.outcomes().send(pack)
    }

    fn note_outcome(&self, pack: PackNumber, outcome: Outcome) -> anyhow::Result<()> {
        let acknowledged = {
            let mut outcomes = self.outcomes();
            outcomes.record(pack, outcome)?;
            outcomes.acknowledged()
        };
        self.acknowledged.send_if_modified(|count| {
            let more = acknowledged > *count;
            *count = acknowledged.max(*count);
            more
        });
        Ok(())
    }

    fn outcomes(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().expect("nothing panics while it holds the outcomes")
    }
}
