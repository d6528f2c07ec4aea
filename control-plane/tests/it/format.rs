//! A registry of an earlier release stays readable, and one of a later release is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use thalweg_control_plane::OpenError;

use crate::site::Site;
use crate::world::{PASSWORD, World, new_store, open};

const USER: &str = "first@example.com";
const THING: &str = "11111111-1111-4111-8111-111111111111";
const DELETED_THING: &str = "22222222-2222-4222-8222-222222222222";
const CHANNEL: &str = "33333333-3333-4333-8333-333333333333";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// What the first release wrote: the admin; a user with a connected thing, a channel of day-wide buckets and a deleted
/// thing whose records were not purged yet; and beside it the key that the thing had then.
fn copy_of_version_1() -> (Arc<Site>, String) {
    let directory = tempfile::tempdir().unwrap();
    for file in ["registry.sqlite", "token-secret", "sealing-secret"] {
        fs::copy(fixture().join(file), directory.path().join(file)).unwrap();
    }
    let key = fs::read_to_string(fixture().join("thing-key")).unwrap();
    (Arc::new(Site::of(directory)), key.trim().to_owned())
}

#[tokio::test]
async fn a_registry_of_version_1_stays_readable() {
    let (site, key) = copy_of_version_1();
    let world = World::on(Arc::clone(&site), new_store(site.directory())).await;
    let token = world.token(USER, PASSWORD).await;
    let thing = world.get(&format!("/things/{THING}"), &token).await.is(200).json();
    assert_eq!(thing, json!({"id": THING, "name": "boiler", "key": key, "metadata": {"floor": 2}}));
    let channel = world.get(&format!("/channels/{CHANNEL}"), &token).await.is(200).json();
    assert_eq!((&channel["id"], &channel["name"]), (&json!(CHANNEL), &json!("cellar")));
    assert_eq!(world.access(CHANNEL, &key).await, 200);
    assert_eq!(world.get("/things", &token).await.json()["total"], 1);
    assert_eq!(world.get("/users", &world.admin).await.json()["total"], 2);
    let again = json!([{"id": DELETED_THING, "name": "again"}]);
    world.post("/things", &token, again).await.refused(409);
    world.thing(&token).await;
    assert_eq!(world.get("/things", &token).await.json()["total"], 2);
}

#[tokio::test]
async fn a_registry_of_a_newer_version_is_refused_and_left_alone() {
    let (site, _) = copy_of_version_1();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'what this build does not know', TRUE, x'00', 0)";
    site.execute(newer, &[]).await;
    let file = site.directory().join("registry.sqlite");
    let before = fs::read(&file).unwrap();
    let refused = open(&site, new_store(site.directory())).await.map(|_| ());
    let Err(OpenError::Newer(source)) = refused else { panic!("{refused:?}") };
    assert!(source.to_string().contains("newer build"), "{source}");
    assert_eq!(fs::read(&file).unwrap(), before);
}
