//! Policies: what admins grant and take away.

use serde_json::{Value, json};

use crate::world::{PASSWORD, World, new_id};

fn grant(subjects: &[&str], object: &str, policies: &[&str]) -> Value {
    json!({"subjects": subjects, "object": object, "policies": policies})
}

#[tokio::test]
async fn what_a_policy_grants_is_there_until_it_is_taken_away() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (thing, key) = world.thing(&ann.token).await;
    let path = format!("/things/{thing}");
    let add = async |body: Value| world.post("/policies", &world.admin, body).await;
    let take = async |body: Value| world.put("/policies", &world.admin, body).await;
    let read = grant(&[&bob.id], &thing, &["read"]);
    world.post("/policies", &ann.token, read.clone()).await.refused(403);
    assert_eq!(add(read.clone()).await.is(201).json(), json!({}));
    add(read.clone()).await.is(201);
    let shown = json!({"id": thing, "name": "thing"});
    assert_eq!(world.get(&path, &bob.token).await.is(200).json(), shown);
    assert_eq!(world.get("/things", &bob.token).await.json()["things"], json!([shown]));
    world.put(&path, &bob.token, json!({"name": "x"})).await.refused(403);
    add(grant(&[&bob.id], &thing, &["write"])).await.is(201);
    assert_eq!(world.get(&path, &bob.token).await.json()["key"], json!(key));
    world.put(&path, &bob.token, json!({"name": "x"})).await.is(200);
    world.delete(&path, &bob.token).await.refused(403);
    world.put("/policies", &ann.token, read.clone()).await.refused(403);
    take(read.clone()).await.has_no_body(204);
    take(read).await.has_no_body(204);
    world.get(&path, &bob.token).await.refused(404);
    assert_eq!(world.get("/things", &bob.token).await.json()["total"], 0);
    world.put(&path, &bob.token, json!({"name": "y"})).await.is(200);
    add(grant(&[&bob.id], &thing, &["delete"])).await.is(201);
    world.delete(&path, &bob.token).await.is(204);
}

#[tokio::test]
async fn membership_of_a_group_by_policy_is_membership() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (group, thing) = (world.group(&ann.token).await, world.thing(&ann.token).await.0);
    world.gather(&ann.token, &group, &[&thing]).await;
    let member = grant(&[&bob.id], &group, &["member"]);
    world.post("/policies", &world.admin, member.clone()).await.is(201);
    world.get(&format!("/things/{thing}"), &bob.token).await.is(200);
    world.put("/policies", &world.admin, member).await.is(204);
    world.get(&format!("/things/{thing}"), &bob.token).await.refused(404);
    let owner = grant(&[&ann.id], &group, &["member"]);
    world.put("/policies", &world.admin, owner).await.refused(409);
    world.get(&format!("/groups/{group}"), &ann.token).await.is(200);
}

#[tokio::test]
async fn admins_are_made_and_unmade_but_for_the_last() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let thing = world.thing(&ann.token).await.0;
    let member = grant(&[&bob.id], "authorities", &["member"]);
    world.post("/policies", &bob.token, member.clone()).await.refused(403);
    world.post("/policies", &world.admin, member.clone()).await.is(201);
    world.get(&format!("/things/{thing}"), &bob.token).await.is(200);
    let users = world.get("/users?email=admin", &world.admin).await.json();
    let admin = users["Users"][0]["id"].as_str().unwrap();
    let both = grant(&[&bob.id, admin], "authorities", &["member"]);
    world.put("/policies", &world.admin, both).await.refused(409);
    world.get(&format!("/things/{thing}"), &bob.token).await.is(200);
    world.put("/policies", &world.admin, member).await.is(204);
    world.get(&format!("/things/{thing}"), &bob.token).await.refused(404);
    world.post("/policies", &bob.token, grant(&[&bob.id], &thing, &["read"])).await.refused(403);
}

#[tokio::test]
async fn sign_up_is_closed_and_opened_by_policy() {
    let world = World::new().await;
    let user = world.user().await;
    let account = |name: &str| json!({"email": format!("{name}@example.com"), "password": PASSWORD});
    let everyone = grant(&["*"], "user", &["create"]);
    world.put("/policies", &world.admin, everyone.clone()).await.has_no_body(204);
    world.post("/users", "", account("late")).await.refused(401);
    world.post("/users", &user.token, account("late")).await.refused(403);
    world.post("/policies", &world.admin, grant(&[&user.id], "user", &["create"])).await.is(201);
    world.post("/users", &user.token, account("invited")).await.is(201);
    world.post("/policies", &world.admin, everyone).await.is(201);
    world.post("/users", "", account("late")).await.is(201);
}

#[tokio::test]
async fn only_what_is_predefined_is_accepted() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, group) = (world.thing(&world.admin).await.0, world.group(&world.admin).await);
    let (unknown, org) = (new_id(), world.org(&world.admin).await);
    let me: &[&str] = &[&user.id];
    for (body, status) in [
        (grant(me, &thing, &["custom-member"]), 400),
        (grant(me, &thing, &["member"]), 400),
        (grant(me, &thing, &["create"]), 400),
        (grant(me, &thing, &["read", "custom-member"]), 400),
        (grant(me, &thing, &["read", "member"]), 400),
        (grant(me, &group, &["read"]), 400),
        (grant(me, "authorities", &["read"]), 400),
        (grant(me, "users", &["create"]), 400),
        (grant(me, "user", &["member"]), 400),
        (grant(me, "everything", &["member"]), 400),
        (grant(&["*"], "authorities", &["member"]), 400),
        (grant(&["*"], &thing, &["read"]), 400),
        (grant(&["*"], &group, &["member"]), 400),
        (grant(&[], &thing, &["read"]), 400),
        (grant(me, &thing, &[]), 400),
        (grant(&["nobody"], &thing, &["read"]), 400),
        (grant(me, &unknown, &["read"]), 404),
        (grant(me, &org, &["read"]), 404),
        (grant(&[&unknown], &thing, &["read"]), 404),
        (grant(&[&user.id, &unknown], &thing, &["read"]), 404),
        (json!({"subjects": me, "policies": ["read"]}), 400),
        (json!([]), 400),
    ] {
        let refused = world.post("/policies", &world.admin, body).await.refused(status);
        if status == 404 {
            assert!(["object", "subjects"].contains(&refused["field"].as_str().unwrap()), "{refused}");
        }
    }
    let refused =
        world.post("/policies", &world.admin, grant(&[&user.id, &unknown], &thing, &["read"])).await;
    let refused = refused.refused(404);
    assert!(refused["error"].as_str().unwrap().contains(&unknown), "{refused}");
    world.get(&format!("/things/{thing}"), &user.token).await.refused(404);
    let many: Vec<String> = (0..501).map(|_| new_id()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = world.post("/policies", &world.admin, grant(&many, &thing, &["read", "write"])).await;
    assert_eq!(refused.refused(400)["code"], "too_many");
    world.post("/policies", "", grant(me, &thing, &["read"])).await.refused(401);
    world.post("/policies", &world.admin, grant(me, "users", &["member"])).await.is(201);
    world.put("/policies", &world.admin, grant(me, "users", &["member"])).await.is(204);
}
