//! Pages of lists: which entities are on one, and how many there are in all.
//!
//! Without a filter, in the order of creation, neither a total nor a deep offset scans where a list is numbered (all of a
//! kind, or what one user owns): its chunks are counted as entities come and go. A filter by name, another order, or a list
//! of what others share costs an index scan of what the caller may see. A filter by metadata reads their metadata, so it is bounded, and few run at a time.

use domain::{GroupId, OrgId, ThingId, UserId};
use futures::TryStreamExt as _;
use uuid::Uuid;

use super::engine::Record;
use super::entities::{CHUNK, Kind, Numbered, Scope};
use super::sql::{SqlBuilder, sql};
use super::{Registry, RegistryError, Tx};
use crate::access::Relation;
use crate::metadata::Metadata;

/// Entities whose metadata one request may examine.
pub(crate) const METADATA_EXAMINED_MAX: usize = 100_000;

/// What to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListQuery {
    pub(crate) offset: i64,
    pub(crate) limit: i64,
    /// Part of the name, of a user's email, in any case.
    pub(crate) name: Option<String>,
    /// What the metadata has to contain.
    pub(crate) metadata: Metadata,
    pub(crate) order: Order,
    pub(crate) descending: bool,
}

/// What the entities of a list are in, beside being in the caller's scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    Anything,
    /// Things or users of a group.
    Group(GroupId),
    /// Members or groups of an org.
    Org(OrgId),
    /// Groups of a thing.
    Thing(ThingId),
    /// Orgs of a user.
    User(UserId),
}

/// What a list is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Order {
    #[default]
    Creation,
    Name,
    Id,
}

/// The entities of one page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) total: i64,
    pub(crate) ids: Vec<Uuid>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    /// More than [`METADATA_EXAMINED_MAX`] entities would have to be read.
    #[error("too many entities to filter by metadata")]
    TooMany,
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Registry {
    /// The ids of a page, in its order, and a snapshot to load their rows from.
    pub(super) async fn list(
        &self,
        kind: Kind,
        scope: Scope,
        within: Within,
        query: &ListQuery,
    ) -> Result<(Listed, Tx), ListError> {
        let mut snapshot = self.snapshot().await?;
        let seen = seen(&mut snapshot, kind, scope, within).await?;
        let listed = match seen {
            _ if !query.metadata.is_empty() => by_metadata(&mut snapshot, kind, seen, query).await?,
            Seen::Numbered(list) if query.name.is_none() && query.order == Order::Creation => {
                by_chunks(&mut snapshot, kind, list, query).await?
            }
            _ => by_scan(&mut snapshot, kind, seen, query).await?,
        };
        Ok((listed, snapshot))
    }
}

/// What a list is of.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Numbered(Numbered),
    Filtered(Scope, Within),
}

/// A list that is numbered, where it comes to the same.
async fn seen(tx: &mut Tx, kind: Kind, scope: Scope, within: Within) -> Result<Seen, RegistryError> {
    Ok(match (kind, scope, within) {
        (_, Scope::All, Within::Anything) => Seen::Numbered(Numbered::All),
        (Kind::Channel, Scope::Reach(user), Within::Anything) => Seen::Numbered(Numbered::Owner(user)),
        (Kind::Thing, Scope::Reach(user), Within::Anything) if !has_shared_things(tx, user).await? => {
            Seen::Numbered(Numbered::Owner(user))
        }
        _ => Seen::Filtered(scope, within),
    })
}

async fn has_shared_things(tx: &mut Tx, user: UserId) -> Result<bool, RegistryError> {
    let mut sql = SqlBuilder::new("SELECT EXISTS (SELECT 1 FROM things t WHERE t.id IN (");
    push_shared_things(&mut sql, user);
    sql.push(") AND t.owner_id <> ").push_bind(user.as_uuid()).push(")");
    let (any,) = sql.build().fetch_one(tx).await?;
    Ok(any)
}

/// Ids of the things that the user may read whoever owns them.
fn push_shared_things(sql: &mut SqlBuilder, user: UserId) {
    let me = user.as_uuid();
    sql.push(
        "SELECT t.thing_id FROM group_users u JOIN group_things t ON t.group_id = u.group_id WHERE u.user_id = ",
    );
    sql.push_bind(me);
    sql.push(
        " UNION SELECT t.thing_id FROM org_members m JOIN org_groups o ON o.org_id = m.org_id
          JOIN group_things t ON t.group_id = o.group_id WHERE m.user_id = ",
    );
    sql.push_bind(me);
    sql.push(" UNION SELECT thing_id FROM thing_policies WHERE user_id = ").push_bind(me);
    sql.push(" AND relation = ").push_bind(Relation::Read.code());
}

/// Ids of the entities that the user may read: those to which a tie of [`super::ties`] gives the right.
fn push_reach(sql: &mut SqlBuilder, kind: Kind, user: UserId) {
    let me = user.as_uuid();
    match kind {
        Kind::Thing => {
            sql.push("SELECT id FROM things WHERE owner_id = ").push_bind(me).push(" UNION ");
            push_shared_things(sql, user);
        }
        Kind::Channel => {
            sql.push("SELECT id FROM channels WHERE owner_id = ").push_bind(me);
        }
        Kind::Group => {
            sql.push("SELECT group_id FROM group_users WHERE user_id = ").push_bind(me);
            sql.push(
                " UNION SELECT o.group_id FROM org_members m JOIN org_groups o ON o.org_id = m.org_id
                  WHERE m.user_id = ",
            );
            sql.push_bind(me);
        }
        Kind::Org => {
            sql.push("SELECT org_id FROM org_members WHERE user_id = ").push_bind(me);
        }
        Kind::User => {
            sql.push("SELECT id FROM users WHERE id = ").push_bind(me);
            sql.push(
                " UNION SELECT o.user_id FROM org_members m JOIN org_members o ON o.org_id = m.org_id
                  WHERE m.user_id = ",
            );
            sql.push_bind(me);
            sql.push(
                " UNION SELECT o.user_id FROM group_users m JOIN group_users o ON o.group_id = m.group_id
                  WHERE m.user_id = ",
            );
            sql.push_bind(me);
        }
    }
}

fn push_within(sql: &mut SqlBuilder, kind: Kind, within: Within) {
    let (ids, container) = match (kind, within) {
        (_, Within::Anything) => return,
        (Kind::Thing, Within::Group(group)) => {
            ("SELECT thing_id FROM group_things WHERE group_id = ", group.as_uuid())
        }
        (Kind::User, Within::Group(group)) => {
            ("SELECT user_id FROM group_users WHERE group_id = ", group.as_uuid())
        }
        (Kind::User, Within::Org(org)) => ("SELECT user_id FROM org_members WHERE org_id = ", org.as_uuid()),
        (Kind::Group, Within::Org(org)) => ("SELECT group_id FROM org_groups WHERE org_id = ", org.as_uuid()),
        (Kind::Group, Within::Thing(thing)) => {
            ("SELECT group_id FROM group_things WHERE thing_id = ", thing.as_uuid())
        }
        (Kind::Org, Within::User(user)) => {
            ("SELECT org_id FROM org_members WHERE user_id = ", user.as_uuid())
        }
        // Nothing of this kind is ever in such a thing.
        _ => {
            sql.push(" AND FALSE");
            return;
        }
    };
    sql.push(" AND id IN (").push(ids).push_bind(container).push(")");
}

async fn by_chunks(
    tx: &mut Tx,
    kind: Kind,
    list: Numbered,
    query: &ListQuery,
) -> Result<Listed, RegistryError> {
    let mut chunks: Vec<(i64, i64)> =
        sql("SELECT chunk, live FROM list_chunks WHERE kind = $1 AND scope = $2 AND live > 0 ORDER BY chunk")
            .bind(kind.code())
            .bind(list.id())
            .fetch_all(&mut *tx)
            .await?;
    let total = chunks.iter().map(|(_, live)| live).sum();
    if query.descending {
        chunks.reverse();
    }
    let mut skip = query.offset;
    let Some((chunk, _)) = chunks.into_iter().find(|(_, live)| {
        let found = skip < *live;
        if !found {
            skip -= live;
        }
        found
    }) else {
        return Ok(Listed { total, ids: Vec::new() });
    };
    let seen = Seen::Numbered(list);
    let mut sql = select(kind, seen, "id");
    let ordinal = list.column();
    if query.descending {
        sql.push(format_args!(" AND {ordinal} < ")).push_bind((chunk + 1) * CHUNK);
    } else {
        sql.push(format_args!(" AND {ordinal} >= ")).push_bind(chunk * CHUNK);
    }
    push_order(&mut sql, kind, seen, query);
    sql.push(" LIMIT ").push_bind(query.limit).push(" OFFSET ").push_bind(skip);
    Ok(Listed { total, ids: ids(sql, tx).await? })
}

/// One statement finds the page and counts: deep pages cost what the first does.
async fn by_scan(tx: &mut Tx, kind: Kind, seen: Seen, query: &ListQuery) -> Result<Listed, RegistryError> {
    let mut sql = select(kind, seen, "id, COUNT(*) OVER ()");
    push_name(&mut sql, kind, query);
    push_order(&mut sql, kind, seen, query);
    sql.push(" LIMIT ").push_bind(query.limit).push(" OFFSET ").push_bind(query.offset);
    let page: Vec<(Uuid, i64)> = sql.build().fetch_all(&mut *tx).await?;
    let total = match page.first() {
        Some((_, total)) => *total,
        None if query.offset == 0 => 0,
        None => {
            let mut sql = select(kind, seen, "COUNT(*)");
            push_name(&mut sql, kind, query);
            sql.build().fetch_one::<(i64,)>(tx).await?.0
        }
    };
    Ok(Listed { total, ids: page.into_iter().map(|(id, _)| id).collect() })
}

async fn by_metadata(tx: &mut Tx, kind: Kind, seen: Seen, query: &ListQuery) -> Result<Listed, ListError> {
    let mut sql = select(kind, seen, "id, metadata");
    push_name(&mut sql, kind, query);
    push_order(&mut sql, kind, seen, query);
    let limit = METADATA_EXAMINED_MAX as i64 + 1;
    sql.push(" LIMIT ").push_bind(limit);
    let mut rows = sql.build().fetch::<(Uuid, Option<String>)>(tx);
    let mut examined = 0;
    let mut listed = Listed { total: 0, ids: Vec::new() };
    let page = query.offset..query.offset.saturating_add(query.limit);
    while let Some((id, metadata)) = rows.try_next().await.map_err(RegistryError::from)? {
        examined += 1;
        if examined > METADATA_EXAMINED_MAX {
            return Err(ListError::TooMany);
        }
        if Metadata::from_stored(metadata)?.contains(&query.metadata) {
            if page.contains(&listed.total) {
                listed.ids.push(id);
            }
            listed.total += 1;
        }
    }
    Ok(listed)
}

async fn ids(sql: SqlBuilder, tx: &mut Tx) -> Result<Vec<Uuid>, RegistryError> {
    let ids: Vec<(Uuid,)> = sql.build().fetch_all(tx).await?;
    Ok(ids.into_iter().map(|(id,)| id).collect())
}

/// `SELECT columns FROM table WHERE …`, to be gone on with ` AND …`.
fn select(kind: Kind, seen: Seen, columns: &'static str) -> SqlBuilder {
    let (scope, within) = match seen {
        Seen::Filtered(scope, within) => (scope, within),
        Seen::Numbered(Numbered::All) => (Scope::All, Within::Anything),
        Seen::Numbered(Numbered::Owner(user)) => {
            let mut sql = SqlBuilder::new("SELECT ");
            sql.push(columns).push(" FROM ").push(kind.table()).push(" WHERE owner_id = ");
            sql.push_bind(user.as_uuid());
            return sql;
        }
    };
    let mut sql = select_in(kind, scope, columns);
    push_within(&mut sql, kind, within);
    sql
}

/// The same, of a scope.
pub(super) fn select_in(kind: Kind, scope: Scope, columns: &'static str) -> SqlBuilder {
    let mut sql = SqlBuilder::new("SELECT ");
    sql.push(columns).push(" FROM ").push(kind.table()).push(" WHERE ");
    match scope {
        Scope::All => {
            sql.push("TRUE");
        }
        Scope::Reach(user) => {
            sql.push("id IN (");
            push_reach(&mut sql, kind, user);
            sql.push(")");
        }
    }
    sql
}

fn push_name(sql: &mut SqlBuilder, kind: Kind, query: &ListQuery) {
    if let Some(name) = &query.name {
        let mut pattern = String::from("%");
        for character in name.to_lowercase().chars() {
            if matches!(character, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern.push('%');
        sql.push(" AND ").push(kind.name_column()).push(" LIKE ").push_bind(pattern).push(" ESCAPE '\\'");
    }
}

fn push_order(sql: &mut SqlBuilder, kind: Kind, seen: Seen, query: &ListQuery) {
    let direction = if query.descending { "DESC" } else { "ASC" };
    sql.push(" ORDER BY ");
    match query.order {
        Order::Creation => {}
        Order::Name => {
            sql.push(kind.name_column()).push(" ").push(direction).push(", ");
        }
        Order::Id => {
            sql.push("id ").push(direction).push(", ");
        }
    }
    let ordinal = match seen {
        Seen::Numbered(list) => list.column(),
        Seen::Filtered(..) => Numbered::All.column(),
    };
    sql.push(ordinal).push(" ").push(direction);
}

/// Loads the rows of listed entities, in the order of the ids.
pub(super) async fn load<T, R>(
    tx: &mut Tx,
    ids: &[Uuid],
    columns: &str,
    kind: Kind,
    read: impl Fn(R) -> Result<(Uuid, T), RegistryError>,
) -> Result<Vec<T>, RegistryError>
where
    R: Record,
{
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = SqlBuilder::new("SELECT ");
    sql.push(columns).push(" FROM ").push(kind.table()).push(" WHERE id").push_in(ids.iter().copied());
    let rows = sql.build_once().fetch_all::<R>(tx).await?;
    let mut by_id = std::collections::HashMap::with_capacity(rows.len());
    for row in rows {
        let (id, entity) = read(row)?;
        by_id.insert(id, entity);
    }
    ids.iter().map(|id| by_id.remove(id).ok_or(RegistryError::Damaged("a listed row is missing"))).collect()
}
