//! One try: signs a body, sends it, and says what came of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, header};
use outbound::PostError;
use service::clock;
use service::telemetry::Chain;
use uuid::Uuid;

use super::body::media_type;
use super::endpoint::Endpoint;
use super::outcome::{Outcome, pause};
use super::{Courier, TRY_MAX, caught};
use crate::registry::deliveries::Attempt;
use crate::registry::webhooks::Format;
use crate::secrets;

/// Bytes of an answer's beginning that are shown.
const EXCERPT_BYTES_MAX: usize = 512;

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) id: Uuid,
    pub(crate) format: Format,
    pub(crate) body: Bytes,
    pub(crate) records: usize,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    pub(crate) outcome: Outcome,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) latency: Duration,
    status: u16,
    /// In microseconds since the epoch.
    at: i64,
    excerpt: String,
}

/// An answer, or what was instead, and why.
type Sent = Result<outbound::Answer, (Outcome, String)>;

impl Courier {
    /// Tries a delivery once.
    pub(crate) async fn attempt(&self, endpoint: &Endpoint, delivery: &Delivery) -> Tried {
        let (at, began) = (clock::unix_micros(), Instant::now());
        let (outcome, status, retry_after, excerpt) = match sent(self.send(endpoint, delivery, at)).await {
            Ok(answer) => {
                let outcome = Outcome::of_status(answer.status.as_u16());
                let retry_after = answer.retry_after.map(|wait| wait.wait(clock::unix_seconds()));
                (outcome, answer.status.as_u16(), retry_after, answer.excerpt)
            }
            Err((outcome, why)) => (outcome, 0, None, why),
        };
        let tried =
            Tried { outcome, retry_after, status, at, latency: began.elapsed(), excerpt: shown(&excerpt) };
        let metrics = self.metrics();
        metrics.attempts_total.of(outcome).increment(1);
        metrics.attempt_seconds.record(tried.latency);
        if outcome.is_delivered() {
            metrics.records_total.increment(delivery.records as u64);
        }
        tried
    }

    async fn send(&self, endpoint: &Endpoint, delivery: &Delivery, now: i64) -> Sent {
        let not_allowed = |why: &str| (Outcome::NotAllowed, why.to_owned());
        let target = endpoint.target.as_ref();
        let target = target.ok_or_else(|| not_allowed("this server does not deliver to such addresses"))?;
        let secrets = endpoint.secrets(now);
        if secrets.is_empty() {
            return Err(not_allowed("the secret does not open"));
        }
        let (id, seconds) = (delivery.id.to_string(), now.div_euclid(1_000_000));
        let mut headers = outbound::signing::sign(&secrets, &id, seconds, &delivery.body)
            .expect("a UUID can be the id of a delivery");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(delivery.format)));
        let answer = self.client().post(target, headers, delivery.body.clone(), TRY_MAX).await;
        answer.map_err(|error| (outcome_of(&error), Chain(&error).to_string()))
    }
}

impl Tried {
    /// How long to wait before the next try, after so many failures.
    pub(crate) fn pause(&self, failures: i64) -> Duration {
        let random = u32::from_be_bytes(secrets::random::<4>());
        pause(failures, f64::from(random) / f64::from(u32::MAX), self.retry_after)
    }

    /// As it is remembered.
    pub(crate) fn attempt(&self, endpoint: &Endpoint, delivery: &Delivery, next_try_at: i64) -> Attempt {
        Attempt {
            webhook: endpoint.id,
            delivery: delivery.id,
            at: self.at,
            outcome: self.outcome.code(),
            is_delivered: self.outcome.is_delivered(),
            status: self.status.into(),
            latency: self.latency.as_micros() as i64,
            next_try_at,
            records: delivery.records as i64,
            bytes: delivery.body.len() as i64,
            excerpt: self.excerpt.clone(),
        }
    }
}

/// One that panics has failed like any other: it is kept, and tried again later.
async fn sent(send: impl Future<Output = Sent>) -> Sent {
    let mistake =
        || Err((Outcome::Failed, "the server could not make the request: a mistake of its own".to_owned()));
    caught(send).await.unwrap_or_else(mistake)
}

fn outcome_of(error: &PostError) -> Outcome {
    match error {
        PostError::TimedOut => Outcome::TimedOut,
        PostError::Refused { .. } => Outcome::NotAllowed,
        PostError::Unreachable(_) | PostError::Broken(_) => Outcome::Unreachable,
    }
}

/// The beginning of an answer, as every engine takes it.
fn shown(excerpt: &str) -> String {
    let end = excerpt.floor_char_boundary(EXCERPT_BYTES_MAX);
    excerpt[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_try_that_panics_is_one_that_failed() {
        let sent = sent(async { panic!("on purpose") }).await;
        assert!(matches!(sent, Err((Outcome::Failed, _))), "{sent:?}");
    }
}
