//! What does a look-up of a cached grant cost, with a thousand things and with a million? And what does it cost to look each time
//! whether the feed between processes is stale?
//!
//! Closed loop on one thread, keys in a random order that is fixed, so that at a million things each look-up misses the
//! processor's caches as it does under real load. The figures to read are the ratios of the first two and of the last two.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use domain::{ChannelId, ChannelProfile, Grant, KeyDigest, ThingId};
use thalweg_service::access_cache::{AccessCache, AccessCacheConfig};
use thalweg_service::authority::{Authority, AuthorityError, ReadDenied};
use thalweg_service::clock;
use thalweg_service::feed::{ChangeFeed, Confirmations, Feed, FeedPosition, Follower, Following, Freshness};

/// Connects every key to every channel.
struct Open;

#[async_trait]
impl Authority for Open {
    async fn grant(&self, key: &KeyDigest, _: ChannelId) -> Result<Option<Grant>, AuthorityError> {
        let mut thing = [0; 16];
        thing.copy_from_slice(&key.as_bytes()[..16]);
        Ok(Some(Grant { thing: ThingId::from_bytes(thing), connection: Some(ChannelProfile::default()) }))
    }

    async fn user_read(&self, _: &str, _: ChannelId) -> Result<ChannelProfile, ReadDenied> {
        Ok(ChannelProfile::default())
    }
}

/// A feed that is looked at as the one between processes is, and that stays fresh.
struct Watched;

impl ChangeFeed for Watched {
    fn follow(&self, _: Arc<dyn Follower>) -> Following {
        let confirmations = Confirmations::new(clock::since_boot(), Duration::from_secs(24 * 3_600));
        Following { from: FeedPosition(0), freshness: Freshness::by(Arc::new(confirmations)) }
    }
}

const CHANNEL: ChannelId = ChannelId::from_bytes([1; 16]);

/// Spreads numbers over digests as SHA-256 spreads keys (the finalizer of SplitMix64, Steele et al. 2014).
fn digest(number: u64) -> KeyDigest {
    let mut bytes = [0; 32];
    for (i, chunk) in bytes.chunks_mut(8).enumerate() {
        let mut z = (number + (i as u64) * 0x1_0000_0000).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
    }
    KeyDigest::from_bytes(bytes)
}

fn look_ups(criterion: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O starts");
    let mut group = criterion.benchmark_group("cached grant");
    let in_process = Feed::default();
    let feeds: [(u64, &str, &dyn ChangeFeed); 3] = [
        (1_000, "1000 things", &in_process),
        (1_000_000, "1000000 things", &in_process),
        (1_000_000, "1000000 things, feed watched", &Watched),
    ];
    for (things, name, feed) in feeds {
        let config = AccessCacheConfig { grants_max: 2_000_000, ..AccessCacheConfig::default() };
        let cache = AccessCache::new(&config, Arc::new(Open), feed);
        runtime.block_on(async {
            for thing in 0..things {
                cache.grant(digest(thing), CHANNEL).await.expect("the authority always answers");
            }
        });
        group.bench_function(name, |bencher| {
            let mut next = 0_u64;
            bencher.iter(|| {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let key = digest((next >> 33) % things);
                black_box(runtime.block_on(cache.grant(key, CHANNEL)).expect("the authority always answers"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, look_ups);
criterion_main!(benches);
