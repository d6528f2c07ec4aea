//! Policies: what admins grant beside what users own and share.
//!
//! Each is a row where it is asked for: on a thing in `thing_policies`, being a group's member in `group_users`, and the few on
//! what is no entity in `policies`.

use std::collections::HashSet;

use domain::{GroupId, ThingId, UserId};
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::entities::Kind;
use super::sql::sql;
use super::ties::existing;
use super::users::{AUTHORITIES, MEMBER};
use super::{Registry, RegistryError, Tx};
use crate::access::Relation;
use crate::author::Author;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The user may do this with the thing.
    Thing(UserId, ThingId, Relation),
    /// The user is a member of the group.
    Group(UserId, GroupId),
    /// On what is no entity.
    Named { subject: String, object: &'static str, relation: &'static str },
}

impl Policy {
    /// As the audit tells it.
    fn done(&self) -> Done {
        match self {
            Self::Thing(user, thing, relation) => {
                Done::with(thing.as_uuid(), user.as_uuid()).detail(relation.name())
            }
            Self::Group(user, group) => Done::with(group.as_uuid(), user.as_uuid()).detail(MEMBER),
            Self::Named { subject, object, relation } => {
                let other = subject.parse().ok().map(|user: UserId| user.as_uuid());
                Done { entity: None, other, detail: Some(format!("{relation} on {object}")) }
            }
        }
    }
}

/// Why policies were not taken away: none of them was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// The owner of a group is always its member.
    #[error("a group's owner stays its member")]
    GroupOwner,
    /// Somebody has to be an admin.
    #[error("nobody would be an admin")]
    LastAdmin,
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<sqlx::Error> for TakeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Registry(error.into())
    }
}

/// A change of policies that is about to be made.
#[derive(Debug)]
pub(crate) struct Granting {
    tx: Tx,
}

impl Registry {
    /// Begins a change of policies.
    pub(crate) async fn granting(&self, by: &Author) -> Result<Granting, RegistryError> {
        Ok(Granting { tx: self.begin(by).await? })
    }
}

impl Granting {
    /// Whether there is such a thing.
    pub(crate) async fn has_thing(&mut self, id: Uuid) -> Result<bool, RegistryError> {
        Ok(!existing(&mut self.tx, Kind::Thing, &[id]).await?.is_empty())
    }

    /// Whether there is such a group.
    pub(crate) async fn has_group(&mut self, id: Uuid) -> Result<bool, RegistryError> {
        Ok(!existing(&mut self.tx, Kind::Group, &[id]).await?.is_empty())
    }

    /// Which of the users exist.
    pub(crate) async fn users(&mut self, users: &[UserId]) -> Result<HashSet<UserId>, RegistryError> {
        let ids: Vec<Uuid> = users.iter().map(UserId::as_uuid).collect();
        let found = existing(&mut self.tx, Kind::User, &ids).await?;
        Ok(found.into_iter().map(UserId::from_uuid).collect())
    }

    /// Puts the policies into force. Those that are stay so.
    pub(crate) async fn add(mut self, policies: &[Policy]) -> Result<(), RegistryError> {
        for policy in policies {
            let statement = match policy {
                Policy::Thing(user, thing, relation) => {
                    sql("INSERT INTO thing_policies (user_id, thing_id, relation) VALUES ($1, $2, $3)
                         ON CONFLICT (user_id, thing_id, relation) DO NOTHING")
                    .bind(user.as_uuid())
                    .bind(thing.as_uuid())
                    .bind(relation.code())
                }
                Policy::Group(user, group) => {
                    sql("INSERT INTO group_users (user_id, group_id) VALUES ($1, $2)
                         ON CONFLICT (user_id, group_id) DO NOTHING")
                    .bind(user.as_uuid())
                    .bind(group.as_uuid())
                }
                Policy::Named { subject, object, relation } => {
                    sql("INSERT INTO policies (subject, object, relation) VALUES ($1, $2, $3)
                         ON CONFLICT (subject, object, relation) DO NOTHING")
                    .bind(subject.as_str())
                    .bind(*object)
                    .bind(*relation)
                }
            };
            if statement.execute(&mut self.tx).await? > 0 {
                record(&mut self.tx, Deed::PolicyAdd, &[policy.done()]).await?;
            }
        }
        Ok(self.tx.commit().await?)
    }

    /// Takes the policies away. Those that are not in force stay so.
    pub(crate) async fn take(mut self, policies: &[Policy]) -> Result<(), TakeError> {
        for policy in policies {
            let statement = match policy {
                Policy::Thing(user, thing, relation) => {
                    sql("DELETE FROM thing_policies WHERE user_id = $1 AND thing_id = $2 AND relation = $3")
                        .bind(user.as_uuid())
                        .bind(thing.as_uuid())
                        .bind(relation.code())
                }
                Policy::Group(user, group) => {
                    let owns = sql("SELECT EXISTS (SELECT 1 FROM groups WHERE id = $1 AND owner_id = $2)");
                    let owns = owns.bind(group.as_uuid()).bind(user.as_uuid());
                    let (owns,): (bool,) = owns.fetch_one(&mut self.tx).await?;
                    if owns {
                        return Err(TakeError::GroupOwner);
                    }
                    sql("DELETE FROM group_users WHERE user_id = $1 AND group_id = $2")
                        .bind(user.as_uuid())
                        .bind(group.as_uuid())
                }
                Policy::Named { subject, object, relation } => {
                    sql("DELETE FROM policies WHERE subject = $1 AND object = $2 AND relation = $3")
                        .bind(subject.as_str())
                        .bind(*object)
                        .bind(*relation)
                }
            };
            if statement.execute(&mut self.tx).await? > 0 {
                record(&mut self.tx, Deed::PolicyTake, &[policy.done()]).await?;
            }
        }
        let admins = sql("SELECT EXISTS (SELECT 1 FROM policies WHERE object = $1 AND relation = $2)");
        let (any,): (bool,) = admins.bind(AUTHORITIES).bind(MEMBER).fetch_one(&mut self.tx).await?;
        if !any {
            return Err(TakeError::LastAdmin);
        }
        Ok(self.tx.commit().await?)
    }
}
