//! The store in a database that speaks CQL: ScyllaDB, or Apache Cassandra.
//!
//! Many processes may have it open at once, to write and to read. Nothing here waits for another process, reads before it
//! writes a row, scans a table, or believes a clock but for versions of rows. An append is not atomic; what an interrupted one left
//! is completed by the same batch again. Why counts are exact all the same is `docs/adr/0008-counts-of-a-cql-store.md`; how records
//! expire, `docs/adr/0011-retention.md`.

mod append;
mod config;
mod counts;
mod durability;
mod expire;
mod flushes;
mod index;
mod life;
mod marks;
mod openings;
mod purge;
mod row;
mod scan;
mod schema;
mod statements;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::{ChannelId, ChannelProfile, Position, Retention, Timestamp};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::Consistency;
use secrecy::ExposeSecret as _;
use tokio::sync::{OnceCell, RwLock};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::append::Listing;
use self::counts::Counts;
use self::durability::Durability;
use self::flushes::Flushes;
use self::statements::Statements;
use crate::contract::{
    Block, BlockScan, CountLevel, Direction, Expired, PurgeTarget, Scanned, Store, StoreError, TimeCount,
    TimeRange, WriteBatch,
};
use crate::tally::Tally;

pub use self::config::{CqlConfig, CqlConsistency, KeyspaceName, NotAConsistency, NotAKeyspace};

/// Entries of the index remembered as written, 100 bytes each: 16 blocks a channel, and as many things as one node serves.
const LISTINGS_REMEMBERED: u64 = 262_144;
/// How long they are. What is swept meanwhile is listed anew after this, long before the database forgets that it was
/// swept: what comes late into it in between is deleted already.
const LISTINGS_REMEMBERED_FOR: Duration = Duration::from_secs(86_400);
/// Channels and things remembered as purged or not.
const TARGETS_REMEMBERED: u64 = 65_536;

/// A [`Store`] in a CQL database.
///
/// Dropping it ends its connections, and leaves purges that are under way to whoever opens it next.
#[derive(Debug)]
pub struct CqlStore {
    inner: Arc<Inner>,
    sweeper: JoinHandle<()>,
    /// Looks after the nodes, from the first append on.
    watcher: OnceCell<JoinHandle<()>>,
}

/// What all parts of the store share.
struct Inner {
    session: Session,
    statements: Statements,
    config: CqlConfig,
    flushes: Flushes,
    durability: Mutex<Durability>,
    counts: Counts,
    /// What is known to be in the index.
    listed: moka::sync::Cache<Listing, ()>,
    /// What is known of purges, for a while.
    purged: moka::sync::Cache<PurgeTarget, bool>,
    /// Held for reading by those who act on what they know of purges.
    purges_gate: RwLock<()>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("config", &self.config).finish_non_exhaustive()
    }
}

impl CqlStore {
    /// Connects, and brings the schema up to date. Several processes may do that at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if no node answers, [`StoreError::NewerFormat`] if the schema is a newer build's.
    pub async fn open(config: CqlConfig) -> Result<Self, StoreError> {
        let session = connect(&config).await?;
        let statements = schema::open(&session, &config).await?;
        let inner = Arc::new(Inner {
            session,
            statements,
            flushes: Flushes::new(),
            durability: Mutex::new(Durability::new(Instant::now())),
            counts: Counts::new(),
            listed: moka::sync::Cache::builder()
                .max_capacity(LISTINGS_REMEMBERED)
                .time_to_live(LISTINGS_REMEMBERED_FOR)
                .build(),
            purged: moka::sync::Cache::builder()
                .max_capacity(TARGETS_REMEMBERED)
                .time_to_live(config.purges_known_within)
                .build(),
            purges_gate: RwLock::new(()),
            config,
        });
        inner.rows_of(Retention::Forever).await?;
        let sweeper = tokio::spawn(purge::sweep(Arc::clone(&inner)));
        Ok(Self { inner, sweeper, watcher: OnceCell::new() })
    }
}

impl Drop for CqlStore {
    fn drop(&mut self) {
        self.sweeper.abort();
        if let Some(watcher) = self.watcher.get() {
            watcher.abort();
        }
    }
}

async fn connect(config: &CqlConfig) -> Result<Session, StoreError> {
    let profile = ExecutionProfile::builder()
        .consistency(match config.consistency {
            CqlConsistency::Quorum => Consistency::Quorum,
            CqlConsistency::LocalQuorum => Consistency::LocalQuorum,
        })
        .request_timeout(Some(config.request_timeout))
        // Past a node that is frozen or lost, without waiting for its connections to be given up.
        .speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy {
            max_retry_count: 1,
            retry_interval: config.request_timeout / 2,
        })))
        .build();
    let mut session = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(config.request_timeout)
        // A frozen node keeps its connections; it has to be noticed before everything waits for it.
        .keepalive_interval(config.request_timeout)
        .keepalive_timeout(config.request_timeout)
        .keyspaces_to_fetch([config.keyspace.to_string()])
        .schema_agreement_interval(Duration::from_millis(50));
    if let Some((user, password)) = &config.login {
        session = session.user(user, password.expose_secret());
    }
    session.build().await.map_err(unavailable)
}

impl Inner {
    fn requests_in_flight(&self) -> usize {
        self.config.requests_in_flight_max.max(1)
    }
}

#[async_trait]
impl Store for CqlStore {
    async fn append(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.watcher.get_or_init(|| durability::watch(&self.inner)).await;
        let append = self.inner.append(&batch.rows);
        tokio::time::timeout(self.inner.config.append_timeout, append).await.map_err(unavailable)?
    }

    /// What was acknowledged is on a majority of the replicas: durable once they have written their commit logs.
    async fn persist(&self) -> Result<Instant, StoreError> {
        self.inner.persist()
    }

    /// Keeps none.
    async fn resume_after(&self) -> Result<Vec<Position>, StoreError> {
        Ok(Vec::new())
    }

    async fn answers(&self) -> Result<(), StoreError> {
        schema::version(&self.inner.session, &self.inner.config.keyspace).await.map(drop)
    }

    async fn blocks(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        range: TimeRange,
        direction: Direction,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Block>, StoreError> {
        self.inner.blocks(channel, profile.bucket_width, range, direction, after, limit).await
    }

    async fn rows(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        scans: Vec<BlockScan>,
        bytes_max: usize,
    ) -> Result<Vec<Scanned>, StoreError> {
        self.inner.rows(channel, profile, scans, bytes_max).await
    }

    async fn times(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        range: TimeRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        self.inner.times(channel, profile, range, direction, limit).await
    }

    async fn counts(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        level: CountLevel,
        starts: Range<i64>,
    ) -> Result<Vec<TimeCount>, StoreError> {
        self.inner.counts(channel, profile, level, starts).await
    }

    async fn tally(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        tallies: Vec<Tally>,
    ) -> Result<Vec<Tally>, StoreError> {
        self.inner.tally(channel, profile, tallies).await
    }

    async fn purge(&self, target: PurgeTarget) -> Result<(), StoreError> {
        self.purge_for_ever(target).await
    }

    async fn expire(
        &self,
        channel: ChannelId,
        profile: ChannelProfile,
        before: Timestamp,
    ) -> Result<Expired, StoreError> {
        self.inner.expire(channel, profile, before).await
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// The database answered what it never should.
fn damaged(error: impl std::error::Error) -> StoreError {
    StoreError::Damaged(error.to_string())
}

fn damage(what: &str, found: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged(format!("{what} is malformed: {found}"))
}
