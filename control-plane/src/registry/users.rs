//! Users, their passwords' hashes, and who is an admin.

use domain::{ApiKeyId, UserId};
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::entities::{Kind, Numbered, Scope, delist, enlist, hand_over};
use super::listing::{ListError, ListQuery, Within, load, select_in};
use super::row::row;
use super::sql::sql;
use super::webhooks::delete_webhooks_of_user;
use super::{Registry, RegistryError, Tx};
use crate::access::Role;
use crate::author::Author;
use crate::email::Email;
use crate::metadata::Metadata;

/// The object whose members are platform admins.
pub(super) const AUTHORITIES: &str = "authorities";
/// The relation of a user to what it is in.
pub(super) const MEMBER: &str = "member";
/// The subject that stands for everyone, with an account or without.
const EVERYONE: &str = "*";
/// The object that stands for accounts, and the relation of those who may make one.
const USER: &str = "user";
const CREATE: &str = "create";

const ANY_USER: &str = "SELECT EXISTS (SELECT 1 FROM users)";

/// A user as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) metadata: Metadata,
}

/// What decides whether a user's token is in force, and what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Login tokens of other generations are not valid.
    pub(crate) token_generation: i64,
    pub(crate) is_admin: bool,
}

/// What a user may do with an API key that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyStanding {
    pub(crate) is_admin: bool,
}

/// What a login is checked against.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) password_hash: String,
    pub(crate) token_generation: i64,
}

impl Account {
    fn read((id, email, password_hash, token_generation): (Uuid, String, String, i64)) -> Self {
        Self { id: UserId::from_uuid(id), email, password_hash, token_generation }
    }
}

/// Without the hash.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A user to be created.
#[derive(Debug)]
pub(crate) struct NewUser<'a> {
    pub(crate) email: &'a Email,
    pub(crate) password_hash: &'a str,
    pub(crate) metadata: &'a Metadata,
    pub(crate) is_admin: bool,
}

/// Why a user was not created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateUserError {
    /// Somebody has an account with this email.
    #[error("the email is taken")]
    EmailTaken,
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

row! {
    struct UserRow {
        id: Uuid,
        email: String,
        metadata: Option<String>,
    }
}

impl UserRow {
    const COLUMNS: &'static str = "id, email, metadata";

    fn read(self) -> Result<(Uuid, User), RegistryError> {
        let metadata = Metadata::from_stored(self.metadata)?;
        Ok((self.id, User { id: UserId::from_uuid(self.id), email: self.email, metadata }))
    }
}

impl Registry {
    /// Whether there is any user: if not, this is the first start.
    pub(crate) async fn has_users(&self) -> Result<bool, RegistryError> {
        let (any,) = sql(ANY_USER).fetch_one(&self.readers).await?;
        Ok(any)
    }

    /// Whether anyone may create users, or this user.
    pub(crate) async fn may_create_users(&self, user: Option<UserId>) -> Result<bool, RegistryError> {
        let may = sql(
            "SELECT EXISTS (SELECT 1 FROM policies WHERE subject IN ($1, $2) AND object = $3 AND relation = $4)",
        );
        let subject = user.map_or_else(|| EVERYONE.to_owned(), |user| user.to_string());
        let may = may.bind(EVERYONE).bind(subject).bind(USER).bind(CREATE);
        let (may,) = may.fetch_one(&self.readers).await?;
        Ok(may)
    }

    /// Creates a user.
    pub(crate) async fn create_user(
        &self,
        by: &Author,
        user: NewUser<'_>,
        now: i64,
    ) -> Result<UserId, CreateUserError> {
        let mut tx = self.begin(by).await?;
        let id = insert_user(&mut tx, user, now).await?.ok_or(CreateUserError::EmailTaken)?;
        tx.commit().await.map_err(RegistryError::from)?;
        Ok(id)
    }

    /// Creates a user, unless there is one already: of several first starts at once, one does.
    pub(crate) async fn create_first_user(&self, user: NewUser<'_>, now: i64) -> Result<(), RegistryError> {
        let mut tx = self.begin(&Author::nobody()).await?;
        let (any,): (bool,) = sql(ANY_USER).fetch_one(&mut tx).await?;
        if !any {
            insert_user(&mut tx, user, now).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// What the login with this email is checked against.
    pub(crate) async fn account_by_email(
        &self,
        email_folded: &str,
    ) -> Result<Option<Account>, RegistryError> {
        // Nobody's has one, and PostgreSQL takes no text with one.
        if email_folded.contains('\0') {
            return Ok(None);
        }
        let row = sql("SELECT id, email, password_hash, token_generation FROM users WHERE email_folded = $1");
        Ok(row.bind(email_folded).fetch_optional(&self.readers).await?.map(Account::read))
    }

    /// What a change of this user's password is checked against.
    pub(crate) async fn account(&self, user: UserId) -> Result<Option<Account>, RegistryError> {
        let row = sql("SELECT id, email, password_hash, token_generation FROM users WHERE id = $1");
        Ok(row.bind(user.as_uuid()).fetch_optional(&self.readers).await?.map(Account::read))
    }

    /// What a user's token is checked against.
    pub(crate) async fn standing(&self, user: UserId) -> Result<Option<Standing>, RegistryError> {
        let row: Option<(i64, bool)> = sql(
            "SELECT u.token_generation,
                    EXISTS (SELECT 1 FROM policies p WHERE p.subject = $2 AND p.object = $3 AND p.relation = $4)
             FROM users u WHERE u.id = $1",
        )
        .bind(user.as_uuid())
        .bind(user.to_string())
        .bind(AUTHORITIES)
        .bind(MEMBER)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|(token_generation, is_admin)| Standing { token_generation, is_admin }))
    }

    /// One user, of those in the scope.
    pub(crate) async fn user(&self, scope: Scope, id: UserId) -> Result<Option<User>, RegistryError> {
        let mut sql = select_in(Kind::User, scope, UserRow::COLUMNS);
        sql.push(" AND id = ").push_bind(id.as_uuid());
        let row: Option<UserRow> = sql.build().fetch_optional(&self.readers).await?;
        row.map(|row| row.read().map(|(_, user)| user)).transpose()
    }

    /// A page of the users in the scope, and how many there are.
    pub(crate) async fn users(
        &self,
        scope: Scope,
        within: Within,
        query: &ListQuery,
    ) -> Result<(i64, Vec<User>), ListError> {
        let (listed, mut snapshot) = self.list(Kind::User, scope, within, query).await?;
        let users = load(&mut snapshot, &listed.ids, UserRow::COLUMNS, Kind::User, UserRow::read).await?;
        Ok((listed.total, users))
    }

    /// What a user's API key is checked against. Nothing, if it is revoked or has expired.
    pub(crate) async fn key_standing(
        &self,
        user: UserId,
        key: ApiKeyId,
        now: i64,
    ) -> Result<Option<KeyStanding>, RegistryError> {
        let row: Option<(bool,)> = sql(
            "SELECT EXISTS (SELECT 1 FROM policies p WHERE p.subject = $1 AND p.object = $2 AND p.relation = $3)
             FROM api_keys k WHERE k.id = $4 AND k.user_id = $5 AND (k.expires_at IS NULL OR k.expires_at > $6)",
        )
        .bind(user.to_string())
        .bind(AUTHORITIES)
        .bind(MEMBER)
        .bind(key.as_uuid())
        .bind(user.as_uuid())
        .bind(now)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|(is_admin,)| KeyStanding { is_admin }))
    }

    /// Deletes a user; what it owned is `heir`'s from now on, and nothing else of it is left. No: it is gone.
    pub(crate) async fn delete_user(
        &self,
        by: &Author,
        user: UserId,
        heir: UserId,
    ) -> Result<bool, RegistryError> {
        let mut tx = self.begin(by).await?;
        record(&mut tx, Deed::UserDelete, &[Done::with(user.as_uuid(), heir.as_uuid())]).await?;
        delete_webhooks_of_user(&mut tx, user).await?;
        for kind in [Kind::Thing, Kind::Channel] {
            hand_over(&mut tx, kind, user, heir).await?;
        }
        for text in [
            "UPDATE orgs SET owner_id = $1 WHERE owner_id = $2",
            "UPDATE groups SET owner_id = $1 WHERE owner_id = $2",
        ] {
            sql(text).bind(heir.as_uuid()).bind(user.as_uuid()).execute(&mut tx).await?;
        }
        sql("INSERT INTO org_members (user_id, org_id, role) SELECT owner_id, id, $2 FROM orgs WHERE owner_id = $1
             ON CONFLICT (user_id, org_id) DO UPDATE SET role = excluded.role")
        .bind(heir.as_uuid())
        .bind(Role::Owner.code())
        .execute(&mut tx)
        .await?;
        sql("INSERT INTO group_users (user_id, group_id) SELECT owner_id, id FROM groups WHERE owner_id = $1
             ON CONFLICT (user_id, group_id) DO NOTHING")
        .bind(heir.as_uuid())
        .execute(&mut tx)
        .await?;
        sql("DELETE FROM policies WHERE subject = $1").bind(user.to_string()).execute(&mut tx).await?;
        let deleted: Option<(i64,)> = sql("DELETE FROM users WHERE id = $1 RETURNING ordinal")
            .bind(user.as_uuid())
            .fetch_optional(&mut tx)
            .await?;
        let Some((ordinal,)) = deleted else { return Ok(false) };
        delist(&mut tx, Kind::User, Numbered::All, ordinal).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Replaces a user's metadata, if it is another.
    pub(crate) async fn set_user_metadata(
        &self,
        by: &Author,
        user: UserId,
        metadata: &Metadata,
        now: i64,
    ) -> Result<(), RegistryError> {
        let mut tx = self.begin(by).await?;
        let stored = sql("SELECT metadata FROM users WHERE id = $1").bind(user.as_uuid());
        let stored: Option<(Option<String>,)> = stored.fetch_optional(&mut tx).await?;
        let Some((stored,)) = stored else { return Ok(()) };
        if Metadata::from_stored(stored)? == *metadata {
            return Ok(());
        }
        record(&mut tx, Deed::UserUpdate, &[Done::to(user.as_uuid()).detail("metadata")]).await?;
        sql("UPDATE users SET metadata = $2, updated_at = $3 WHERE id = $1")
            .bind(user.as_uuid())
            .bind(metadata.to_stored())
            .bind(now)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Replaces a user's password, and ends every login token issued so far. Nothing changes, and the answer is no, if
    /// the tokens were ended by someone else meanwhile.
    pub(crate) async fn set_password(
        &self,
        by: &Author,
        account: &Account,
        password_hash: &str,
        now: i64,
    ) -> Result<bool, RegistryError> {
        let mut tx = self.begin(by).await?;
        record(&mut tx, Deed::UserPassword, &[Done::to(account.id.as_uuid())]).await?;
        let updated = sql(
            "UPDATE users SET password_hash = $3, token_generation = token_generation + 1, updated_at = $4
             WHERE id = $1 AND token_generation = $2",
        )
        .bind(account.id.as_uuid())
        .bind(account.token_generation)
        .bind(password_hash)
        .bind(now)
        .execute(&mut tx)
        .await?;
        if updated == 0 {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// Of a taken email, nothing; then nothing may be committed.
async fn insert_user(tx: &mut Tx, user: NewUser<'_>, now: i64) -> Result<Option<UserId>, RegistryError> {
    let id = UserId::from_uuid(Uuid::new_v4());
    let ordinal = enlist(tx, Kind::User, Numbered::All, 1).await?;
    let inserted =
        sql("INSERT INTO users (id, email, email_folded, password_hash, token_generation, metadata, ordinal,
                            created_at, updated_at)
         VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $7) ON CONFLICT (email_folded) DO NOTHING")
        .bind(id.as_uuid())
        .bind(user.email.as_str())
        .bind(user.email.folded())
        .bind(user.password_hash)
        .bind(user.metadata.to_stored())
        .bind(ordinal)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    if inserted == 0 {
        return Ok(None);
    }
    if user.is_admin {
        sql("INSERT INTO policies (subject, object, relation) VALUES ($1, $2, $3)")
            .bind(id.to_string())
            .bind(AUTHORITIES)
            .bind(MEMBER)
            .execute(&mut *tx)
            .await?;
    }
    record(tx, Deed::UserCreate, &[Done::to(id.as_uuid())]).await?;
    Ok(Some(id))
}
