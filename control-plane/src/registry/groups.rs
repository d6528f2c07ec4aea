//! Groups: things, and the users who look after them.

use std::collections::HashSet;

use domain::{GroupId, UserId};
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::circles::{Circle, NewCircle, insert_circle};
use super::entities::{EntityUpdate, Kind, Scope};
use super::listing::{ListError, ListQuery, Within};
use super::sql::{SqlBuilder, sql};
use super::ties::{existing, known_ties};
use super::{ROWS_PER_INSERT_MAX, Registry, RegistryError, Tx};
use crate::access::Tie;
use crate::author::Author;

/// A group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group(pub(crate) Circle);

impl Group {
    pub(crate) fn id(&self) -> GroupId {
        GroupId::from_uuid(self.0.id)
    }
}

/// What a member of a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberKind {
    Thing,
    User,
}

impl MemberKind {
    const fn kind(self) -> Kind {
        match self {
            Self::Thing => Kind::Thing,
            Self::User => Kind::User,
        }
    }

    /// As the audit tells it.
    const fn name(self) -> &'static str {
        match self {
            Self::Thing => "thing",
            Self::User => "user",
        }
    }

    const fn table(self) -> &'static str {
        match self {
            Self::Thing => "group_things",
            Self::User => "group_users",
        }
    }

    const fn column(self) -> &'static str {
        match self {
            Self::Thing => "thing_id",
            Self::User => "user_id",
        }
    }
}

/// A change of a group's members that is about to be made: what the rights to it are decided on can't change until it is.
#[derive(Debug)]
pub(crate) struct Gathering {
    tx: Tx,
    group: GroupId,
    owner: UserId,
}

impl Registry {
    /// Creates a group. Its owner is its first member.
    pub(crate) async fn create_group(
        &self,
        by: &Author,
        new: &NewCircle,
        now: i64,
    ) -> Result<GroupId, RegistryError> {
        let mut tx = self.begin(by).await?;
        let id = insert_circle(&mut tx, Kind::Group, new, now).await?;
        sql("INSERT INTO group_users (user_id, group_id) VALUES ($1, $2)")
            .bind(new.owner.as_uuid())
            .bind(id)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(GroupId::from_uuid(id))
    }

    /// One group.
    pub(crate) async fn group(&self, id: GroupId) -> Result<Option<Group>, RegistryError> {
        Ok(self.circle(Kind::Group, id.as_uuid()).await?.map(Group))
    }

    /// A page of groups, and how many there are.
    pub(crate) async fn groups(
        &self,
        scope: Scope,
        within: Within,
        query: &ListQuery,
    ) -> Result<(i64, Vec<Circle>), ListError> {
        self.circles(Kind::Group, scope, within, query).await
    }

    /// Changes a group's name, description, metadata, or some of them. No: it is gone.
    pub(crate) async fn update_group(
        &self,
        by: &Author,
        id: GroupId,
        update: &EntityUpdate,
        now: i64,
    ) -> Result<bool, RegistryError> {
        self.update_circle(by, Kind::Group, id.as_uuid(), update, now).await
    }

    /// Deletes a group, not what is in it. No: it is gone.
    pub(crate) async fn delete_group(&self, by: &Author, id: GroupId) -> Result<bool, RegistryError> {
        self.delete_circle(by, Kind::Group, id.as_uuid()).await
    }

    /// Begins a change of a group's members. Nothing, if it is gone.
    pub(crate) async fn gathering(
        &self,
        by: &Author,
        group: GroupId,
    ) -> Result<Option<Gathering>, RegistryError> {
        let mut tx = self.begin(by).await?;
        let found = sql("SELECT owner_id FROM groups WHERE id = $1");
        let owner: Option<(Uuid,)> = found.bind(group.as_uuid()).fetch_optional(&mut tx).await?;
        Ok(owner.map(|(owner,)| Gathering { tx, group, owner: UserId::from_uuid(owner) }))
    }
}

impl Gathering {
    /// What ties a user to the group.
    pub(crate) async fn ties(&mut self, user: UserId) -> Result<Vec<Tie>, RegistryError> {
        let mut ties = known_ties(&mut self.tx, Kind::Group, &[self.group.as_uuid()], user).await?;
        Ok(ties.pop().flatten().unwrap_or_default())
    }

    /// Which of the ids are of things or of users.
    pub(crate) async fn existing(
        &mut self,
        kind: MemberKind,
        ids: &[Uuid],
    ) -> Result<HashSet<Uuid>, RegistryError> {
        existing(&mut self.tx, kind.kind(), ids).await
    }

    /// What ties a user to each of the things; to one that does not exist, nothing at all.
    pub(crate) async fn thing_ties(
        &mut self,
        things: &[Uuid],
        user: UserId,
    ) -> Result<Vec<Option<Vec<Tie>>>, RegistryError> {
        known_ties(&mut self.tx, Kind::Thing, things, user).await
    }

    /// Whether one of the ids is the group's owner, who is always a member.
    pub(crate) fn has_owner(&self, ids: &[Uuid]) -> bool {
        ids.contains(&self.owner.as_uuid())
    }

    /// Which of the ids are members.
    pub(crate) async fn members(
        &mut self,
        kind: MemberKind,
        ids: &[Uuid],
    ) -> Result<HashSet<Uuid>, RegistryError> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let mut sql = SqlBuilder::new("SELECT ");
        sql.push(kind.column()).push(" FROM ").push(kind.table()).push(" WHERE group_id = ");
        sql.push_bind(self.group.as_uuid()).push(" AND ").push(kind.column()).push_in(ids.iter().copied());
        let rows: Vec<(Uuid,)> = sql.build_once().fetch_all(&mut self.tx).await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Adds members. None of them is one already.
    pub(crate) async fn add(&mut self, kind: MemberKind, ids: &[Uuid]) -> Result<(), RegistryError> {
        let group = self.group.as_uuid();
        let done: Vec<Done> = ids.iter().map(|id| Done::with(group, *id).detail(kind.name())).collect();
        record(&mut self.tx, Deed::GroupAssign, &done).await?;
        for ids in ids.chunks(ROWS_PER_INSERT_MAX) {
            let mut sql = SqlBuilder::new("INSERT INTO ");
            sql.push(kind.table()).push(" (").push(kind.column()).push(", group_id) ");
            sql.push_values(ids, |row, id| {
                row.bind(*id).bind(self.group.as_uuid());
            });
            sql.build_once().execute(&mut self.tx).await?;
        }
        Ok(())
    }

    /// Removes members. Who is none stays so.
    pub(crate) async fn remove(&mut self, kind: MemberKind, ids: &[Uuid]) -> Result<(), RegistryError> {
        let group = self.group.as_uuid();
        let leaving = self.members(kind, ids).await?;
        let done: Vec<Done> = leaving.iter().map(|id| Done::with(group, *id).detail(kind.name())).collect();
        record(&mut self.tx, Deed::GroupUnassign, &done).await?;
        let mut sql = SqlBuilder::new("DELETE FROM ");
        sql.push(kind.table()).push(" WHERE group_id = ").push_bind(group);
        sql.push(" AND ").push(kind.column()).push_in(ids.iter().copied());
        sql.build_once().execute(&mut self.tx).await?;
        Ok(())
    }

    /// Makes the change.
    pub(crate) async fn commit(self) -> Result<(), RegistryError> {
        Ok(self.tx.commit().await?)
    }
}
