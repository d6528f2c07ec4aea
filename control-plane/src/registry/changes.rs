//! What has to happen outside of the registry because of a change in it: the outbox, purges, and the end of old keys.
//!
//! Each is a row that the change's own transaction writes, so that neither a crash nor an error can separate them.

use std::collections::BTreeSet;

use domain::{ChannelId, ThingId};
use service::feed::Change;
use store::PurgeTarget;
use tokio::sync::MutexGuard;
use uuid::Uuid;

use super::engine::On;
use super::entities::Kind;
use super::postgres::{self, Session};
use super::sql::{SqlBuilder, sql};
use super::{ROWS_PER_INSERT_MAX, Registry, RegistryError, Tx, Writers};

/// Keys that end in one transaction.
const KEYS_ENDED_AT_ONCE_MAX: i64 = 500;

/// Rows of the outbox that are published in one turn.
const PUBLISHED_AT_ONCE_MAX: usize = 1_000;
/// Published rows that SQLite keeps before they are deleted together: a deletion is a transaction of its own, and costs a
/// request as much as the change itself.
const PUBLISHED_KEPT_MAX: usize = 1_000;

/// A row of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outgoing {
    seq: i64,
    change: Change,
}

/// The turn to publish: until it ends, nobody else publishes, here or in another process. Dropped before [`Turn::done`], it
/// leaves its changes to the next.
#[derive(Debug)]
pub(crate) struct Turn<'r> {
    registry: &'r Registry,
    rows: Vec<Outgoing>,
    /// Whether there were no more.
    is_last: bool,
    held: Held<'r>,
}

/// What keeps others from publishing.
#[derive(Debug)]
enum Held<'r> {
    /// No other process works on this registry. Rows that are published are known by number, and deleted later.
    Alone(MutexGuard<'r, BTreeSet<i64>>),
    /// The lock of the transaction that will delete the rows.
    Among(Tx),
}

impl Turn<'_> {
    /// What is to be published, in this order.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.rows.iter().map(|row| row.change).collect()
    }

    /// Whether nothing is left of what was committed before the turn, once its changes are published.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Forgets the changes: they are published.
    pub(crate) async fn done(self) -> Result<(), RegistryError> {
        let seqs: Vec<i64> = self.rows.iter().map(|row| row.seq).collect();
        match self.held {
            Held::Alone(mut published) => {
                published.extend(seqs);
                if published.len() >= PUBLISHED_KEPT_MAX {
                    self.registry.forget_published(&mut published).await?;
                }
            }
            Held::Among(mut tx) => {
                delete_outgoing(&mut tx, &seqs).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }
}

/// The oldest rows, in their order.
async fn outbox(on: impl Into<On<'_>>, limit: usize) -> Result<Vec<Outgoing>, RegistryError> {
    let rows: Vec<(i64, i64, Uuid)> = sql("SELECT seq, kind, entity_id FROM outbox ORDER BY seq LIMIT $1")
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(on)
        .await?;
    let read = |(seq, kind, id)| {
        let change = match Kind::from_code(kind) {
            Some(Kind::Thing) => Change::Thing(ThingId::from_uuid(id)),
            Some(Kind::Channel) => Change::Channel(ChannelId::from_uuid(id)),
            _ => return Err(RegistryError::Damaged("the outbox has a row of an unknown kind")),
        };
        Ok(Outgoing { seq, change })
    };
    rows.into_iter().map(read).collect()
}

async fn delete_outgoing(tx: &mut Tx, seqs: &[i64]) -> Result<(), RegistryError> {
    for seqs in seqs.chunks(ROWS_PER_INSERT_MAX) {
        let mut sql = SqlBuilder::new("DELETE FROM outbox WHERE seq");
        sql.push_in(seqs.iter().copied());
        sql.build_once().execute(&mut *tx).await?;
    }
    Ok(())
}

/// Has the transaction publish that the entities' access changed.
pub(super) async fn record_change(tx: &mut Tx, kind: Kind, ids: &[Uuid]) -> Result<(), RegistryError> {
    for ids in ids.chunks(ROWS_PER_INSERT_MAX) {
        let mut sql = SqlBuilder::new("INSERT INTO outbox (kind, entity_id) ");
        sql.push_values(ids, |row, id| {
            row.bind(kind.code()).bind(*id);
        });
        sql.build_once().execute(tx).await?;
    }
    Ok(())
}

/// Has the records of a deleted entity purged.
pub(super) async fn record_purge(tx: &mut Tx, kind: Kind, id: Uuid) -> Result<(), RegistryError> {
    sql("INSERT INTO purges (kind, entity_id) VALUES ($1, $2)")
        .bind(kind.code())
        .bind(id)
        .execute(tx)
        .await?;
    Ok(())
}

impl Registry {
    /// Takes the turn to publish, once nobody else has it, and with it the oldest rows of the outbox that are not published.
    pub(crate) async fn publishing(&self) -> Result<Turn<'_>, RegistryError> {
        match &self.writers {
            Writers::Sqlite { published, .. } => {
                let published = published.lock().await;
                let limit = published.len() + PUBLISHED_AT_ONCE_MAX;
                let mut rows = outbox(&self.readers, limit).await?;
                let is_last = rows.len() < limit;
                rows.retain(|row| !published.contains(&row.seq));
                Ok(Turn { registry: self, rows, is_last, held: Held::Alone(published) })
            }
            Writers::Postgres { publisher, .. } => {
                let mut tx = Session::begin(publisher, postgres::PUBLISH).await?.into();
                let rows = outbox(&mut tx, PUBLISHED_AT_ONCE_MAX).await?;
                let is_last = rows.len() < PUBLISHED_AT_ONCE_MAX;
                Ok(Turn { registry: self, rows, is_last, held: Held::Among(tx) })
            }
        }
    }

    /// Whether changes wait to be published.
    pub(crate) async fn has_outgoing(&self) -> Result<bool, RegistryError> {
        let (any,) = sql("SELECT EXISTS (SELECT 1 FROM outbox)").fetch_one(&self.readers).await?;
        Ok(any)
    }

    /// Deletes the rows that are published.
    pub(crate) async fn tidy_outbox(&self) -> Result<(), RegistryError> {
        match &self.writers {
            Writers::Sqlite { published, .. } => self.forget_published(&mut *published.lock().await).await,
            Writers::Postgres { .. } => Ok(()),
        }
    }

    async fn forget_published(&self, published: &mut BTreeSet<i64>) -> Result<(), RegistryError> {
        if !published.is_empty() {
            let mut tx = self.begin_upkeep().await?;
            let seqs: Vec<i64> = published.iter().copied().collect();
            delete_outgoing(&mut tx, &seqs).await?;
            tx.commit().await?;
            published.clear();
        }
        Ok(())
    }

    /// What is to be purged.
    pub(crate) async fn purges(&self, limit: i64) -> Result<Vec<PurgeTarget>, RegistryError> {
        let rows: Vec<(i64, Uuid)> =
            sql("SELECT kind, entity_id FROM purges ORDER BY kind, entity_id LIMIT $1")
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
        let read = |(kind, id)| match Kind::from_code(kind) {
            Some(Kind::Thing) => Ok(PurgeTarget::Publisher(ThingId::from_uuid(id))),
            Some(Kind::Channel) => Ok(PurgeTarget::Channel(ChannelId::from_uuid(id))),
            _ => Err(RegistryError::Damaged("there is a purge of an unknown kind")),
        };
        rows.into_iter().map(read).collect()
    }

    /// Forgets a purge that was done.
    pub(crate) async fn forget_purge(&self, target: PurgeTarget) -> Result<(), RegistryError> {
        let (kind, id) = match target {
            PurgeTarget::Publisher(thing) => (Kind::Thing, thing.as_uuid()),
            PurgeTarget::Channel(channel) => (Kind::Channel, channel.as_uuid()),
        };
        let mut tx = self.begin_upkeep().await?;
        sql("DELETE FROM purges WHERE kind = $1 AND entity_id = $2")
            .bind(kind.code())
            .bind(id)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// When the next old key ends, in microseconds since the epoch.
    pub(crate) async fn next_key_end(&self) -> Result<Option<i64>, RegistryError> {
        let text = "SELECT MIN(expires_at) FROM thing_keys WHERE expires_at IS NOT NULL";
        let (end,) = sql(text).fetch_one(&self.readers).await?;
        Ok(end)
    }

    /// Deletes some of the old keys whose end has come, and has it published.
    pub(crate) async fn end_keys(&self, now: i64) -> Result<(), RegistryError> {
        let mut tx = self.begin_upkeep().await?;
        let ended: Vec<(Vec<u8>, Uuid)> = sql("SELECT digest, thing_id FROM thing_keys
             WHERE expires_at IS NOT NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2")
        .bind(now)
        .bind(KEYS_ENDED_AT_ONCE_MAX)
        .fetch_all(&mut tx)
        .await?;
        for (digest, thing) in &ended {
            let delete = sql("DELETE FROM thing_keys WHERE digest = $1");
            delete.bind(digest.as_slice()).execute(&mut tx).await?;
            record_change(&mut tx, Kind::Thing, &[*thing]).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
