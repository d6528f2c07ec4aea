//! Entries on their way to the brokers, and their answers.
//!
//! What waits for brokers is bounded in bytes and in entries. Room is given back when the client has done with an entry,
//! not when its caller stops waiting, so that no number of impatient callers makes the memory grow.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ::kafka::Telling;
use domain::Position;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::contract::{AppendError, LogError};
use crate::kafka::config::KafkaConfig;
use crate::kafka::gate::{Gate, Given, Letter};
use crate::kafka::lane_choice::Topic;
use crate::kafka::record::{Outgoing, lane_of, offset_of};
use crate::kafka::topics::lanes_with_leaders;

/// What the client keeps of an entry beside its pack, about: key, headers, and where it goes.
const MESSAGE_BYTES: usize = 768;

/// How long after an entry was given up nobody tries whether the brokers are back.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

pub(super) type Client = BaseProducer<Deliveries>;

/// Appends to the topics of one log.
pub(crate) struct Sender {
    config: KafkaConfig,
    in_flight: Arc<InFlight>,
    gate: Gate,
    /// Another one from when the client said that it can do no more.
    client: RwLock<Arc<Client>>,
}

impl Sender {
    pub(crate) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        let client = RwLock::new(connect(config)?);
        let in_flight = Arc::new(InFlight {
            bytes_max: config.in_flight_bytes_max,
            entries_max: config.in_flight_entries_max,
            stall_after: config.stall_after,
            given: Arc::default(),
            now: Mutex::new(Now { bytes: 0, entries: 0, progress: Instant::now(), failed: None }),
        });
        let gate = Gate::new(Arc::clone(&in_flight.given));
        Ok(Self { config: config.clone(), in_flight, gate, client })
    }

    /// Sends all of them, and answers when each is kept.
    pub(crate) async fn send(
        &self,
        topic: &Topic,
        outgoing: Vec<Outgoing>,
    ) -> Result<Vec<Position>, AppendError> {
        let count = outgoing.len();
        let (rooms, under_way) = self.in_flight.reserve(&outgoing)?;
        let client = self.client();
        let (mut letters, mut answers) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (outgoing, room) in outgoing.into_iter().zip(rooms) {
            let (answer, answered) = oneshot::channel();
            letters.push(Letter::new(topic, outgoing, Ticket { answer, room }));
            answers.push(answered);
        }
        self.gate.pass(&client, letters, under_way);
        let mut positions = Vec::with_capacity(count);
        for answer in answers {
            match answer.await.unwrap_or(Err(Failure::of_delivery(KafkaError::Canceled))) {
                Ok(position) => positions.push(position),
                Err(Failure { error, is_refusal }) => {
                    self.replace_if_broken(&client);
                    let is_untouched = is_refusal && count == 1 && !is_too_long(&error);
                    let unknown = AppendError::Unknown { entries: count, source: error.into() };
                    return Err(if is_untouched { AppendError::Busy } else { unknown });
                }
            }
        }
        Ok(positions)
    }

    /// Waits until all that was sent is answered; blocks.
    pub(crate) fn flush(&self) {
        let client = self.client();
        self.gate.open(&client);
        if let Err(error) = client.flush(self.config.delivery_timeout + Duration::from_secs(1)) {
            tracing::warn!(%error, "entries were left without an answer from the brokers");
        }
    }

    /// Whether each lane of the topic has a broker that leads it and answers within the time; blocks.
    pub(crate) fn reaches_leaders(&self, topic: &str, within: Duration) -> Result<(), String> {
        lanes_with_leaders(self.client().client(), &[topic.to_owned()], within).map(drop)
    }

    /// Entries that wait for the brokers.
    pub(crate) fn entries_in_flight(&self) -> usize {
        self.in_flight.now().entries
    }

    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// After some failures a client that promises not to write twice can't go on, and says so: another one can.
    fn replace_if_broken(&self, broken: &Arc<Client>) {
        let Some((code, reason)) = broken.client().fatal_error() else { return };
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&client, broken) {
            return;
        }
        match connect(&self.config) {
            Ok(fresh) => {
                tracing::warn!(%code, reason, "the client of the log could not go on and is replaced");
                let old = std::mem::replace(&mut *client, fresh);
                // The last one to drop it waits for what it still has to answer.
                tokio::task::spawn_blocking(move || drop(old));
            }
            Err(error) => tracing::error!(error = %error.source, "the client of the log can't be replaced"),
        }
    }
}

fn connect(config: &KafkaConfig) -> Result<Arc<Client>, LogError> {
    ::kafka::producer(&config.producer(), Deliveries(Telling::of("the log")))
        .map_err(|error| LogError::new("making a client of the brokers", error))
}

fn is_too_long(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Goes with an entry through the client and comes back with its answer.
pub(super) struct Ticket {
    answer: oneshot::Sender<Result<Position, Failure>>,
    room: Room,
}

impl Ticket {
    /// Gives the room back, and the answer to whoever still waits for it.
    pub(super) fn answer(self, result: Result<Position, Failure>) {
        self.room.in_flight.given.answered();
        drop(self.room);
        let _ = self.answer.send(result);
    }
}

/// Why an entry is not known to be kept.
pub(super) struct Failure {
    error: KafkaError,
    /// The client did not take it: it was sent to no broker.
    is_refusal: bool,
}

impl Failure {
    pub(super) const fn of_delivery(error: KafkaError) -> Self {
        Self { error, is_refusal: false }
    }

    pub(super) const fn refusal(error: KafkaError) -> Self {
        Self { error, is_refusal: true }
    }
}

/// Where the client answers.
pub(super) struct Deliveries(Telling);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.trouble(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let result = match result {
            Ok(message) if message.offset() >= 0 => {
                ticket.room.in_flight.acknowledged();
                Ok(Position { lane: lane_of(message.partition()), offset: offset_of(message.offset()) })
            }
            // Kept before, and not known where: the broker no longer remembers what it told us.
            Ok(_) => Err(KafkaError::MessageProduction(RDKafkaErrorCode::DuplicateSequenceNumber)),
            Err((error, _message)) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut) {
                    ticket.room.in_flight.timed_out();
                }
                Err(error.clone())
            }
        };
        ticket.answer(result.map_err(Failure::of_delivery));
    }
}

/// How much waits for the brokers.
#[derive(Debug)]
struct InFlight {
    bytes_max: usize,
    entries_max: usize,
    stall_after: Duration,
    given: Arc<Given>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    bytes: usize,
    entries: usize,
    /// When an entry was last acknowledged, or the first of those that wait was sent.
    progress: Instant,
    /// When an entry was last given up, if none was acknowledged since.
    failed: Option<Instant>,
}

impl InFlight {
    /// Room for all of them, or for none. Where nothing is acknowledged any more there is none: callers are told at
    /// once, and those that wait already find out when that is over. Answers how many are under way with them, too.
    fn reserve(self: &Arc<Self>, outgoing: &[Outgoing]) -> Result<(Vec<Room>, usize), AppendError> {
        let bytes = |outgoing: &Outgoing| outgoing.payload.len() + MESSAGE_BYTES;
        let wanted: usize = outgoing.iter().map(bytes).sum();
        let mut now = self.now();
        // One at a time finds out whether the brokers are back; the others need not wait for that.
        if now.failed.is_some_and(|failed| now.entries > 0 || failed.elapsed() < ASK_AGAIN_AFTER) {
            return Err(AppendError::Busy);
        }
        if now.entries == 0 {
            now.progress = Instant::now();
        } else if now.progress.elapsed() > self.stall_after {
            return Err(AppendError::Busy);
        }
        if now.bytes + wanted > self.bytes_max || now.entries + outgoing.len() > self.entries_max {
            return Err(AppendError::Busy);
        }
        now.bytes += wanted;
        now.entries += outgoing.len();
        let room = |outgoing| Room { in_flight: Arc::clone(self), bytes: bytes(outgoing) };
        Ok((outgoing.iter().map(room).collect(), now.entries))
    }

    fn acknowledged(&self) {
        let mut now = self.now();
        now.progress = Instant::now();
        now.failed = None;
    }

    fn timed_out(&self) {
        self.now().failed = Some(Instant::now());
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One entry's part of what may be in flight; given back when dropped.
#[derive(Debug)]
struct Room {
    in_flight: Arc<InFlight>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut now = self.in_flight.now();
        now.bytes -= self.bytes;
        now.entries -= 1;
    }
}
