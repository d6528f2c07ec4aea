//! Deliveries that wait for another try or were given up, the last tries of each webhook, and who delivers now.
//!
//! Of a delivery that succeeds at once there is nothing here but its try: rows are written where an endpoint fails. Counts and
//! bytes of a webhook's rows are changed by the transaction that changes the rows.

use std::collections::{BTreeMap, VecDeque};

use domain::{ThingId, WebhookId};
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::row::row;
use super::sql::{SqlBuilder, sql};
use super::webhooks::{Disabled, Format, RELEASED, note_change};
use super::{ROWS_PER_INSERT_MAX, Registry, RegistryError, Tx};
use crate::author::Author;

/// Tries of a webhook that are remembered.
pub(crate) const ATTEMPTS_KEPT: i64 = 1_000;
/// Deliveries that one statement of a transaction takes on.
const DELIVERIES_AT_ONCE: usize = 64;
/// Rows that one round of the sweep takes on.
const SWEPT_AT_ONCE: i64 = 500;

const PENDING: i64 = 0;
const EXPIRED: i64 = 1;

/// How much is kept for one webhook, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of those that wait and, once more, of those that were given up.
    pub(crate) deliveries_max: i64,
    pub(crate) bytes_max: i64,
    /// In microseconds, like the next two: how long a delivery is tried,
    pub(crate) give_up_after: i64,
    /// how long it can be replayed then,
    pub(crate) replayable_for: i64,
    /// and how long every try may fail before the webhook is disabled.
    pub(crate) disable_after: i64,
}

impl Bounds {
    /// Whether so many deliveries of so many bytes are more than a webhook may have.
    const fn are_passed_by(&self, (count, bytes): (i64, i64)) -> bool {
        count > self.deliveries_max || bytes > self.bytes_max
    }
}

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

/// What a try that failed comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Nothing is tried before, in microseconds since the epoch. Nothing: those behind it are tried all the same.
    pub(crate) hold_until: Option<i64>,
    /// The endpoint wants nothing any more.
    pub(crate) is_gone: bool,
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

/// One try.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) webhook: WebhookId,
    pub(crate) delivery: Uuid,
    pub(crate) at: i64,
    pub(crate) outcome: i64,
    pub(crate) is_delivered: bool,
    pub(crate) status: i64,
    /// In microseconds, like `at` and the next.
    pub(crate) latency: i64,
    pub(crate) next_try_at: i64,
    pub(crate) records: i64,
    pub(crate) bytes: i64,
    pub(crate) excerpt: String,
}

/// Tries of one webhook.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) attempts: i64,
    pub(crate) delivered: i64,
    /// When the last of those that succeeded was made, in microseconds since the epoch; 0 if none was.
    pub(crate) delivered_at: i64,
    /// And the last of those that failed.
    pub(crate) failed_at: i64,
    /// The last ones, the newest last: at most [`ATTEMPTS_KEPT`].
    pub(crate) listed: VecDeque<Attempt>,
}

impl Tally {
    /// One try, listed.
    pub(crate) fn of(attempt: Attempt) -> Self {
        let mut tally = Self::default();
        tally.count(&attempt);
        tally.listed.push_back(attempt);
        tally
    }

    /// Counts a try without listing it.
    pub(crate) fn count(&mut self, attempt: &Attempt) {
        self.attempts += 1;
        self.delivered += i64::from(attempt.is_delivered);
        let last = if attempt.is_delivered { &mut self.delivered_at } else { &mut self.failed_at };
        *last = attempt.at.max(*last);
    }
}

row! {
    /// A try as it is shown.
    #[derive(Debug)]
    pub(crate) struct ShownAttempt {
        pub(crate) at: i64,
        pub(crate) delivery_id: Uuid,
        pub(crate) outcome: i64,
        pub(crate) status: i64,
        pub(crate) latency: i64,
        pub(crate) next_try_at: i64,
        pub(crate) records: i64,
        pub(crate) bytes: i64,
        pub(crate) excerpt: String,
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

/// What is kept, over all webhooks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backlog {
    pub(crate) deliveries: i64,
    /// When the oldest is given up.
    pub(crate) first_end: Option<i64>,
}

/// Webhooks that a transaction disabled.
pub(crate) type NowDisabled = Vec<(WebhookId, Disabled)>;

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

    /// Counts tries, and remembers those that are listed: the last [`ATTEMPTS_KEPT`] of each webhook.
    pub(crate) async fn record_attempts(
        &self,
        tallies: &BTreeMap<WebhookId, Tally>,
    ) -> Result<(), RegistryError> {
        let tallies: Vec<(Uuid, &Tally)> =
            tallies.iter().map(|(webhook, tally)| (webhook.as_uuid(), tally)).collect();
        let mut tx = self.begin_upkeep().await?;
        let mut rows: Vec<(i64, &Attempt)> = Vec::new();
        for chunk in tallies.chunks(ROWS_PER_INSERT_MAX) {
            let ends = count_attempts(&mut tx, chunk).await?;
            for (webhook, Tally { listed, .. }) in chunk {
                let Some(end) = ends.get(webhook) else { continue };
                rows.extend((end - listed.len() as i64..).zip(listed));
            }
        }
        for rows in rows.chunks(ROWS_PER_INSERT_MAX) {
            let mut insert = SqlBuilder::new(
                "INSERT INTO webhook_attempts (webhook_id, slot, seq, at, delivery_id, outcome, status, latency,
                                               next_try_at, records, bytes, excerpt) ",
            );
            insert.push_values(rows, |row, (seq, attempt)| {
                row.bind(attempt.webhook.as_uuid()).bind(seq % ATTEMPTS_KEPT).bind(*seq).bind(attempt.at);
                row.bind(attempt.delivery).bind(attempt.outcome).bind(attempt.status).bind(attempt.latency);
                row.bind(attempt.next_try_at).bind(attempt.records).bind(attempt.bytes);
                row.bind(attempt.excerpt.clone());
            });
            insert.push(
                " ON CONFLICT (webhook_id, slot) DO UPDATE SET seq = excluded.seq, at = excluded.at,
                   delivery_id = excluded.delivery_id, outcome = excluded.outcome, status = excluded.status,
                   latency = excluded.latency, next_try_at = excluded.next_try_at, records = excluded.records,
                   bytes = excluded.bytes, excerpt = excluded.excerpt",
            );
            insert.build_once().execute(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// A page of a webhook's last tries, the newest first, and how many of them there are.
    pub(crate) async fn attempts(
        &self,
        webhook: WebhookId,
        offset: i64,
        limit: i64,
    ) -> Result<(i64, Vec<ShownAttempt>), RegistryError> {
        let mut snapshot = self.snapshot().await?;
        let count =
            sql("SELECT COUNT(*) FROM webhook_attempts WHERE webhook_id = $1").bind(webhook.as_uuid());
        let (total,) = count.fetch_one(&mut snapshot).await?;
        let rows =
            sql("SELECT at, delivery_id, outcome, status, latency, next_try_at, records, bytes, excerpt
             FROM webhook_attempts WHERE webhook_id = $1 ORDER BY seq DESC LIMIT $2 OFFSET $3")
            .bind(webhook.as_uuid())
            .bind(limit)
            .bind(offset)
            .fetch_all(&mut snapshot)
            .await?;
        Ok((total, rows))
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

/// Notes until when an endpoint counts as slow.
async fn note_slow(tx: &mut Tx, webhook: Uuid, until: Option<i64>) -> Result<(), RegistryError> {
    let Some(until) = until else { return Ok(()) };
    sql("UPDATE webhooks SET slow_until = $2 WHERE id = $1 AND slow_until < $2")
        .bind(webhook)
        .bind(until)
        .execute(tx)
        .await?;
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

/// How many deliveries were deleted, with their bytes, by what they were.
#[derive(Debug, Default)]
struct Deleted {
    pending: (i64, i64),
    expired: (i64, i64),
}

/// Deletes deliveries, whatever they are by now.
async fn delete(tx: &mut Tx, webhook: Uuid, seqs: &[i64]) -> Result<Deleted, RegistryError> {
    let mut sums = Deleted::default();
    for seqs in seqs.chunks(ROWS_PER_INSERT_MAX) {
        let mut delete = SqlBuilder::new("DELETE FROM webhook_deliveries WHERE webhook_id = ");
        delete
            .push_bind(webhook)
            .push(" AND seq")
            .push_in(seqs.iter().copied())
            .push(" RETURNING state, bytes");
        let deleted: Vec<(i64, i64)> = delete.build_once().fetch_all(&mut *tx).await?;
        for (state, bytes) in deleted {
            let sums = if state == PENDING { &mut sums.pending } else { &mut sums.expired };
            *sums = (sums.0 + 1, sums.1 + bytes);
        }
    }
    Ok(sums)
}

/// Gives up the oldest of what is more than a webhook may have.
async fn expire_surplus(
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
async fn add_expired(
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

/// Notes that a try did not fail.
async fn succeed(tx: &mut Tx, webhook: Uuid) -> Result<(), RegistryError> {
    sql("UPDATE webhooks SET failures = 0, failing_since = 0 WHERE id = $1")
        .bind(webhook)
        .execute(tx)
        .await?;
    Ok(())
}

/// Notes that a try failed. After one that did not, the count begins again. Disables the webhook if that is what it comes to.
async fn fail(
    tx: &mut Tx,
    webhook: Uuid,
    failure: &Failure,
    begins_again: bool,
    bounds: &Bounds,
    now: i64,
) -> Result<Option<Disabled>, RegistryError> {
    if begins_again {
        succeed(tx, webhook).await?;
    }
    sql("UPDATE webhooks SET failures = failures + 1,
                             failing_since = CASE WHEN failing_since = 0 THEN $2 ELSE failing_since END WHERE id = $1")
    .bind(webhook)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    if let Some(hold_until) = failure.hold_until {
        sql("UPDATE webhooks SET hold_until = $2 WHERE id = $1")
            .bind(webhook)
            .bind(hold_until)
            .execute(&mut *tx)
            .await?;
    }
    let reason = if failure.is_gone { Disabled::Gone } else { Disabled::Failing };
    let failing_since_max = if failure.is_gone { now } else { now - bounds.disable_after };
    let disabled: Option<(Uuid,)> = sql("UPDATE webhooks SET disabled = $2, disabled_at = $3
         WHERE id = $1 AND disabled = 0 AND failing_since <= $4 RETURNING thing_id")
    .bind(webhook)
    .bind(reason.code())
    .bind(now)
    .bind(failing_since_max)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((thing,)) = disabled else { return Ok(None) };
    note_change(tx, thing).await?;
    Ok(Some(reason))
}

/// Counts tries, and returns behind which number the last of each webhook is. Webhooks that are gone are left out.
async fn count_attempts(
    tx: &mut Tx,
    tallies: &[(Uuid, &Tally)],
) -> Result<BTreeMap<Uuid, i64>, RegistryError> {
    let mut update =
        SqlBuilder::new("WITH done (id, attempts, delivered, failed, delivered_at, failed_at) AS (");
    update.push_values(tallies, |row, (webhook, tally)| {
        row.bind(*webhook).bind(tally.attempts).bind(tally.delivered).bind(tally.attempts - tally.delivered);
        row.bind(tally.delivered_at).bind(tally.failed_at);
    });
    update.push(
        ") UPDATE webhooks SET attempts = webhooks.attempts + done.attempts,
             delivered = webhooks.delivered + done.delivered, failed = webhooks.failed + done.failed,
             last_delivered_at = CASE WHEN done.delivered > 0 THEN done.delivered_at ELSE webhooks.last_delivered_at END,
             last_failed_at = CASE WHEN done.failed > 0 THEN done.failed_at ELSE webhooks.last_failed_at END,
             failures = CASE WHEN done.delivered_at > done.failed_at AND webhooks.pending_count = 0 THEN 0
                             ELSE webhooks.failures END,
             failing_since = CASE WHEN done.delivered_at > done.failed_at AND webhooks.pending_count = 0 THEN 0
                                  ELSE webhooks.failing_since END
           FROM done WHERE webhooks.id = done.id RETURNING webhooks.id, webhooks.attempts",
    );
    let rows: Vec<(Uuid, i64)> = update.build_once().fetch_all(tx).await?;
    Ok(rows.into_iter().collect())
}

#[cfg(test)]
mod tests;
