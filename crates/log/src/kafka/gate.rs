//! Where entries wait for others that go to the brokers with them, while many are under way.
//!
//! The client sends a request for each lane that holds anything as soon as it may, and each is an answer to wait for and to
//! give: with a thousand callers and sixteen lanes that is a request for every few entries. So when many are under way, what
//! comes is gathered until most of what the client has is answered, and given to it in one go, lane by lane, so that it does
//! not begin to send lanes of which more is to come. Nothing waits while few are under way.
//!
//! Never changes the order of a lane: what comes while others are gathered, or are given to the client, goes behind them.

use std::mem;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Lane;
use rdkafka::producer::BaseRecord;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::kafka::lane_choice::Topic;
use crate::kafka::producer::{Client, Failure, Ticket};
use crate::kafka::record::Outgoing;

/// From how many entries under way those that come are gathered.
const GATHER_FROM: usize = 128;
/// How long at most: brokers that are slow to answer for one lane hold up no other for longer.
const GATHER_FOR_MAX: Duration = Duration::from_millis(25);
/// What part of a round may be without an answer when the next one goes. The last ones are often behind a slow lane.
const LEFT: usize = 8;

/// What the client has and has not answered.
#[derive(Debug, Default)]
pub(super) struct Given {
    entries: AtomicUsize,
    /// How many went together last.
    round: AtomicUsize,
    mostly_answered: Notify,
}

impl Given {
    fn add(&self, entries: usize) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.round.store(entries, Ordering::Relaxed);
    }

    /// Notes that one was answered.
    pub(super) fn answered(&self) {
        let left = self.entries.fetch_sub(1, Ordering::Relaxed) - 1;
        if self.is_little(left) {
            self.mostly_answered.notify_waiters();
        }
    }

    fn is_little(&self, left: usize) -> bool {
        left <= self.round.load(Ordering::Relaxed) / LEFT
    }

    /// Waits until most of them are answered, but not for long.
    async fn mostly_answered(&self) {
        let mut answered = pin!(self.mostly_answered.notified());
        answered.as_mut().enable();
        if !self.is_little(self.entries.load(Ordering::Relaxed)) {
            let _ = timeout(GATHER_FOR_MAX, answered).await;
        }
    }
}

/// An entry with where it goes, and who waits for its answer.
pub(super) struct Letter {
    topic: Topic,
    lane: Lane,
    outgoing: Outgoing,
    ticket: Box<Ticket>,
}

impl Letter {
    pub(super) fn new(topic: &Topic, outgoing: Outgoing, ticket: Ticket) -> Self {
        let lane = topic.lane_of(&outgoing.key);
        Self { topic: topic.clone(), lane, outgoing, ticket: Box::new(ticket) }
    }

    /// Gives it to the client, which answers through the ticket; so does this, if the client does not take it.
    fn give_to(self, client: &Client) {
        let Self { topic, lane, outgoing, ticket } = self;
        let record = BaseRecord::with_opaque_to(topic.name(), ticket)
            .partition(lane.0 as i32)
            .key(&outgoing.key)
            .payload(outgoing.payload.as_ref())
            .headers(outgoing.headers)
            .timestamp(outgoing.timestamp_millis);
        if let Err((error, refused)) = client.send(record) {
            refused.delivery_opaque.answer(Err(Failure::refusal(error)));
        }
    }
}

fn give(letters: Vec<Letter>, client: &Client, given: &Given) {
    given.add(letters.len());
    letters.into_iter().for_each(|letter| letter.give_to(client));
}

/// Lets entries through to the client, at once or gathered.
#[derive(Clone)]
pub(super) struct Gate(Arc<Inner>);

struct Inner {
    given: Arc<Given>,
    waiting: Mutex<Waiting>,
    /// Held by who gives the client what waited, so that nobody overtakes it.
    door: Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    letters: Vec<Letter>,
    /// Whether somebody will open the gate, or is letting through what waited.
    is_shut: bool,
}

impl Gate {
    pub(super) fn new(given: Arc<Given>) -> Self {
        Self(Arc::new(Inner { given, waiting: Mutex::default(), door: Mutex::default() }))
    }

    /// Lets them through; so many are under way, with them.
    pub(super) fn pass(&self, client: &Arc<Client>, letters: Vec<Letter>, under_way: usize) {
        let mut waiting = self.waiting();
        if !waiting.is_shut && under_way < GATHER_FROM {
            // Under the lock, for the order. Those who wait for it are few.
            give(letters, client, &self.0.given);
            return;
        }
        waiting.letters.extend(letters);
        if mem::replace(&mut waiting.is_shut, true) {
            return;
        }
        let (gate, client) = (self.clone(), Arc::clone(client));
        tokio::spawn(async move {
            gate.0.given.mostly_answered().await;
            gate.open(&client);
        });
    }

    /// Lets through all that waits.
    pub(super) fn open(&self, client: &Client) {
        let _alone = self.0.door.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut waiting = self.waiting();
            let mut letters = mem::take(&mut waiting.letters);
            if letters.is_empty() {
                waiting.is_shut = false;
                return;
            }
            drop(waiting);
            // Stable: those of one lane stay as they came.
            letters.sort_by_key(|letter| letter.lane);
            give(letters, client, &self.0.given);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
