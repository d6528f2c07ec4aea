//! What has to happen outside of the registry because of a change in it: the outbox, purges, and the end of old keys.
//!
//! Each is a row that the change's own transaction writes, so that neither a crash nor an error can separate them.

use domain::{ChannelId, ThingId};
use service::feed::Change;
use sqlx::QueryBuilder;
use store::PurgeTarget;
use uuid::Uuid;

use super::entities::Kind;
use super::{Db, ROWS_PER_INSERT_MAX, Registry, RegistryError, Tx};

/// Keys that end in one transaction.
const KEYS_ENDED_AT_ONCE_MAX: i64 = 500;

/// A row of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) seq: i64,
    pub(crate) change: Change,
}

/// Has the transaction publish that the entities' access changed.
pub(super) async fn record_change(tx: &mut Tx, kind: Kind, ids: &[Uuid]) -> Result<(), RegistryError> {
    for ids in ids.chunks(ROWS_PER_INSERT_MAX) {
        let mut sql = QueryBuilder::<Db>::new("INSERT INTO outbox (kind, entity_id) ");
        sql.push_values(ids, |mut row, id| {
            row.push_bind(kind.code()).push_bind(*id);
        });
        sql.build().persistent(false).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Has the records of a deleted entity purged.
pub(super) async fn record_purge(tx: &mut Tx, kind: Kind, id: Uuid) -> Result<(), RegistryError> {
    sqlx::query("INSERT INTO purges (kind, entity_id) VALUES ($1, $2)")
        .bind(kind.code())
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

impl Registry {
    /// The oldest rows of the outbox, in their order.
    pub(crate) async fn outbox(&self, limit: usize) -> Result<Vec<Outgoing>, RegistryError> {
        let rows: Vec<(i64, i64, Uuid)> =
            sqlx::query_as("SELECT seq, kind, entity_id FROM outbox ORDER BY seq LIMIT $1")
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&self.readers)
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

    /// Forgets rows of the outbox that were published.
    pub(crate) async fn forget_published(&self, seqs: &[i64]) -> Result<(), RegistryError> {
        let mut tx = self.begin().await?;
        for seqs in seqs.chunks(ROWS_PER_INSERT_MAX) {
            let mut sql = QueryBuilder::<Db>::new("DELETE FROM outbox WHERE seq IN (");
            let mut list = sql.separated(", ");
            for seq in seqs {
                list.push_bind(*seq);
            }
            sql.push(")");
            sql.build().persistent(false).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// What is to be purged.
    pub(crate) async fn purges(&self, limit: i64) -> Result<Vec<PurgeTarget>, RegistryError> {
        let rows: Vec<(i64, Uuid)> =
            sqlx::query_as("SELECT kind, entity_id FROM purges ORDER BY kind, entity_id LIMIT $1")
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
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM purges WHERE kind = $1 AND entity_id = $2")
            .bind(kind.code())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// When the next old key ends, in microseconds since the epoch.
    pub(crate) async fn next_key_end(&self) -> Result<Option<i64>, RegistryError> {
        let sql = "SELECT MIN(expires_at) FROM thing_keys WHERE expires_at IS NOT NULL";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.readers).await?)
    }

    /// Deletes some of the old keys whose end has come, and has it published.
    pub(crate) async fn end_keys(&self, now: i64) -> Result<(), RegistryError> {
        let mut tx = self.begin().await?;
        let ended: Vec<(Vec<u8>, Uuid)> = sqlx::query_as(
            "SELECT digest, thing_id FROM thing_keys
             WHERE expires_at IS NOT NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
        )
        .bind(now)
        .bind(KEYS_ENDED_AT_ONCE_MAX)
        .fetch_all(&mut *tx)
        .await?;
        for (digest, thing) in &ended {
            sqlx::query("DELETE FROM thing_keys WHERE digest = $1").bind(digest).execute(&mut *tx).await?;
            record_change(&mut tx, Kind::Thing, &[*thing]).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
