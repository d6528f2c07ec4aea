//! Delivers what things publish to their webhooks: signed, in order, at least once.
//!
//! Reads the log as a consumer group of its own (`intake`) and tries each delivery once from memory (`dispatch`). What fails is kept in
//! the registry, and only then is the log told that it may forget; from there it is tried again and again (`retries`), until it
//! is delivered or given up. So a crash at any moment loses none, and may deliver some twice, with the same id.
//!
//! Never writes to the registry for a delivery that succeeds, but for its place among the last tries (`ledger`), which are
//! written together about once a second. Never waits for one endpoint before it looks at another. ADR 16 has the why.

mod attempt;
mod body;
mod dispatch;
mod endpoint;
mod hosts;
mod intake;
mod ledger;
mod lines;
mod metrics;
mod outcome;
mod retries;
mod tracker;
mod turns;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::{ChannelId, Protocol, ReceivedAt, Record, Subtopic, Timestamp, Value};
use futures::FutureExt as _;
use log::{Log, LogError};
use outbound::{Client, Guard};
use service::clock;
use service::consumer_status::ConsumerStatus;
use service::telemetry::Chain;
use store::Row;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use metrics::{DeliveryMetrics, DisabledBecause};
pub use outcome::Outcome;

use self::attempt::Delivery;
use self::body::{Piece, fragments, join};
use self::endpoint::Endpoint;
use self::ledger::Ledger;
use self::tracker::Ticket;
use self::turns::Turns;
use crate::ControlPlane;
use crate::registry::deliveries::{Attempt, Bounds};
use crate::registry::webhooks::{Disabled, Webhook};
use crate::registry::{Registry, RegistryError};
use crate::seal::Sealer;

/// The consumer group of deliveries.
pub const GROUP: &str = "webhooks";

/// How long an endpoint may take to answer.
const TRY_MAX: Duration = Duration::from_secs(15);

const DAY: Duration = Duration::from_secs(86_400);

/// How much is kept for a webhook. A thing that publishes once a second has 86,400 deliveries a day; at the size that those have,
/// they fit.
pub(crate) const BOUNDS: Bounds = Bounds {
    deliveries_max: 100_000,
    bytes_max: 32 << 20,
    give_up_after: DAY.as_micros() as i64,
    replayable_for: 7 * DAY.as_micros() as i64,
    disable_after: 5 * DAY.as_micros() as i64,
};

pub(crate) const UNOPENED: RegistryError = RegistryError::Damaged("a webhook's sealed secret does not open");

/// Settings of deliveries.
#[derive(Debug, Clone)]
pub struct DeliveryConfig {
    /// Whether endpoints may have private addresses and be without TLS.
    pub allow_private: bool,
    /// First tries at a time. Each is another webhook's.
    pub first_tries_max: usize,
    /// Webhooks whose kept deliveries are tried at a time: apart from the first ones, so that endpoints that are known to hang
    /// take no place of others.
    pub retries_max: usize,
    /// How long a delivery is tried before it is given up.
    pub give_up_after: Duration,
    /// How long every try may fail before a webhook is disabled.
    pub disable_after: Duration,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            allow_private: false,
            first_tries_max: 512,
            retries_max: 128,
            give_up_after: Duration::from_micros(BOUNDS.give_up_after as u64),
            disable_after: Duration::from_micros(BOUNDS.disable_after as u64),
        }
    }
}

/// Why deliveries could not begin.
#[derive(Debug, thiserror::Error)]
#[error("the log can't be subscribed to")]
pub struct DeliveryError(#[from] LogError);

/// Delivers. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Courier(Arc<Inner>);

struct Inner {
    registry: Arc<Registry>,
    sealer: Arc<Sealer>,
    client: Client,
    guard: Guard,
    config: DeliveryConfig,
    bounds: Bounds,
    metrics: DeliveryMetrics,
    status: ConsumerStatus,
    turns: Turns,
    /// Something was kept, or asked to be tried again.
    asked: Arc<Notify>,
    ledger: Ledger,
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").field("registry", &self.0.registry).finish_non_exhaustive()
    }
}

impl Courier {
    pub(crate) fn new(
        registry: Arc<Registry>,
        sealer: Arc<Sealer>,
        config: DeliveryConfig,
        metrics: DeliveryMetrics,
        asked: Arc<Notify>,
    ) -> Self {
        let guard = Guard { allow_private: config.allow_private };
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let bounds = Bounds {
            give_up_after: micros(config.give_up_after),
            disable_after: micros(config.disable_after),
            ..BOUNDS
        };
        Self(Arc::new(Inner {
            registry,
            sealer,
            client: Client::new(guard),
            guard,
            config,
            bounds,
            metrics,
            status: ConsumerStatus::default(),
            turns: Turns::default(),
            asked,
            ledger: Ledger::default(),
        }))
    }

    /// How it is doing.
    pub fn status(&self) -> ConsumerStatus {
        self.0.status.clone()
    }

    /// Whether the registry answers.
    pub async fn answers(&self) -> bool {
        self.0.registry.has_users().await.is_ok()
    }

    /// Delivers what comes on the log, until `shutdown`; then finishes what is under way, for a moment. What is not done comes
    /// again at the next start. It runs once.
    ///
    /// # Errors
    /// [`DeliveryError`] if it could not begin; afterwards every failure is waited out.
    pub async fn run(self, log: Arc<dyn Log>, shutdown: CancellationToken) -> Result<(), DeliveryError> {
        let subscription = log.subscribe(GROUP, &[]).await?;
        let _running = self.0.status.run();
        // The ledger ends when nobody can make an attempt any more.
        let written = CancellationToken::new();
        let ledger = tokio::spawn(ledger::run(self.clone(), written.clone()));
        tokio::join!(
            intake::run(self.clone(), subscription, shutdown.clone()),
            retries::run(self.clone(), shutdown.clone())
        );
        written.cancel();
        if let Err(error) = ledger.await {
            tracing::error!(%error, "the last tries could not be written down");
        }
        Ok(())
    }

    /// Closes the registry, where it is nobody else's.
    pub async fn close(&self) {
        self.0.registry.close().await;
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn metrics(&self) -> &DeliveryMetrics {
        &self.0.metrics
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.0.guard
    }

    fn client(&self) -> &Client {
        &self.0.client
    }

    fn turns(&self) -> &Turns {
        &self.0.turns
    }

    fn bounds(&self) -> &Bounds {
        &self.0.bounds
    }

    fn note(&self, attempt: Attempt) {
        let unlisted = self.0.ledger.note(attempt);
        self.metrics().unlisted_total.increment(unlisted);
    }

    fn tell_disabled(&self, webhook: domain::WebhookId, reason: Disabled) {
        let Some(because) = DisabledBecause::of(reason) else { return };
        self.metrics().disabled_total.of(because).increment(1);
        tracing::warn!(%webhook, reason = reason.name(), "a webhook is disabled: its endpoint takes nothing");
    }

    /// The registry did not do what it was asked; it is asked again.
    fn trouble(&self, error: &RegistryError, what: &'static str) {
        tracing::warn!(error = %Chain(error), "{what}, trying again");
        self.metrics().retries_total.increment(1);
        self.0.status.failed(clock::unix_micros());
    }
}

/// Pauses that double, and end at once on shutdown.
struct Retry(Duration);

impl Retry {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(5);

    fn new() -> Self {
        Self(Self::FIRST)
    }

    /// `false`: shutdown came.
    async fn pause(&mut self, shutdown: &CancellationToken) -> bool {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::LONGEST);
        tokio::select! {
            () = shutdown.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

/// What comes of work, or nothing, if it panics: a mistake of ours with one delivery must not stop the others, nor lose it.
async fn caught<T>(work: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.ok()
}

/// Does something again until it does not panic. Nothing: shutdown came before.
async fn surely<T, W: Future<Output = T>>(
    status: ConsumerStatus,
    shutdown: CancellationToken,
    mut work: impl FnMut() -> W,
) -> Option<T> {
    let mut retry = Retry::new();
    loop {
        if let Some(done) = caught(work()).await {
            return Some(done);
        }
        tracing::error!("what deliveries need to go on panicked, trying again");
        status.failed(clock::unix_micros());
        if !retry.pause(&shutdown).await {
            return None;
        }
    }
}

/// Delivers one made-up record now, and once.
pub(crate) async fn test(app: &ControlPlane, webhook: &Webhook) -> Result<Attempt, RegistryError> {
    let enabled = Webhook { disabled: None, ..webhook.clone() };
    let endpoint = Endpoint::of(&enabled, app.sealer(), app.outbound_guard()).ok_or(UNOPENED)?;
    let channel = ChannelId::from_bytes([0; 16]);
    let now = ReceivedAt::from_micros(clock::unix_micros());
    let row = Row {
        publisher: webhook.thing,
        subtopic: Subtopic::default(),
        protocol: Protocol::Http,
        received: now,
        record: Record {
            name: "thalweg:test".to_owned(),
            unit: String::new(),
            time: Timestamp::from_nanos(now.as_micros() * 1_000),
            value: Some(Value::Bool(true)),
            sum: None,
            update_time: None,
        },
    };
    let ticket = Ticket { lane: domain::Lane(0), generation: 0, offset: 0 };
    let pieces: Vec<Piece> = fragments(channel, &[row], webhook.format)
        .into_iter()
        .map(|fragment| Piece {
            ticket,
            channel,
            publisher: webhook.thing,
            received: now,
            format: webhook.format,
            fragment,
        })
        .collect();
    let body = Bytes::from(join(&pieces));
    let delivery = Delivery { id: Uuid::new_v4(), format: webhook.format, body, records: 1 };
    let tried = app.courier().attempt(&endpoint, &delivery).await;
    Ok(tried.attempt(&endpoint, &delivery, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_done_again_until_it_does_not() {
        let (status, shutdown) = (ConsumerStatus::default(), CancellationToken::new());
        let mut times = 0;
        let done = surely(status.clone(), shutdown.clone(), || {
            times += 1;
            std::future::ready(times).map(|times| {
                assert!(times > 2, "on purpose");
                times
            })
        });
        assert_eq!(done.await, Some(3));
        shutdown.cancel();
        let never = surely(status, shutdown, || async { panic!("on purpose") });
        assert_eq!(never.await, None::<()>);
    }
}
