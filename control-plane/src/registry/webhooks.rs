//! Webhooks: where the records of things are delivered to, and since when.
//!
//! What is delivered, and how that goes, is [`super::deliveries`].

use domain::{ThingId, UserId, WebhookId};
use uuid::Uuid;

use super::audit::{Deed, Done, record};
use super::row::row;
use super::sql::{Sql, SqlBuilder, sql};
use super::{Registry, RegistryError, Tx};
use crate::author::Author;

/// Webhooks of one thing: each gets every record.
pub(crate) const WEBHOOKS_PER_THING_MAX: i64 = 20;

/// Secrets of one webhook that sign at a time, the new one and those before: each is a signature in a header.
pub(crate) const SECRETS_MAX: i64 = 5;

/// What a delivery looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// An array of resolved SenML records.
    Senml,
    /// `{"channel","publisher","messages"}`, with rows as the reader prints them.
    Json,
}

impl Format {
    /// As it is stored.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::Senml => 1,
            Self::Json => 2,
        }
    }

    /// The format that [`Self::code`] stands for.
    pub(crate) const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::Senml),
            2 => Some(Self::Json),
            _ => None,
        }
    }

    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Senml => "senml",
            Self::Json => "json",
        }
    }

    /// The format of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Senml, Self::Json].into_iter().find(|format| format.name() == name)
    }

    fn stored(code: i64) -> Result<Self, RegistryError> {
        Self::from_code(code).ok_or(RegistryError::Damaged("a webhook has an unknown format"))
    }
}

/// Why nothing is delivered to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disabled {
    /// Its owner wants it so.
    ByOwner,
    /// The endpoint answered 410: it is gone.
    Gone,
    /// Every try has failed for days.
    Failing,
}

impl Disabled {
    /// As it is stored; 0 stands for what is enabled.
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::ByOwner => 1,
            Self::Gone => 2,
            Self::Failing => 3,
        }
    }

    const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::ByOwner),
            2 => Some(Self::Gone),
            3 => Some(Self::Failing),
            _ => None,
        }
    }

    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ByOwner => "by_owner",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// A webhook with its counters. Times are microseconds since the epoch, 0 for never.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) id: WebhookId,
    pub(crate) thing: ThingId,
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) url: String,
    pub(crate) sealed_secret: Vec<u8>,
    /// Those before it, the newest first.
    pub(crate) old_secrets: Vec<OldSecret>,
    pub(crate) created_at: i64,
    pub(crate) active_since: i64,
    pub(crate) disabled: Option<Disabled>,
    pub(crate) disabled_at: i64,
    pub(crate) counters: Counters,
}

/// A secret that was replaced, and signs until then.
#[derive(Debug, Clone)]
pub(crate) struct OldSecret {
    pub(crate) sealed: Vec<u8>,
    pub(crate) until: i64,
}

/// How deliveries to a webhook went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) attempts: i64,
    pub(crate) delivered: i64,
    pub(crate) failed: i64,
    pub(crate) expired: i64,
    pub(crate) dropped: i64,
    pub(crate) last_delivered_at: i64,
    pub(crate) last_failed_at: i64,
    /// Tries in a row that failed.
    pub(crate) failures: i64,
    pub(crate) failing_since: i64,
    pub(crate) hold_until: i64,
    pub(crate) pending: i64,
    pub(crate) replayable: i64,
}

/// A webhook to be created.
#[derive(Debug)]
pub(crate) struct NewWebhook {
    pub(crate) id: WebhookId,
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) url: String,
    pub(crate) sealed_secret: Vec<u8>,
}

/// What to change of a webhook.
#[derive(Debug, Default)]
pub(crate) struct WebhookUpdate {
    pub(crate) name: Option<String>,
    pub(crate) format: Option<Format>,
    pub(crate) url: Option<String>,
}

/// Why webhooks were not created: none of them was.
#[derive(Debug)]
pub(crate) enum Uncreated {
    /// The thing is gone.
    NoThing,
    /// It would have more than [`WEBHOOKS_PER_THING_MAX`].
    TooMany,
}

/// What came of giving a webhook another secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    Done,
    /// So many sign already that none can be added before one of them ends, which is then.
    TooMany {
        until: i64,
    },
    /// The webhook is gone.
    Gone,
}

row! {
    struct WebhookRow {
        id: Uuid,
        thing_id: Uuid,
        name: String,
        format: i64,
        url: String,
        sealed_secret: Vec<u8>,
        sealed_old_secret: Vec<u8>,
        old_secret_until: i64,
        created_at: i64,
        active_since: i64,
        disabled: i64,
        disabled_at: i64,
        attempts: i64,
        delivered: i64,
        failed: i64,
        expired: i64,
        dropped: i64,
        last_delivered_at: i64,
        last_failed_at: i64,
        failures: i64,
        failing_since: i64,
        hold_until: i64,
        pending_count: i64,
        expired_count: i64,
    }
}

const COLUMNS: &str =
    "id, thing_id, name, format, url, sealed_secret, sealed_old_secret, old_secret_until, created_at,
    active_since, disabled, disabled_at, attempts, delivered, failed, expired, dropped, last_delivered_at,
    last_failed_at, failures, failing_since, hold_until, pending_count, expired_count";

/// Failures keep nothing back any more. What waits for a first try that is under way goes on to.
pub(super) const RELEASED: &str =
    "hold_until = CASE WHEN failures > 0 OR steps_aside = 1 THEN 0 ELSE hold_until END";

impl WebhookRow {
    fn read(self) -> Result<Webhook, RegistryError> {
        Ok(Webhook {
            id: WebhookId::from_uuid(self.id),
            thing: ThingId::from_uuid(self.thing_id),
            name: self.name,
            format: Format::stored(self.format)?,
            url: self.url,
            sealed_secret: self.sealed_secret,
            old_secrets: if self.sealed_old_secret.is_empty() {
                Vec::new()
            } else {
                vec![OldSecret { sealed: self.sealed_old_secret, until: self.old_secret_until }]
            },
            created_at: self.created_at,
            active_since: self.active_since,
            disabled: Disabled::from_code(self.disabled),
            disabled_at: self.disabled_at,
            counters: Counters {
                attempts: self.attempts,
                delivered: self.delivered,
                failed: self.failed,
                expired: self.expired,
                dropped: self.dropped,
                last_delivered_at: self.last_delivered_at,
                last_failed_at: self.last_failed_at,
                failures: self.failures,
                failing_since: self.failing_since,
                hold_until: self.hold_until,
                pending: self.pending_count,
                replayable: self.expired_count,
            },
        })
    }
}

/// The changes of things' webhooks since a version, and the version after them.
#[derive(Debug, Default)]
pub(crate) struct WebhookChanges {
    pub(crate) version: i64,
    /// Things whose webhooks have changed.
    pub(crate) things: Vec<ThingId>,
    /// All the webhooks that those have now.
    pub(crate) webhooks: Vec<Webhook>,
}

impl Registry {
    /// Creates all the webhooks of a thing, or none.
    pub(crate) async fn create_webhooks(
        &self,
        by: &Author,
        thing: ThingId,
        webhooks: &[NewWebhook],
        now: i64,
    ) -> Result<Result<(), Uncreated>, RegistryError> {
        let mut tx = self.begin(by).await?;
        let (exists, count): (bool, i64) = sql(
            "SELECT EXISTS (SELECT 1 FROM things WHERE id = $1), (SELECT COUNT(*) FROM webhooks WHERE thing_id = $2)",
        )
        .bind(thing.as_uuid())
        .bind(thing.as_uuid())
        .fetch_one(&mut tx)
        .await?;
        if !exists {
            return Ok(Err(Uncreated::NoThing));
        }
        if count + webhooks.len() as i64 > WEBHOOKS_PER_THING_MAX {
            return Ok(Err(Uncreated::TooMany));
        }
        let mut insert = SqlBuilder::new(
            "INSERT INTO webhooks (id, thing_id, name, format, url, sealed_secret, sealed_old_secret, old_secret_until,
                                   created_at, updated_at, active_since) ",
        );
        insert.push_values(webhooks.iter().zip(0..), |row, (webhook, index): (&NewWebhook, i64)| {
            row.bind(webhook.id.as_uuid()).bind(thing.as_uuid()).bind(webhook.name.clone());
            row.bind(webhook.format.code()).bind(webhook.url.clone()).bind(webhook.sealed_secret.clone());
            // Lists are in the order of creation: those of one request differ by a microsecond.
            row.bind(Vec::new()).bind(0).bind(now + index).bind(now).bind(now);
        });
        insert.build_once().execute(&mut tx).await?;
        let done: Vec<Done> =
            webhooks.iter().map(|webhook| Done::with(thing.as_uuid(), webhook.id.as_uuid())).collect();
        record(&mut tx, Deed::WebhookCreate, &done).await?;
        note_change(&mut tx, thing.as_uuid()).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// The webhooks of a thing, in the order of their creation.
    pub(crate) async fn webhooks(&self, thing: ThingId) -> Result<Vec<Webhook>, RegistryError> {
        let mut select = SqlBuilder::new("SELECT ");
        select.push(COLUMNS).push(" FROM webhooks WHERE thing_id = ").push_bind(thing.as_uuid());
        select.push(" ORDER BY created_at, id");
        self.read_webhooks(select.build()).await
    }

    /// One webhook of a thing.
    pub(crate) async fn webhook(
        &self,
        thing: ThingId,
        id: WebhookId,
    ) -> Result<Option<Webhook>, RegistryError> {
        let mut select = SqlBuilder::new("SELECT ");
        select.push(COLUMNS).push(" FROM webhooks WHERE id = ").push_bind(id.as_uuid());
        select.push(" AND thing_id = ").push_bind(thing.as_uuid());
        Ok(self.read_webhooks(select.build()).await?.pop())
    }

    /// Webhooks by their ids; those that are gone are left out.
    pub(crate) async fn webhooks_of(&self, ids: &[WebhookId]) -> Result<Vec<Webhook>, RegistryError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut select = SqlBuilder::new("SELECT ");
        select.push(COLUMNS).push(" FROM webhooks WHERE id").push_in(ids.iter().map(WebhookId::as_uuid));
        self.read_webhooks(select.build_once()).await
    }

    async fn read_webhooks(&self, select: Sql) -> Result<Vec<Webhook>, RegistryError> {
        let rows: Vec<WebhookRow> = select.fetch_all(&self.readers).await?;
        let mut webhooks: Vec<Webhook> = rows.into_iter().map(WebhookRow::read).collect::<Result<_, _>>()?;
        for with_old in with_old_secrets(&mut webhooks) {
            let older = older_secrets(with_old.id).fetch_all(&self.readers).await?;
            with_old.add_older(older);
        }
        Ok(webhooks)
    }

    /// Changes a webhook. Where it leads elsewhere from now on, what failed before does not count. No: it is gone.
    pub(crate) async fn update_webhook(
        &self,
        by: &Author,
        webhook: &Webhook,
        update: &WebhookUpdate,
        now: i64,
    ) -> Result<bool, RegistryError> {
        let mut set = SqlBuilder::new("UPDATE webhooks SET updated_at = ");
        set.push_bind(now);
        if let Some(name) = &update.name {
            set.push(", name = ").push_bind(name.clone());
        }
        if let Some(format) = update.format {
            set.push(", format = ").push_bind(format.code());
        }
        if let Some(url) = &update.url {
            set.push(", failures = 0, failing_since = 0, slow_until = 0, ").push(RELEASED).push(", url = ");
            set.push_bind(url.clone());
        }
        self.change_webhook(by, Deed::WebhookUpdate, webhook, set).await
    }

    /// Has deliveries made again, of what is received from now on. No: it is gone.
    pub(crate) async fn enable_webhook(
        &self,
        by: &Author,
        webhook: &Webhook,
        now: i64,
    ) -> Result<bool, RegistryError> {
        let mut set = SqlBuilder::new(
            "UPDATE webhooks SET disabled = 0, disabled_at = 0, failures = 0, failing_since = 0, ",
        );
        set.push(RELEASED).push(", active_since = CASE WHEN disabled = 0 THEN active_since ELSE ");
        set.push_bind(now).push(" END, updated_at = ").push_bind(now);
        self.change_webhook(by, Deed::WebhookEnable, webhook, set).await
    }

    /// Has nothing delivered any more. No: it is gone.
    pub(crate) async fn disable_webhook(
        &self,
        by: &Author,
        webhook: &Webhook,
        now: i64,
    ) -> Result<bool, RegistryError> {
        let mut set = SqlBuilder::new("UPDATE webhooks SET disabled = ");
        set.push_bind(Disabled::ByOwner.code()).push(", disabled_at = ").push_bind(now);
        self.change_webhook(by, Deed::WebhookDisable, webhook, set).await
    }

    /// Gives a webhook another secret. The one that it has signs beside it until `old_until`, and those before it to their ends.
    pub(crate) async fn rotate_webhook_secret(
        &self,
        by: &Author,
        webhook: &Webhook,
        sealed: &[u8],
        old_until: i64,
        now: i64,
    ) -> Result<Rotation, RegistryError> {
        let id = webhook.id.as_uuid();
        let mut tx = self.begin(by).await?;
        sql("DELETE FROM webhook_older_secrets WHERE webhook_id = $1 AND until <= $2")
            .bind(id)
            .bind(now)
            .execute(&mut tx)
            .await?;
        sql("INSERT INTO webhook_older_secrets (webhook_id, sealed, until)
             SELECT id, sealed_old_secret, old_secret_until FROM webhooks WHERE id = $1 AND old_secret_until > $2")
        .bind(id)
        .bind(now)
        .execute(&mut tx)
        .await?;
        let (older, first_end): (i64, i64) =
            sql("SELECT COUNT(*), COALESCE(MIN(until), 0) FROM webhook_older_secrets WHERE webhook_id = $1")
                .bind(id)
                .fetch_one(&mut tx)
                .await?;
        // The new one signs, and the one that it replaces.
        if older + 2 > SECRETS_MAX {
            return Ok(Rotation::TooMany { until: first_end });
        }
        record(&mut tx, Deed::WebhookSecret, &[Done::with(webhook.thing.as_uuid(), id)]).await?;
        let rotated =
            sql("UPDATE webhooks SET sealed_old_secret = sealed_secret, sealed_secret = $2, old_secret_until = $3,
                                     updated_at = $4 WHERE id = $1")
            .bind(id)
            .bind(sealed)
            .bind(old_until)
            .bind(now)
            .execute(&mut tx)
            .await?;
        if rotated == 0 {
            return Ok(Rotation::Gone);
        }
        note_change(&mut tx, webhook.thing.as_uuid()).await?;
        tx.commit().await?;
        Ok(Rotation::Done)
    }

    /// Deletes a webhook with its deliveries and tries. No: it is gone.
    pub(crate) async fn delete_webhook(&self, by: &Author, webhook: &Webhook) -> Result<bool, RegistryError> {
        self.change_webhook(by, Deed::WebhookDelete, webhook, SqlBuilder::new("DELETE FROM webhooks")).await
    }

    async fn change_webhook(
        &self,
        by: &Author,
        deed: Deed,
        webhook: &Webhook,
        mut change: SqlBuilder,
    ) -> Result<bool, RegistryError> {
        let mut tx = self.begin(by).await?;
        let done = Done::with(webhook.thing.as_uuid(), webhook.id.as_uuid());
        record(&mut tx, deed, &[done]).await?;
        change.push(" WHERE id = ").push_bind(webhook.id.as_uuid());
        if change.build().execute(&mut tx).await? == 0 {
            return Ok(false);
        }
        note_change(&mut tx, webhook.thing.as_uuid()).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// What has changed since a version; everything since version 0.
    pub(crate) async fn webhook_changes(&self, since: i64) -> Result<WebhookChanges, RegistryError> {
        let (version,): (i64,) =
            sql("SELECT COALESCE(MAX(version), 0) FROM webhook_changes").fetch_one(&self.readers).await?;
        if version == since {
            return Ok(WebhookChanges { version, ..WebhookChanges::default() });
        }
        let mut snapshot = self.snapshot().await?;
        let changed: Vec<(Uuid, i64)> =
            sql("SELECT thing_id, version FROM webhook_changes WHERE version > $1 ORDER BY version")
                .bind(since)
                .fetch_all(&mut snapshot)
                .await?;
        let mut select = SqlBuilder::new("SELECT ");
        select.push(COLUMNS).push(" FROM webhooks WHERE thing_id IN");
        select.push(" (SELECT thing_id FROM webhook_changes WHERE version > ").push_bind(since).push(")");
        let rows: Vec<WebhookRow> = select.build().fetch_all(&mut snapshot).await?;
        let mut webhooks: Vec<Webhook> = rows.into_iter().map(WebhookRow::read).collect::<Result<_, _>>()?;
        for with_old in with_old_secrets(&mut webhooks) {
            let older = older_secrets(with_old.id).fetch_all(&mut snapshot).await?;
            with_old.add_older(older);
        }
        Ok(WebhookChanges {
            version: changed.last().map_or(version, |(_, version)| *version),
            things: changed.iter().map(|(thing, _)| ThingId::from_uuid(*thing)).collect(),
            webhooks,
        })
    }
}

/// Those that may have older secrets, because they have an old one: few.
fn with_old_secrets(webhooks: &mut [Webhook]) -> impl Iterator<Item = &mut Webhook> {
    webhooks.iter_mut().filter(|webhook| !webhook.old_secrets.is_empty())
}

fn older_secrets(webhook: WebhookId) -> Sql {
    sql("SELECT sealed, until FROM webhook_older_secrets WHERE webhook_id = $1 ORDER BY until DESC")
        .bind(webhook.as_uuid())
}

impl Webhook {
    fn add_older(&mut self, secrets: Vec<(Vec<u8>, i64)>) {
        self.old_secrets.extend(secrets.into_iter().map(|(sealed, until)| OldSecret { sealed, until }));
    }
}

/// Has who delivers read the thing's webhooks again.
pub(super) async fn note_change(tx: &mut Tx, thing: Uuid) -> Result<(), RegistryError> {
    sql("INSERT INTO webhook_changes (thing_id, version)
         SELECT $1, (SELECT COALESCE(MAX(version), 0) + 1 FROM webhook_changes) WHERE 1 = 1
         ON CONFLICT (thing_id) DO UPDATE SET version = excluded.version")
    .bind(thing)
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes the webhooks of a thing, or all of those of a user's things.
pub(super) async fn delete_webhooks_of_thing(tx: &mut Tx, thing: Uuid) -> Result<(), RegistryError> {
    let deleted = sql("DELETE FROM webhooks WHERE thing_id = $1").bind(thing).execute(&mut *tx).await?;
    if deleted > 0 { note_change(tx, thing).await } else { Ok(()) }
}

/// Deletes the webhooks of all things of a user: they lead to endpoints of somebody who is gone.
pub(super) async fn delete_webhooks_of_user(tx: &mut Tx, owner: UserId) -> Result<(), RegistryError> {
    let things: Vec<(Uuid,)> =
        sql("SELECT DISTINCT w.thing_id FROM webhooks w JOIN things t ON t.id = w.thing_id
         WHERE t.owner_id = $1")
        .bind(owner.as_uuid())
        .fetch_all(&mut *tx)
        .await?;
    for (thing,) in things {
        delete_webhooks_of_thing(tx, thing).await?;
    }
    Ok(())
}
