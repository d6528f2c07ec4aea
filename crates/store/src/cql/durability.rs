//! What nodes of the database forget when they end, and when that can no longer concern what was appended.
//!
//! Nodes acknowledge, by default, what their commit log has not written yet: one that is killed forgets its last moments, one
//! whose machine loses power up to [`Boot::lag`]. Then a majority may not have a row that a majority acknowledged. So an
//! append counts as durable only when every node has answered, without having been started anew, for longer than its
//! commit log lags; and when one was, what is not durable yet is appended again. Why that is enough:
//! `docs/adr/0013-what-a-store-may-forget.md`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use scylla::cluster::Node;
use scylla::deserialize::value::DeserializeValue;
use scylla::errors::{ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::Inner;
use crate::contract::StoreError;

/// How often every node is asked whether it still is the one that it was.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a node may be silent before what it has acknowledged is taken for lost. Until then nothing becomes durable.
const GONE_AFTER: Duration = Duration::from_secs(30);
/// How often a commit log is synced where the node does not tell: the default of ScyllaDB and of Cassandra.
const SYNCED_EVERY: Duration = Duration::from_secs(10);

/// One life of a node, from start to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Boot {
    /// Grows with every start (`system.local.gossip_generation`).
    generation: i32,
    /// For how long what it acknowledges may be in its memory only.
    lag: Duration,
}

#[derive(Debug)]
struct Seen {
    /// Nothing, if it has never answered.
    boot: Option<Boot>,
    /// Begin of the last look that it answered.
    answered: Instant,
    is_gone: bool,
}

impl Seen {
    fn lag(&self) -> Duration {
        self.boot.map_or(longest_lag(SYNCED_EVERY), |boot| boot.lag)
    }

    fn forgets(&self) -> bool {
        !self.lag().is_zero()
    }
}

/// What is known of the nodes. Nothing is, before the first look.
#[derive(Debug)]
pub(super) struct Durability {
    opened: Instant,
    nodes: HashMap<Uuid, Seen>,
    /// A node may have forgotten something since that was last told.
    forgotten: bool,
}

impl Durability {
    pub(super) fn new(opened: Instant) -> Self {
        Self { opened, nodes: HashMap::new(), forgotten: false }
    }

    fn boot_of(&self, node: Uuid) -> Option<Boot> {
        self.nodes.get(&node)?.boot
    }

    /// Notes what every node answered to a look: nothing, where it was silent.
    fn note(&mut self, began: Instant, looks: &HashMap<Uuid, Option<Boot>>) {
        for (node, boot) in looks {
            match self.nodes.entry(*node) {
                Entry::Vacant(entry) => {
                    entry.insert(Seen { boot: *boot, answered: began, is_gone: false });
                }
                Entry::Occupied(mut entry) => self.forgotten |= note_one(entry.get_mut(), began, *boot),
            }
        }
        let forgotten = &mut self.forgotten;
        self.nodes.retain(|node, seen| {
            let stays = looks.contains_key(node);
            *forgotten |= !stays && !seen.is_gone && seen.forgets();
            stays
        });
    }

    /// What ended at or before this is durable.
    fn durable(&self, now: Instant) -> Instant {
        let there = || self.nodes.values().filter(|seen| !seen.is_gone);
        let all_are_gone = !self.nodes.is_empty() && there().next().is_none();
        if !all_are_gone && there().all(|seen| !seen.forgets()) {
            return now;
        }
        let since = there().map(|seen| seen.answered.checked_sub(seen.lag()).unwrap_or(self.opened)).min();
        since.unwrap_or(self.opened)
    }
}

/// Whether the node may have forgotten something.
fn note_one(seen: &mut Seen, began: Instant, boot: Option<Boot>) -> bool {
    match boot {
        Some(boot) => {
            let is_another = seen.boot.is_none_or(|before| before.generation != boot.generation);
            let forgot = is_another && seen.forgets();
            *seen = Seen { boot: Some(boot), answered: began, is_gone: false };
            forgot
        }
        None if !seen.is_gone && began.duration_since(seen.answered) > GONE_AFTER => {
            seen.is_gone = true;
            seen.forgets()
        }
        None => false,
    }
}

/// For how long at most a commit log lags that is synced so often. Cassandra holds acknowledgements back when a sync is late
/// by half of that.
fn longest_lag(synced_every: Duration) -> Duration {
    synced_every * 3 / 2
}

/// Looks at the nodes once, then for ever.
pub(super) async fn watch(inner: &Arc<Inner>) -> JoinHandle<()> {
    inner.look().await;
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let mut due = tokio::time::interval(LOOK_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            inner.look().await;
        }
    })
}

impl Inner {
    pub(super) fn persist(&self) -> Result<Instant, StoreError> {
        let now = Instant::now();
        let mut durability = self.durability();
        if std::mem::take(&mut durability.forgotten) {
            // The index may have been forgotten with the rows.
            self.listed.invalidate_all();
            return Err(StoreError::Forgotten);
        }
        Ok(durability.durable(now))
    }

    fn durability(&self) -> MutexGuard<'_, Durability> {
        self.durability.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self) {
        let began = Instant::now();
        let cluster = self.session.get_cluster_state();
        let nodes = cluster.get_nodes_info().iter().filter(|node| node.is_enabled());
        let looks = join_all(nodes.map(|node| async move { (node.host_id, self.look_at(node).await) })).await;
        let looks = looks.into_iter().collect();
        self.durability().note(began, &looks);
    }

    /// The life of a node; nothing, if it is silent.
    async fn look_at(&self, node: &Arc<Node>) -> Option<Boot> {
        let generation = "SELECT gossip_generation FROM system.local WHERE key = 'local'";
        let generation: i32 = self.ask(node, generation).await.ok()??;
        let known = self.durability().boot_of(node.host_id);
        if let Some(boot) = known.filter(|boot| boot.generation == generation) {
            return Some(boot);
        }
        let lag = self.lag_of(node).await.ok()?;
        tracing::info!(node = %node.address, lag_seconds = lag.as_secs_f64(), "a node of the store has told how late it syncs");
        Some(Boot { generation, lag })
    }

    async fn lag_of(&self, node: &Arc<Node>) -> Result<Duration, ExecutionError> {
        // "batch" and "group": before they acknowledge.
        if self.setting(node, "commitlog_sync").await?.is_some_and(|mode| mode != "periodic") {
            return Ok(Duration::ZERO);
        }
        for name in ["commitlog_sync_period", "commitlog_sync_period_in_ms"] {
            let every = self.setting(node, name).await?;
            if let Some(every) = every.as_deref().and_then(duration_of) {
                return Ok(longest_lag(every));
            }
        }
        Ok(longest_lag(SYNCED_EVERY))
    }

    /// A setting of a node, where it tells.
    async fn setting(&self, node: &Arc<Node>, name: &str) -> Result<Option<String>, ExecutionError> {
        // Cassandra has the first of these tables, ScyllaDB the second.
        for table in ["system_views.settings", "system.config"] {
            match self.ask::<String>(node, &format!("SELECT value FROM {table} WHERE name = '{name}'")).await
            {
                Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(..))) | Ok(None) => {}
                Ok(Some(value)) => return Ok(Some(str::trim_matches(&value, '"').to_owned())),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What a node, and no other, answers to a query of one value; nothing if there is none of this type.
    async fn ask<T>(&self, node: &Arc<Node>, query: &str) -> Result<Option<T>, ExecutionError>
    where
        T: for<'frame, 'metadata> DeserializeValue<'frame, 'metadata>,
    {
        let mut statement = Statement::new(query);
        let target = NodeIdentifier::Node(Arc::clone(node));
        statement.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(target, None)));
        statement.set_consistency(Consistency::One);
        statement.set_is_idempotent(true);
        let answer = self.session.query_unpaged(statement, ()).await?;
        let row =
            answer.into_rows_result().ok().and_then(|rows| rows.maybe_first_row::<(T,)>().ok().flatten());
        Ok(row.map(|(value,)| value))
    }
}

/// A duration as the databases write it: `10s`, `500ms`, `10000` (milliseconds).
fn duration_of(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "" | "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_secs(15);
    const ONE: Uuid = Uuid::from_u128(1);
    const TWO: Uuid = Uuid::from_u128(2);

    struct World {
        opened: Instant,
        durability: Durability,
        lag: Duration,
    }

    impl World {
        fn new(lag: Duration) -> Self {
            // Far enough from the begin of the clock that times can be reckoned back.
            let opened = Instant::now() + Duration::from_secs(3_600);
            Self { opened, durability: Durability::new(opened), lag }
        }

        /// A look that begins so many seconds after the start.
        fn look(&mut self, second: u64, one: Option<i32>, two: Option<i32>) {
            let boot = |generation| Boot { generation, lag: self.lag };
            let looks = HashMap::from([(ONE, one.map(boot)), (TWO, two.map(boot))]);
            self.durability.note(self.at(second), &looks);
        }

        fn at(&self, second: u64) -> Instant {
            self.opened + Duration::from_secs(second)
        }

        /// The second up to which all is durable.
        fn durable(&self, second: u64) -> u64 {
            self.durability.durable(self.at(second)).duration_since(self.opened).as_secs()
        }

        fn forgot(&mut self) -> bool {
            std::mem::take(&mut self.durability.forgotten)
        }
    }

    #[test]
    fn durable_is_what_every_node_that_is_there_has_outlived_by_its_lag() {
        let mut world = World::new(LAG);
        world.look(100, Some(1), Some(1));
        assert_eq!(world.durable(100), 85);
        world.look(101, Some(1), Some(1));
        assert_eq!(world.durable(101), 86);
        world.look(110, Some(1), None);
        assert_eq!(world.durable(110), 86, "who is silent holds it back");
        world.look(111, Some(1), Some(1));
        assert_eq!((world.durable(111), world.forgot()), (96, false));
    }

    #[test]
    fn a_node_that_was_started_anew_has_forgotten_and_is_said_to_once() {
        let mut world = World::new(LAG);
        world.look(0, Some(1), Some(7));
        world.look(1, Some(1), Some(8));
        assert!(world.forgot());
        world.look(2, Some(1), Some(8));
        assert!(!world.forgot());
    }

    #[test]
    fn a_node_that_is_silent_for_long_is_gone_and_forgotten_and_no_longer_waited_for() {
        let mut world = World::new(LAG);
        world.look(0, Some(1), Some(1));
        for second in 1..=30 {
            world.look(second, Some(1), None);
        }
        assert_eq!((world.durability.durable(world.at(30)) <= world.opened, world.forgot()), (true, false));
        world.look(31, Some(1), None);
        assert_eq!((world.durable(31), world.forgot()), (16, true));
        world.look(32, Some(1), None);
        assert!(!world.forgot());
        world.look(33, Some(1), Some(1));
        assert!(!world.forgot(), "it was the network, all that while");
        world.look(34, Some(1), Some(2));
        assert!(world.forgot());
        world.look(65, None, None);
        assert_eq!(world.durability.durable(world.at(65)), world.opened, "all are gone");
    }

    #[test]
    fn a_node_that_had_never_answered_may_have_forgotten_and_a_new_one_has_not() {
        let mut world = World::new(LAG);
        world.look(0, Some(1), None);
        assert!(world.durability.durable(world.at(0)) <= world.opened);
        world.look(1, Some(1), Some(5));
        assert!(world.forgot());
        let three = (Uuid::from_u128(3), Some(Boot { generation: 9, lag: LAG }));
        let looks = HashMap::from([
            (ONE, world.durability.boot_of(ONE)),
            (TWO, world.durability.boot_of(TWO)),
            three,
        ]);
        world.durability.note(world.at(2), &looks);
        assert!(!world.forgot());
        world.look(3, Some(1), Some(5));
        assert!(world.forgot(), "it was taken out of the cluster, with what it alone may have had");
    }

    #[test]
    fn nodes_that_sync_before_they_acknowledge_forget_nothing() {
        let mut world = World::new(Duration::ZERO);
        world.look(0, Some(1), Some(1));
        world.look(1, Some(2), None);
        assert_eq!((world.durable(5), world.forgot()), (5, false));
    }

    #[test]
    fn durations_are_read_as_databases_write_them() {
        let millis = |text| duration_of(text).map(|duration| duration.as_millis());
        assert_eq!(["10s", "10000ms", "10000", "1m"].map(millis), [10_000, 10_000, 10_000, 60_000].map(Some));
        assert_eq!(["", "s", "10h", "-1s", "1.5s"].map(millis), [None; 5]);
    }
}
