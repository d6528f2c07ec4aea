//! API keys: which of those that were issued are in force.

use domain::{ApiKeyId, UserId};
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::entities::Scope;
use super::listing::{ListQuery, Order};
use super::row::row;
use super::sql::{SqlBuilder, sql};
use super::{Registry, RegistryError};
use crate::author::Author;

/// Keys of one user that are in force at a time: enough for each program to have its own.
pub(crate) const API_KEYS_MAX: i64 = 1_000;

/// A key as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiKey {
    pub(crate) id: ApiKeyId,
    pub(crate) user: UserId,
    pub(crate) email: String,
    /// In microseconds since the epoch, like the next.
    pub(crate) issued_at: i64,
    pub(crate) expires_at: Option<i64>,
}

/// A key to be issued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewApiKey {
    pub(crate) id: ApiKeyId,
    pub(crate) user: UserId,
    /// In microseconds since the epoch, like the next.
    pub(crate) issued_at: i64,
    pub(crate) expires_at: Option<i64>,
}

row! {
    struct ApiKeyRow {
        id: Uuid,
        user_id: Uuid,
        email: String,
        issued_at: i64,
        expires_at: Option<i64>,
    }
}

impl ApiKeyRow {
    fn read(self) -> ApiKey {
        ApiKey {
            id: ApiKeyId::from_uuid(self.id),
            user: UserId::from_uuid(self.user_id),
            email: self.email,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        }
    }
}

impl Registry {
    /// Puts a key into force, and forgets those of its user that have expired. No: the user has too many.
    pub(crate) async fn issue_key(&self, by: &Author, key: NewApiKey) -> Result<bool, RegistryError> {
        let mut tx = self.begin(by).await?;
        record(&mut tx, Deed::KeyIssue, &[Done::with(key.id.as_uuid(), key.user.as_uuid())]).await?;
        sql("DELETE FROM api_keys WHERE user_id = $1 AND expires_at <= $2")
            .bind(key.user.as_uuid())
            .bind(key.issued_at)
            .execute(&mut tx)
            .await?;
        let count = sql("SELECT COUNT(*) FROM api_keys WHERE user_id = $1").bind(key.user.as_uuid());
        let (count,): (i64,) = count.fetch_one(&mut tx).await?;
        if count >= API_KEYS_MAX {
            return Ok(false);
        }
        let mut insert =
            SqlBuilder::new("INSERT INTO api_keys (id, user_id, issued_at, expires_at) VALUES (");
        insert.push_bind(key.id.as_uuid()).push(", ").push_bind(key.user.as_uuid());
        insert.push(", ").push_bind(key.issued_at).push(", ");
        match key.expires_at {
            Some(end) => insert.push_bind(end).push(")"),
            None => insert.push("NULL)"),
        };
        insert.build().execute(&mut tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A key that is in force, of those in the scope.
    pub(crate) async fn key(
        &self,
        scope: Scope,
        id: ApiKeyId,
        now: i64,
    ) -> Result<Option<ApiKey>, RegistryError> {
        let mut sql = select("k.id, k.user_id, u.email, k.issued_at, k.expires_at", scope, now);
        sql.push(" AND k.id = ").push_bind(id.as_uuid());
        let row: Option<ApiKeyRow> = sql.build().fetch_optional(&self.readers).await?;
        Ok(row.map(ApiKeyRow::read))
    }

    /// A page of a user's keys that are in force, and how many there are. The order of creation is that of their issue.
    pub(crate) async fn keys(
        &self,
        user: UserId,
        query: &ListQuery,
        now: i64,
    ) -> Result<(i64, Vec<ApiKey>), RegistryError> {
        let mut snapshot = self.snapshot().await?;
        let scope = Scope::Reach(user);
        let (total,) = select("COUNT(*)", scope, now).build().fetch_one(&mut snapshot).await?;
        let mut sql = select("k.id, k.user_id, u.email, k.issued_at, k.expires_at", scope, now);
        let direction = if query.descending { "DESC" } else { "ASC" };
        sql.push(" ORDER BY ");
        if query.order != Order::Id {
            sql.push("k.issued_at ").push(direction).push(", ");
        }
        sql.push("k.id ").push(direction).push(" LIMIT ").push_bind(query.limit);
        sql.push(" OFFSET ").push_bind(query.offset);
        let rows: Vec<ApiKeyRow> = sql.build().fetch_all(&mut snapshot).await?;
        Ok((total, rows.into_iter().map(ApiKeyRow::read).collect()))
    }

    /// Puts a key out of force, of those in the scope that are in force. No: there is none.
    pub(crate) async fn revoke_key(
        &self,
        by: &Author,
        scope: Scope,
        id: ApiKeyId,
        now: i64,
    ) -> Result<bool, RegistryError> {
        let mut tx = self.begin(by).await?;
        let mut sql = SqlBuilder::new("DELETE FROM api_keys WHERE id = ");
        sql.push_bind(id.as_uuid());
        sql.push(" AND (expires_at IS NULL OR expires_at > ").push_bind(now).push(")");
        if let Scope::Reach(user) = scope {
            sql.push(" AND user_id = ").push_bind(user.as_uuid());
        }
        sql.push(" RETURNING user_id");
        let deleted: Option<(Uuid,)> = sql.build().fetch_optional(&mut tx).await?;
        let Some((user,)) = deleted else { return Ok(false) };
        record(&mut tx, Deed::KeyRevoke, &[Done::with(id.as_uuid(), user)]).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// A user reaches its own keys.
fn select(columns: &'static str, scope: Scope, now: i64) -> SqlBuilder {
    let mut sql = SqlBuilder::new("SELECT ");
    sql.push(columns).push(" FROM api_keys k JOIN users u ON u.id = k.user_id WHERE ");
    sql.push("(k.expires_at IS NULL OR k.expires_at > ").push_bind(now).push(")");
    if let Scope::Reach(user) = scope {
        sql.push(" AND k.user_id = ").push_bind(user.as_uuid());
    }
    sql
}
