//! Grants in memory, so that publishing asks nobody, and a revocation is in force when its answer arrives.
//!
//! A grant is never used past a change of its thing or channel. Each cached one carries the feed position at which its
//! fill began; a later change of either entity makes it invalid wherever it is, so a fill that races a revocation can't
//! win: it is stored, and not believed.
//!
//! While the feed is stale nothing cached is used, and nothing is cached: each look-up asks the authority. What was cached
//! before is good again when the feed is, but for what changed meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::{ChannelId, Grant, KeyDigest};
use moka::future::Cache;

use crate::authority::{Authority, AuthorityError};
use crate::feed::{Change, ChangeFeed, FeedPosition, Follower, Following, Freshness};
use crate::metrics::{AccessMetrics, Cached, Lookup};
use crate::telemetry::{Chain, Quiet};

/// How many grants are kept, and how long.
#[derive(Debug, Clone)]
pub struct AccessCacheConfig {
    /// Grants of connected things, at most. One takes about 250 bytes.
    pub grants_max: u64,
    /// How long a grant is kept without being used. Revocation comes by the change feed, not by this.
    pub grant_idle: Duration,
    /// Refusals (unknown keys, things that are not connected), at most: they must not push out grants.
    pub refusals_max: u64,
    /// How long a refusal is kept.
    pub refusal_life: Duration,
}

impl Default for AccessCacheConfig {
    fn default() -> Self {
        Self {
            grants_max: 1_000_000,
            grant_idle: Duration::from_secs(3_600),
            refusals_max: 10_000,
            refusal_life: Duration::from_secs(10),
        }
    }
}

/// Changes that are remembered one by one. Past it, everything that is cached is asked for again.
const CHANGES_MAX: usize = 100_000;

/// How often a grant that became invalid while it was loaded is loaded again before the registry is asked uncached.
const LOADS_MAX: usize = 3;

/// A cache of grants in front of an [`Authority`].
pub struct AccessCache {
    authority: Arc<dyn Authority>,
    changes: Arc<Changes>,
    freshness: Freshness,
    grants: Cache<Question, Known>,
    refusals: Cache<Question, Known>,
    metrics: AccessMetrics,
    failures: Quiet,
}

type Question = (KeyDigest, ChannelId);

/// An answer of the authority, and how old it may be.
#[derive(Debug, Clone)]
struct Known {
    grant: Option<Grant>,
    fill_began: FeedPosition,
}

impl Known {
    fn is_grant(&self) -> bool {
        self.grant.is_some_and(|grant| grant.connection.is_some())
    }
}

/// What a cached answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Valid,
    /// Something may have changed that this process was not told.
    Stale,
    /// Its thing or its channel has changed.
    Changed,
}

/// Why a load put nothing into the cache of grants.
#[derive(Debug)]
enum NotGranted {
    Refused(Known),
    Unavailable(AuthorityError),
}

impl AccessCache {
    /// An empty cache that follows the feed from its end.
    pub fn new(config: &AccessCacheConfig, authority: Arc<dyn Authority>, feed: &dyn ChangeFeed) -> Self {
        let changes = Arc::new(Changes::default());
        let Following { from, freshness } = feed.follow(Arc::clone(&changes) as Arc<dyn Follower>);
        changes.seen.fetch_max(from.0, Ordering::AcqRel);
        Self {
            authority,
            changes,
            freshness,
            grants: Cache::builder().max_capacity(config.grants_max).time_to_idle(config.grant_idle).build(),
            refusals: Cache::builder()
                .max_capacity(config.refusals_max)
                .time_to_live(config.refusal_life)
                .build(),
            metrics: AccessMetrics::default(),
            failures: Quiet::default(),
        }
    }

    /// Counts its look-ups.
    #[must_use]
    pub fn measured(mut self, metrics: AccessMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Has the metrics show how many entries there are now, or were a moment ago.
    pub fn show_entries(&self) {
        self.metrics.entries.of(Cached::Grants).set(self.grants.entry_count() as f64);
        self.metrics.entries.of(Cached::Refusals).set(self.refusals.entry_count() as f64);
    }

    /// What the thing with this key may do on this channel. `None`: no thing has this key.
    ///
    /// Requests that miss at the same time ask the authority once; while the feed is stale, each asks.
    ///
    /// # Errors
    /// [`AuthorityError`] if the grant is not cached, or may not be believed, and the authority can't be asked.
    pub async fn grant(&self, key: KeyDigest, channel: ChannelId) -> Result<Option<Grant>, AuthorityError> {
        let question = (key, channel);
        for (cache, hit) in [(&self.grants, Lookup::Granted), (&self.refusals, Lookup::Refused)] {
            if let Some(known) = cache.get(&question).await {
                match self.standing(&known, channel) {
                    Standing::Valid => {
                        self.metrics.lookups_total.of(hit).increment(1);
                        return Ok(known.grant);
                    }
                    Standing::Stale => break,
                    Standing::Changed => cache.invalidate(&question).await,
                }
            }
        }
        let (asked, answered) = if self.freshness.is_fresh() {
            (self.ask(question).await, Lookup::Missed)
        } else {
            (self.authority.grant(&key, channel).await, Lookup::Stale)
        };
        let result = match &asked {
            Ok(_) => answered,
            Err(error) => {
                self.tell(error);
                Lookup::Failed
            }
        };
        self.metrics.lookups_total.of(result).increment(1);
        asked
    }

    /// Once a second at most: while nobody can be asked, each request fails.
    fn tell(&self, error: &AuthorityError) {
        if let Some(unlogged) = self.failures.speak() {
            tracing::warn!(error = %Chain(error), unlogged, "a grant could not be looked up");
        }
    }

    /// Asks the authority, and keeps the answer.
    async fn ask(&self, question: Question) -> Result<Option<Grant>, AuthorityError> {
        let (key, channel) = question;
        for _ in 0..LOADS_MAX {
            let known = match self.grants.try_get_with(question, self.load(question)).await {
                Ok(known) => known,
                Err(not_granted) => match &*not_granted {
                    NotGranted::Refused(known) => known.clone(),
                    NotGranted::Unavailable(error) => {
                        return Err(AuthorityError(Chain(&*error.0).to_string().into()));
                    }
                },
            };
            match self.standing(&known, channel) {
                Standing::Valid => {
                    if !known.is_grant() {
                        self.refusals.insert(question, known.clone()).await;
                    }
                    return Ok(known.grant);
                }
                Standing::Stale => break,
                Standing::Changed => self.grants.invalidate(&question).await,
            }
        }
        self.authority.grant(&key, channel).await
    }

    /// Whether an answer may be given again. The clock is read last, so that it counts against a pause before it.
    fn standing(&self, known: &Known, channel: ChannelId) -> Standing {
        if !self.changes.leave_valid(known, channel) {
            Standing::Changed
        } else if self.freshness.is_fresh() {
            Standing::Valid
        } else {
            Standing::Stale
        }
    }

    async fn load(&self, (key, channel): Question) -> Result<Known, NotGranted> {
        let fill_began = self.changes.seen();
        let grant = self.authority.grant(&key, channel).await.map_err(NotGranted::Unavailable)?;
        let known = Known { grant, fill_began };
        if known.is_grant() { Ok(known) } else { Err(NotGranted::Refused(known)) }
    }
}

impl std::fmt::Debug for AccessCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessCache").field("grants", &self.grants.entry_count()).finish_non_exhaustive()
    }
}

/// The newest change of each entity.
#[derive(Debug, Default)]
struct Changes {
    /// Position of the newest change, written after the change is in `newest`.
    seen: AtomicU64,
    newest: RwLock<Newest>,
}

#[derive(Debug, Default)]
struct Newest {
    /// Whatever began to be filled before this is invalid.
    floor: FeedPosition,
    by_entity: HashMap<Change, FeedPosition>,
}

impl Changes {
    fn seen(&self) -> FeedPosition {
        FeedPosition(self.seen.load(Ordering::Acquire))
    }

    fn leave_valid(&self, known: &Known, channel: ChannelId) -> bool {
        if known.fill_began == self.seen() {
            return true;
        }
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        let unchanged =
            |entity| newest.by_entity.get(&entity).is_none_or(|&changed_at| changed_at <= known.fill_began);
        known.fill_began >= newest.floor
            && unchanged(Change::Channel(channel))
            && known.grant.is_none_or(|grant| unchanged(Change::Thing(grant.thing)))
    }
}

impl Follower for Changes {
    fn apply(&self, change: Change, at: FeedPosition) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        if newest.by_entity.len() >= CHANGES_MAX {
            newest.by_entity.clear();
            newest.floor = at;
        }
        newest.by_entity.insert(change, at);
        drop(newest);
        self.seen.store(at.0, Ordering::Release);
    }

    fn everything_changed(&self, at: FeedPosition) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        newest.by_entity.clear();
        newest.floor = at;
        drop(newest);
        self.seen.store(at.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
