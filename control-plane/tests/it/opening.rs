//! The first start, the starts after it, and what keeps a control plane from starting.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use service::feed::Feed;
use thalweg_control_plane::{Config, ControlPlane, OpenError, RegistryConfig};

use crate::site::Site;
use crate::world::{ADMIN, PASSWORD, World, new_store, open};

#[tokio::test]
async fn the_first_start_makes_an_admin_with_a_random_password_that_is_told_once() {
    let site = Arc::new(Site::new().await);
    let store = new_store(site.directory());
    let config = Config { admin_password: None, ..site.config() };
    let opened = ControlPlane::open(config.clone(), Arc::new(Feed::default()), Arc::clone(&store)).await;
    let (app, first_start) = opened.unwrap();
    let password = first_start.random_password().unwrap().to_owned();
    assert!(password.len() >= 20, "{password}");
    assert!(!format!("{first_start:?} {app:?}").contains(&password));
    app.close().await;

    let (app, later) =
        ControlPlane::open(config, Arc::new(Feed::default()), Arc::clone(&store)).await.unwrap();
    assert_eq!(later.random_password(), None);
    app.close().await;
    drop(app);
    let (app, changes) = open(&site, store).await.unwrap();
    let mut world = World { site, app, changes, admin: String::new() };
    world.log_in(ADMIN, PASSWORD, None).await.refused(401);
    world.admin = world.token(ADMIN, &password).await;
    assert_eq!(world.get("/users", &world.admin).await.json()["total"], 1);
}

#[tokio::test]
async fn tokens_keys_and_derived_keys_survive_a_restart() {
    let world = World::new().await;
    let (thing, key) = world.thing(&world.admin).await;
    let (site, admin, derived) =
        (Arc::clone(&world.site), world.admin.clone(), world.app.derive_key("cursor"));
    world.app.close().await;
    let again = World::on(site, new_store(&world.site.directory().join("2"))).await;
    let shown = again.get(&format!("/things/{thing}"), &admin).await.is(200).json();
    assert_eq!(shown["key"], key);
    assert_eq!(again.app.derive_key("cursor"), derived);
    assert_ne!(again.app.derive_key("other"), derived);
    for file in ["registry.sqlite", "token-secret", "sealing-secret"] {
        let mode = fs::metadata(again.site.directory().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_token_secret_can_be_exchanged_without_ending_tokens() {
    let world = World::new().await;
    world.app.close().await;
    let file = world.site.directory().join("token-secret");
    let old = fs::read_to_string(&file).unwrap();
    let new = "new:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
    fs::write(&file, format!("{new}{old}")).unwrap();
    let both = World::on(Arc::clone(&world.site), new_store(&world.site.directory().join("2"))).await;
    both.get("/things", &world.admin).await.is(200);
    both.get("/things", &both.admin).await.is(200);
    both.app.close().await;
    fs::write(&file, new).unwrap();
    let last = World::on(Arc::clone(&world.site), new_store(&world.site.directory().join("3"))).await;
    last.get("/things", &world.admin).await.refused(401);
    last.get("/things", &both.admin).await.is(200);
}

#[tokio::test]
async fn a_lost_or_exchanged_sealing_secret_is_noticed_and_not_replaced() {
    let world = World::new().await;
    world.app.close().await;
    let directory = world.site.directory();
    let file = directory.join("sealing-secret");
    let kept = directory.join("kept");
    fs::rename(&file, &kept).unwrap();
    let store = new_store(&directory.join("2"));
    let lost = open(&world.site, Arc::clone(&store)).await.map(|_| ());
    assert!(matches!(&lost, Err(OpenError::SealingSecret { path }) if *path == file), "{lost:?}");
    assert!(!file.exists());
    fs::write(&file, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    let exchanged = open(&world.site, Arc::clone(&store)).await.map(|_| ());
    assert!(matches!(exchanged, Err(OpenError::SealingSecret { .. })), "{exchanged:?}");
    fs::rename(&kept, &file).unwrap();
    assert!(open(&world.site, store).await.is_ok());
}

#[tokio::test]
async fn given_token_secrets_take_the_place_of_the_directorys_own() {
    let site = Arc::new(Site::new().await);
    let store = new_store(site.directory());
    let start = async |secrets: &str| {
        let registry = RegistryConfig::Directory {
            directory: site.directory().to_owned(),
            token_secrets: Some(secrets.parse().unwrap()),
        };
        let config = Config { registry, ..site.config() };
        let opened = ControlPlane::open(config, Arc::new(Feed::default()), Arc::clone(&store)).await;
        let (app, _) = opened.unwrap();
        World { site: Arc::clone(&site), app, changes: Arc::default(), admin: String::new() }
    };
    let (one, other) = (format!("one:{}", "A".repeat(43)), format!("other:{}", "B".repeat(42) + "A"));
    let world = start(&one).await;
    let token = world.token(ADMIN, PASSWORD).await;
    assert!(!site.directory().join("token-secret").exists());
    world.app.close().await;
    let world = start(&format!("{other},{one}")).await;
    assert_eq!(world.get("/users", &token).await.status, 200, "a previous secret is still accepted");
    world.app.close().await;
    let world = start(&other).await;
    assert_eq!(world.get("/users", &token).await.status, 401, "one that was taken away is not");
    world.app.close().await;
}

#[tokio::test]
async fn what_is_no_registry_is_left_alone() {
    let site = Site::new().await;
    let file = site.directory().join("registry.sqlite");
    let text = "this is not a database, and longer than the header of one would be: ".repeat(10);
    fs::write(&file, &text).unwrap();
    let opened = open(&site, new_store(site.directory())).await.map(|_| ());
    assert!(matches!(opened, Err(OpenError::Damaged(_))), "{opened:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}
