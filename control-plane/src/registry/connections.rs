//! Which thing is connected to which channel, and what follows from it for the bearer of a key.

use domain::{ChannelId, Grant, KeyDigest, ThingId, UserId};
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::changes::record_change;
use super::channels::profile_of;
use super::entities::Kind;
use super::sql::{SqlBuilder, sql};
use super::ties::known_ties;
use super::{Registry, RegistryError, Tx};
use crate::access::Tie;
use crate::author::Author;

/// Questions that one statement answers. Each takes 3 binds, and SQLite takes 32,766.
const GRANTS_PER_STATEMENT_MAX: usize = 1_000;

/// A change of connections that is about to be made: what the rights to it are decided on can't change until it is.
#[derive(Debug)]
pub(crate) struct Connecting {
    tx: Tx,
    things: Vec<ThingId>,
    channels: Vec<ChannelId>,
}

/// A thing, and the profile of a channel if it is connected to it.
type Found = (Uuid, Option<i64>, Option<i64>, Option<i64>);
/// The same, behind the number of the question.
type Numbered = (i64, Uuid, Option<i64>, Option<i64>, Option<i64>);

impl Registry {
    /// Begins a change of the connections between these things and these channels.
    pub(crate) async fn connecting(
        &self,
        by: &Author,
        things: Vec<ThingId>,
        channels: Vec<ChannelId>,
    ) -> Result<Connecting, RegistryError> {
        Ok(Connecting { tx: self.begin(by).await?, things, channels })
    }

    /// What the thing with this key may do on this channel. `None`: no thing has this key now.
    pub(crate) async fn grant(
        &self,
        key: &KeyDigest,
        channel: ChannelId,
        now: i64,
    ) -> Result<Option<Grant>, RegistryError> {
        let row: Option<Found> =
            sql("SELECT k.thing_id, c.bucket_width, c.storage_class, c.retention FROM thing_keys k
             LEFT JOIN connections n ON n.thing_id = k.thing_id AND n.channel_id = $2
             LEFT JOIN channels c ON c.id = n.channel_id
             WHERE k.digest = $1 AND (k.expires_at IS NULL OR k.expires_at > $3)")
            .bind(key.as_bytes().as_slice())
            .bind(channel.as_uuid())
            .bind(now)
            .fetch_optional(&self.readers)
            .await?;
        row.map(grant_of).transpose()
    }

    /// What [`Self::grant`] answers to each of the questions, in their order.
    pub(crate) async fn grants(
        &self,
        questions: &[(KeyDigest, ChannelId)],
        now: i64,
    ) -> Result<Vec<Option<Grant>>, RegistryError> {
        let mut grants = vec![None; questions.len()];
        let answers = grants.chunks_mut(GRANTS_PER_STATEMENT_MAX);
        for (questions, answers) in questions.chunks(GRANTS_PER_STATEMENT_MAX).zip(answers) {
            let mut sql = SqlBuilder::new("WITH asked (number, digest, channel_id) AS (");
            sql.push_values((0_i64..).zip(questions), |row, (number, (key, channel))| {
                row.bind(number).bind(key.as_bytes().as_slice()).bind(channel.as_uuid());
            });
            sql.push(
                ") SELECT a.number, k.thing_id, c.bucket_width, c.storage_class, c.retention FROM asked a
                 JOIN thing_keys k ON k.digest = a.digest
                 LEFT JOIN connections n ON n.thing_id = k.thing_id AND n.channel_id = a.channel_id
                 LEFT JOIN channels c ON c.id = n.channel_id
                 WHERE k.expires_at IS NULL OR k.expires_at > ",
            );
            sql.push_bind(now);
            let rows: Vec<Numbered> = sql.build_once().fetch_all(&self.readers).await?;
            for (number, thing, width, class, retention) in rows {
                let answer = usize::try_from(number).ok().and_then(|number| answers.get_mut(number));
                *answer.expect("the numbers are those that were asked") =
                    Some(grant_of((thing, width, class, retention))?);
            }
        }
        Ok(grants)
    }

    /// Whose key it is.
    pub(crate) async fn thing_of_key(
        &self,
        key: &KeyDigest,
        now: i64,
    ) -> Result<Option<ThingId>, RegistryError> {
        let id: Option<(Uuid,)> = sql(
            "SELECT thing_id FROM thing_keys WHERE digest = $1 AND (expires_at IS NULL OR expires_at > $2)",
        )
        .bind(key.as_bytes().as_slice())
        .bind(now)
        .fetch_optional(&self.readers)
        .await?;
        Ok(id.map(|(id,)| ThingId::from_uuid(id)))
    }

    /// Whether a thing is connected to a channel.
    pub(crate) async fn is_connected(
        &self,
        thing: ThingId,
        channel: ChannelId,
    ) -> Result<bool, RegistryError> {
        let connected =
            sql("SELECT EXISTS (SELECT 1 FROM connections WHERE thing_id = $1 AND channel_id = $2)");
        let connected = connected.bind(thing.as_uuid()).bind(channel.as_uuid());
        let (connected,) = connected.fetch_one(&self.readers).await?;
        Ok(connected)
    }
}

fn grant_of((thing, width, class, retention): Found) -> Result<Grant, RegistryError> {
    let connection = match (width, class, retention) {
        (Some(width), Some(class), Some(retention)) => Some(profile_of(width, class, retention)?),
        _ => None,
    };
    Ok(Grant { thing: ThingId::from_uuid(thing), connection })
}

impl Connecting {
    /// The things.
    pub(crate) fn things(&self) -> Vec<Uuid> {
        self.things.iter().map(ThingId::as_uuid).collect()
    }

    /// The channels.
    pub(crate) fn channels(&self) -> Vec<Uuid> {
        self.channels.iter().map(ChannelId::as_uuid).collect()
    }

    /// What ties a user to each of the things; to one that does not exist, nothing at all.
    pub(crate) async fn thing_ties(&mut self, user: UserId) -> Result<Vec<Option<Vec<Tie>>>, RegistryError> {
        let ids = self.things();
        known_ties(&mut self.tx, Kind::Thing, &ids, user).await
    }

    /// What ties a user to each of the channels; to one that does not exist, nothing at all.
    pub(crate) async fn channel_ties(
        &mut self,
        user: UserId,
    ) -> Result<Vec<Option<Vec<Tie>>>, RegistryError> {
        let ids = self.channels();
        known_ties(&mut self.tx, Kind::Channel, &ids, user).await
    }

    /// Connects each thing to each channel. What is connected already stays so.
    pub(crate) async fn connect(mut self) -> Result<(), RegistryError> {
        let mut sql = SqlBuilder::new(
            "INSERT INTO connections (thing_id, channel_id)
             SELECT t.id, c.id FROM things t, channels c WHERE t.id",
        );
        sql.push_in(self.things.iter().map(ThingId::as_uuid));
        sql.push(" AND c.id");
        sql.push_in(self.channels.iter().map(ChannelId::as_uuid));
        sql.push(" ON CONFLICT (thing_id, channel_id) DO NOTHING RETURNING thing_id, channel_id");
        let changed = sql.build_once().fetch_all(&mut self.tx).await?;
        self.finish(Deed::ThingConnect, changed).await
    }

    /// Disconnects each thing from each channel. What is not connected stays so.
    pub(crate) async fn disconnect(mut self) -> Result<(), RegistryError> {
        let mut sql = SqlBuilder::new("DELETE FROM connections WHERE thing_id");
        sql.push_in(self.things.iter().map(ThingId::as_uuid));
        sql.push(" AND channel_id");
        sql.push_in(self.channels.iter().map(ChannelId::as_uuid));
        sql.push(" RETURNING thing_id, channel_id");
        let changed = sql.build_once().fetch_all(&mut self.tx).await?;
        self.finish(Deed::ThingDisconnect, changed).await
    }

    /// A change names the things and not the channels: a channel may have many more things than a thing has channels,
    /// and whatever a change names is asked for again.
    async fn finish(mut self, deed: Deed, changed: Vec<(Uuid, Uuid)>) -> Result<(), RegistryError> {
        if !changed.is_empty() {
            let done: Vec<Done> =
                changed.iter().map(|(thing, channel)| Done::with(*thing, *channel)).collect();
            record(&mut self.tx, deed, &done).await?;
            let things = self.things();
            record_change(&mut self.tx, Kind::Thing, &things).await?;
        }
        self.tx.commit().await?;
        Ok(())
    }
}
