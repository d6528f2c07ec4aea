//! Several control planes that start at once, and what keeps one from starting.

use std::error::Error;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use service::feed::Feed;
use thalweg_control_plane::{Config, ControlPlane, OpenError, RegistryConfig, migrate};
use tokio::net::TcpListener;

use crate::site::Site;
use crate::world::{ADMIN, PASSWORD, World, new_store, open};

/// What a person reads.
fn told(error: &OpenError) -> String {
    let causes = std::iter::successors(Some(error as &dyn Error), |&cause| cause.source());
    causes.map(|cause| format!("{cause} ")).collect()
}

async fn refusal(config: Config, site: &Site) -> OpenError {
    let opened = ControlPlane::open(config, Arc::new(Feed::default()), new_store(site.directory())).await;
    opened.map(|_| ()).unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_start_at_once_on_an_empty_database_make_one_registry_and_one_admin() {
    let site = Arc::new(Site::new().await);
    let stores = [1, 2, 3].map(|number| new_store(&site.directory().join(number.to_string())));
    let opened = futures::future::join_all(stores.map(|store| open(&site, store))).await;
    for (app, changes) in opened.into_iter().map(Result::unwrap) {
        let world = World::of(Arc::clone(&site), app, changes).await;
        let users = world.get("/users", &world.admin).await.is(200).json();
        assert_eq!((&users["total"], &users["Users"][0]["email"]), (&1.into(), &ADMIN.into()));
        let (thing, key) = world.thing(&world.admin).await;
        assert_eq!(world.get(&format!("/things/{thing}"), &world.admin).await.json()["key"], key);
    }
}

#[tokio::test]
async fn tables_are_made_once_and_by_whoever_comes_first() {
    let site = Site::new().await;
    let url = site.url();
    let (one, other) = tokio::join!(migrate(&url), migrate(&url));
    assert!([one.unwrap(), other.unwrap()].iter().any(|report| report.applied.starts_with(&[1, 2])));
    assert_eq!(migrate(&url).await.unwrap().applied, [0_i64; 0]);
    assert_eq!(site.count("SELECT COUNT(*) FROM users").await, 0);
    open(&site, new_store(site.directory())).await.unwrap().0.close().await;
}

#[tokio::test]
async fn the_first_start_takes_a_password_and_later_ones_need_none() {
    let site = Arc::new(Site::new().await);
    let without = Config { admin_password: None, ..site.config() };
    let refused = refusal(without.clone(), &site).await;
    assert!(matches!(refused, OpenError::NoAdminPassword), "{refused:?}");
    assert!(told(&refused).contains("THALWEG_ADMIN_PASSWORD"), "{}", told(&refused));
    assert_eq!(site.count("SELECT COUNT(*) FROM users").await, 0);
    let store = new_store(site.directory());
    open(&site, Arc::clone(&store)).await.unwrap().0.close().await;
    let opened = ControlPlane::open(without, Arc::new(Feed::default()), store).await;
    let (app, first_start) = opened.unwrap();
    assert_eq!(first_start.random_password(), None);
    World::of(site, app, Arc::default()).await.token(ADMIN, PASSWORD).await;
}

#[tokio::test]
async fn tokens_keys_and_derived_keys_are_the_same_on_all() {
    let one = World::new().await;
    let other = World::on(Arc::clone(&one.site), new_store(&one.site.directory().join("2"))).await;
    let (thing, key) = one.thing(&one.admin).await;
    let shown = other.get(&format!("/things/{thing}"), &one.admin).await.is(200).json();
    assert_eq!(shown["key"], key);
    assert_eq!(one.app.derive_key("cursor"), other.app.derive_key("cursor"));
}

#[tokio::test]
async fn a_foreign_sealing_secret_is_noticed() {
    let site = Site::new().await;
    let store = new_store(site.directory());
    open(&site, Arc::clone(&store)).await.unwrap().0.close().await;
    let mut config = site.config();
    let RegistryConfig::Postgres { sealing_secret, .. } = &mut config.registry else { unreachable!() };
    *sealing_secret = URL_SAFE_NO_PAD.encode([7; 32]).parse().unwrap();
    let opened = ControlPlane::open(config, Arc::new(Feed::default()), Arc::clone(&store)).await;
    let refused = opened.map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::GivenSealingSecret), "{refused:?}");
    assert!(told(&refused).contains("THALWEG_SEALING_SECRET"), "{}", told(&refused));
    open(&site, store).await.unwrap().0.close().await;
}

#[tokio::test]
async fn a_registry_of_a_newer_version_is_refused_and_left_alone() {
    let site = Site::new().await;
    let store = new_store(site.directory());
    open(&site, Arc::clone(&store)).await.unwrap().0.close().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'what this build does not know', TRUE, '', 0)";
    site.execute(newer, &[]).await;
    for refused in [open(&site, store).await.map(|_| ()), migrate(&site.url()).await.map(|_| ())] {
        let Err(OpenError::Newer(source)) = refused else { panic!("{refused:?}") };
        assert!(source.to_string().contains("newer build"), "{source}");
    }
    assert_eq!(site.count("SELECT MAX(version) FROM _sqlx_migrations").await, 9999);
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused() {
    let site = Site::new().await;
    let database = format!("{}_latin", site.database());
    let create = format!("CREATE DATABASE {database} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    site.execute(&create, &[]).await;
    let url = site.url_text().replace(site.database(), &database);
    let refused = refusal(site.config_at(&url), &site).await;
    site.execute(&format!("DROP DATABASE {database} WITH (FORCE)"), &[]).await;
    assert!(matches!(refused, OpenError::Refused { .. }) && told(&refused).contains("LATIN1"), "{refused:?}");
}

#[tokio::test]
async fn who_has_no_place_to_log_in_is_told_which_setting_says_where() {
    let site = Site::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("postgres://thalweg:s3cret@{}/registry", listener.local_addr().unwrap());
    drop(listener);
    let place = site.place();
    let stranger = format!("postgres://nobody:s3cret@{place}/thalweg");
    let missing = format!("postgres://thalweg:s3cret@{place}/no_such_database");
    for (url, is_reached) in [(nobody, false), (stranger, true), (missing, true)] {
        let refused = refusal(site.config_at(&url), &site).await;
        match (&refused, is_reached) {
            (OpenError::Unreachable { .. }, false) | (OpenError::Refused { .. }, true) => {}
            _ => panic!("{url}: {refused:?}"),
        }
        let told = told(&refused);
        assert!(told.contains("THALWEG_POSTGRES_URL") && told.contains("127.0.0.1"), "{told}");
        assert!(!told.contains("s3cret") && !format!("{refused:?}").contains("s3cret"), "{refused:?}");
    }
}
