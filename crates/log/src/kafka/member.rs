//! One member of a consumer group: a thread that polls the client, whatever its consumer does.
//!
//! While the consumer is slow or its store is down, the thread goes on polling and fetches nothing: the group keeps the
//! member and its lanes. A commit and a change of lanes never overlap, so that a lane that has gone to another member is
//! not committed by this one.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ::kafka::Telling;
use domain::{Lane, Position};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::contract::{BatchLimits, LogError};
use crate::kafka::config::KafkaConfig;
use crate::kafka::lanes::{Arrival, LaneStart, Lanes};
use crate::kafka::record::{self, lane_of, offset_of};

/// How long one poll waits, and so how long a member takes to notice that it is to end.
const POLL: Duration = Duration::from_millis(100);
/// How long a full buffer is waited for before fetching pauses: a pause throws away what was fetched ahead.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
/// How long brokers may take to tell how far a group has come in lanes that it is given.
const PLACES_WITHIN: Duration = Duration::from_secs(5);
/// How long they may take to tell where a lane ends, which only the backlog needs.
const EXTENT_WITHIN: Duration = Duration::from_secs(1);

type Client = BaseConsumer<Group>;

/// What the thread, the client's callbacks and the subscription share.
#[derive(Debug)]
pub(crate) struct Member {
    topic: String,
    /// The first offset behind what the consumer keeps beside its results.
    resume: BTreeMap<Lane, u64>,
    state: Mutex<State>,
    /// Something has changed that the consumer may wait for.
    pub(crate) changed: Notify,
    /// The consumer has taken something.
    taken: Condvar,
    /// Held during a commit and during a change of lanes.
    order: Mutex<()>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) lanes: Lanes,
    /// What the consumer waits for.
    pub(crate) wanted: BatchLimits,
    /// The group has given this member its lanes, if only none.
    pub(crate) joined: bool,
    /// What keeps the member from reading, told once.
    pub(crate) failure: Option<LogError>,
    /// The thread is gone.
    pub(crate) ended: bool,
}

impl Member {
    /// Joins the group, with a thread of its own that ends with `stop`, and that `members` waits for.
    pub(crate) fn join(
        config: &KafkaConfig,
        group: &str,
        resume: &[Position],
        stop: CancellationToken,
        members: &TaskTracker,
    ) -> Result<(Arc<Self>, Commits), LogError> {
        let mut behind = BTreeMap::new();
        for position in resume {
            let next = behind.entry(position.lane).or_insert(0);
            *next = (position.offset + 1).max(*next);
        }
        let none = BatchLimits { entries_max: 1, bytes_max: 0, linger: Duration::ZERO };
        let lanes = Lanes::new(config.fetched_bytes_max);
        let member = Arc::new(Self {
            topic: config.topic.clone(),
            resume: behind,
            state: Mutex::new(State { lanes, wanted: none, joined: false, failure: None, ended: false }),
            changed: Notify::new(),
            taken: Condvar::new(),
            order: Mutex::new(()),
        });
        let failed = |error: KafkaError| LogError::new(format!("joining consumer group {group:?}"), error);
        let telling = Telling::of("the log");
        let context = Group { member: Arc::clone(&member), telling, _counted: members.token() };
        let client = Client::from_config_and_context(&config.consumer(group), context).map_err(failed)?;
        client.subscribe(&[&config.topic]).map_err(failed)?;
        let client = Arc::new(client);
        let commits = Commits { member: Arc::clone(&member), client: Arc::downgrade(&client) };
        let polling = Polling { member: Arc::clone(&member), client, stop, is_paused: false };
        let thread = std::thread::Builder::new().name("log-consumer".into()).spawn(move || polling.run());
        thread.map_err(|error| LogError::new("starting the thread that reads the log", error))?;
        Ok((member, commits))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The consumer has taken something: there may be room again.
    pub(crate) fn has_taken(&self) {
        self.taken.notify_one();
    }

    fn in_order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a subscription commits, for as long as its member lives.
#[derive(Clone)]
pub(crate) struct Commits {
    member: Arc<Member>,
    client: Weak<Client>,
}

impl Commits {
    /// Commits what moves the group on in the lanes that this member holds; blocks.
    pub(crate) fn commit(&self, positions: &[Position]) -> Result<(), LogError> {
        let failed = |error: KafkaError| LogError::new("committing positions", error);
        let client = self.client.upgrade();
        let client = client.ok_or_else(|| LogError::new("committing positions", "the log is closed"))?;
        let _no_change_of_lanes = self.member.in_order();
        let positions = self.member.state().lanes.to_commit(positions);
        if positions.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for position in &positions {
            let next = Offset::from_raw(position.offset as i64 + 1);
            list.add_partition_offset(&self.member.topic, position.lane.0 as i32, next).map_err(failed)?;
        }
        client.commit(&list, CommitMode::Sync).map_err(failed)?;
        self.member.state().lanes.committed(&positions);
        Ok(())
    }
}

/// The thread's work.
struct Polling {
    member: Arc<Member>,
    client: Arc<Client>,
    stop: CancellationToken,
    is_paused: bool,
}

impl Polling {
    fn run(mut self) {
        while !self.stop.is_cancelled() {
            self.pause_or_go_on();
            match self.client.poll(POLL) {
                None => {}
                Some(Ok(message)) => {
                    // Whatever comes in a pause is of a lane that came in it too: pause again.
                    self.is_paused = false;
                    let delivery = record::delivery(&message);
                    let lane = delivery.position.lane;
                    drop(message);
                    if self.keep(delivery) == Arrival::Refused {
                        self.pause(&[lane]);
                    }
                }
                Some(Err(error)) => self.tell(error),
            }
        }
    }

    fn keep(&self, delivery: crate::Delivery) -> Arrival {
        let mut state = self.member.state();
        let was_empty = state.lanes.is_empty();
        let arrival = state.lanes.arrive(delivery);
        if was_empty || state.lanes.has_enough(&state.wanted) {
            self.member.changed.notify_one();
        }
        arrival
    }

    fn pause_or_go_on(&mut self) {
        let state = self.member.state();
        if self.is_paused {
            if state.lanes.has_room() {
                drop(state);
                self.with_assignment(|client, lanes| client.resume(lanes));
                self.is_paused = false;
            }
            return;
        }
        let is_full = |state: &mut State| state.lanes.is_full();
        let waited = self.member.taken.wait_timeout_while(state, PAUSE_AFTER, is_full);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if waited.timed_out() {
            self.with_assignment(|client, lanes| client.pause(lanes));
            self.is_paused = true;
        }
    }

    fn pause(&self, lanes: &[Lane]) {
        let mut list = TopicPartitionList::new();
        for lane in lanes {
            list.add_partition(&self.member.topic, lane.0 as i32);
        }
        // It fails for a lane that has just been lost, of which nothing is fetched any more.
        let _ = self.client.pause(&list);
    }

    fn with_assignment(&self, act: impl Fn(&Client, &TopicPartitionList) -> KafkaResult<()>) {
        let acted = self.client.assignment().and_then(|lanes| act(&self.client, &lanes));
        if let Err(error) = acted {
            tracing::warn!(%error, "lanes of the log can't be paused or gone on with");
        }
    }

    /// The client tries again by itself; only what a person has to look into is told to the consumer.
    fn tell(&self, error: KafkaError) {
        use RDKafkaErrorCode as Code;
        let is_lasting = match error.rdkafka_error_code() {
            // Until it has its lanes it may ask a broker that has not yet heard of a topic that was just made.
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => self.member.state().joined,
            Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::BadMessage) => true,
            _ => matches!(error, KafkaError::MessageConsumptionFatal(_)),
        };
        if !is_lasting {
            self.client.context().telling.trouble(&error, "reading is interrupted");
            return;
        }
        self.member.state().failure = Some(LogError::new("reading the log", error));
        self.member.changed.notify_one();
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.member.state().ended = true;
        self.member.changed.notify_one();
    }
}

/// Where the client calls back, from within the thread's polls.
struct Group {
    member: Arc<Member>,
    telling: Telling,
    /// Dropped behind the client: whoever waits for all members knows then that this one has left its group.
    _counted: TaskTrackerToken,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.telling.line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.telling.trouble(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.member.topic) else { return };
        let mut state = self.member.state();
        for partition in topic.partitions.values().filter(|partition| partition.hi_offset >= 0) {
            state.lanes.end_is(lane_of(partition.partition), offset_of(partition.hi_offset));
        }
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, client: &Client, event: RDKafkaRespErr, lanes: &mut TopicPartitionList) {
        let _no_commit = self.member.in_order();
        let is_given = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let changed = if is_given { self.give(client, lanes) } else { self.take_away(client, lanes) };
        if let Err(error) = changed {
            tracing::error!(%error, "lanes of the log can't be changed");
            self.member.state().failure = Some(LogError::new("changing the lanes of a consumer", error));
        }
        self.member.state().joined = true;
        self.member.changed.notify_one();
    }
}

impl Group {
    fn give(&self, client: &Client, given: &TopicPartitionList) -> KafkaResult<()> {
        let places = client.committed_offsets(given.clone(), PLACES_WITHIN);
        if let Err(error) = &places {
            tracing::warn!(%error, "brokers do not say how far the group has come; they are asked again by the client");
        }
        let mut list = TopicPartitionList::with_capacity(given.count());
        let mut knows_extent = true;
        for element in given.elements() {
            let lane = lane_of(element.partition());
            let committed = places.as_ref().ok().map(|places| offset_in(places, &self.member.topic, lane));
            let (start, from) = self.start(lane, committed);
            let mut start = start;
            if knows_extent {
                let extent = client.fetch_watermarks(&self.member.topic, element.partition(), EXTENT_WITHIN);
                // Where one is not told, the others would not be told either, and each would be waited for.
                knows_extent = extent.is_ok();
                start.extent = extent.ok().map(|(oldest, end)| (offset_of(oldest), offset_of(end)));
            }
            list.add_partition_offset(&self.member.topic, element.partition(), from)?;
            self.member.state().lanes.give(lane, start);
        }
        tracing::info!(lanes = given.count(), "lanes of the log given to this consumer");
        match client.rebalance_protocol() {
            RebalanceProtocol::Eager => client.assign(&list),
            _ => client.incremental_assign(&list),
        }
    }

    /// Where a lane begins, for us and for the client. `committed` is nothing where the brokers did not tell it.
    fn start(&self, lane: Lane, committed: Option<Option<u64>>) -> (LaneStart, Offset) {
        let Some(committed) = committed else { return (LaneStart::default(), Offset::Stored) };
        let next = committed.max(self.member.resume.get(&lane).copied());
        let from = next.map_or(Offset::Beginning, |next| Offset::from_raw(next as i64));
        (LaneStart { next, uncommitted: committed, extent: None }, from)
    }

    fn take_away(&self, client: &Client, taken: &TopicPartitionList) -> KafkaResult<()> {
        {
            let mut state = self.member.state();
            for element in taken.elements() {
                state.lanes.take_away(lane_of(element.partition()));
            }
        }
        self.member.taken.notify_one();
        tracing::info!(
            lanes = taken.count(),
            lost = client.assignment_lost(),
            "lanes of the log taken from this consumer"
        );
        match client.rebalance_protocol() {
            RebalanceProtocol::Eager => client.unassign(),
            _ => client.incremental_unassign(taken),
        }
    }
}

/// The offset that a list has for a lane. Nothing if the group has none.
fn offset_in(list: &TopicPartitionList, topic: &str, lane: Lane) -> Option<u64> {
    match list.find_partition(topic, lane.0 as i32)?.offset() {
        Offset::Offset(offset) => Some(offset_of(offset)),
        _ => None,
    }
}
