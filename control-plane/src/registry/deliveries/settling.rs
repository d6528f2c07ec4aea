//! Who delivers what is kept, and what comes of it.

use std::collections::BTreeMap;

use domain::WebhookId;
use uuid::Uuid;

use super::expiring::add_expired;
use super::{Bounds, Deleted, Failure, PENDING, delete, fail, note_slow, succeed};
use crate::registry::sql::{SqlBuilder, sql};
use crate::registry::webhooks::{Disabled, Format};
use crate::registry::{ROWS_PER_INSERT_MAX, Registry, RegistryError, Tx};

/// Who has a webhook's kept deliveries, and until when, in microseconds since the epoch. No two have the same: a webhook is taken
/// when the lease before has ended or was given back, and for a time that begins then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease(pub(crate) i64);

/// A webhook that was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claimed {
    pub(crate) webhook: WebhookId,
    pub(crate) is_slow: bool,
}

/// How many webhooks can be taken: of those that are slow, and of the others, less what those took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    pub(crate) all: usize,
    pub(crate) slow: usize,
}

/// A delivery that waits.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) seq: i64,
    pub(crate) id: Uuid,
    pub(crate) format: Format,
    pub(crate) body: Vec<u8>,
    pub(crate) records: i64,
    pub(crate) attempts: i64,
}

/// What came of some tries of one webhook's kept deliveries.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub(crate) webhook: WebhookId,
    /// By which they were tried.
    pub(crate) lease: Lease,
    /// These were delivered, by their numbers.
    pub(crate) delivered: Vec<i64>,
    /// These failed and are not tried before a time.
    pub(crate) failed: Vec<(i64, i64)>,
    pub(crate) failure: Option<Failure>,
    /// If the endpoint was slow: until when it counts as that.
    pub(crate) slow_until: Option<i64>,
    pub(crate) then: Then,
}

/// Who goes on with a webhook's kept deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// This process, by this lease.
    GoOn(Lease),
    /// Whoever takes them next.
    LetGo,
    /// The same, once the first of them has come to its time: each that waits has one of its own. What comes later has none.
    Rest,
}

/// What became of what was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settling {
    Written,
    /// And the webhook was disabled for it.
    Disabled(Disabled),
    /// The lease is over, and somebody else may have the webhook: nothing was written but that what was delivered is.
    TooLate,
}

impl Registry {
    /// Takes webhooks whose kept deliveries can be tried now, as far as there are places: nobody else gets them before the lease ends.
    pub(crate) async fn claim_webhooks(
        &self,
        now: i64,
        lease: Lease,
        places: Places,
    ) -> Result<Vec<Claimed>, RegistryError> {
        let slow = self.due_webhooks(now, true, places.slow.min(places.all)).await?;
        let quick = self.due_webhooks(now, false, places.all - slow.len()).await?;
        let mut claimed = Vec::new();
        if slow.is_empty() && quick.is_empty() {
            return Ok(claimed);
        }
        let mut tx = self.begin_upkeep().await?;
        for (due, is_slow) in [(slow, true), (quick, false)] {
            if due.is_empty() {
                continue;
            }
            let mut update = SqlBuilder::new("UPDATE webhooks SET lease_until = ");
            update.push_bind(lease.0).push(" WHERE pending_count > 0 AND disabled = 0 AND hold_until <= ");
            update.push_bind(now).push(" AND lease_until <= ").push_bind(now).push(" AND id");
            update.push_in(due).push(" RETURNING id");
            let taken: Vec<(Uuid,)> = update.build_once().fetch_all(&mut tx).await?;
            claimed.extend(
                taken.into_iter().map(|(id,)| Claimed { webhook: WebhookId::from_uuid(id), is_slow }),
            );
        }
        tx.commit().await?;
        Ok(claimed)
    }

    /// Webhooks whose kept deliveries can be tried now, those first that have waited longest.
    async fn due_webhooks(&self, now: i64, is_slow: bool, limit: usize) -> Result<Vec<Uuid>, RegistryError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut select =
            SqlBuilder::new("SELECT id FROM webhooks WHERE pending_count > 0 AND hold_until <= ");
        select
            .push_bind(now)
            .push(" AND lease_until <= ")
            .push_bind(now)
            .push(" AND disabled = 0 AND slow_until ");
        select.push(if is_slow { "> " } else { "<= " }).push_bind(now);
        select.push(" ORDER BY hold_until, id LIMIT ").push_bind(limit as i64);
        let due: Vec<(Uuid,)> = select.build().fetch_all(&self.readers).await?;
        Ok(due.into_iter().map(|(id,)| id).collect())
    }

    /// Forgets who delivers: for a registry that no other process works on, at its start.
    pub(crate) async fn clear_webhook_leases(&self) -> Result<(), RegistryError> {
        let mut tx = self.begin_upkeep().await?;
        sql("UPDATE webhooks SET lease_until = 0 WHERE lease_until > 0").execute(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The first of a webhook's kept deliveries that can be tried now, in their order: at most so many and, but for the
    /// first, so many bytes.
    pub(crate) async fn due_deliveries(
        &self,
        webhook: WebhookId,
        now: i64,
        count_max: i64,
        bytes_max: i64,
    ) -> Result<Vec<Pending>, RegistryError> {
        let sizes: Vec<(i64, i64)> = sql("SELECT seq, bytes FROM webhook_deliveries
             WHERE webhook_id = $1 AND state = $2 AND next_try_at <= $3 AND expires_at > $3 ORDER BY seq LIMIT $4")
        .bind(webhook.as_uuid())
        .bind(PENDING)
        .bind(now)
        .bind(count_max)
        .fetch_all(&self.readers)
        .await?;
        let mut sum = 0;
        let fits = |(index, (_, bytes)): &(usize, &(i64, i64))| {
            sum += bytes;
            *index == 0 || sum <= bytes_max
        };
        let Some((_, (last, _))) = sizes.iter().enumerate().take_while(fits).last() else {
            return Ok(Vec::new());
        };
        let rows: Vec<(i64, Uuid, i64, Vec<u8>, i64, i64)> =
            sql("SELECT seq, id, format, body, records, attempts FROM webhook_deliveries
                 WHERE webhook_id = $1 AND state = $2 AND next_try_at <= $3 AND expires_at > $3 AND seq <= $4 ORDER BY seq")
            .bind(webhook.as_uuid())
            .bind(PENDING)
            .bind(now)
            .bind(*last)
            .fetch_all(&self.readers)
            .await?;
        let read = |(seq, id, format, body, records, attempts)| {
            let format = Format::from_code(format)
                .ok_or(RegistryError::Damaged("a delivery has an unknown format"))?;
            Ok(Pending { seq, id, format, body, records, attempts })
        };
        rows.into_iter().map(read).collect()
    }

    /// Of these webhooks, how many deliveries are kept for each and wait.
    pub(crate) async fn pending_deliveries(
        &self,
        webhooks: &[WebhookId],
    ) -> Result<BTreeMap<WebhookId, i64>, RegistryError> {
        let mut counts = BTreeMap::new();
        for webhooks in webhooks.chunks(ROWS_PER_INSERT_MAX) {
            let mut select = SqlBuilder::new("SELECT id, pending_count FROM webhooks WHERE id");
            select.push_in(webhooks.iter().map(WebhookId::as_uuid));
            let rows: Vec<(Uuid, i64)> = select.build_once().fetch_all(&self.readers).await?;
            counts.extend(rows.into_iter().map(|(id, count)| (WebhookId::from_uuid(id), count)));
        }
        Ok(counts)
    }

    /// Keeps what came of tries of kept deliveries: that something was delivered in any case, and all else if the lease
    /// still is who tried them.
    pub(crate) async fn settle_deliveries(
        &self,
        settled: &Settled,
        bounds: &Bounds,
        now: i64,
    ) -> Result<Settling, RegistryError> {
        let id = settled.webhook.as_uuid();
        let mut tx = self.begin_upkeep().await?;
        let Deleted { pending: (count, bytes), expired } = delete(&mut tx, id, &settled.delivered).await?;
        // Given up while it was delivered after all.
        add_expired(&mut tx, id, -expired.0, -expired.1).await?;
        sql("UPDATE webhooks SET pending_count = pending_count - $2, pending_bytes = pending_bytes - $3 WHERE id = $1")
            .bind(id)
            .bind(count)
            .bind(bytes)
            .execute(&mut tx)
            .await?;
        let settling = if pass_on(&mut tx, settled, now).await? {
            match note_outcome(&mut tx, settled, bounds, now).await? {
                Some(reason) => Settling::Disabled(reason),
                None => Settling::Written,
            }
        } else if is_passed_on(&mut tx, settled).await? {
            // It was written before, and the answer was lost.
            Settling::Written
        } else {
            Settling::TooLate
        };
        tx.commit().await?;
        Ok(settling)
    }
}

/// Says who has the webhook next. No: it is not this one's any more.
async fn pass_on(tx: &mut Tx, settled: &Settled, now: i64) -> Result<bool, RegistryError> {
    let id = settled.webhook.as_uuid();
    let mut update = SqlBuilder::new("UPDATE webhooks SET lease_until = ");
    update.push_bind(if let Then::GoOn(lease) = settled.then { lease.0 } else { 0 });
    // Who works on what is kept began when nothing was held: a time to come is somebody else's, who waits for a first try.
    update.push(", steps_aside = CASE WHEN hold_until <= ").push_bind(now).push(" THEN ");
    update.push(if settled.then == Then::Rest { "1" } else { "0" }).push(" ELSE steps_aside END");
    update.push(", hold_until = CASE WHEN hold_until > ").push_bind(now).push(" THEN hold_until ELSE ");
    if settled.then == Then::Rest {
        // Looked up here, because something may have come since it was looked for what is due.
        update.push("(SELECT COALESCE(MIN(next_try_at), 0) FROM webhook_deliveries WHERE webhook_id = ");
        update.push_bind(id).push(" AND state = ").push_bind(PENDING).push(")");
    } else {
        // Behind those that have waited longer.
        update.push_bind(now);
    }
    update.push(" END WHERE id = ").push_bind(id).push(" AND lease_until = ").push_bind(settled.lease.0);
    Ok(update.build().execute(tx).await? > 0)
}

/// Whether that was said before.
async fn is_passed_on(tx: &mut Tx, settled: &Settled) -> Result<bool, RegistryError> {
    let Then::GoOn(lease) = settled.then else { return Ok(false) };
    let row = sql("SELECT lease_until FROM webhooks WHERE id = $1").bind(settled.webhook.as_uuid());
    let row: Option<(i64,)> = row.fetch_optional(tx).await?;
    Ok(row == Some((lease.0,)))
}

/// Notes how the tries went. Says so if the webhook was disabled for it.
async fn note_outcome(
    tx: &mut Tx,
    settled: &Settled,
    bounds: &Bounds,
    now: i64,
) -> Result<Option<Disabled>, RegistryError> {
    let id = settled.webhook.as_uuid();
    for (seq, next_try_at) in &settled.failed {
        sql("UPDATE webhook_deliveries SET attempts = attempts + 1, next_try_at = $3 WHERE webhook_id = $1 AND seq = $2")
            .bind(id)
            .bind(*seq)
            .bind(*next_try_at)
            .execute(&mut *tx)
            .await?;
    }
    note_slow(tx, id, settled.slow_until).await?;
    let is_alive = !settled.delivered.is_empty();
    match settled.failure {
        Some(failure) => fail(tx, id, &failure, is_alive, bounds, now).await,
        None if is_alive => succeed(tx, id).await.map(|()| None),
        None => Ok(None),
    }
}
