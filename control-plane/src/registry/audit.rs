//! The audit: who did what to which entity, when, and by which request.
//!
//! Rows are written by the transaction of the change, so that there is no change without them, and none of a change that was
//! refused. They hold ids and short words, never a name, an email, a key or a password, and outlive what they tell of, until
//! they are [`KEPT`] old. A page costs the same wherever it is: there is no offset, but the number of the last entry.

use std::time::Duration;

use domain::{ApiKeyId, UserId};
use uuid::Uuid;

use super::entities::Kind;
use super::row::row;
use super::sql::{SqlBuilder, sql};
use super::{ROWS_PER_INSERT_MAX, Registry, RegistryError, Tx};
use crate::author::Author;

/// How long an entry is kept: more than a year, so that the same season can be compared.
const KEPT: Duration = Duration::from_secs(400 * 86_400);
/// Entries that one transaction deletes: other changes wait for it.
const DELETED_AT_ONCE_MAX: i64 = 1_000;
/// Clocks of nodes may be so far apart: entries in order of their numbers are in order of their times but for this.
const CLOCKS_APART_MICROS: i64 = 60_000_000;

macro_rules! deeds {
    ($($(#[$doc:meta])* $deed:ident = $name:literal of $kind:expr,)+) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Deed {
            $($(#[$doc])* $deed,)+
        }

        impl Deed {
            pub(crate) const ALL: &[Self] = &[$(Self::$deed,)+];

            /// As it is stored and shown.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$deed => $name,)+ }
            }

            /// What kind of entity it is done to, if it is one that orgs share.
            const fn kind(self) -> Option<Kind> {
                match self { $(Self::$deed => $kind,)+ }
            }
        }
    };
}

deeds! {
    UserCreate = "user.create" of None,
    /// Its metadata.
    UserUpdate = "user.update" of None,
    /// Its password, and with it its tokens.
    UserPassword = "user.password" of None,
    /// The other one inherits what it owned.
    UserDelete = "user.delete" of None,
    ThingCreate = "thing.create" of Some(Kind::Thing),
    ThingUpdate = "thing.update" of Some(Kind::Thing),
    /// It got another key.
    ThingKey = "thing.key" of Some(Kind::Thing),
    ThingDelete = "thing.delete" of Some(Kind::Thing),
    /// To the other one, a channel.
    ThingConnect = "thing.connect" of Some(Kind::Thing),
    ThingDisconnect = "thing.disconnect" of Some(Kind::Thing),
    ChannelCreate = "channel.create" of Some(Kind::Channel),
    ChannelUpdate = "channel.update" of Some(Kind::Channel),
    ChannelDelete = "channel.delete" of Some(Kind::Channel),
    GroupCreate = "group.create" of Some(Kind::Group),
    GroupUpdate = "group.update" of Some(Kind::Group),
    GroupDelete = "group.delete" of Some(Kind::Group),
    /// The other one, a thing or a user, became a member.
    GroupAssign = "group.assign" of Some(Kind::Group),
    GroupUnassign = "group.unassign" of Some(Kind::Group),
    OrgCreate = "org.create" of Some(Kind::Org),
    OrgUpdate = "org.update" of Some(Kind::Org),
    OrgDelete = "org.delete" of Some(Kind::Org),
    /// The other one, a user, has this role from now on.
    OrgRole = "org.role" of Some(Kind::Org),
    /// The other one, a user, is no member any more.
    OrgUnassign = "org.unassign" of Some(Kind::Org),
    /// The other one, a group, is in the org.
    OrgGroup = "org.group" of Some(Kind::Org),
    OrgUngroup = "org.ungroup" of Some(Kind::Org),
    KeyIssue = "key.issue" of None,
    KeyRevoke = "key.revoke" of None,
    /// On a thing, granted to the other one, a user; on what is no entity, without an entity.
    PolicyAdd = "policy.add" of Some(Kind::Thing),
    PolicyTake = "policy.take" of Some(Kind::Thing),
    /// Of a thing; the other one is the webhook.
    WebhookCreate = "webhook.create" of Some(Kind::Thing),
    WebhookUpdate = "webhook.update" of Some(Kind::Thing),
    WebhookEnable = "webhook.enable" of Some(Kind::Thing),
    WebhookDisable = "webhook.disable" of Some(Kind::Thing),
    /// It got another secret.
    WebhookSecret = "webhook.secret" of Some(Kind::Thing),
    /// What was given up is tried again.
    WebhookReplay = "webhook.replay" of Some(Kind::Thing),
    WebhookDelete = "webhook.delete" of Some(Kind::Thing),
}

impl Deed {
    /// The deed that is called so.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|deed| deed.name() == name)
    }
}

/// To what it was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) entity: Option<Uuid>,
    /// The other entity that has to do with it.
    pub(crate) other: Option<Uuid>,
    /// A role, a relation, the fields that changed.
    pub(crate) detail: Option<String>,
}

impl Done {
    pub(crate) fn to(entity: Uuid) -> Self {
        Self { entity: Some(entity), ..Self::default() }
    }

    pub(crate) fn with(entity: Uuid, other: Uuid) -> Self {
        Self { other: Some(other), ..Self::to(entity) }
    }

    pub(crate) fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}

/// In what way an entry concerns somebody or something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concern {
    /// Who did it.
    Author,
    /// What it was done to, and the other entity.
    Entity,
    /// The orgs that shared the entity when it was done.
    Org,
}

impl Concern {
    /// As it is stored.
    const fn code(self) -> i64 {
        match self {
            Self::Author => 1,
            Self::Entity => 2,
            Self::Org => 3,
        }
    }
}

/// An entry as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditEntry {
    pub(crate) seq: i64,
    /// In microseconds since the epoch.
    pub(crate) at: i64,
    pub(crate) user: Option<UserId>,
    pub(crate) key: Option<ApiKeyId>,
    pub(crate) request: Option<String>,
    pub(crate) deed: String,
    pub(crate) done: Done,
}

row! {
    struct AuditRow {
        seq: i64,
        at: i64,
        user_id: Option<Uuid>,
        key_id: Option<Uuid>,
        request_id: Option<String>,
        deed: String,
        entity_id: Option<Uuid>,
        other_id: Option<Uuid>,
        detail: Option<String>,
    }
}

impl AuditRow {
    fn read(self) -> AuditEntry {
        AuditEntry {
            seq: self.seq,
            at: self.at,
            user: self.user_id.map(UserId::from_uuid),
            key: self.key_id.map(ApiKeyId::from_uuid),
            request: self.request_id,
            deed: self.deed,
            done: Done { entity: self.entity_id, other: self.other_id, detail: self.detail },
        }
    }
}

/// Which entries to show, newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditQuery {
    pub(crate) author: Option<Uuid>,
    pub(crate) entity: Option<Uuid>,
    pub(crate) org: Option<Uuid>,
    pub(crate) deed: Option<Deed>,
    pub(crate) request: Option<String>,
    /// From this time on, in microseconds since the epoch.
    pub(crate) from: Option<i64>,
    /// And before this one.
    pub(crate) to: Option<i64>,
    /// Behind the entry with this number.
    pub(crate) before: Option<i64>,
    pub(crate) limit: i64,
}

/// Has the transaction tell that its author did this. To be called before what it is done to is gone: who shares it is looked up.
pub(super) async fn record(tx: &mut Tx, deed: Deed, done: &[Done]) -> Result<(), RegistryError> {
    let Some(first) = number(tx, done.len()).await? else { return Ok(()) };
    let by = tx.author().ok_or(RegistryError::Damaged("a change has no author"))?.clone();
    for (done, first) in done.chunks(ROWS_PER_INSERT_MAX).zip((first..).step_by(ROWS_PER_INSERT_MAX)) {
        let mut sql = SqlBuilder::new(
            "INSERT INTO audit (seq, at, user_id, key_id, request_id, deed, entity_id, other_id, detail) ",
        );
        sql.push_values((first..).zip(done), |row, (seq, done)| {
            row.bind(seq).bind(by.at);
            row.bind(by.user.map(|user| user.as_uuid())).bind(by.key.map(|key| key.as_uuid()));
            row.bind(by.request.clone()).bind(deed.name());
            row.bind(done.entity).bind(done.other).bind(done.detail.clone());
        });
        sql.build_once().execute(&mut *tx).await?;
        let concerns = concerns(tx, deed, &by, first, done).await?;
        for concerns in concerns.chunks(ROWS_PER_INSERT_MAX) {
            let mut sql = SqlBuilder::new("INSERT INTO audit_concerns (role, id, seq) ");
            sql.push_values(concerns, |row, (concern, id, seq)| {
                row.bind(concern.code()).bind(*id).bind(*seq);
            });
            sql.push(" ON CONFLICT (role, id, seq) DO NOTHING");
            sql.build_once().execute(&mut *tx).await?;
        }
    }
    Ok(())
}

/// The first of so many new numbers, if there is to be any.
async fn number(tx: &mut Tx, count: usize) -> Result<Option<i64>, RegistryError> {
    if count == 0 {
        return Ok(None);
    }
    let count = i64::try_from(count).expect("a request is bounded");
    let (next,): (i64,) = sql("INSERT INTO ordinals (kind, scope, next) VALUES (0, $1, $2)
         ON CONFLICT (kind, scope) DO UPDATE SET next = ordinals.next + excluded.next RETURNING next")
    .bind(Uuid::nil())
    .bind(count)
    .fetch_one(tx)
    .await?;
    Ok(Some(next - count))
}

async fn concerns(
    tx: &mut Tx,
    deed: Deed,
    by: &Author,
    first: i64,
    done: &[Done],
) -> Result<Vec<(Concern, Uuid, i64)>, RegistryError> {
    let entities: Vec<Uuid> = done.iter().filter_map(|done| done.entity).collect();
    let orgs = orgs_of(tx, deed, &entities).await?;
    let mut concerns = Vec::new();
    for (seq, done) in (first..).zip(done) {
        let author = by.user.map(|user| (Concern::Author, user.as_uuid(), seq));
        let entities = [done.entity, done.other].into_iter().flatten().map(|id| (Concern::Entity, id, seq));
        concerns.extend(author.into_iter().chain(entities));
        let shared = orgs.iter().filter(|(entity, _)| Some(*entity) == done.entity);
        concerns.extend(shared.map(|(_, org)| (Concern::Org, *org, seq)));
    }
    Ok(concerns)
}

/// Which orgs share which of the entities.
async fn orgs_of(tx: &mut Tx, deed: Deed, ids: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>, RegistryError> {
    // A policy is on a thing or on a group, and their ids differ.
    let kinds: &[Kind] = match (deed, deed.kind()) {
        (Deed::PolicyAdd | Deed::PolicyTake, _) => &[Kind::Thing, Kind::Group],
        (_, Some(Kind::Thing)) => &[Kind::Thing],
        (_, Some(Kind::Group)) => &[Kind::Group],
        (_, Some(Kind::Org)) => return Ok(ids.iter().map(|id| (*id, *id)).collect()),
        _ => &[],
    };
    let mut orgs = Vec::new();
    for kind in kinds.iter().filter(|_| !ids.is_empty()) {
        let mut sql = SqlBuilder::new(match kind {
            Kind::Group => "SELECT group_id, org_id FROM org_groups WHERE group_id",
            _ => {
                "SELECT DISTINCT t.thing_id, o.org_id FROM group_things t
                 JOIN org_groups o ON o.group_id = t.group_id WHERE t.thing_id"
            }
        });
        sql.push_in(ids.iter().copied());
        orgs.extend(sql.build_once().fetch_all::<(Uuid, Uuid)>(&mut *tx).await?);
    }
    Ok(orgs)
}

impl Registry {
    /// Entries, newest first.
    pub(crate) async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, RegistryError> {
        let mut sql = SqlBuilder::new(
            "SELECT a.seq, a.at, a.user_id, a.key_id, a.request_id, a.deed, a.entity_id, a.other_id, a.detail
             FROM audit a",
        );
        let concerns =
            [(Concern::Org, query.org), (Concern::Entity, query.entity), (Concern::Author, query.author)];
        let concerns: Vec<_> =
            concerns.into_iter().filter_map(|(concern, id)| id.map(|id| (concern, id))).collect();
        for (index, _) in concerns.iter().enumerate() {
            sql.push(format_args!(" JOIN audit_concerns c{index} ON c{index}.seq = a.seq"));
        }
        sql.push(" WHERE TRUE");
        for (index, (concern, id)) in concerns.iter().enumerate() {
            sql.push(format_args!(" AND c{index}.role = ")).push_bind(concern.code());
            sql.push(format_args!(" AND c{index}.id = ")).push_bind(*id);
        }
        // The walk is along the first of them.
        let seq = if concerns.is_empty() { "a.seq" } else { "c0.seq" };
        if let Some(deed) = query.deed {
            sql.push(" AND a.deed = ").push_bind(deed.name());
        }
        if let Some(request) = &query.request {
            sql.push(" AND a.request_id = ").push_bind(request.as_str());
        }
        if let Some(before) = query.before {
            sql.push(format_args!(" AND {seq} < ")).push_bind(before);
        }
        push_times(&mut sql, seq, query);
        sql.push(format_args!(" ORDER BY {seq} DESC LIMIT ")).push_bind(query.limit);
        let rows: Vec<AuditRow> = sql.build().fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(AuditRow::read).collect())
    }

    /// Deletes some of the entries that are too old. Whether there may be more.
    pub(crate) async fn forget_old_audit(&self, now: i64) -> Result<bool, RegistryError> {
        let kept = i64::try_from(KEPT.as_micros()).expect("some hundred days");
        let mut tx = self.begin_upkeep().await?;
        let deleted =
            sql("DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < $1 ORDER BY at LIMIT $2)")
                .bind(now - kept)
                .bind(DELETED_AT_ONCE_MAX)
                .execute(&mut tx)
                .await?;
        tx.commit().await?;
        Ok(deleted.cast_signed() == DELETED_AT_ONCE_MAX)
    }
}

/// Times, and the numbers between which they are: without these a page of long ago would walk along all that came since.
fn push_times(sql: &mut SqlBuilder, seq: &str, query: &AuditQuery) {
    if let Some(from) = query.from {
        sql.push(" AND a.at >= ").push_bind(from);
        sql.push(format_args!(" AND {seq} >= COALESCE((SELECT b.seq FROM audit b WHERE b.at >= "));
        sql.push_bind(from.saturating_sub(CLOCKS_APART_MICROS)).push(" ORDER BY b.at LIMIT 1), 0)");
    }
    if let Some(to) = query.to {
        sql.push(" AND a.at < ").push_bind(to);
        sql.push(format_args!(" AND {seq} <= COALESCE((SELECT b.seq FROM audit b WHERE b.at < "));
        sql.push_bind(to.saturating_add(CLOCKS_APART_MICROS)).push(" ORDER BY b.at DESC LIMIT 1), -1)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        for deed in Deed::ALL {
            assert_eq!(Deed::named(deed.name()), Some(*deed));
        }
        assert_eq!(Deed::named("thing.burn"), None);
    }
}
