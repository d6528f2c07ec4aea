//! Things and their keys.

use domain::{KeyDigest, ThingId, UserId};
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::changes::{record_change, record_purge};
use super::entities::{EntityUpdate, Kind, Numbered, Scope, claim, delist, enlist, update_entity};
use super::listing::{ListError, ListQuery, Within, load};
use super::row::row;
use super::sql::{SqlBuilder, sql};
use super::ties::ties;
use super::webhooks::delete_webhooks_of_thing;
use super::{ROWS_PER_INSERT_MAX, Registry, RegistryError};
use crate::access::Tie;
use crate::author::Author;
use crate::metadata::Metadata;

/// A thing as stored: its key only sealed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Thing {
    pub(crate) id: ThingId,
    pub(crate) owner: UserId,
    pub(crate) name: String,
    pub(crate) metadata: Metadata,
    pub(crate) sealed_key: Vec<u8>,
}

/// A thing to be created.
#[derive(Debug)]
pub(crate) struct NewThing {
    pub(crate) id: ThingId,
    pub(crate) name: String,
    pub(crate) metadata: Metadata,
    pub(crate) digest: KeyDigest,
    pub(crate) sealed_key: Vec<u8>,
}

/// Why entities were not created: none of them was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    /// The id of the entity with this index is, or once was, another one's.
    #[error("an id is taken")]
    IdTaken(usize),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<sqlx::Error> for CreateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Registry(error.into())
    }
}

row! {
    struct ThingRow {
        id: Uuid,
        owner_id: Uuid,
        name: String,
        metadata: Option<String>,
        sealed_key: Vec<u8>,
    }
}

impl ThingRow {
    const COLUMNS: &'static str = "id, owner_id, name, metadata, sealed_key";

    fn read(self) -> Result<(Uuid, Thing), RegistryError> {
        let thing = Thing {
            id: ThingId::from_uuid(self.id),
            owner: UserId::from_uuid(self.owner_id),
            name: self.name,
            metadata: Metadata::from_stored(self.metadata)?,
            sealed_key: self.sealed_key,
        };
        Ok((self.id, thing))
    }
}

impl Registry {
    /// Creates all the things, or none.
    pub(crate) async fn create_things(
        &self,
        by: &Author,
        owner: UserId,
        things: &[NewThing],
        now: i64,
    ) -> Result<(), CreateError> {
        let mut tx = self.begin(by).await?;
        let ids: Vec<Uuid> = things.iter().map(|thing| thing.id.as_uuid()).collect();
        if let Some(taken) = claim(&mut tx, Kind::Thing, &ids).await? {
            return Err(CreateError::IdTaken(taken));
        }
        let mut ordinal = enlist(&mut tx, Kind::Thing, Numbered::All, things.len()).await?;
        let mut owner_ordinal = enlist(&mut tx, Kind::Thing, Numbered::Owner(owner), things.len()).await?;
        for things in things.chunks(ROWS_PER_INSERT_MAX) {
            let mut sql = SqlBuilder::new(
                "INSERT INTO things (id, owner_id, name, name_folded, metadata, sealed_key, ordinal, owner_ordinal,
                                     created_at, updated_at) ",
            );
            sql.push_values(things, |row, thing| {
                row.bind(thing.id.as_uuid()).bind(owner.as_uuid());
                row.bind(thing.name.clone()).bind(thing.name.to_lowercase());
                row.bind(thing.metadata.to_stored()).bind(thing.sealed_key.clone());
                row.bind(ordinal).bind(owner_ordinal).bind(now).bind(now);
                ordinal += 1;
                owner_ordinal += 1;
            });
            sql.build_once().execute(&mut tx).await?;
            let mut sql = SqlBuilder::new("INSERT INTO thing_keys (digest, thing_id) ");
            sql.push_values(things, |row, thing| {
                row.bind(thing.digest.as_bytes().as_slice()).bind(thing.id.as_uuid());
            });
            sql.build_once().execute(&mut tx).await?;
        }
        record(&mut tx, Deed::ThingCreate, &ids.into_iter().map(Done::to).collect::<Vec<_>>()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// One thing.
    pub(crate) async fn thing(&self, id: ThingId) -> Result<Option<Thing>, RegistryError> {
        let row: Option<ThingRow> =
            sql("SELECT id, owner_id, name, metadata, sealed_key FROM things WHERE id = $1")
                .bind(id.as_uuid())
                .fetch_optional(&self.readers)
                .await?;
        row.map(|row| row.read().map(|(_, thing)| thing)).transpose()
    }

    /// A page of things with what ties `user` to each, and how many there are.
    pub(crate) async fn things(
        &self,
        scope: Scope,
        within: Within,
        query: &ListQuery,
        user: UserId,
    ) -> Result<(i64, Vec<(Thing, Vec<Tie>)>), ListError> {
        let (listed, mut snapshot) = self.list(Kind::Thing, scope, within, query).await?;
        let things = load(&mut snapshot, &listed.ids, ThingRow::COLUMNS, Kind::Thing, ThingRow::read).await?;
        let mut ties = ties(&mut snapshot, Kind::Thing, &listed.ids, user).await?;
        let tied = |thing: Thing| {
            let ties = ties.remove(&thing.id.as_uuid()).unwrap_or_default();
            (thing, ties)
        };
        Ok((listed.total, things.into_iter().map(tied).collect()))
    }

    /// Changes a thing's name, its metadata, or both. No: it is gone.
    pub(crate) async fn update_thing(
        &self,
        by: &Author,
        id: ThingId,
        update: &EntityUpdate,
        now: i64,
    ) -> Result<bool, RegistryError> {
        update_entity(self.begin(by).await?, Kind::Thing, id.as_uuid(), update, now).await
    }

    /// Gives a thing another key. Those it had before work until `old_until`, or from now on no longer. No: it is gone.
    pub(crate) async fn replace_key(
        &self,
        by: &Author,
        thing: ThingId,
        digest: KeyDigest,
        sealed_key: &[u8],
        old_until: Option<i64>,
        now: i64,
    ) -> Result<bool, RegistryError> {
        let mut tx = self.begin(by).await?;
        record(&mut tx, Deed::ThingKey, &[Done::to(thing.as_uuid())]).await?;
        let updated = sql("UPDATE things SET sealed_key = $2, updated_at = $3 WHERE id = $1")
            .bind(thing.as_uuid())
            .bind(sealed_key)
            .bind(now)
            .execute(&mut tx)
            .await?;
        if updated == 0 {
            return Ok(false);
        }
        match old_until {
            None => {
                let delete = sql("DELETE FROM thing_keys WHERE thing_id = $1");
                delete.bind(thing.as_uuid()).execute(&mut tx).await?;
            }
            Some(end) => {
                let limit = "UPDATE thing_keys SET expires_at = $2
                             WHERE thing_id = $1 AND (expires_at IS NULL OR expires_at > $2)";
                sql(limit).bind(thing.as_uuid()).bind(end).execute(&mut tx).await?;
            }
        }
        sql("INSERT INTO thing_keys (digest, thing_id) VALUES ($1, $2)")
            .bind(digest.as_bytes().as_slice())
            .bind(thing.as_uuid())
            .execute(&mut tx)
            .await?;
        record_change(&mut tx, Kind::Thing, &[thing.as_uuid()]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes a thing with its keys and connections, and has its records purged. Its id stays claimed. No: it is gone.
    pub(crate) async fn delete_thing(&self, by: &Author, thing: ThingId) -> Result<bool, RegistryError> {
        let mut tx = self.begin(by).await?;
        let id = thing.as_uuid();
        record(&mut tx, Deed::ThingDelete, &[Done::to(id)]).await?;
        delete_webhooks_of_thing(&mut tx, id).await?;
        sql("DELETE FROM connections WHERE thing_id = $1").bind(id).execute(&mut tx).await?;
        sql("DELETE FROM thing_keys WHERE thing_id = $1").bind(id).execute(&mut tx).await?;
        let deleted: Option<(Uuid, i64, i64)> =
            sql("DELETE FROM things WHERE id = $1 RETURNING owner_id, ordinal, owner_ordinal")
                .bind(id)
                .fetch_optional(&mut tx)
                .await?;
        let Some((owner, ordinal, owner_ordinal)) = deleted else { return Ok(false) };
        delist(&mut tx, Kind::Thing, Numbered::All, ordinal).await?;
        delist(&mut tx, Kind::Thing, Numbered::Owner(UserId::from_uuid(owner)), owner_ordinal).await?;
        record_purge(&mut tx, Kind::Thing, id).await?;
        record_change(&mut tx, Kind::Thing, &[id]).await?;
        tx.commit().await?;
        Ok(true)
    }
}
