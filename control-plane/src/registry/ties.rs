//! What ties a user to entities: the facts that [`crate::access`] decides on.
//!
//! Always of one user, and of entities that are named. Which of them a list may show at all is [`super::listing`]'s.

use std::collections::{HashMap, HashSet};

use domain::UserId;
use uuid::Uuid;

use super::engine::On;
use super::entities::Kind;
use super::sql::SqlBuilder;
use super::{Registry, RegistryError, Tx};
use crate::access::{Relation, Role, Tie};

const OWNER: i64 = 1;
const MEMBER: i64 = 2;
/// The code of a role is added to it.
const ROLE: i64 = 10;
/// The code of a relation is added to it.
const GRANTED: i64 = 20;

impl Registry {
    /// What ties the user to one entity.
    pub(crate) async fn ties(&self, kind: Kind, id: Uuid, user: UserId) -> Result<Vec<Tie>, RegistryError> {
        let mut ties = ties(&self.readers, kind, &[id], user).await?;
        Ok(ties.remove(&id).unwrap_or_default())
    }
}

/// What ties the user to each of the entities; of one that does not exist, nothing.
pub(super) async fn known_ties(
    tx: &mut Tx,
    kind: Kind,
    ids: &[Uuid],
    user: UserId,
) -> Result<Vec<Option<Vec<Tie>>>, RegistryError> {
    let known = existing(tx, kind, ids).await?;
    let mut ties = ties(&mut *tx, kind, ids, user).await?;
    Ok(ids.iter().map(|id| known.contains(id).then(|| ties.remove(id).unwrap_or_default())).collect())
}

/// Which of the ids are of entities of this kind.
pub(super) async fn existing(tx: &mut Tx, kind: Kind, ids: &[Uuid]) -> Result<HashSet<Uuid>, RegistryError> {
    let mut sql = SqlBuilder::new("SELECT id FROM ");
    sql.push(kind.table()).push(" WHERE id").push_in(ids.iter().copied());
    let rows: Vec<(Uuid,)> = sql.build_once().fetch_all(tx).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// What ties the user to the entities, of those to which anything does.
pub(super) async fn ties(
    on: impl Into<On<'_>>,
    kind: Kind,
    ids: &[Uuid],
    user: UserId,
) -> Result<HashMap<Uuid, Vec<Tie>>, RegistryError> {
    let mut found: HashMap<Uuid, Vec<Tie>> = HashMap::new();
    if ids.is_empty() {
        return Ok(found);
    }
    let me = user.as_uuid();
    let mut sql = SqlBuilder::new("WITH asked (id) AS (");
    sql.push_values(ids, |row, id| {
        row.bind(*id);
    });
    sql.push(format_args!(
        ") SELECT a.id, CAST({OWNER} AS BIGINT) FROM asked a JOIN {} e ON e.id = a.id WHERE e.owner_id = ",
        kind.table()
    ));
    sql.push_bind(me);
    match kind {
        Kind::Thing => {
            sql.push(format_args!(
                " UNION SELECT a.id, CAST({MEMBER} AS BIGINT) FROM asked a
                  JOIN group_things t ON t.thing_id = a.id JOIN group_users u ON u.group_id = t.group_id
                  WHERE u.user_id = "
            ));
            sql.push_bind(me);
            sql.push(format_args!(
                " UNION SELECT a.id, {ROLE} + m.role FROM asked a
                  JOIN group_things t ON t.thing_id = a.id JOIN org_groups o ON o.group_id = t.group_id
                  JOIN org_members m ON m.org_id = o.org_id WHERE m.user_id = "
            ));
            sql.push_bind(me);
            sql.push(format_args!(
                " UNION SELECT a.id, {GRANTED} + p.relation FROM asked a
                  JOIN thing_policies p ON p.thing_id = a.id WHERE p.user_id = "
            ));
            sql.push_bind(me);
        }
        Kind::Group => {
            sql.push(format_args!(
                " UNION SELECT a.id, CAST({MEMBER} AS BIGINT) FROM asked a
                  JOIN group_users u ON u.group_id = a.id WHERE u.user_id = "
            ));
            sql.push_bind(me);
            sql.push(format_args!(
                " UNION SELECT a.id, {ROLE} + m.role FROM asked a JOIN org_groups o ON o.group_id = a.id
                  JOIN org_members m ON m.org_id = o.org_id WHERE m.user_id = "
            ));
            sql.push_bind(me);
        }
        Kind::Org => {
            sql.push(format_args!(
                " UNION SELECT a.id, {ROLE} + m.role FROM asked a
                  JOIN org_members m ON m.org_id = a.id WHERE m.user_id = "
            ));
            sql.push_bind(me);
        }
        Kind::Channel | Kind::User => {}
    }
    let sql = if ids.len() == 1 { sql.build() } else { sql.build_once() };
    let rows: Vec<(Uuid, i64)> = sql.fetch_all(on).await?;
    for (id, code) in rows {
        let tie =
            tie_of(code).ok_or(RegistryError::Damaged("there is a role or a policy of an unknown code"))?;
        found.entry(id).or_default().push(tie);
    }
    Ok(found)
}

fn tie_of(code: i64) -> Option<Tie> {
    match code {
        OWNER => Some(Tie::Owner),
        MEMBER => Some(Tie::Member),
        _ => {
            let role = Role::from_code(code - ROLE).map(Tie::Role);
            role.or_else(|| Relation::from_code(code - GRANTED).map(Tie::Granted))
        }
    }
}

/// The role of each of the users in an org, of those who are members.
pub(super) async fn roles(
    on: impl Into<On<'_>>,
    org: Uuid,
    users: &[Uuid],
) -> Result<HashMap<Uuid, Role>, RegistryError> {
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    let mut sql = SqlBuilder::new("SELECT user_id, role FROM org_members WHERE org_id = ");
    sql.push_bind(org).push(" AND user_id").push_in(users.iter().copied());
    let rows: Vec<(Uuid, i64)> = sql.build_once().fetch_all(on).await?;
    let read = |(user, code)| {
        let role =
            Role::from_code(code).ok_or(RegistryError::Damaged("there is a role of an unknown code"))?;
        Ok((user, role))
    };
    rows.into_iter().map(read).collect()
}
