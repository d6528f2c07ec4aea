//! The load: one connection a worker, closed loop or open loop.
//!
//! In an open loop a pack's latency counts from when it was meant to be sent, not from when a connection was free: a
//! server that stalls is charged for every pack that had to wait meanwhile. A pack is never sent twice unless asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Ledger, Outcome, PackNumber};
use crate::http::{Answer, Connection, Fault};

/// Between two attempts to connect to a server that is not there, unless it shows up elsewhere first.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// A server under load says in whole seconds when to come back; a load tool is back sooner than most things.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The longest latency told apart from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(600);

/// How to publish.
#[derive(Debug, Clone)]
pub struct Load {
    /// Connections, each with one pack under way at most.
    pub connections: usize,
    /// When the next pack is sent.
    pub pace: Pace,
    /// Packs to send; without a number, until the time is over or publishing is stopped.
    pub packs: Option<u64>,
    /// How long to send.
    pub duration: Option<Duration>,
    /// Whether a pack without a definite answer is sent again until it has one, as a careful thing does.
    pub resend: bool,
}

/// When the next pack is sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As soon as the connection's last one is answered.
    Closed,
    /// So many packs a second, whether the last ones are answered or not.
    Open(f64),
}

/// What came of publishing.
#[derive(Debug, Clone, Serialize)]
pub struct PublishReport {
    /// Packs answered 202.
    pub packs_acknowledged: u64,
    /// Their records.
    pub records_acknowledged: u64,
    /// Answers by status; a pack that was sent again may have several.
    pub answers: BTreeMap<u16, u64>,
    /// Packs sent whose connection broke before the answer.
    pub unanswered: u64,
    /// Those of them that were the first on their connection: a stop resets what the system connected and no server took.
    pub unanswered_at_first: u64,
    /// Packs sent again.
    pub resent: u64,
    /// Seconds from the first pack to the last answer.
    pub seconds: f64,
    /// Latency of the packs answered 202: from the intended moment in an open loop.
    pub latency: Latency,
}

impl PublishReport {
    /// Packs answered 202, per second.
    pub fn packs_per_second(&self) -> f64 {
        self.packs_acknowledged as f64 / self.seconds
    }

    /// Records of packs answered 202, per second.
    pub fn records_per_second(&self) -> f64 {
        self.records_acknowledged as f64 / self.seconds
    }
}

/// Percentiles of a latency, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the names are the percentiles")]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl Latency {
    /// Of a histogram of microseconds.
    pub fn of(micros: &Histogram<u64>) -> Self {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: micros.max() as f64 / 1_000.0,
        }
    }
}

impl Ledger {
    /// Publishes until the load is through or `stop` is cancelled; packs under way then are still waited for.
    ///
    /// A server that is away is waited for as well, at the address that [`Ledger::retarget`] named last.
    ///
    /// # Errors
    /// When outcomes can't be written to the ledger's file. What a server does is no error, but in the report.
    pub async fn publish(
        self: &Arc<Self>,
        load: &Load,
        stop: CancellationToken,
    ) -> anyhow::Result<PublishReport> {
        let publishing = Arc::new(Publishing::of(self, load, stop)?);
        let mut workers = JoinSet::new();
        for _ in 0..load.connections {
            workers.spawn(Publishing::work(Arc::clone(&publishing)));
        }
        while let Some(ended) = workers.join_next().await {
            ended.context("a publishing task panicked")??;
        }
        self.outcomes().flush()?;
        Ok(publishing.report())
    }
}

/// What the workers of one call share.
struct Publishing {
    ledger: Arc<Ledger>,
    load: Load,
    stop: CancellationToken,
    started: Instant,
    ends: Option<Instant>,
    taken: AtomicU64,
    credentials: Vec<HeaderValue>,
    paths: Vec<Uri>,
    tally: Mutex<Tally>,
}

struct Tally {
    packs_acknowledged: u64,
    answers: BTreeMap<u16, u64>,
    unanswered: u64,
    unanswered_at_first: u64,
    resent: u64,
    last_answer: Instant,
    micros: Histogram<u64>,
}

/// What one attempt to send a pack came to.
enum Attempt {
    /// The answer says what became of it.
    Settled,
    /// It may be stored or not; after the pause it could be sent again.
    Open(Duration),
    /// It did not go out.
    Unsent,
}

impl Publishing {
    fn of(ledger: &Arc<Ledger>, load: &Load, stop: CancellationToken) -> anyhow::Result<Self> {
        let fleet = ledger.fleet();
        let credentials: anyhow::Result<_> = fleet.things.iter().map(|thing| thing.authorization()).collect();
        let path = |channel| Uri::try_from(format!("/http/channels/{channel}/messages"));
        let paths: Result<_, _> = fleet.channels.iter().map(path).collect();
        let micros = Histogram::new_with_bounds(1, LATENCY_MAX.as_micros() as u64, 3)?;
        let started = Instant::now();
        Ok(Self {
            ledger: Arc::clone(ledger),
            load: load.clone(),
            stop,
            started,
            ends: load.duration.map(|duration| started + duration),
            taken: AtomicU64::new(0),
            credentials: credentials?,
            paths: paths.context("a channel's id can't be part of a path")?,
            tally: Mutex::new(Tally {
                packs_acknowledged: 0,
                answers: BTreeMap::new(),
                unanswered: 0,
                unanswered_at_first: 0,
                resent: 0,
                last_answer: started,
                micros,
            }),
        })
    }

    async fn work(self: Arc<Self>) -> anyhow::Result<()> {
        let mut line = Line { target: self.ledger.target.subscribe(), open: None };
        while let Some(intended) = self.turn().await {
            let pack = self.ledger.take_number();
            if pack >= self.ledger.plan().packs_max() {
                break;
            }
            self.send(pack, intended, &mut line).await?;
        }
        Ok(())
    }

    /// Waits for the next pack's moment; none when there is no next pack.
    async fn turn(&self) -> Option<Instant> {
        let turn = self.taken.fetch_add(1, Ordering::Relaxed);
        if self.load.packs.is_some_and(|packs| turn >= packs) {
            return None;
        }
        let intended = match self.load.pace {
            Pace::Closed => Instant::now(),
            Pace::Open(rate) => self.started + Duration::from_secs_f64(turn as f64 / rate),
        };
        if self.ends.is_some_and(|ends| intended >= ends) || self.stop.is_cancelled() {
            return None;
        }
        if matches!(self.load.pace, Pace::Open(_)) {
            let stopped = timeout_at(intended, self.stop.cancelled()).await.is_ok();
            return (!stopped).then_some(intended);
        }
        Some(intended)
    }

    async fn send(&self, pack: PackNumber, intended: Instant, line: &mut Line) -> anyhow::Result<()> {
        let document = bytes::Bytes::from(self.ledger.plan().document(pack));
        let mut sent_before = false;
        while let Some(connection) = line.connection(&self.stop).await {
            self.ledger.note_sent(pack)?;
            self.lock().resent += u64::from(sent_before);
            let attempt = match connection.send(self.request(pack, document.clone())).await {
                Ok(answer) => self.answered(pack, intended, &answer)?,
                Err(Fault::Unsent(_)) => {
                    line.open = None;
                    Attempt::Unsent
                }
                Err(Fault::Unknown(_)) => {
                    let is_first = !connection.has_answered();
                    line.open = None;
                    let mut tally = self.lock();
                    tally.unanswered += 1;
                    tally.unanswered_at_first += u64::from(is_first);
                    drop(tally);
                    self.ledger.note_outcome(pack, Outcome::Unknown)?;
                    Attempt::Open(Duration::ZERO)
                }
            };
            match attempt {
                Attempt::Settled => break,
                Attempt::Unsent => {}
                Attempt::Open(pause) => {
                    // In an open loop the packs that follow are due, whatever the server would like.
                    if matches!(self.load.pace, Pace::Closed) || self.load.resend {
                        self.pause(pause).await;
                    }
                    sent_before = true;
                    if !self.load.resend || self.stop.is_cancelled() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn request(&self, pack: PackNumber, document: bytes::Bytes) -> Request<Full<bytes::Bytes>> {
        let plan = self.ledger.plan();
        let mut request = Request::new(Full::new(document));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.paths[plan.channel(pack)].clone();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.credentials[plan.thing(pack)].clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/senml+json"));
        request
    }

    fn answered(&self, pack: PackNumber, intended: Instant, answer: &Answer) -> anyhow::Result<Attempt> {
        let now = Instant::now();
        let (outcome, attempt) = match answer.status {
            StatusCode::ACCEPTED => (Outcome::Acknowledged, Attempt::Settled),
            StatusCode::TOO_MANY_REQUESTS => (Outcome::Refused, Attempt::Open(retry_after(answer))),
            status if status.is_server_error() => (Outcome::Unknown, Attempt::Open(retry_after(answer))),
            _ => (Outcome::Refused, Attempt::Settled),
        };
        self.ledger.note_outcome(pack, outcome)?;
        let mut tally = self.lock();
        *tally.answers.entry(answer.status.as_u16()).or_default() += 1;
        tally.last_answer = now;
        if outcome == Outcome::Acknowledged {
            tally.packs_acknowledged += 1;
            tally.micros.saturating_record((now - intended).as_micros() as u64);
        }
        Ok(attempt)
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn report(&self) -> PublishReport {
        let tally = self.lock();
        PublishReport {
            packs_acknowledged: tally.packs_acknowledged,
            records_acknowledged: tally.packs_acknowledged * u64::from(self.ledger.plan().records_per_pack),
            answers: tally.answers.clone(),
            unanswered: tally.unanswered,
            unanswered_at_first: tally.unanswered_at_first,
            resent: tally.resent,
            seconds: (tally.last_answer - self.started).as_secs_f64(),
            latency: Latency::of(&tally.micros),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().expect("nothing panics while it holds the tally")
    }
}

/// What a server that is busy asks for.
fn retry_after(answer: &Answer) -> Duration {
    let seconds = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0)).min(REFUSED_PAUSE_MAX)
}

/// The connection of one worker, made again when it broke or the server moved.
struct Line {
    target: watch::Receiver<SocketAddr>,
    open: Option<Connection>,
}

impl Line {
    /// An open connection; none when publishing was stopped before the server could be reached.
    async fn connection(&mut self, stop: &CancellationToken) -> Option<&mut Connection> {
        if self.target.has_changed().unwrap_or(false) {
            self.open = None;
        }
        while self.open.is_none() {
            let address = *self.target.borrow_and_update();
            match Connection::open(address).await {
                Ok(connection) => self.open = Some(connection),
                Err(_) => tokio::select! {
                    () = stop.cancelled() => return None,
                    _ = self.target.changed() => {}
                    () = sleep_until(Instant::now() + RECONNECT_PAUSE) => {}
                },
            }
        }
        self.open.as_mut()
    }
}
