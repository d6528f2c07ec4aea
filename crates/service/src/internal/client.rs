//! Asks the control plane over its internal listener: few requests, each with as many questions as wait.
//!
//! The first question goes at once; while a few requests are on their way, the next ones gather and go together. So a million
//! things that come back to a restarted node become a thousand requests, a few at a time. What waits is bounded in number and in time,
//! and what can't be answered is answered so: nobody waits for a control plane that is gone.
//!
//! Unknown keys go the same way as known ones, because only the control plane can tell them apart. They can't keep known ones
//! out: a question waits for each connection of a node at most, and there is room for more of them than a node has connections
//! ([`RemoteConfig::questions_max`]); and they go in the order in which they came.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use domain::{ChannelId, ChannelProfile, Grant, KeyDigest};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::InternalSecrets;
use super::gate::Gate;
use super::nodes::{BaseUrl, Nodes};
use super::queue::{Answer, Asked, Queue};
use super::wire::{
    BODY_BYTES_MAX, BUSY, GRANTS, GrantsAnswer, GrantsRequest, QUESTIONS_MAX, Question, USER_READ,
    UserReadAnswer, UserReadRequest,
};
use crate::authority::{Authority, AuthorityError, ReadDenied};
use crate::clock;
use crate::metrics::{Exchange, RemoteAuthorityMetrics, Unanswered};
use crate::telemetry::Chain;

/// How long it may take to reach a control plane.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long one may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a question may take as a whole, the wait for its turn and further tries included.
const ASK_WITHIN: Duration = Duration::from_secs(4);
/// Requests with questions about things that are on their way at a time. A control plane answers one in milliseconds.
const BATCHES_AT_ONCE: usize = 4;
/// Requests about users that are on their way at a time, and that wait for it.
const READS_AT_ONCE: usize = 32;
const READS_WAITING_MAX: usize = 16_384;
/// Pause before control planes that are busy are asked again, doubled up to the other, each with a jitter.
const BUSY_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));
/// Pause before those that failed, all of them, are asked once more: a connection may have been closed while it was idle.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Connections are kept for less than a server lets them be idle.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// Whom to ask, and how much may wait.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// Internal listeners of control planes. Each has all answers.
    pub urls: Vec<BaseUrl>,
    /// What this process presents itself with.
    pub secrets: InternalSecrets,
    /// Questions that may wait: more than a node may have connections. One takes about 400 bytes.
    pub questions_max: usize,
}

impl RemoteConfig {
    /// Asks these.
    pub fn new(urls: Vec<BaseUrl>, secrets: InternalSecrets) -> Self {
        Self { urls, secrets, questions_max: 32_768 }
    }
}

/// The control plane, asked over its internal listener. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct RemoteAuthority(Arc<Inner>);

struct Inner {
    client: Client<HttpConnector, Full<Bytes>>,
    nodes: Nodes,
    credential: http::HeaderValue,
    queue: Queue,
    reads: Gate,
    metrics: RemoteAuthorityMetrics,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("too many questions wait for the control plane")]
    Full,
    #[error("the control plane did not answer within {ASK_WITHIN:?}")]
    Late,
    #[error("no control plane answers: {0}")]
    Nobody(Arc<str>),
    #[error("what the control plane answers can't be understood: {0}")]
    NotUnderstood(Arc<str>),
    #[error("this process is stopping")]
    Stopped,
}

impl Failure {
    fn label(&self) -> Unanswered {
        match self {
            Self::Full => Unanswered::Full,
            Self::Late => Unanswered::Late,
            Self::Nobody(_) | Self::Stopped => Unanswered::Nobody,
            Self::NotUnderstood(_) => Unanswered::NotUnderstood,
        }
    }
}

impl From<Failure> for AuthorityError {
    fn from(failure: Failure) -> Self {
        Self(Box::new(failure))
    }
}

impl RemoteAuthority {
    /// Asks nobody yet: control planes may come later than those who ask them.
    ///
    /// # Panics
    /// There has to be at least one URL.
    pub fn new(config: RemoteConfig, metrics: RemoteAuthorityMetrics) -> Self {
        assert!(!config.urls.is_empty(), "there has to be somebody to ask");
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(BATCHES_AT_ONCE + READS_AT_ONCE)
            .build(connector);
        Self(Arc::new(Inner {
            client,
            nodes: Nodes::new(config.urls, random() as usize),
            credential: config.secrets.credential(),
            queue: Queue::new(config.questions_max, BATCHES_AT_ONCE),
            reads: Gate::new(READS_AT_ONCE, READS_WAITING_MAX),
            metrics,
        }))
    }

    /// Has the metrics show how many questions wait now.
    pub fn show_state(&self) {
        self.0.metrics.questions_waiting.set(self.0.queue.len() as f64);
    }

    async fn ask(&self, question: Question) -> Answer {
        let mut place = self.0.queue.ask(question)?;
        if place.needs_carrier {
            tokio::spawn(Carrier(Some(Arc::clone(&self.0))).run());
        }
        place.answer().await
    }
}

#[async_trait]
impl Authority for RemoteAuthority {
    async fn grant(&self, key: &KeyDigest, channel: ChannelId) -> Result<Option<Grant>, AuthorityError> {
        let asked = tokio::time::timeout(ASK_WITHIN, self.ask(Question { key: *key, channel })).await;
        let answer = asked.unwrap_or(Err(Failure::Late));
        answer.map_err(|failure| self.0.count(failure).into())
    }

    async fn user_read(&self, bearer_token: &str, channel: ChannelId) -> Result<ChannelProfile, ReadDenied> {
        let asked = tokio::time::timeout(ASK_WITHIN, self.0.ask_user_read(bearer_token, channel)).await;
        let answer = asked.unwrap_or(Err(Failure::Late));
        match answer.map_err(|failure| AuthorityError::from(self.0.count(failure)))? {
            UserReadAnswer::Profile(profile) => {
                profile.try_into().map_err(|error| ReadDenied::Unavailable(AuthorityError(Box::new(error))))
            }
            UserReadAnswer::InvalidToken => Err(ReadDenied::InvalidToken),
            UserReadAnswer::UnknownChannel => Err(ReadDenied::UnknownChannel),
        }
    }
}

impl fmt::Debug for RemoteAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteAuthority").field("nodes", &self.0.nodes).finish_non_exhaustive()
    }
}

/// Carries batches until none waits.
struct Carrier(Option<Arc<Inner>>);

impl Carrier {
    async fn run(mut self) {
        let inner = self.0.clone().expect("it was just made");
        while let Some(batch) = inner.queue.batch(QUESTIONS_MAX) {
            inner.ask_together(batch).await;
        }
        self.0 = None;
    }
}

/// Ended early, with its runtime or by a panic: the next question gets another carrier.
impl Drop for Carrier {
    fn drop(&mut self) {
        if let Some(inner) = &self.0 {
            inner.queue.carrier_lost();
        }
    }
}

impl Inner {
    fn count(&self, failure: Failure) -> Failure {
        self.metrics.unanswered_total.of(failure.label()).increment(1);
        failure
    }

    async fn ask_together(&self, batch: Vec<Asked>) {
        self.metrics.request_questions.record(batch.len() as f64);
        let questions: Vec<Question> = batch.iter().map(|(question, _)| *question).collect();
        let count = questions.len();
        let answered = self.exchange::<_, GrantsAnswer>(GRANTS, &GrantsRequest { questions }).await;
        let answers = answered.and_then(|answer| match answer.grants {
            grants if grants.len() == count => Ok(grants),
            grants => {
                Err(Failure::NotUnderstood(format!("{} answers to {count} questions", grants.len()).into()))
            }
        });
        // Whoever asked may have gone meanwhile.
        match answers {
            Ok(grants) => {
                for ((_, asker), granted) in batch.into_iter().zip(grants) {
                    let grant = granted.map(Grant::try_from).transpose();
                    let answer = grant.map_err(|error| Failure::NotUnderstood(error.to_string().into()));
                    let _ = asker.send(Some(answer));
                }
            }
            Err(failure) => {
                for (_, asker) in batch {
                    let _ = asker.send(Some(Err(failure.clone())));
                }
            }
        }
    }

    async fn ask_user_read(&self, token: &str, channel: ChannelId) -> Result<UserReadAnswer, Failure> {
        let place = self.reads.enter().ok_or(Failure::Full)?;
        let _turn = place.turn().await;
        self.exchange(USER_READ, &UserReadRequest { token: token.to_owned(), channel }).await
    }

    /// Asks one after the other until one answers.
    async fn exchange<Q: Serialize, A: DeserializeOwned>(
        &self,
        route: &str,
        question: &Q,
    ) -> Result<A, Failure> {
        let body = serde_json::to_vec(question).expect("questions can be written as JSON");
        let asked = tokio::time::timeout(ASK_WITHIN, self.ask_each(route, body.into())).await;
        let text = asked.unwrap_or(Err(Failure::Late))?;
        // What could not be read may hold anything: the error says where, and not what.
        serde_json::from_slice(&text).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            Failure::NotUnderstood(place.into())
        })
    }

    async fn ask_each(&self, route: &str, body: Bytes) -> Result<Bytes, Failure> {
        let mut pause = BUSY_PAUSE.0;
        let mut is_again = false;
        loop {
            let (mut is_busy, mut reason) = (false, String::new());
            for node in self.nodes.in_order(clock::since_boot(), ANSWER_WITHIN) {
                match self.ask_one(node, route, body.clone()).await {
                    Ok(answer) => {
                        self.answered(node);
                        return Ok(answer);
                    }
                    Err(NoAnswer::Busy) => {
                        self.answered(node);
                        is_busy = true;
                    }
                    Err(NoAnswer::Failed(why)) => {
                        self.failed(node, &why);
                        reason = format!("{}: {why}", self.nodes.url(node));
                    }
                }
            }
            if is_busy {
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(BUSY_PAUSE.1);
            } else if is_again {
                return Err(Failure::Nobody(reason.into()));
            } else {
                is_again = true;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    fn answered(&self, node: usize) {
        if self.nodes.answered(node) {
            tracing::info!(control_plane = %self.nodes.url(node), "a control plane answers again");
        }
    }

    fn failed(&self, node: usize, why: &str) {
        if self.nodes.failed(node, clock::since_boot()) {
            tracing::warn!(control_plane = %self.nodes.url(node), why, "a control plane gives no answers");
        }
    }

    async fn ask_one(&self, node: usize, route: &str, body: Bytes) -> Result<Bytes, NoAnswer> {
        let began = Instant::now();
        let exchanged = tokio::time::timeout(ANSWER_WITHIN, self.send(node, route, body)).await;
        let (answer, outcome) = match exchanged {
            Ok(Ok((StatusCode::OK, answer))) => (Ok(answer), Exchange::Answered),
            Ok(Ok((StatusCode::SERVICE_UNAVAILABLE, refusal))) if is_busy(&refusal) => {
                (Err(NoAnswer::Busy), Exchange::Busy)
            }
            Ok(Ok((StatusCode::UNAUTHORIZED, _))) => {
                let why = "it does not accept this process's internal secret".to_owned();
                (Err(NoAnswer::Failed(why)), Exchange::Refused)
            }
            Ok(Ok((status, _))) => (Err(NoAnswer::Failed(format!("it answers {status}"))), Exchange::Failed),
            Ok(Err(error)) => (Err(NoAnswer::Failed(Chain(&*error).to_string())), Exchange::Failed),
            Err(_) => {
                let why = format!("it did not answer within {ANSWER_WITHIN:?}");
                (Err(NoAnswer::Failed(why)), Exchange::Failed)
            }
        };
        self.metrics.requests_total.of(outcome).increment(1);
        self.metrics.request_seconds.record(began.elapsed());
        answer
    }

    async fn send(
        &self,
        node: usize,
        route: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.nodes.url(node).with(route))
            .header(header::AUTHORIZATION, self.credential.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await?;
        Ok((head.status, body.to_bytes()))
    }
}

/// Why one control plane gave no answer.
enum NoAnswer {
    /// It has too much to do, and says so.
    Busy,
    Failed(String),
}

/// Whether a control plane would have answered if it had less to do. Else it can't.
fn is_busy(refusal: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        code: Option<String>,
    }
    serde_json::from_slice(refusal).is_ok_and(|Refusal { code }| code.as_deref() == Some(BUSY))
}

/// Between half of it and all of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + random() as f64 / u64::MAX as f64 / 2.0)
}

fn random() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}
