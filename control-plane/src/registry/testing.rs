//! Registries of tests, on every engine: what is promised of one is promised of the other.

use domain::{ThingId, WebhookId};
use uuid::Uuid;

use super::Registry;
use super::sql::sql;
use super::webhooks::{Format, NewWebhook, Webhook};
use crate::author::Author;

/// Runs a test on a registry of its own: in a file, and on the server where there is one.
pub(super) async fn on_each_engine(test: impl AsyncFn(&Registry)) {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::open(&directory.path().join("registry.sqlite")).await.unwrap();
    test(&registry).await;
    registry.close().await;
    #[cfg(feature = "engines")]
    server::on_server(test).await;
}

/// A webhook of a thing of its own.
pub(super) async fn new_webhook(registry: &Registry) -> Webhook {
    let [user, thing] = [Uuid::new_v4(), Uuid::new_v4()];
    let mut tx = registry.begin_upkeep().await.unwrap();
    sql("INSERT INTO users (id, email, email_folded, password_hash, token_generation, ordinal, created_at, updated_at)
         VALUES ($1, $2, $3, '', 0, (SELECT COALESCE(MAX(ordinal), 0) + 1 FROM users), 0, 0)")
    .bind(user)
    .bind(user.to_string())
    .bind(user.to_string())
    .execute(&mut tx)
    .await
    .unwrap();
    sql("INSERT INTO things (id, owner_id, name, name_folded, sealed_key, ordinal, owner_ordinal, created_at, updated_at)
         VALUES ($1, $2, '', '', $3, (SELECT COALESCE(MAX(ordinal), 0) + 1 FROM things), 1, 0, 0)")
    .bind(thing)
    .bind(user)
    .bind(Vec::new())
    .execute(&mut tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let (thing, id) = (ThingId::from_uuid(thing), WebhookId::from_uuid(Uuid::new_v4()));
    let new = NewWebhook {
        id,
        name: "a webhook".to_owned(),
        format: Format::Json,
        url: "https://a.example/".to_owned(),
        sealed_secret: vec![0],
    };
    registry.create_webhooks(&Author::nobody(), thing, &[new], 1).await.unwrap().unwrap();
    registry.webhook(thing, id).await.unwrap().unwrap()
}

#[cfg(feature = "engines")]
mod server {
    use sqlx::postgres::PgConnection;
    use sqlx::{AssertSqlSafe, Connection as _};

    use super::*;

    pub(super) async fn on_server(test: impl AsyncFn(&Registry)) {
        let server = address();
        let (place, _) = server.rsplit_once('/').unwrap();
        let database = format!("test_{}", Uuid::new_v4().simple());
        run(&server, format!("CREATE DATABASE {database}")).await;
        let registry = Registry::connect(&format!("{place}/{database}").parse().unwrap()).await.unwrap();
        test(&registry).await;
        registry.close().await;
        run(&server, format!("DROP DATABASE {database} WITH (FORCE)")).await;
    }

    async fn run(server: &str, statement: String) {
        let mut connection = PgConnection::connect(server).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "only who starts the server knows where it is")]
    fn address() -> String {
        std::env::var("THALWEG_POSTGRES_URL")
            .expect("THALWEG_POSTGRES_URL says where PostgreSQL is: deploy/engines with postgres -- …")
    }
}
