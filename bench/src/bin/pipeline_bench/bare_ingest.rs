//! The server's own ingest with the log replaced by nothing: what accepting a pack costs before it is kept. All else that the
//! role has is there: its access cache, its metrics, its limits of rates, its request ids.
//!
//! Every key is good, and what is accepted is forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use domain::{ChannelId, ChannelProfile, Entry, Grant, KeyDigest, Lane, Position, ThingId};
use instruments::Registry;
use log::{AppendError, DeadLetter, Log, LogError, StoredLetter, Subscription};
use service::access_cache::{AccessCache, AccessCacheConfig};
use service::authority::{Authority, AuthorityError, ReadDenied};
use service::clock::ReceptionClock;
use service::feed::Feed;
use service::metrics::ConnectionMetrics;
use service::rate::Rates;
use service::requests::{self, Answerer, HttpMetrics};
use service::server::{self, ServerConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers 202 for each pack that is valid, until the process is ended.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let feed = Arc::new(Feed::default());
    let access = AccessCache::new(&AccessCacheConfig::default(), Arc::new(Everybody), &*feed);
    let (registry, rates) = (Registry::new(), Rates::new(None, None));
    let parts = ingest::Parts {
        log: Arc::new(Nothing::default()),
        access: Arc::new(access),
        clock: Arc::new(ReceptionClock::behind(None)),
        metrics: ingest::IngestMetrics::register(&registry),
    };
    let ready = Router::new().route("/readyz", get(|| async { StatusCode::OK }));
    let api = rates.limit(ingest::router(ingest::Config::default(), parts));
    let http = HttpMetrics::new(&registry, Answerer::Operation).with(Answerer::Ingest, ingest::ROUTES);
    let routes = requests::observed(server::complete(ready.merge(api)), http);
    let config = ServerConfig { metrics: ConnectionMetrics::register(&registry), ..ServerConfig::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    server::serve(listener, routes, config, CancellationToken::new()).await;
    Ok(())
}

/// Lets everybody publish everywhere.
struct Everybody;

#[async_trait]
impl Authority for Everybody {
    async fn grant(&self, key: &KeyDigest, _: ChannelId) -> Result<Option<Grant>, AuthorityError> {
        let mut thing = [0; 16];
        thing.copy_from_slice(&key.as_bytes()[..16]);
        Ok(Some(Grant { thing: ThingId::from_bytes(thing), connection: Some(ChannelProfile::default()) }))
    }

    async fn user_read(&self, _: &str, _: ChannelId) -> Result<ChannelProfile, ReadDenied> {
        Err(ReadDenied::InvalidToken)
    }
}

/// Takes every entry and keeps none.
#[derive(Default)]
struct Nothing(AtomicU64);

#[async_trait]
impl Log for Nothing {
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<Position>, AppendError> {
        let first = self.0.fetch_add(entries.len() as u64, Ordering::Relaxed);
        Ok((first..).take(entries.len()).map(|offset| Position { lane: Lane(0), offset }).collect())
    }

    async fn subscribe(&self, _: &str, _: &[Position]) -> Result<Box<dyn Subscription>, LogError> {
        Err(keeps_nothing())
    }

    async fn bury(&self, _: Vec<DeadLetter>) -> Result<(), AppendError> {
        Ok(())
    }

    async fn dead_letters(&self, _: u64, _: usize) -> Result<Vec<StoredLetter>, LogError> {
        Err(keeps_nothing())
    }

    async fn answers(&self) -> Result<(), LogError> {
        Ok(())
    }

    async fn close(&self) {}
}

fn keeps_nothing() -> LogError {
    LogError { context: "reading the log".to_owned(), source: "it keeps nothing".into() }
}
