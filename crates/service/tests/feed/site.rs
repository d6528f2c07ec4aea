//! A feed of each test's own on the broker that is there, a registry of a few things, and nodes that cache.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::{ChannelId, ChannelProfile, Grant, KeyDigest, ThingId};
use instruments::Registry as Metrics;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use thalweg_service::access_cache::{AccessCache, AccessCacheConfig};
use thalweg_service::authority::{Authority, AuthorityError, ReadDenied};
use thalweg_service::feed::kafka::{KafkaFeed, KafkaFeedConfig, KafkaPublisher};
use thalweg_service::feed::{Change, ChangePublisher as _, FeedError, FeedPosition};
use thalweg_service::metrics::FeedMetrics;
use tokio::sync::Semaphore;

pub(crate) const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);

/// Much longer than anything here takes: what has not happened by then does not.
pub(crate) const LONG: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "where the broker is, is the one setting of these tests")]
pub(crate) fn brokers() -> String {
    let help = "THALWEG_KAFKA_BROKERS is not set. These tests need a broker: run `make test`, or \
                `deploy/engines with kafka -- cargo test -p thalweg-service --features engines --test feed`";
    std::env::var("THALWEG_KAFKA_BROKERS").expect(help)
}

/// A feed with a new topic on these brokers.
pub(crate) fn config(brokers: &str, replication: u16) -> KafkaFeedConfig {
    static TOPICS: AtomicU32 = AtomicU32::new(0);
    let number = TOPICS.fetch_add(1, Ordering::Relaxed);
    KafkaFeedConfig {
        brokers: brokers.into(),
        topic: format!("changes-{}-{number}", std::process::id()),
        replication,
        in_sync_min: replication.div_ceil(2),
        ..KafkaFeedConfig::default()
    }
}

pub(crate) fn thing(number: u8) -> ThingId {
    ThingId::from_bytes([number; 16])
}

pub(crate) fn key(number: u8) -> KeyDigest {
    KeyDigest::from_bytes([number; 32])
}

/// Things that are connected to one channel until they are not. It can be held up in the middle of an answer, and be gone.
pub(crate) struct Registry {
    revoked: Mutex<HashMap<KeyDigest, bool>>,
    asked: AtomicUsize,
    pub(crate) is_reachable: AtomicBool,
    /// An answer is taken from the registry, then waits for a permit.
    pub(crate) answers: Semaphore,
}

impl Registry {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            revoked: Mutex::default(),
            asked: AtomicUsize::new(0),
            is_reachable: true.into(),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    pub(crate) fn set(&self, number: u8, is_revoked: bool) {
        self.revoked.lock().unwrap().insert(key(number), is_revoked);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Authority for Registry {
    async fn grant(&self, key: &KeyDigest, _: ChannelId) -> Result<Option<Grant>, AuthorityError> {
        if !self.is_reachable.load(Ordering::SeqCst) {
            return Err(AuthorityError("connection refused".into()));
        }
        let is_revoked = self.revoked.lock().unwrap().get(key).copied().unwrap_or(false);
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.acquire().await.unwrap().forget();
        let connection = (!is_revoked).then(ChannelProfile::default);
        Ok(Some(Grant { thing: thing(key.as_bytes()[0]), connection }))
    }

    async fn user_read(&self, _: &str, _: ChannelId) -> Result<ChannelProfile, ReadDenied> {
        Err(ReadDenied::InvalidToken)
    }
}

/// A registry and who publishes its changes.
pub(crate) struct Site {
    pub(crate) config: KafkaFeedConfig,
    pub(crate) registry: Arc<Registry>,
    pub(crate) publisher: KafkaPublisher,
}

/// A process that caches.
pub(crate) struct Node {
    pub(crate) feed: KafkaFeed,
    pub(crate) cache: AccessCache,
    pub(crate) metrics: Metrics,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::on(config(&brokers(), 1)).await
    }

    pub(crate) async fn on(config: KafkaFeedConfig) -> Self {
        let publisher = KafkaPublisher::open(config.clone()).await.unwrap();
        Self { config, registry: Registry::new(), publisher }
    }

    pub(crate) async fn node(&self) -> Node {
        let metrics = Metrics::new();
        let feed = KafkaFeed::open(self.config.clone(), FeedMetrics::register(&metrics)).await.unwrap();
        let registry = Arc::clone(&self.registry);
        let cache = AccessCache::new(&AccessCacheConfig::default(), registry as _, &feed);
        Node { feed, cache, metrics }
    }

    /// The broker that leads the feed, as `deploy/engines` names it.
    pub(crate) async fn leader(&self) -> &'static str {
        let (brokers, topic) = (self.config.brokers.clone(), self.config.topic.clone());
        let leader = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer =
                ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
            let metadata = client.fetch_metadata(Some(&topic), LONG).unwrap();
            metadata.topics()[0].partitions()[0].leader()
        });
        ["kafka-1", "kafka-2", "kafka-3"][leader.await.unwrap() as usize - 1]
    }

    /// A change that is made, and then published.
    pub(crate) async fn revoke(&self, number: u8, is_revoked: bool) -> Result<FeedPosition, FeedError> {
        self.registry.set(number, is_revoked);
        self.publisher.publish(&[Change::Thing(thing(number))]).await
    }

    /// The same, tried again and again, as the relay does it.
    pub(crate) async fn revoke_in_the_end(&self, number: u8, is_revoked: bool) {
        while self.revoke(number, is_revoked).await.is_err() {}
    }
}

impl Node {
    /// Whether the thing may publish.
    pub(crate) async fn may(&self, number: u8) -> Result<bool, AuthorityError> {
        let grant = self.cache.grant(key(number), CHANNEL).await?;
        Ok(grant.unwrap().connection.is_some())
    }

    /// How long it takes until this is so; asks as busy things do.
    pub(crate) async fn until(&self, number: u8, may: bool) -> Duration {
        let began = Instant::now();
        while self.may(number).await.ok() != Some(may) {
            assert!(began.elapsed() < LONG, "it does not become so");
            tokio::task::yield_now().await;
        }
        began.elapsed()
    }

    pub(crate) async fn until_fresh(&self, is_fresh: bool) -> Duration {
        let began = Instant::now();
        while self.feed.freshness().is_fresh() != is_fresh {
            assert!(began.elapsed() < LONG, "fresh: {}", !is_fresh);
            tick().await;
        }
        began.elapsed()
    }

    /// Waits until a metric of the feed has this value.
    pub(crate) async fn until_shown(&self, series: &str, value: f64) {
        let began = Instant::now();
        while self.shown(series) != value {
            assert!(began.elapsed() < LONG, "{series}: {}", self.shown(series));
            tick().await;
        }
    }

    pub(crate) fn shown(&self, series: &str) -> f64 {
        self.feed.show_state();
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in:\n{text}")).parse().unwrap()
    }
}

/// The pace at which something is looked at again.
pub(crate) async fn tick() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
