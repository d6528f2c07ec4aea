//! Webhooks as deliveries need them, and which things have any.
//!
//! Kept in memory and read again before each batch of the log, as far as it has changed: a webhook gets everything that is
//! accepted after its creation was answered, and looking for that costs one read of one number.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::{ReceivedAt, ThingId, WebhookId};
use outbound::signing::Secret;
use outbound::{Guard, Target};

use crate::registry::webhooks::{Format, Webhook, WebhookChanges};
use crate::seal::Sealer;

/// How far the clocks of nodes may be apart: what was received so long before a webhook was there may be delivered to it.
const CLOCK_SKEW: Duration = Duration::from_secs(10);

/// A webhook that is enabled.
pub(crate) struct Endpoint {
    pub(crate) id: WebhookId,
    pub(crate) format: Format,
    /// Nothing, if it is one that is not delivered to: what is allowed may have changed since it was made.
    pub(crate) target: Option<Target>,
    /// Its scheme, host and port.
    pub(crate) host: Arc<str>,
    secret: Option<Secret>,
    /// Those before, and until when each signs, in microseconds since the epoch.
    old_secrets: Vec<(Secret, i64)>,
    active_since: i64,
}

impl Endpoint {
    /// A webhook, if it is enabled.
    pub(crate) fn of(webhook: &Webhook, sealer: &Sealer, guard: &Guard) -> Option<Self> {
        if webhook.disabled.is_some() {
            return None;
        }
        let open = |sealed: &[u8]| {
            let text = sealer.open_text(webhook.id.as_bytes(), sealed)?;
            Secret::parse(&text).ok()
        };
        let secret = open(&webhook.sealed_secret);
        if secret.is_none() {
            tracing::error!(webhook = %webhook.id, "a webhook's sealed secret does not open; nothing is delivered to it");
        }
        let old_secrets = webhook.old_secrets.iter();
        let old_secrets = old_secrets.filter_map(|old| Some((open(&old.sealed)?, old.until))).collect();
        let target = Target::parse(&webhook.url, guard).ok();
        Some(Self {
            id: webhook.id,
            format: webhook.format,
            host: target.as_ref().map_or_else(|| Arc::from(""), |target| Arc::clone(target.origin())),
            target,
            secret,
            old_secrets,
            active_since: webhook.active_since,
        })
    }

    /// The secrets that sign now, the newest first.
    pub(crate) fn secrets(&self, now: i64) -> Vec<&Secret> {
        let old = self.old_secrets.iter().filter(|(_, until)| now < *until).map(|(secret, _)| secret);
        self.secret.iter().chain(old).collect()
    }

    /// Whether it gets what was received then.
    pub(crate) fn wants(&self, received: ReceivedAt) -> bool {
        received.as_micros() >= self.active_since - CLOCK_SKEW.as_micros() as i64
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The webhooks that are enabled, by their things.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    version: i64,
    by_thing: HashMap<ThingId, Vec<Arc<Endpoint>>>,
    by_id: HashMap<WebhookId, Arc<Endpoint>>,
}

impl Directory {
    /// What it has read.
    pub(crate) fn version(&self) -> i64 {
        self.version
    }

    /// Takes over changes, and says which webhooks are not delivered to any more.
    pub(crate) fn apply(
        &mut self,
        changes: &WebhookChanges,
        sealer: &Sealer,
        guard: &Guard,
    ) -> Vec<WebhookId> {
        self.version = changes.version;
        let mut gone = Vec::new();
        for thing in &changes.things {
            for endpoint in self.by_thing.remove(thing).unwrap_or_default() {
                self.by_id.remove(&endpoint.id);
                gone.push(endpoint.id);
            }
        }
        for webhook in &changes.webhooks {
            if let Some(endpoint) = Endpoint::of(webhook, sealer, guard) {
                let endpoint = Arc::new(endpoint);
                self.by_id.insert(endpoint.id, Arc::clone(&endpoint));
                self.by_thing.entry(webhook.thing).or_default().push(endpoint);
            }
        }
        gone.retain(|webhook| !self.by_id.contains_key(webhook));
        gone
    }

    /// The webhooks of a thing.
    pub(crate) fn of_thing(&self, thing: ThingId) -> &[Arc<Endpoint>] {
        self.by_thing.get(&thing).map_or(&[], Vec::as_slice)
    }

    /// One webhook.
    pub(crate) fn get(&self, webhook: WebhookId) -> Option<&Arc<Endpoint>> {
        self.by_id.get(&webhook)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}
