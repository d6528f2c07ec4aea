//! Deliveries that are kept, because their first try failed or another one waits before them.

use std::collections::BTreeMap;

use domain::WebhookId;
use uuid::Uuid;

use super::expiring::expire_surplus;
use super::{Bounds, Failure, NowDisabled, PENDING, fail, note_slow};
use crate::registry::sql::{SqlBuilder, sql};
use crate::registry::webhooks::Format;
use crate::registry::{Registry, RegistryError, Tx};

/// Deliveries that one statement of a transaction takes on.
const DELIVERIES_AT_ONCE: usize = 64;

/// A delivery to be kept.
#[derive(Debug, Clone)]
pub(crate) struct NewDelivery {
    pub(crate) id: Uuid,
    pub(crate) format: Format,
    pub(crate) body: Vec<u8>,
    pub(crate) records: i64,
    /// Tries so far.
    pub(crate) attempts: i64,
}

/// Deliveries of one webhook to be kept, behind those that are.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) webhook: WebhookId,
    pub(crate) deliveries: Vec<NewDelivery>,
    /// If they are kept because a try has just failed.
    pub(crate) failure: Option<Failure>,
    /// The number that the first of them gets, if one was left free for it.
    pub(crate) number: Option<i64>,
    /// Whether a number is to be left free before them.
    pub(crate) leaves_number: bool,
    /// If they have to wait for something else until then, in microseconds since the epoch.
    pub(crate) hold_until: Option<i64>,
    /// If the endpoint is slow until then.
    pub(crate) slow_until: Option<i64>,
}

/// What keeping deliveries came to.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    /// Webhooks that were disabled for it.
    pub(crate) disabled: NowDisabled,
    /// The numbers that were left free.
    pub(crate) numbers: BTreeMap<WebhookId, i64>,
}

impl Registry {
    /// Keeps deliveries for later tries. Those that are kept already change nothing, and those of webhooks that are gone are
    /// gone, too. What is more than the bounds expires, oldest first.
    pub(crate) async fn keep_deliveries(
        &self,
        kept: &[Kept],
        bounds: &Bounds,
        now: i64,
    ) -> Result<Keeping, RegistryError> {
        let mut tx = self.begin_upkeep().await?;
        let mut keeping = Keeping::default();
        for kept in kept {
            keep(&mut tx, kept, bounds, now, &mut keeping).await?;
        }
        tx.commit().await?;
        Ok(keeping)
    }

    /// Deliveries that waited for another one wait no longer, unless tries have failed.
    pub(crate) async fn let_deliveries_go(&self, webhook: WebhookId) -> Result<(), RegistryError> {
        let mut tx = self.begin_upkeep().await?;
        sql("UPDATE webhooks SET hold_until = 0 WHERE id = $1 AND failures = 0")
            .bind(webhook.as_uuid())
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Keeps deliveries of one webhook, behind those that are, but for a first one that has its number.
async fn keep(
    tx: &mut Tx,
    kept: &Kept,
    bounds: &Bounds,
    now: i64,
    keeping: &mut Keeping,
) -> Result<(), RegistryError> {
    let id = kept.webhook.as_uuid();
    let behind = kept.deliveries.len() as i64 - i64::from(kept.number.is_some());
    let taken = behind + i64::from(kept.leaves_number);
    let next: Option<(i64,)> =
        sql("UPDATE webhooks SET next_delivery = next_delivery + $2 WHERE id = $1 RETURNING next_delivery")
            .bind(id)
            .bind(taken)
            .fetch_optional(&mut *tx)
            .await?;
    let Some((next,)) = next else { return Ok(()) };
    if kept.leaves_number {
        keeping.numbers.insert(kept.webhook, next - taken);
    }
    let numbers = kept.number.into_iter().chain(next - behind..next);
    let numbered: Vec<(i64, &NewDelivery)> = numbers.zip(&kept.deliveries).collect();
    let (added, bytes) = insert(tx, id, &numbered, now + bounds.give_up_after, now).await?;
    let waiting: (i64, i64) = sql(
        // What waits apart from the others keeps no new one waiting: then nothing is held but by its own time.
        "UPDATE webhooks SET pending_count = pending_count + $2, pending_bytes = pending_bytes + $3,
                             hold_until = CASE WHEN steps_aside = 1 THEN 0 ELSE hold_until END, steps_aside = 0
         WHERE id = $1 RETURNING pending_count, pending_bytes",
    )
    .bind(id)
    .bind(added)
    .bind(bytes)
    .fetch_one(&mut *tx)
    .await?;
    if bounds.are_passed_by(waiting) {
        expire_surplus(tx, id, waiting, bounds, now).await?;
    }
    if let Some(hold_until) = kept.hold_until {
        sql("UPDATE webhooks SET hold_until = $2 WHERE id = $1 AND hold_until < $2")
            .bind(id)
            .bind(hold_until)
            .execute(&mut *tx)
            .await?;
    }
    note_slow(tx, id, kept.slow_until).await?;
    if let Some(failure) = kept.failure {
        let reason = fail(tx, id, &failure, false, bounds, now).await?;
        keeping.disabled.extend(reason.map(|reason| (kept.webhook, reason)));
    }
    Ok(())
}

/// Adds deliveries with their numbers, and says how many of them were not there, with their bytes.
async fn insert(
    tx: &mut Tx,
    webhook: Uuid,
    deliveries: &[(i64, &NewDelivery)],
    give_up_at: i64,
    now: i64,
) -> Result<(i64, i64), RegistryError> {
    let (mut count, mut sum) = (0, 0);
    for deliveries in deliveries.chunks(DELIVERIES_AT_ONCE) {
        let mut insert = SqlBuilder::new(
            "INSERT INTO webhook_deliveries (webhook_id, seq, id, state, format, body, bytes, records, attempts,
                                             next_try_at, created_at, expires_at) ",
        );
        insert.push_values(deliveries, |row, (seq, delivery)| {
            row.bind(webhook).bind(*seq).bind(delivery.id).bind(PENDING).bind(delivery.format.code());
            row.bind(delivery.body.clone()).bind(delivery.body.len() as i64).bind(delivery.records);
            row.bind(delivery.attempts).bind(0).bind(now).bind(give_up_at);
        });
        insert.push(" ON CONFLICT (webhook_id, id) DO NOTHING RETURNING bytes");
        let added: Vec<(i64,)> = insert.build_once().fetch_all(&mut *tx).await?;
        count += added.len() as i64;
        sum += added.iter().map(|(bytes,)| bytes).sum::<i64>();
    }
    Ok((count, sum))
}
