//! Orgs: users in roles, and the groups that they share.

use std::collections::{HashMap, HashSet};

use domain::{GroupId, OrgId, UserId};
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::circles::{Circle, NewCircle, insert_circle};
use super::entities::{EntityUpdate, Kind, Scope};
use super::listing::{ListError, ListQuery, Within};
use super::sql::{SqlBuilder, sql};
use super::ties::{existing, known_ties, roles};
use super::{Registry, RegistryError, Tx};
use crate::access::{Role, Tie};
use crate::author::Author;

/// An org.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Org(pub(crate) Circle);

impl Org {
    pub(crate) fn id(&self) -> OrgId {
        OrgId::from_uuid(self.0.id)
    }
}

/// A member of an org.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) role: Role,
}

/// A change of what is in an org that is about to be made: what the rights to it are decided on can't change until it is.
#[derive(Debug)]
pub(crate) struct Staffing {
    tx: Tx,
    org: OrgId,
}

impl Registry {
    /// Creates an org. Its owner is its first member.
    pub(crate) async fn create_org(
        &self,
        by: &Author,
        new: &NewCircle,
        now: i64,
    ) -> Result<OrgId, RegistryError> {
        let mut tx = self.begin(by).await?;
        let id = insert_circle(&mut tx, Kind::Org, new, now).await?;
        sql("INSERT INTO org_members (user_id, org_id, role) VALUES ($1, $2, $3)")
            .bind(new.owner.as_uuid())
            .bind(id)
            .bind(Role::Owner.code())
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(OrgId::from_uuid(id))
    }

    /// One org.
    pub(crate) async fn org(&self, id: OrgId) -> Result<Option<Org>, RegistryError> {
        Ok(self.circle(Kind::Org, id.as_uuid()).await?.map(Org))
    }

    /// A page of orgs, and how many there are.
    pub(crate) async fn orgs(
        &self,
        scope: Scope,
        within: Within,
        query: &ListQuery,
    ) -> Result<(i64, Vec<Circle>), ListError> {
        self.circles(Kind::Org, scope, within, query).await
    }

    /// Changes an org's name, description, metadata, or some of them. No: it is gone.
    pub(crate) async fn update_org(
        &self,
        by: &Author,
        id: OrgId,
        update: &EntityUpdate,
        now: i64,
    ) -> Result<bool, RegistryError> {
        self.update_circle(by, Kind::Org, id.as_uuid(), update, now).await
    }

    /// Deletes an org, not what is in it. No: it is gone.
    pub(crate) async fn delete_org(&self, by: &Author, id: OrgId) -> Result<bool, RegistryError> {
        self.delete_circle(by, Kind::Org, id.as_uuid()).await
    }

    /// A page of an org's members, and how many there are.
    pub(crate) async fn org_members(
        &self,
        org: OrgId,
        query: &ListQuery,
    ) -> Result<(i64, Vec<Member>), ListError> {
        let (listed, mut snapshot) = self.list(Kind::User, Scope::All, Within::Org(org), query).await?;
        if listed.ids.is_empty() {
            return Ok((listed.total, Vec::new()));
        }
        let mut sql = SqlBuilder::new("SELECT id, email FROM users WHERE id");
        sql.push_in(listed.ids.iter().copied());
        let emails: Vec<(Uuid, String)> =
            sql.build_once().fetch_all(&mut snapshot).await.map_err(RegistryError::from)?;
        let mut emails: HashMap<Uuid, String> = emails.into_iter().collect();
        let roles = roles(&mut snapshot, org.as_uuid(), &listed.ids).await?;
        let member = |id: &Uuid| {
            let missing = RegistryError::Damaged("a listed member is missing");
            let (email, role) = emails.remove(id).zip(roles.get(id).copied()).ok_or(missing)?;
            Ok(Member { id: UserId::from_uuid(*id), email, role })
        };
        let members: Result<Vec<Member>, RegistryError> = listed.ids.iter().map(member).collect();
        Ok((listed.total, members?))
    }

    /// Begins a change of what is in an org. Nothing, if it is gone.
    pub(crate) async fn staffing(&self, by: &Author, org: OrgId) -> Result<Option<Staffing>, RegistryError> {
        let mut tx = self.begin(by).await?;
        let found = existing(&mut tx, Kind::Org, &[org.as_uuid()]).await?;
        Ok((!found.is_empty()).then_some(Staffing { tx, org }))
    }
}

impl Staffing {
    /// What ties a user to the org.
    pub(crate) async fn ties(&mut self, user: UserId) -> Result<Vec<Tie>, RegistryError> {
        let mut ties = known_ties(&mut self.tx, Kind::Org, &[self.org.as_uuid()], user).await?;
        Ok(ties.pop().flatten().unwrap_or_default())
    }

    /// The users with these emails, of those who have an account.
    pub(crate) async fn users(
        &mut self,
        emails_folded: &[String],
    ) -> Result<HashMap<String, UserId>, RegistryError> {
        // Nobody's has a NUL, and PostgreSQL takes no text with one.
        let emails: Vec<&String> = emails_folded.iter().filter(|email| !email.contains('\0')).collect();
        if emails.is_empty() {
            return Ok(HashMap::new());
        }
        let mut sql = SqlBuilder::new("SELECT email_folded, id FROM users WHERE email_folded");
        sql.push_in(emails.into_iter().cloned());
        let rows: Vec<(String, Uuid)> = sql.build_once().fetch_all(&mut self.tx).await?;
        Ok(rows.into_iter().map(|(email, id)| (email, UserId::from_uuid(id))).collect())
    }

    /// The role of each of the users, of those who are members.
    pub(crate) async fn roles(&mut self, users: &[UserId]) -> Result<HashMap<UserId, Role>, RegistryError> {
        let users: Vec<Uuid> = users.iter().map(UserId::as_uuid).collect();
        let roles = roles(&mut self.tx, self.org.as_uuid(), &users).await?;
        Ok(roles.into_iter().map(|(user, role)| (UserId::from_uuid(user), role)).collect())
    }

    /// Makes users members, or gives those who are other roles.
    pub(crate) async fn set_roles(&mut self, members: &[(UserId, Role)]) -> Result<(), RegistryError> {
        let org = self.org.as_uuid();
        let done = |(user, role): &(UserId, Role)| Done::with(org, user.as_uuid()).detail(role.name());
        record(&mut self.tx, Deed::OrgRole, &members.iter().map(done).collect::<Vec<_>>()).await?;
        let mut sql = SqlBuilder::new("INSERT INTO org_members (user_id, org_id, role) ");
        sql.push_values(members, |row, (user, role)| {
            row.bind(user.as_uuid()).bind(self.org.as_uuid()).bind(role.code());
        });
        sql.push(" ON CONFLICT (user_id, org_id) DO UPDATE SET role = excluded.role");
        sql.build_once().execute(&mut self.tx).await?;
        Ok(())
    }

    /// Removes members. Who is none stays so.
    pub(crate) async fn remove_members(&mut self, users: &[UserId]) -> Result<(), RegistryError> {
        let (org, leaving) = (self.org.as_uuid(), self.roles(users).await?);
        let done: Vec<Done> = leaving.keys().map(|user| Done::with(org, user.as_uuid())).collect();
        record(&mut self.tx, Deed::OrgUnassign, &done).await?;
        let mut sql = SqlBuilder::new("DELETE FROM org_members WHERE org_id = ");
        sql.push_bind(self.org.as_uuid()).push(" AND user_id").push_in(users.iter().map(UserId::as_uuid));
        sql.build_once().execute(&mut self.tx).await?;
        Ok(())
    }

    /// What ties a user to each of the groups; to one that does not exist, nothing at all.
    pub(crate) async fn group_ties(
        &mut self,
        groups: &[GroupId],
        user: UserId,
    ) -> Result<Vec<Option<Vec<Tie>>>, RegistryError> {
        let groups: Vec<Uuid> = groups.iter().map(GroupId::as_uuid).collect();
        known_ties(&mut self.tx, Kind::Group, &groups, user).await
    }

    /// Which of the groups are in the org.
    pub(crate) async fn groups(&mut self, groups: &[GroupId]) -> Result<HashSet<GroupId>, RegistryError> {
        let mut sql = SqlBuilder::new("SELECT group_id FROM org_groups WHERE org_id = ");
        sql.push_bind(self.org.as_uuid()).push(" AND group_id").push_in(groups.iter().map(GroupId::as_uuid));
        let rows: Vec<(Uuid,)> = sql.build_once().fetch_all(&mut self.tx).await?;
        Ok(rows.into_iter().map(|(id,)| GroupId::from_uuid(id)).collect())
    }

    /// Puts groups in the org. None of them is in it already.
    pub(crate) async fn add_groups(&mut self, groups: &[GroupId]) -> Result<(), RegistryError> {
        let org = self.org.as_uuid();
        let done: Vec<Done> = groups.iter().map(|group| Done::with(org, group.as_uuid())).collect();
        record(&mut self.tx, Deed::OrgGroup, &done).await?;
        let mut sql = SqlBuilder::new("INSERT INTO org_groups (group_id, org_id) ");
        sql.push_values(groups, |row, group| {
            row.bind(group.as_uuid()).bind(self.org.as_uuid());
        });
        sql.build_once().execute(&mut self.tx).await?;
        Ok(())
    }

    /// Takes groups out of the org. What is not in it stays so.
    pub(crate) async fn remove_groups(&mut self, groups: &[GroupId]) -> Result<(), RegistryError> {
        let (org, leaving) = (self.org.as_uuid(), self.groups(groups).await?);
        let done: Vec<Done> = leaving.iter().map(|group| Done::with(org, group.as_uuid())).collect();
        record(&mut self.tx, Deed::OrgUngroup, &done).await?;
        let mut sql = SqlBuilder::new("DELETE FROM org_groups WHERE org_id = ");
        sql.push_bind(self.org.as_uuid()).push(" AND group_id").push_in(groups.iter().map(GroupId::as_uuid));
        sql.build_once().execute(&mut self.tx).await?;
        Ok(())
    }

    /// Makes the change.
    pub(crate) async fn commit(self) -> Result<(), RegistryError> {
        Ok(self.tx.commit().await?)
    }
}
