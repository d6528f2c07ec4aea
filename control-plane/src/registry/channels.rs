//! Channels.

use domain::{BucketWidth, ChannelId, ChannelProfile, Retention, UserId};
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::changes::{record_change, record_purge};
use super::entities::{EntityUpdate, Kind, Numbered, Scope, claim, delist, enlist, update_entity};
use super::listing::{ListError, ListQuery, Within, load};
use super::row::row;
use super::sql::{SqlBuilder, sql};
use super::things::CreateError;
use super::{ROWS_PER_INSERT_MAX, Registry, RegistryError};
use crate::author::Author;
use crate::metadata::Metadata;

/// A channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) owner: UserId,
    pub(crate) name: String,
    pub(crate) metadata: Metadata,
    pub(crate) profile: ChannelProfile,
}

row! {
    struct ChannelRow {
        id: Uuid,
        owner_id: Uuid,
        name: String,
        metadata: Option<String>,
        bucket_width: i64,
        storage_class: i64,
        retention: i64,
    }
}

impl ChannelRow {
    const COLUMNS: &'static str = "id, owner_id, name, metadata, bucket_width, storage_class, retention";

    fn read(self) -> Result<(Uuid, Channel), RegistryError> {
        let channel = Channel {
            id: ChannelId::from_uuid(self.id),
            owner: UserId::from_uuid(self.owner_id),
            name: self.name,
            metadata: Metadata::from_stored(self.metadata)?,
            profile: profile_of(self.bucket_width, self.storage_class, self.retention)?,
        };
        Ok((self.id, channel))
    }
}

/// The profile of a channel whose row says this.
pub(super) fn profile_of(
    bucket_width: i64,
    storage_class: i64,
    retention: i64,
) -> Result<ChannelProfile, RegistryError> {
    let width = u8::try_from(bucket_width).ok().and_then(BucketWidth::from_code);
    let retention_of = |code| u8::try_from(code).ok().and_then(Retention::from_code);
    Ok(ChannelProfile {
        bucket_width: width.ok_or(RegistryError::Damaged("a channel has no known bucket width"))?,
        storage_class: retention_of(storage_class)
            .ok_or(RegistryError::Damaged("a channel has no known class"))?,
        retention: retention_of(retention)
            .ok_or(RegistryError::Damaged("a channel has no known retention"))?,
    })
}

impl Registry {
    /// Creates all the channels, or none. All have one owner.
    pub(crate) async fn create_channels(
        &self,
        by: &Author,
        owner: UserId,
        channels: &[Channel],
        now: i64,
    ) -> Result<(), CreateError> {
        let mut tx = self.begin(by).await?;
        let ids: Vec<Uuid> = channels.iter().map(|channel| channel.id.as_uuid()).collect();
        if let Some(taken) = claim(&mut tx, Kind::Channel, &ids).await? {
            return Err(CreateError::IdTaken(taken));
        }
        let mut ordinal = enlist(&mut tx, Kind::Channel, Numbered::All, channels.len()).await?;
        let mut owner_ordinal =
            enlist(&mut tx, Kind::Channel, Numbered::Owner(owner), channels.len()).await?;
        for channels in channels.chunks(ROWS_PER_INSERT_MAX) {
            let mut sql = SqlBuilder::new(
                "INSERT INTO channels (id, owner_id, name, name_folded, metadata, bucket_width, storage_class, retention,
                                       ordinal, owner_ordinal, created_at, updated_at) ",
            );
            sql.push_values(channels, |row, channel| {
                row.bind(channel.id.as_uuid()).bind(owner.as_uuid());
                row.bind(channel.name.clone()).bind(channel.name.to_lowercase());
                row.bind(channel.metadata.to_stored());
                row.bind(i64::from(channel.profile.bucket_width.code()));
                row.bind(i64::from(channel.profile.storage_class.code()));
                row.bind(i64::from(channel.profile.retention.code()));
                row.bind(ordinal).bind(owner_ordinal).bind(now).bind(now);
                ordinal += 1;
                owner_ordinal += 1;
            });
            sql.build_once().execute(&mut tx).await?;
        }
        record(&mut tx, Deed::ChannelCreate, &ids.into_iter().map(Done::to).collect::<Vec<_>>()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// One channel.
    pub(crate) async fn channel(&self, id: ChannelId) -> Result<Option<Channel>, RegistryError> {
        let row: Option<ChannelRow> =
            sql("SELECT id, owner_id, name, metadata, bucket_width, storage_class, retention FROM channels WHERE id = $1")
                .bind(id.as_uuid())
                .fetch_optional(&self.readers)
                .await?;
        row.map(|row| row.read().map(|(_, channel)| channel)).transpose()
    }

    /// A page of channels, and how many there are.
    pub(crate) async fn channels(
        &self,
        scope: Scope,
        query: &ListQuery,
    ) -> Result<(i64, Vec<Channel>), ListError> {
        let (listed, mut snapshot) = self.list(Kind::Channel, scope, Within::Anything, query).await?;
        let columns = ChannelRow::COLUMNS;
        let channels = load(&mut snapshot, &listed.ids, columns, Kind::Channel, ChannelRow::read).await?;
        Ok((listed.total, channels))
    }

    /// Changes a channel's name, its metadata, or both. No: it is gone.
    pub(crate) async fn update_channel(
        &self,
        by: &Author,
        id: ChannelId,
        update: &EntityUpdate,
        now: i64,
    ) -> Result<bool, RegistryError> {
        update_entity(self.begin(by).await?, Kind::Channel, id.as_uuid(), update, now).await
    }

    /// Changes the same, and has the channel keep its records for less long, if the update says so. No: it is gone.
    pub(crate) async fn shorten_retention(
        &self,
        by: &Author,
        id: ChannelId,
        update: &EntityUpdate,
        now: i64,
    ) -> Result<bool, RegistryError> {
        let mut tx = self.begin(by).await?;
        let mut update = update.clone();
        if let Some(retention) = update.retention {
            let shortened = sql("UPDATE channels SET retention = $1 WHERE id = $2 AND retention > $1")
                .bind(i64::from(retention.code()))
                .bind(id.as_uuid())
                .execute(&mut tx)
                .await?;
            // Another request may have done it meanwhile.
            update.retention = update.retention.filter(|_| shortened > 0);
        }
        record_change(&mut tx, Kind::Channel, &[id.as_uuid()]).await?;
        update_entity(tx, Kind::Channel, id.as_uuid(), &update, now).await
    }

    /// Channels whose records expire, in order of their ids from behind one on.
    pub(crate) async fn expiring_channels(
        &self,
        after: ChannelId,
        limit: i64,
    ) -> Result<Vec<(ChannelId, ChannelProfile)>, RegistryError> {
        let rows: Vec<(Uuid, i64, i64, i64)> = sql(
            "SELECT id, bucket_width, storage_class, retention FROM channels WHERE retention < 4 AND id > $1
             ORDER BY id LIMIT $2",
        )
        .bind(after.as_uuid())
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        let read = |(id, width, class, retention)| {
            Ok((ChannelId::from_uuid(id), profile_of(width, class, retention)?))
        };
        rows.into_iter().map(read).collect()
    }

    /// Deletes a channel with its connections, and has its records purged. Its id stays claimed. No: it is gone.
    pub(crate) async fn delete_channel(
        &self,
        by: &Author,
        channel: ChannelId,
    ) -> Result<bool, RegistryError> {
        let mut tx = self.begin(by).await?;
        let id = channel.as_uuid();
        record(&mut tx, Deed::ChannelDelete, &[Done::to(id)]).await?;
        sql("DELETE FROM connections WHERE channel_id = $1").bind(id).execute(&mut tx).await?;
        let deleted: Option<(Uuid, i64, i64)> =
            sql("DELETE FROM channels WHERE id = $1 RETURNING owner_id, ordinal, owner_ordinal")
                .bind(id)
                .fetch_optional(&mut tx)
                .await?;
        let Some((owner, ordinal, owner_ordinal)) = deleted else { return Ok(false) };
        delist(&mut tx, Kind::Channel, Numbered::All, ordinal).await?;
        delist(&mut tx, Kind::Channel, Numbered::Owner(UserId::from_uuid(owner)), owner_ordinal).await?;
        record_purge(&mut tx, Kind::Channel, id).await?;
        record_change(&mut tx, Kind::Channel, &[id]).await?;
        tx.commit().await?;
        Ok(true)
    }
}
