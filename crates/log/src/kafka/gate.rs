//! Where entries wait for others that go to the brokers with them, while many are under way.
//!
//! The client sends a request for each lane that holds anything as soon as it may, and each is an answer to wait for and to
//! give: with a thousand callers and sixteen lanes that is a request for every few entries. When so many are under way that
//! nobody's answer depends on the next few milliseconds, what comes is gathered for so long and given to the client in one go,
//! lane by lane, so that it does not begin to send lanes of which more is to come. Nothing waits while few are under way.
//!
//! Never changes the order of a lane: what comes while others are gathered, or are given to the client, goes behind them.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Lane;
use rdkafka::producer::BaseRecord;

use crate::kafka::lane_choice::Topic;
use crate::kafka::producer::{Client, Failure, Ticket};
use crate::kafka::record::Outgoing;

/// From how many entries under way those that come are gathered.
const GATHER_FROM: usize = 128;
/// How long they are, for each entry under way: the more wait already, the less another moment is to them.
const GATHER_FOR_EACH: Duration = Duration::from_micros(10);
/// And how long at most.
const GATHER_FOR_MAX: Duration = Duration::from_millis(10);

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
    fn give(self, client: &Client) {
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

/// Lets entries through to the client, at once or gathered.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<Inner>);

#[derive(Default)]
struct Inner {
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
    /// Lets them through; so many are under way, with them.
    pub(super) fn pass(&self, client: &Arc<Client>, letters: Vec<Letter>, under_way: usize) {
        let mut waiting = self.waiting();
        if !waiting.is_shut && under_way < GATHER_FROM {
            // Under the lock, for the order. Those who wait for it are few.
            letters.into_iter().for_each(|letter| letter.give(client));
            return;
        }
        waiting.letters.extend(letters);
        if mem::replace(&mut waiting.is_shut, true) {
            return;
        }
        let (gate, client) = (self.clone(), Arc::clone(client));
        let gather_for = GATHER_FOR_MAX.min(GATHER_FOR_EACH * u32::try_from(under_way).unwrap_or(u32::MAX));
        tokio::spawn(async move {
            tokio::time::sleep(gather_for).await;
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
            letters.into_iter().for_each(|letter| letter.give(client));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
