//! The tries of each webhook: how many, and the last of them.

use std::collections::{BTreeMap, VecDeque};

use domain::WebhookId;
use uuid::Uuid;

use crate::registry::row::row;
use crate::registry::sql::{SqlBuilder, sql};
use crate::registry::{ROWS_PER_INSERT_MAX, Registry, RegistryError, Tx};

/// Tries of a webhook that are remembered.
pub(crate) const ATTEMPTS_KEPT: i64 = 1_000;

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

impl Registry {
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
