use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use domain::{BucketWidth, ChannelProfile, Retention, ThingId};
use tokio::sync::Semaphore;

use super::*;
use crate::authority::ReadDenied;
use crate::clock;
use crate::feed::{ChangePublisher as _, Confirmations, Feed};

/// A registry of one thing and one channel, which can be held up in the middle of an answer.
struct Registry {
    grant: Mutex<Option<Grant>>,
    asked: AtomicUsize,
    /// An answer is taken from the registry, then waits for a permit.
    answers: Semaphore,
    reachable: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Authority for Registry {
    async fn grant(&self, _: &KeyDigest, _: ChannelId) -> Result<Option<Grant>, AuthorityError> {
        if !self.reachable.load(Ordering::SeqCst) {
            return Err(AuthorityError("connection refused".into()));
        }
        let grant = *self.grant.lock().unwrap();
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.acquire().await.unwrap().forget();
        Ok(grant)
    }

    async fn user_read(&self, _: &str, _: ChannelId) -> Result<ChannelProfile, ReadDenied> {
        Err(ReadDenied::InvalidToken)
    }
}

const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);
const THING: ThingId = ThingId::from_bytes([1; 16]);
const CONNECTED: Grant =
    Grant { thing: THING, connection: Some(ChannelProfile::new(BucketWidth::Hour, Retention::Forever)) };
const DISCONNECTED: Grant = Grant { thing: THING, connection: None };

fn key() -> KeyDigest {
    KeyDigest::from_bytes([7; 32])
}

struct World {
    registry: Arc<Registry>,
    feed: Arc<Feed>,
    cache: Arc<AccessCache>,
}

impl World {
    fn new(grant: Option<Grant>, permits: usize) -> Self {
        Self::with(&AccessCacheConfig::default(), grant, permits)
    }

    fn with(config: &AccessCacheConfig, grant: Option<Grant>, permits: usize) -> Self {
        let registry = Arc::new(Registry {
            grant: Mutex::new(grant),
            asked: AtomicUsize::new(0),
            answers: Semaphore::new(permits),
            reachable: true.into(),
        });
        let feed = Arc::new(Feed::default());
        let cache = AccessCache::new(config, Arc::clone(&registry) as _, &*feed);
        Self { registry, feed, cache: Arc::new(cache) }
    }

    async fn set(&self, grant: Option<Grant>, change: Change) {
        *self.registry.grant.lock().unwrap() = grant;
        self.feed.publish(&[change]).await.unwrap();
    }

    async fn ask(&self) -> Option<Grant> {
        self.cache.grant(key(), CHANNEL).await.unwrap()
    }

    fn asked(&self) -> usize {
        self.registry.asked.load(Ordering::SeqCst)
    }

    /// Lets the tasks of this thread run until the registry has been asked so often.
    async fn until_asked(&self, times: usize) {
        while self.asked() < times {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_grant_is_asked_for_once() {
    let world = World::new(Some(CONNECTED), 100);
    for _ in 0..3 {
        assert_eq!(world.ask().await, Some(CONNECTED));
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_refusal_is_asked_for_once_and_ends_with_a_connection() {
    for refused in [None, Some(DISCONNECTED)] {
        let world = World::new(refused, 100);
        for _ in 0..3 {
            assert_eq!(world.ask().await, refused);
        }
        assert_eq!(world.asked(), 1);
        world.set(Some(CONNECTED), Change::Channel(CHANNEL)).await;
        assert_eq!(world.ask().await, Some(CONNECTED));
    }
}

#[tokio::test]
async fn a_change_of_the_thing_or_the_channel_ends_a_grant_and_others_do_not() {
    for change in [Change::Thing(THING), Change::Channel(CHANNEL)] {
        let world = World::new(Some(CONNECTED), 100);
        world.ask().await;
        world.set(Some(CONNECTED), Change::Thing(ThingId::from_bytes([9; 16]))).await;
        world.ask().await;
        assert_eq!(world.asked(), 1);
        world.set(Some(DISCONNECTED), change).await;
        assert_eq!(world.ask().await, Some(DISCONNECTED));
    }
}

#[tokio::test]
async fn a_fill_that_races_a_revocation_does_not_win() {
    let world = World::new(Some(CONNECTED), 0);
    let early = tokio::spawn({
        let cache = Arc::clone(&world.cache);
        async move { cache.grant(key(), CHANNEL).await.unwrap() }
    });
    world.until_asked(1).await; // the old answer is on its way
    world.set(Some(DISCONNECTED), Change::Thing(THING)).await;
    let late = tokio::spawn({
        let cache = Arc::clone(&world.cache);
        async move { cache.grant(key(), CHANNEL).await.unwrap() }
    });
    world.registry.answers.add_permits(100);
    assert_eq!(late.await.unwrap(), Some(DISCONNECTED), "asked after the revocation was answered");
    early.await.unwrap();
    assert_eq!(world.ask().await, Some(DISCONNECTED));
}

#[tokio::test]
async fn requests_that_miss_together_ask_once() {
    let world = World::new(Some(CONNECTED), 0);
    let requests: Vec<_> = (0..50)
        .map(|_| {
            let cache = Arc::clone(&world.cache);
            tokio::spawn(async move { cache.grant(key(), CHANNEL).await.unwrap() })
        })
        .collect();
    world.until_asked(1).await;
    world.registry.answers.add_permits(100);
    for request in requests {
        assert_eq!(request.await.unwrap(), Some(CONNECTED));
    }
    assert_eq!(world.asked(), 1);
}

/// Whoever tries keys all day takes a bounded part of memory, and none of the places of grants.
#[tokio::test]
async fn refusals_are_bounded_and_push_out_no_grant() {
    let config = AccessCacheConfig { refusals_max: 100, ..AccessCacheConfig::default() };
    for refused in [None, Some(DISCONNECTED)] {
        let world = World::with(&config, Some(CONNECTED), 10_000);
        world.ask().await;
        *world.registry.grant.lock().unwrap() = refused;
        for number in 0..1_000_u128 {
            let channel = ChannelId::from_bytes((number + 100).to_be_bytes());
            assert_eq!(world.cache.grant(key(), channel).await.unwrap(), refused);
        }
        world.cache.refusals.run_pending_tasks().await;
        world.cache.grants.run_pending_tasks().await;
        let refusals = world.cache.refusals.entry_count();
        assert!((1..=100).contains(&refusals), "{refusals} refusals are kept");
        assert_eq!(world.cache.grants.entry_count(), 1, "grants are kept apart");
        assert_eq!(world.ask().await, Some(CONNECTED));
        assert_eq!(world.asked(), 1_001, "the grant is still known");
    }
}

#[tokio::test]
async fn past_the_bound_of_changes_everything_is_asked_again() {
    let world = World::new(Some(CONNECTED), 100);
    world.ask().await;
    for i in 0..=CHANGES_MAX as u128 {
        let change = Change::Thing(ThingId::from_bytes((i + 100).to_be_bytes()));
        world.feed.publish(&[change]).await.unwrap();
    }
    world.ask().await;
    assert_eq!(world.asked(), 2);
    assert!(world.cache.changes.newest.read().unwrap().by_entity.len() <= CHANGES_MAX);
}

#[tokio::test]
async fn a_registry_that_is_gone_stops_only_what_is_not_cached() {
    let world = World::new(Some(CONNECTED), 100);
    world.ask().await;
    world.registry.reachable.store(false, Ordering::SeqCst);
    assert_eq!(world.ask().await, Some(CONNECTED));
    assert!(world.cache.grant(key(), ChannelId::from_bytes([3; 16])).await.is_err());
}

/// A feed whose followers hear what the test says, and that is confirmed when the test says so.
struct ByHand {
    followers: Mutex<Vec<Arc<dyn Follower>>>,
    confirmations: Arc<Confirmations>,
}

impl ByHand {
    /// Stale, until it is confirmed.
    fn new() -> Self {
        let confirmations = Confirmations::new(Duration::ZERO, Duration::from_millis(1));
        Self { followers: Mutex::default(), confirmations: Arc::new(confirmations) }
    }

    fn tell(&self, tell: impl Fn(&dyn Follower)) {
        self.followers.lock().unwrap().iter().for_each(|follower| tell(&**follower));
    }

    fn is_fresh_for(&self, time: Duration) {
        self.confirmations.confirm(clock::since_boot() + time);
    }

    fn freshness(&self) -> Freshness {
        Freshness::by(Arc::clone(&self.confirmations))
    }
}

impl ChangeFeed for ByHand {
    fn follow(&self, follower: Arc<dyn Follower>) -> Following {
        self.followers.lock().unwrap().push(follower);
        Following { from: FeedPosition(10), freshness: self.freshness() }
    }
}

/// The grant of a key of each kind: cached, and refused.
async fn a_stale_feed(grant: Option<Grant>) {
    let world = World::new(grant, 10_000);
    let feed = ByHand::new();
    let cache = AccessCache::new(&AccessCacheConfig::default(), Arc::clone(&world.registry) as _, &feed);
    let ask = async || cache.grant(key(), CHANNEL).await;
    for asked in 1..4 {
        assert_eq!((ask().await.unwrap(), world.asked()), (grant, asked), "while it is stale each asks");
    }
    feed.is_fresh_for(Duration::from_secs(1));
    for _ in 0..3 {
        assert_eq!((ask().await.unwrap(), world.asked()), (grant, 4), "what was asked meanwhile is not kept");
    }
    while feed.freshness().is_fresh() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((ask().await.unwrap(), world.asked()), (grant, 5), "nothing is believed any more");
    world.registry.reachable.store(false, Ordering::SeqCst);
    assert!(ask().await.is_err(), "better no answer than one that may be wrong");
    world.registry.reachable.store(true, Ordering::SeqCst);
    feed.is_fresh_for(Duration::from_secs(3_600));
    assert_eq!((ask().await.unwrap(), world.asked()), (grant, 5), "nothing was missed: the cache goes on");
    feed.tell(|follower| follower.apply(Change::Channel(CHANNEL), FeedPosition(11)));
    assert_eq!((ask().await.unwrap(), world.asked()), (grant, 6));
    feed.tell(|follower| follower.everything_changed(FeedPosition(12)));
    for _ in 0..2 {
        assert_eq!((ask().await.unwrap(), world.asked()), (grant, 7), "once more, and then it is kept again");
    }
}

#[tokio::test]
async fn a_stale_feed_lets_nothing_cached_be_used_and_spoils_none_of_it() {
    let grants = [Some(CONNECTED), Some(DISCONNECTED), None];
    futures::future::join_all(grants.map(a_stale_feed)).await;
}

/// Who joins a look-up gets what was read before it came; while no change is heard of, that is too old.
#[tokio::test]
async fn look_ups_of_a_stale_feed_are_not_shared() {
    let world = World::new(Some(CONNECTED), 0);
    let cache =
        AccessCache::new(&AccessCacheConfig::default(), Arc::clone(&world.registry) as _, &ByHand::new());
    let cache = Arc::new(cache);
    let ask = || {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move { cache.grant(key(), CHANNEL).await.unwrap() })
    };
    let early = ask();
    world.until_asked(1).await;
    *world.registry.grant.lock().unwrap() = Some(DISCONNECTED);
    let late = ask();
    world.until_asked(2).await;
    world.registry.answers.add_permits(2);
    assert_eq!((early.await.unwrap(), late.await.unwrap()), (Some(CONNECTED), Some(DISCONNECTED)));
}
