//! What users, things, channels, groups and orgs have in common: ids that are claimed for ever, and places in lists.

use domain::{Retention, UserId};
use uuid::Uuid;

use crate::metadata::Metadata;

use super::audit::{Deed, Done, record};
use super::sql::{SqlBuilder, sql};
use super::{ROWS_PER_INSERT_MAX, RegistryError, Tx};

/// A kind of entity, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    User,
    Thing,
    Channel,
    Group,
    Org,
}

impl Kind {
    /// The number that stands for it in the tables.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::User => 1,
            Self::Thing => 2,
            Self::Channel => 3,
            Self::Group => 4,
            Self::Org => 5,
        }
    }

    /// The kind that [`Self::code`] stands for.
    pub(crate) const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::User),
            2 => Some(Self::Thing),
            3 => Some(Self::Channel),
            4 => Some(Self::Group),
            5 => Some(Self::Org),
            _ => None,
        }
    }

    /// The table that holds its entities.
    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Thing => "things",
            Self::Channel => "channels",
            Self::Group => "groups",
            Self::Org => "orgs",
        }
    }

    /// The column that holds what they are called, folded.
    pub(super) const fn name_column(self) -> &'static str {
        match self {
            Self::User => "email_folded",
            Self::Thing | Self::Channel | Self::Group | Self::Org => "name_folded",
        }
    }
}

/// Which entities a query sees: there is no list without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that a user may read. Of users: those who share an org or a group with it, and itself.
    Reach(UserId),
    /// Everyone's.
    All,
}

/// A list that is numbered, so that neither its total nor a place in it has to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbered {
    /// Of what one user owns: there are those of things and of channels.
    Owner(UserId),
    /// Of all of a kind.
    All,
}

impl Numbered {
    pub(super) const fn id(self) -> Uuid {
        match self {
            Self::Owner(user) => user.as_uuid(),
            Self::All => Uuid::nil(),
        }
    }

    /// The column that holds the numbers.
    pub(super) const fn column(self) -> &'static str {
        match self {
            Self::Owner(_) => "owner_ordinal",
            Self::All => "ordinal",
        }
    }
}

/// What to change of an entity. What is not there stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct EntityUpdate {
    pub(crate) name: Option<String>,
    /// Only groups and orgs have one.
    pub(crate) description: Option<String>,
    pub(crate) metadata: Option<Metadata>,
    /// Only channels have one; it can only become shorter.
    pub(crate) retention: Option<Retention>,
}

impl EntityUpdate {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What of it is not so already. Nothing, if there is no such entity.
    async fn news(&self, tx: &mut Tx, kind: Kind, id: Uuid) -> Result<Option<Self>, RegistryError> {
        let mut sql = SqlBuilder::new(match kind {
            Kind::Group | Kind::Org => "SELECT name, description, metadata FROM ",
            Kind::Thing | Kind::Channel | Kind::User => "SELECT name, '', metadata FROM ",
        });
        sql.push(kind.table()).push(" WHERE id = ").push_bind(id);
        let row: Option<(String, String, Option<String>)> = sql.build().fetch_optional(tx).await?;
        let Some((name, description, metadata)) = row else { return Ok(None) };
        let metadata = Metadata::from_stored(metadata)?;
        Ok(Some(Self {
            name: self.name.clone().filter(|new| *new != name),
            description: self.description.clone().filter(|new| *new != description),
            metadata: self.metadata.clone().filter(|new| *new != metadata),
            retention: self.retention,
        }))
    }

    /// What it changes.
    fn fields(&self) -> Option<String> {
        let fields = [
            ("name", self.name.is_some()),
            ("description", self.description.is_some()),
            ("metadata", self.metadata.is_some()),
            ("retention", self.retention.is_some()),
        ];
        let changed: Vec<_> =
            fields.iter().filter_map(|(field, is_there)| is_there.then_some(*field)).collect();
        (!changed.is_empty()).then(|| changed.join(","))
    }
}

/// Ordinals that one chunk of a list counts: a deep offset skips at most so many entries one by one.
pub(super) const CHUNK: i64 = 1_024;

/// Claims ids for new entities, for ever. The index of the first that is or was somebody's, if there is one; then
/// nothing may be committed.
pub(super) async fn claim(tx: &mut Tx, kind: Kind, ids: &[Uuid]) -> Result<Option<usize>, RegistryError> {
    let mut sql = SqlBuilder::new("SELECT id FROM claimed_ids WHERE kind = ");
    sql.push_bind(kind.code()).push(" AND id").push_in(ids.iter().copied());
    let taken: Vec<(Uuid,)> = sql.build_once().fetch_all(&mut *tx).await?;
    if let Some(first) = ids.iter().position(|id| taken.contains(&(*id,))) {
        return Ok(Some(first));
    }
    for ids in ids.chunks(ROWS_PER_INSERT_MAX) {
        let mut sql = SqlBuilder::new("INSERT INTO claimed_ids (kind, id) ");
        sql.push_values(ids, |row, id| {
            row.bind(kind.code()).bind(*id);
        });
        sql.build_once().execute(tx).await?;
    }
    Ok(None)
}

/// Gives `count` entities places at the end of a list, and returns the first.
pub(super) async fn enlist(
    tx: &mut Tx,
    kind: Kind,
    list: Numbered,
    count: usize,
) -> Result<i64, RegistryError> {
    let count = i64::try_from(count).expect("a bulk request is bounded");
    let (next,): (i64,) = sql("INSERT INTO ordinals (kind, scope, next) VALUES ($1, $2, $3)
         ON CONFLICT (kind, scope) DO UPDATE SET next = ordinals.next + excluded.next RETURNING next")
    .bind(kind.code())
    .bind(list.id())
    .bind(count)
    .fetch_one(&mut *tx)
    .await?;
    let first = next - count;
    for chunk in first.div_euclid(CHUNK)..=(next - 1).div_euclid(CHUNK) {
        let live = next.min((chunk + 1) * CHUNK) - first.max(chunk * CHUNK);
        count_in_chunk(tx, kind, list, chunk, live).await?;
    }
    Ok(first)
}

/// Takes an entity off a list.
pub(super) async fn delist(
    tx: &mut Tx,
    kind: Kind,
    list: Numbered,
    ordinal: i64,
) -> Result<(), RegistryError> {
    count_in_chunk(tx, kind, list, ordinal.div_euclid(CHUNK), -1).await
}

async fn count_in_chunk(
    tx: &mut Tx,
    kind: Kind,
    list: Numbered,
    chunk: i64,
    change: i64,
) -> Result<(), RegistryError> {
    sql("INSERT INTO list_chunks (kind, scope, chunk, live) VALUES ($1, $2, $3, $4)
         ON CONFLICT (kind, scope, chunk) DO UPDATE SET live = list_chunks.live + excluded.live")
    .bind(kind.code())
    .bind(list.id())
    .bind(chunk)
    .bind(change)
    .execute(tx)
    .await?;
    Ok(())
}

/// Changes an entity in one statement: what two requests change of it at once, is changed. What is so already is no change, and
/// leaves no trace. No: it is gone.
pub(super) async fn update_entity(
    mut tx: Tx,
    kind: Kind,
    id: Uuid,
    update: &EntityUpdate,
    now: i64,
) -> Result<bool, RegistryError> {
    let Some(update) = update.news(&mut tx, kind, id).await? else { return Ok(false) };
    if update.is_empty() {
        return Ok(true);
    }
    let deed = match kind {
        Kind::User => Deed::UserUpdate,
        Kind::Thing => Deed::ThingUpdate,
        Kind::Channel => Deed::ChannelUpdate,
        Kind::Group => Deed::GroupUpdate,
        Kind::Org => Deed::OrgUpdate,
    };
    record(&mut tx, deed, &[Done { detail: update.fields(), ..Done::to(id) }]).await?;
    let mut sql = SqlBuilder::new("UPDATE ");
    sql.push(kind.table()).push(" SET updated_at = ").push_bind(now);
    if let Some(name) = &update.name {
        sql.push(", name = ").push_bind(name.clone());
        sql.push(", name_folded = ").push_bind(name.to_lowercase());
    }
    if let Some(description) = &update.description {
        sql.push(", description = ").push_bind(description.clone());
    }
    if let Some(metadata) = &update.metadata {
        sql.push(", metadata = ").push_bind(metadata.to_stored());
    }
    sql.push(" WHERE id = ").push_bind(id);
    if sql.build().execute(&mut tx).await? == 0 {
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

/// Makes everything of a kind that one user owns another's, behind what that one has. The numbers of the list are shifted by
/// whole chunks, so that its counts stay true.
pub(super) async fn hand_over(
    tx: &mut Tx,
    kind: Kind,
    from: UserId,
    to: UserId,
) -> Result<(), RegistryError> {
    let next_of = async |tx: &mut Tx, user: UserId| {
        let row: Option<(i64,)> = sql("SELECT next FROM ordinals WHERE kind = $1 AND scope = $2")
            .bind(kind.code())
            .bind(user.as_uuid())
            .fetch_optional(tx)
            .await?;
        Ok::<_, RegistryError>(row.map_or(0, |(next,)| next))
    };
    let taken = next_of(&mut *tx, from).await?;
    if taken == 0 {
        return Ok(());
    }
    let shift_chunks = (next_of(&mut *tx, to).await? + CHUNK - 1).div_euclid(CHUNK);
    let mut update = SqlBuilder::new("UPDATE ");
    update.push(kind.table()).push(" SET owner_id = ").push_bind(to.as_uuid());
    update.push(", owner_ordinal = owner_ordinal + ").push_bind(shift_chunks * CHUNK);
    update.push(" WHERE owner_id = ").push_bind(from.as_uuid());
    update.build().execute(&mut *tx).await?;
    sql("UPDATE list_chunks SET scope = $1, chunk = chunk + $2 WHERE kind = $3 AND scope = $4")
        .bind(to.as_uuid())
        .bind(shift_chunks)
        .bind(kind.code())
        .bind(from.as_uuid())
        .execute(&mut *tx)
        .await?;
    sql("DELETE FROM ordinals WHERE kind = $1 AND scope = $2")
        .bind(kind.code())
        .bind(from.as_uuid())
        .execute(&mut *tx)
        .await?;
    sql("INSERT INTO ordinals (kind, scope, next) VALUES ($1, $2, $3)
         ON CONFLICT (kind, scope) DO UPDATE SET next = excluded.next")
    .bind(kind.code())
    .bind(to.as_uuid())
    .bind(shift_chunks * CHUNK + taken)
    .execute(tx)
    .await?;
    Ok(())
}
