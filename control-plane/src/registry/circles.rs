//! What groups and orgs have in common: a name, a description, an owner, and members.

use domain::UserId;
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::entities::{EntityUpdate, Kind, Numbered, Scope, delist, enlist, update_entity};
use super::listing::{ListError, ListQuery, Within, load};
use super::row::row;
use super::sql::SqlBuilder;
use super::{Registry, RegistryError, Tx};
use crate::author::Author;
use crate::metadata::Metadata;

/// A group or an org.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Circle {
    pub(crate) id: Uuid,
    pub(crate) owner: UserId,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) metadata: Metadata,
    /// In microseconds since the epoch, like the next.
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

/// A group or an org to be created.
#[derive(Debug)]
pub(crate) struct NewCircle {
    pub(crate) owner: UserId,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) metadata: Metadata,
}

row! {
    struct CircleRow {
        id: Uuid,
        owner_id: Uuid,
        name: String,
        description: String,
        metadata: Option<String>,
        created_at: i64,
        updated_at: i64,
    }
}

impl CircleRow {
    const COLUMNS: &'static str = "id, owner_id, name, description, metadata, created_at, updated_at";

    fn read(self) -> Result<(Uuid, Circle), RegistryError> {
        let circle = Circle {
            id: self.id,
            owner: UserId::from_uuid(self.owner_id),
            name: self.name,
            description: self.description,
            metadata: Metadata::from_stored(self.metadata)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        };
        Ok((self.id, circle))
    }
}

/// Writes a new group or org. Its owner is to be made a member.
pub(super) async fn insert_circle(
    tx: &mut Tx,
    kind: Kind,
    new: &NewCircle,
    now: i64,
) -> Result<Uuid, RegistryError> {
    let id = Uuid::new_v4();
    let ordinal = enlist(tx, kind, Numbered::All, 1).await?;
    let mut sql = SqlBuilder::new("INSERT INTO ");
    sql.push(kind.table());
    sql.push(" (id, owner_id, name, name_folded, description, metadata, ordinal, created_at, updated_at) ");
    sql.push_values([new], |row, new| {
        row.bind(id).bind(new.owner.as_uuid()).bind(new.name.clone()).bind(new.name.to_lowercase());
        row.bind(new.description.clone()).bind(new.metadata.to_stored());
        row.bind(ordinal).bind(now).bind(now);
    });
    sql.build().execute(&mut *tx).await?;
    let deed = if kind == Kind::Org { Deed::OrgCreate } else { Deed::GroupCreate };
    record(tx, deed, &[Done::to(id)]).await?;
    Ok(id)
}

impl Registry {
    /// One group or org.
    pub(super) async fn circle(&self, kind: Kind, id: Uuid) -> Result<Option<Circle>, RegistryError> {
        let mut sql = SqlBuilder::new("SELECT ");
        sql.push(CircleRow::COLUMNS).push(" FROM ").push(kind.table()).push(" WHERE id = ").push_bind(id);
        let row: Option<CircleRow> = sql.build().fetch_optional(&self.readers).await?;
        row.map(|row| row.read().map(|(_, circle)| circle)).transpose()
    }

    /// A page of groups or orgs, and how many there are.
    pub(super) async fn circles(
        &self,
        kind: Kind,
        scope: Scope,
        within: Within,
        query: &ListQuery,
    ) -> Result<(i64, Vec<Circle>), ListError> {
        let (listed, mut snapshot) = self.list(kind, scope, within, query).await?;
        let circles = load(&mut snapshot, &listed.ids, CircleRow::COLUMNS, kind, CircleRow::read).await?;
        Ok((listed.total, circles))
    }

    /// Changes a group's or org's name, description, metadata, or some of them. No: it is gone.
    pub(super) async fn update_circle(
        &self,
        by: &Author,
        kind: Kind,
        id: Uuid,
        update: &EntityUpdate,
        now: i64,
    ) -> Result<bool, RegistryError> {
        update_entity(self.begin(by).await?, kind, id, update, now).await
    }

    /// Deletes a group or org. What was in it goes on without it. No: it is gone.
    pub(super) async fn delete_circle(
        &self,
        by: &Author,
        kind: Kind,
        id: Uuid,
    ) -> Result<bool, RegistryError> {
        let mut tx = self.begin(by).await?;
        let deed = if kind == Kind::Org { Deed::OrgDelete } else { Deed::GroupDelete };
        record(&mut tx, deed, &[Done::to(id)]).await?;
        let mut sql = SqlBuilder::new("DELETE FROM ");
        sql.push(kind.table()).push(" WHERE id = ").push_bind(id).push(" RETURNING ordinal");
        let deleted: Option<(i64,)> = sql.build().fetch_optional(&mut tx).await?;
        let Some((ordinal,)) = deleted else { return Ok(false) };
        delist(&mut tx, kind, Numbered::All, ordinal).await?;
        tx.commit().await?;
        Ok(true)
    }
}
