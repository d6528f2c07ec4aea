//! Deliveries that wait for another try or were given up, the last tries of each webhook, and who delivers now. Here: what they
//! have in common.
//!
//! Of a delivery that succeeds at once there is nothing here but its try: rows are written where an endpoint fails. Counts and
//! bytes of a webhook's rows are changed by the transaction that changes the rows.

mod attempts;
mod expiring;
mod keeping;
mod settling;

use domain::WebhookId;
use uuid::Uuid;

use super::sql::{SqlBuilder, sql};
use super::webhooks::{Disabled, note_change};
use super::{ROWS_PER_INSERT_MAX, RegistryError, Tx};

pub(crate) use self::attempts::{ATTEMPTS_KEPT, Attempt, ShownAttempt, Tally};
pub(crate) use self::expiring::{KeptState, ShownDelivery};
pub(crate) use self::keeping::{Keeping, Kept, NewDelivery};
pub(crate) use self::settling::{Claimed, Lease, Pending, Places, Settled, Settling, Then};

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

/// What a try that failed comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Nothing is tried before, in microseconds since the epoch. Nothing: those behind it are tried all the same.
    pub(crate) hold_until: Option<i64>,
    /// The endpoint wants nothing any more.
    pub(crate) is_gone: bool,
}

/// Webhooks that a transaction disabled.
pub(crate) type NowDisabled = Vec<(WebhookId, Disabled)>;

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

#[cfg(test)]
mod tests;
