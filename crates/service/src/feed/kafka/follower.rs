//! Reads the feed: a thread that applies what comes, and a task that asks where the feed ends.
//!
//! Both use one client. What the task learns of leaders, each time from whichever broker answers, the thread reads by; so a
//! broker that was deposed and does not know it is left as soon as another one is asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka::Telling;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::config::{ANSWER_WITHIN, CONFIRM_EVERY, FEED, KafkaFeedConfig, PARTITION};
use super::message::{self, Unreadable};
use super::place::{Arrival, Lost, Place, Question};
use crate::clock;
use crate::feed::{Confirmations, FeedError, FeedPosition, Follower};
use crate::metrics::{FeedMetrics, Loss};

/// How long one poll waits, and so how long the thread takes to notice that it is to end.
const POLL: Duration = Duration::from_millis(100);
/// How long brokers may take to say where the feed ends when it is opened.
const END_WITHIN: Duration = Duration::from_secs(30);
/// Pause before a client that can't go on is replaced by another one.
const RESTART_PAUSE: Duration = Duration::from_millis(200);
/// A client that reads nothing for this long although there is something is replaced by another one.
const STUCK_AFTER: Duration = Duration::from_secs(3);

type Client = BaseConsumer<Telling>;

/// What the thread, the task and those who follow share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) confirmations: Arc<Confirmations>,
    metrics: FeedMetrics,
    state: Mutex<State>,
}

struct State {
    place: Place,
    followers: Vec<Arc<dyn Follower>>,
    /// The client that reads now.
    client: Option<Arc<Client>>,
    /// What the task found out that the thread has to act on.
    restart: Option<Restart>,
    /// The thread has not come past this offset since then, although there is more.
    waiting: Option<(u64, Duration)>,
}

/// Why reading has to begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Restart {
    #[error("changes are gone that were not read, or the feed was made anew")]
    Lost,
    #[error("the client reads nothing although there is something")]
    Stuck,
    #[error("the client can't go on")]
    Broken,
}

impl From<Lost> for Restart {
    fn from(Lost: Lost) -> Self {
        Self::Lost
    }
}

impl Shared {
    pub(super) fn follow(&self, follower: Arc<dyn Follower>) -> FeedPosition {
        let mut state = self.state();
        state.followers.push(follower);
        state.place.position()
    }

    pub(super) fn show_state(&self) {
        let age = self.confirmations.age(clock::since_boot());
        self.metrics.lag_changes.set(self.state().place.lag() as f64);
        self.metrics.unconfirmed_seconds.set(age.as_secs_f64());
        self.metrics.stale.set(f64::from(u8::from(!self.is_fresh())));
    }

    fn is_fresh(&self) -> bool {
        self.confirmations.is_fresh(clock::since_boot())
    }

    /// Applies what a message says, or lets followers distrust everything if that can't be known.
    fn take(&self, offset: u64, payload: Option<&[u8]>) {
        let mut state = self.state();
        let arrival = state.place.arrival(offset);
        if arrival == Arrival::Old {
            return;
        }
        let at = state.place.position_behind(offset);
        match message::decode(payload) {
            _ if arrival == Arrival::BehindAGap => {
                tracing::warn!(
                    offset,
                    "messages of the change feed are missing: what is cached is asked again"
                );
                self.lose(&state, Loss::Deleted, at);
            }
            Ok(change) => {
                state.followers.iter().for_each(|follower| follower.apply(change, at));
                self.metrics.applied_total.increment(1);
            }
            Err(unreadable) => {
                tracing::error!(
                    offset,
                    reason = %unreadable,
                    "a message of the change feed can't be read: what is cached is asked again"
                );
                let loss = match unreadable {
                    Unreadable::UnknownVersion(_) => Loss::UnknownVersion,
                    Unreadable::Malformed => Loss::Malformed,
                };
                self.lose(&state, loss, at);
            }
        }
        state.place.read(offset);
        self.confirm(&mut state);
    }

    fn lose(&self, state: &State, loss: Loss, at: FeedPosition) {
        state.followers.iter().for_each(|follower| follower.everything_changed(at));
        self.metrics.losses_total.of(loss).increment(1);
    }

    fn confirm(&self, state: &mut State) {
        if let Some(as_of) = state.place.confirmed() {
            self.confirmations.confirm(as_of);
        }
    }

    /// What to ask, and of whom, if anybody reads.
    fn question(&self) -> Option<(Arc<Client>, Question)> {
        let state = self.state();
        let client = state.client.clone().filter(|_| state.restart.is_none())?;
        Some((client, state.place.question(clock::since_boot())))
    }

    /// A broker answered.
    fn told(&self, question: Question, oldest: u64, end: u64) {
        let mut state = self.state();
        if let Err(lost) = state.place.told(question, oldest, end) {
            state.restart = Some(lost.into());
            return;
        }
        self.confirm(&mut state);
        let (now, next) = (clock::since_boot(), state.place.next());
        state.waiting = match state.waiting {
            _ if state.place.lag() == 0 => None,
            Some((at, since)) if at == next && now.saturating_sub(since) > STUCK_AFTER => {
                state.restart = Some(Restart::Stuck);
                None
            }
            Some((at, since)) if at == next => Some((at, since)),
            _ => Some((next, now)),
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("place", &self.place).finish_non_exhaustive()
    }
}

/// The thread's work.
pub(super) struct Reading {
    pub(super) shared: Arc<Shared>,
    config: KafkaFeedConfig,
    stop: CancellationToken,
    /// The client that found the end.
    first: Option<Client>,
    /// Something between here and the feed's end is unknown.
    is_lost: bool,
    /// Dropped last: whoever waits for it knows then that the client is gone.
    _counted: TaskTrackerToken,
}

impl Reading {
    /// At the feed's end, with nothing missed and nothing read; blocks.
    pub(super) fn at_end(
        config: KafkaFeedConfig,
        metrics: FeedMetrics,
        stop: CancellationToken,
        counted: TaskTrackerToken,
    ) -> Result<Self, FeedError> {
        let failed = |error| FeedError::unavailable(format!("finding the end of {}", config.topic), error);
        let client = connect(&config).map_err(failed)?;
        let as_of = clock::since_boot();
        let (_, end) = client.fetch_watermarks(&config.topic, PARTITION, END_WITHIN).map_err(failed)?;
        let state = State {
            place: Place::at(offset_of(end)),
            followers: Vec::new(),
            client: None,
            restart: None,
            waiting: None,
        };
        let shared = Shared {
            confirmations: Arc::new(Confirmations::new(as_of, config.stale_after)),
            metrics,
            state: Mutex::new(state),
        };
        let (shared, first) = (Arc::new(shared), Some(client));
        Ok(Self { shared, config, stop, first, is_lost: false, _counted: counted })
    }

    /// Starts the thread and the task.
    pub(super) fn start(self, tasks: &TaskTracker) -> Result<(), FeedError> {
        let (shared, topic, stop) = (Arc::clone(&self.shared), self.config.topic.clone(), self.stop.clone());
        let thread = std::thread::Builder::new().name("change-feed".into());
        thread
            .spawn(move || self.run())
            .map_err(|error| FeedError::unavailable("starting the thread that reads it", error))?;
        tasks.spawn(confirm(shared, topic, stop));
        Ok(())
    }

    fn run(mut self) {
        while !self.stop.is_cancelled() {
            let Err(restart) = self.read() else { return };
            self.is_lost |= restart == Restart::Lost;
            tracing::warn!(reason = %restart, "reading the change feed begins anew");
            let old = {
                let mut state = self.shared.state();
                (state.restart, state.waiting) = (None, None);
                state.client.take()
            };
            drop(old);
            std::thread::park_timeout(RESTART_PAUSE);
        }
    }

    /// Reads with one client, until the process stops or the client is of no use any more.
    fn read(&mut self) -> Result<(), Restart> {
        let broken = |error: KafkaError| {
            tracing::warn!(%error, "reading the change feed can't begin");
            Restart::Broken
        };
        let client = self.first.take().map_or_else(|| connect(&self.config), Ok).map_err(broken)?;
        if self.is_lost {
            self.go_to_end(&client).map_err(broken)?;
        }
        let mut place = TopicPartitionList::new();
        let next = Offset::Offset(self.shared.state().place.next() as i64);
        place.add_partition_offset(&self.config.topic, PARTITION, next).map_err(broken)?;
        client.assign(&place).map_err(broken)?;
        let client = Arc::new(client);
        self.shared.state().client = Some(Arc::clone(&client));
        while !self.stop.is_cancelled() {
            match client.poll(POLL) {
                None => {}
                Some(Ok(message)) => self.shared.take(offset_of(message.offset()), message.payload()),
                Some(Err(error)) => react(client.context(), &error)?,
            }
            if let Some(restart) = self.shared.state().restart {
                return Err(restart);
            }
        }
        self.shared.state().client = None;
        Ok(())
    }

    /// Goes on at the end that the feed has now. Everything before it is unknown.
    fn go_to_end(&mut self, client: &Client) -> Result<(), KafkaError> {
        let as_of = clock::since_boot();
        let (_, end) = client.fetch_watermarks(&self.config.topic, PARTITION, ANSWER_WITHIN)?;
        let mut state = self.shared.state();
        let at = state.place.go_to(offset_of(end));
        self.shared.lose(&state, Loss::Deleted, at);
        self.shared.confirmations.confirm(as_of);
        // What the task was told of the place before says nothing of this one.
        state.restart = None;
        self.is_lost = false;
        tracing::warn!(end, "the change feed is gone on with at its end: what is cached is asked again");
        Ok(())
    }
}

/// Most errors the client gets over by itself.
fn react(telling: &Telling, error: &KafkaError) -> Result<(), Restart> {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(
            Code::AutoOffsetReset
            | Code::OffsetOutOfRange
            | Code::LogTruncation
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition,
        ) => Err(Restart::Lost),
        _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Err(Restart::Broken),
        _ => {
            telling.trouble(error, "reading is interrupted");
            Ok(())
        }
    }
}

/// Asks where the feed ends, again and again.
async fn confirm(shared: Arc<Shared>, topic: String, stop: CancellationToken) {
    let mut was_fresh = true;
    let mut asking = tokio::time::interval(CONFIRM_EVERY);
    asking.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(asking.tick()).await.is_some() {
        if let Some((client, question)) = shared.question() {
            let topic = topic.clone();
            let answer = tokio::task::spawn_blocking(move || extent(&client, &topic)).await;
            match answer {
                Ok(Ok((oldest, end))) => shared.told(question, oldest, end),
                Ok(Err(error)) => tracing::debug!(%error, "brokers do not say where the change feed ends"),
                Err(error) => tracing::error!(%error, "asking where the change feed ends failed"),
            }
        }
        let is_fresh = shared.is_fresh();
        match (was_fresh, is_fresh) {
            (true, false) => tracing::warn!("the change feed can't be confirmed: nothing cached is used"),
            (false, true) => {
                tracing::info!("the change feed is confirmed again: what is cached is used again")
            }
            _ => {}
        }
        was_fresh = is_fresh;
    }
}

/// The feed's oldest offset and the one behind its last, as its leader says now; blocks. Who leads is asked of any broker.
fn extent(client: &Client, topic: &str) -> Result<(u64, u64), KafkaError> {
    client.fetch_metadata(Some(topic), ANSWER_WITHIN)?;
    let (oldest, end) = client.fetch_watermarks(topic, PARTITION, ANSWER_WITHIN)?;
    Ok((offset_of(oldest), offset_of(end)))
}

fn connect(config: &KafkaFeedConfig) -> Result<Client, KafkaError> {
    Client::from_config_and_context(&config.follower(), Telling::of(FEED))
}

/// The client counts from 0, and has negative numbers for what is no offset.
fn offset_of(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}
