//! What waits too long or is too much: it is given up, can be replayed for a while, and is deleted.

use std::collections::BTreeMap;

use domain::{ThingId, WebhookId};
use uuid::Uuid;

use super::{Bounds, EXPIRED, PENDING, delete};
use crate::author::Author;
use crate::registry::audit::{Deed, Done, record};
use crate::registry::row::row;
use crate::registry::sql::{SqlBuilder, sql};
use crate::registry::webhooks::RELEASED;
use crate::registry::{ROWS_PER_INSERT_MAX, Registry, RegistryError, Tx};

/// Rows that one round of the sweep takes on.
const SWEPT_AT_ONCE: i64 = 500;

/// Which kept deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptState {
    Pending,
    Expired,
}

impl KeptState {
    const fn code(self) -> i64 {
        match self {
            Self::Pending => PENDING,
            Self::Expired => EXPIRED,
        }
    }
}

row! {
    /// A kept delivery as it is shown.
    #[derive(Debug)]
    pub(crate) struct ShownDelivery {
        pub(crate) id: Uuid,
        pub(crate) records: i64,
        pub(crate) bytes: i64,
        pub(crate) attempts: i64,
        pub(crate) next_try_at: i64,
        pub(crate) created_at: i64,
        pub(crate) expires_at: i64,
    }
}

/// What is kept, over all webhooks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backlog {
    pub(crate) deliveries: i64,
    /// When the oldest is given up.
    pub(crate) first_end: Option<i64>,
}

impl Registry {
    /// Gives up what has been tried for too long, and deletes what could be replayed long enough: some of it. Whether there
    /// may be more.
    pub(crate) async fn sweep_deliveries(&self, bounds: &Bounds, now: i64) -> Result<bool, RegistryError> {
        let ended = async |state: i64| {
            let rows: Vec<(Uuid, i64, i64)> = sql("SELECT webhook_id, seq, bytes FROM webhook_deliveries
                 WHERE state = $1 AND expires_at <= $2 ORDER BY expires_at LIMIT $3")
            .bind(state)
            .bind(now)
            .bind(SWEPT_AT_ONCE)
            .fetch_all(&self.readers)
            .await?;
            Ok::<_, RegistryError>(rows)
        };
        let (given_up, over) = (ended(PENDING).await?, ended(EXPIRED).await?);
        if given_up.is_empty() && over.is_empty() {
            return Ok(false);
        }
        let more = given_up.len().max(over.len()) as i64 == SWEPT_AT_ONCE;
        let by_webhook = |rows: Vec<(Uuid, i64, i64)>| {
            let mut by_webhook: BTreeMap<Uuid, Vec<i64>> = BTreeMap::new();
            for (webhook, seq, _) in rows {
                by_webhook.entry(webhook).or_default().push(seq);
            }
            by_webhook
        };
        let mut tx = self.begin_upkeep().await?;
        for (webhook, seqs) in by_webhook(over) {
            let (count, bytes) = delete(&mut tx, webhook, &seqs).await?.expired;
            add_expired(&mut tx, webhook, -count, -bytes).await?;
        }
        for (webhook, seqs) in by_webhook(given_up) {
            expire(&mut tx, webhook, &seqs, bounds, now).await?;
        }
        tx.commit().await?;
        Ok(more)
    }

    /// How much is kept, over all webhooks.
    pub(crate) async fn delivery_backlog(&self) -> Result<Backlog, RegistryError> {
        let (deliveries, first_end) = sql("SELECT
                (SELECT CAST(COALESCE(SUM(pending_count), 0) AS BIGINT) FROM webhooks WHERE pending_count > 0),
                (SELECT MIN(expires_at) FROM webhook_deliveries WHERE state = 0)")
        .fetch_one(&self.readers)
        .await?;
        Ok(Backlog { deliveries, first_end })
    }

    /// A page of a webhook's kept deliveries, the oldest first, and how many there are.
    pub(crate) async fn kept_deliveries(
        &self,
        webhook: WebhookId,
        state: KeptState,
        offset: i64,
        limit: i64,
    ) -> Result<(i64, Vec<ShownDelivery>), RegistryError> {
        let mut snapshot = self.snapshot().await?;
        let count = sql("SELECT COUNT(*) FROM webhook_deliveries WHERE webhook_id = $1 AND state = $2");
        let (total,) = count.bind(webhook.as_uuid()).bind(state.code()).fetch_one(&mut snapshot).await?;
        let rows = sql("SELECT id, records, bytes, attempts, next_try_at, created_at, expires_at
             FROM webhook_deliveries WHERE webhook_id = $1 AND state = $2 ORDER BY seq LIMIT $3 OFFSET $4")
        .bind(webhook.as_uuid())
        .bind(state.code())
        .bind(limit)
        .bind(offset)
        .fetch_all(&mut snapshot)
        .await?;
        Ok((total, rows))
    }

    /// Has one given-up delivery tried again, or all of them as far as there is room, oldest first. How many.
    pub(crate) async fn replay_deliveries(
        &self,
        by: &Author,
        (thing, webhook): (ThingId, WebhookId),
        only: Option<Uuid>,
        bounds: &Bounds,
        now: i64,
    ) -> Result<i64, RegistryError> {
        let id = webhook.as_uuid();
        let mut tx = self.begin(by).await?;
        record(&mut tx, Deed::WebhookReplay, &[Done::with(thing.as_uuid(), webhook.as_uuid())]).await?;
        let row: Option<(i64, i64)> = sql("SELECT pending_count, pending_bytes FROM webhooks WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut tx)
            .await?;
        let Some((mut pending, mut pending_bytes)) = row else { return Ok(0) };
        let mut select = SqlBuilder::new("SELECT seq, bytes FROM webhook_deliveries WHERE webhook_id = ");
        select.push_bind(id).push(" AND state = ").push_bind(EXPIRED);
        if let Some(only) = only {
            select.push(" AND id = ").push_bind(only);
        }
        select.push(" ORDER BY seq LIMIT ").push_bind(bounds.deliveries_max);
        let rows: Vec<(i64, i64)> = select.build().fetch_all(&mut tx).await?;
        let (mut seqs, mut bytes) = (Vec::new(), 0);
        for (seq, size) in rows {
            (pending, pending_bytes) = (pending + 1, pending_bytes + size);
            if bounds.are_passed_by((pending, pending_bytes)) {
                break;
            }
            seqs.push(seq);
            bytes += size;
        }
        for seqs in seqs.chunks(ROWS_PER_INSERT_MAX) {
            let mut update = SqlBuilder::new("UPDATE webhook_deliveries SET state = ");
            update.push_bind(PENDING).push(", attempts = 0, next_try_at = 0, expires_at = ");
            update.push_bind(now + bounds.give_up_after).push(" WHERE webhook_id = ").push_bind(id);
            update.push(" AND seq").push_in(seqs.iter().copied());
            update.build_once().execute(&mut tx).await?;
        }
        let count = seqs.len() as i64;
        let mut update = SqlBuilder::new("UPDATE webhooks SET pending_count = pending_count + ");
        update.push_bind(count).push(", pending_bytes = pending_bytes + ").push_bind(bytes);
        update.push(", ").push(RELEASED).push(" WHERE id = ").push_bind(id);
        update.build().execute(&mut tx).await?;
        add_expired(&mut tx, id, -count, -bytes).await?;
        tx.commit().await?;
        Ok(count)
    }
}

/// Gives up the oldest of what is more than a webhook may have.
pub(super) async fn expire_surplus(
    tx: &mut Tx,
    webhook: Uuid,
    mut waiting: (i64, i64),
    bounds: &Bounds,
    now: i64,
) -> Result<(), RegistryError> {
    while bounds.are_passed_by(waiting) {
        let (surplus, left) = oldest_surplus(tx, webhook, PENDING, waiting, bounds).await?;
        if surplus.is_empty() {
            return Ok(());
        }
        expire(tx, webhook, &surplus, bounds, now).await?;
        waiting = left;
    }
    Ok(())
}

/// The oldest deliveries of a state that are more than a webhook may have, some of them, and how many there are, with their bytes,
/// without those.
async fn oldest_surplus(
    tx: &mut Tx,
    webhook: Uuid,
    state: i64,
    (mut count, mut bytes): (i64, i64),
    bounds: &Bounds,
) -> Result<(Vec<i64>, (i64, i64)), RegistryError> {
    let oldest: Vec<(i64, i64)> = sql("SELECT seq, bytes FROM webhook_deliveries
         WHERE webhook_id = $1 AND state = $2 ORDER BY seq LIMIT $3")
    .bind(webhook)
    .bind(state)
    .bind(ROWS_PER_INSERT_MAX as i64)
    .fetch_all(tx)
    .await?;
    let mut surplus = Vec::new();
    for (seq, size) in oldest {
        if !bounds.are_passed_by((count, bytes)) {
            break;
        }
        (count, bytes) = (count - 1, bytes - size);
        surplus.push(seq);
    }
    Ok((surplus, (count, bytes)))
}

/// Gives up deliveries that wait; then deletes the oldest of those that were given up, if there are too many.
async fn expire(
    tx: &mut Tx,
    webhook: Uuid,
    seqs: &[i64],
    bounds: &Bounds,
    now: i64,
) -> Result<(), RegistryError> {
    let mut update = SqlBuilder::new("UPDATE webhook_deliveries SET state = ");
    update.push_bind(EXPIRED).push(", expires_at = ").push_bind(now + bounds.replayable_for);
    update.push(" WHERE webhook_id = ").push_bind(webhook).push(" AND state = ").push_bind(PENDING);
    update.push(" AND seq").push_in(seqs.iter().copied()).push(" RETURNING bytes");
    let expired: Vec<(i64,)> = update.build_once().fetch_all(&mut *tx).await?;
    let (count, sum) = (expired.len() as i64, expired.iter().map(|(bytes,)| bytes).sum::<i64>());
    sql("UPDATE webhooks SET pending_count = pending_count - $2, pending_bytes = pending_bytes - $3,
                             expired = expired + $2 WHERE id = $1")
    .bind(webhook)
    .bind(count)
    .bind(sum)
    .execute(&mut *tx)
    .await?;
    let mut kept = add_expired(tx, webhook, count, sum).await?;
    while bounds.are_passed_by(kept) {
        let (surplus, _) = oldest_surplus(tx, webhook, EXPIRED, kept, bounds).await?;
        if surplus.is_empty() {
            return Ok(());
        }
        let (count, sum) = delete(tx, webhook, &surplus).await?.expired;
        sql("UPDATE webhooks SET dropped = dropped + $2 WHERE id = $1")
            .bind(webhook)
            .bind(count)
            .execute(&mut *tx)
            .await?;
        kept = add_expired(tx, webhook, -count, -sum).await?;
    }
    Ok(())
}

/// Changes how many were given up and are kept, and returns what it is now.
pub(super) async fn add_expired(
    tx: &mut Tx,
    webhook: Uuid,
    count: i64,
    bytes: i64,
) -> Result<(i64, i64), RegistryError> {
    let now =
        sql("UPDATE webhooks SET expired_count = expired_count + $2, expired_bytes = expired_bytes + $3
         WHERE id = $1 RETURNING expired_count, expired_bytes")
        .bind(webhook)
        .bind(count)
        .bind(bytes)
        .fetch_optional(tx)
        .await?;
    Ok(now.unwrap_or_default())
}
