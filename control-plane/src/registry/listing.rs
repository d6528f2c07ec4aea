//! Pages of lists: which entities are on one, and how many there are in all.
//!
//! Without a filter, in the order of creation, neither a total nor a deep offset scans: chunks of the list are counted
//! as entities come and go. A filter by name, or another order, costs an index scan of what the caller may see. A filter by
//! metadata reads their metadata, so it is bounded, and few run at a time.

use futures::TryStreamExt as _;
use uuid::Uuid;

use super::engine::Record;
use super::entities::{CHUNK, Kind, Scope};
use super::sql::{SqlBuilder, sql};
use super::{Registry, RegistryError, Tx};
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
        query: &ListQuery,
    ) -> Result<(Listed, Tx), ListError> {
        let mut snapshot = self.snapshot().await?;
        let listed = if !query.metadata.is_empty() {
            by_metadata(&mut snapshot, kind, scope, query).await?
        } else if query.name.is_some() || query.order != Order::Creation {
            by_scan(&mut snapshot, kind, scope, query).await?
        } else {
            by_chunks(&mut snapshot, kind, scope, query).await?
        };
        Ok((listed, snapshot))
    }
}

async fn by_chunks(
    tx: &mut Tx,
    kind: Kind,
    scope: Scope,
    query: &ListQuery,
) -> Result<Listed, RegistryError> {
    let mut chunks: Vec<(i64, i64)> =
        sql("SELECT chunk, live FROM list_chunks WHERE kind = $1 AND scope = $2 AND live > 0 ORDER BY chunk")
            .bind(kind.code())
            .bind(scope.id())
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
    let mut sql = select(kind, scope, "id");
    let ordinal = ordinal_column(scope);
    if query.descending {
        sql.push(format_args!(" AND {ordinal} < ")).push_bind((chunk + 1) * CHUNK);
    } else {
        sql.push(format_args!(" AND {ordinal} >= ")).push_bind(chunk * CHUNK);
    }
    push_order(&mut sql, kind, scope, query);
    sql.push(" LIMIT ").push_bind(query.limit).push(" OFFSET ").push_bind(skip);
    Ok(Listed { total, ids: ids(sql, tx).await? })
}

async fn by_scan(tx: &mut Tx, kind: Kind, scope: Scope, query: &ListQuery) -> Result<Listed, RegistryError> {
    let mut sql = select(kind, scope, "COUNT(*)");
    push_name(&mut sql, kind, query);
    let (total,) = sql.build().fetch_one(&mut *tx).await?;
    let mut sql = select(kind, scope, "id");
    push_name(&mut sql, kind, query);
    push_order(&mut sql, kind, scope, query);
    sql.push(" LIMIT ").push_bind(query.limit).push(" OFFSET ").push_bind(query.offset);
    Ok(Listed { total, ids: ids(sql, tx).await? })
}

async fn by_metadata(tx: &mut Tx, kind: Kind, scope: Scope, query: &ListQuery) -> Result<Listed, ListError> {
    let mut sql = select(kind, scope, "id, metadata");
    push_name(&mut sql, kind, query);
    push_order(&mut sql, kind, scope, query);
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

/// `SELECT columns FROM table WHERE scope`, to be gone on with ` AND …`.
fn select(kind: Kind, scope: Scope, columns: &'static str) -> SqlBuilder {
    let mut sql = SqlBuilder::new("SELECT ");
    sql.push(columns).push(" FROM ").push(kind.table()).push(" WHERE ");
    match scope {
        Scope::Owner(user) => sql.push("owner_id = ").push_bind(user.as_uuid()),
        Scope::All => sql.push("TRUE"),
    };
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

fn push_order(sql: &mut SqlBuilder, kind: Kind, scope: Scope, query: &ListQuery) {
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
    sql.push(ordinal_column(scope)).push(" ").push(direction);
}

fn ordinal_column(scope: Scope) -> &'static str {
    match scope {
        Scope::Owner(_) => "owner_ordinal",
        Scope::All => "ordinal",
    }
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
