//! Orgs and groups: what is in them, and who may change that.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{ADMIN, Answer, PASSWORD, User, World, new_id};

fn id_of(created: &Answer, path: &str) -> String {
    created.header("location").strip_prefix(path).unwrap().to_owned()
}

impl World {
    pub(crate) async fn org(&self, token: &str) -> String {
        id_of(&self.post("/orgs", token, json!({"name": "org"})).await.has_no_body(201), "/orgs/")
    }

    pub(crate) async fn group(&self, token: &str) -> String {
        id_of(&self.post("/groups", token, json!({"name": "group"})).await.has_no_body(201), "/groups/")
    }

    /// Puts these things or users in a group.
    pub(crate) async fn gather(&self, token: &str, group: &str, members: &[&str]) {
        let path = format!("/groups/{group}/members");
        self.post(&path, token, json!({ "members": members })).await.has_no_body(200);
    }

    pub(crate) async fn scatter(&self, token: &str, group: &str, members: &[&str]) -> Answer {
        self.request("DELETE", &format!("/groups/{group}/members"), token, json!({ "members": members }))
            .await
    }

    async fn employ(&self, method: &str, token: &str, org: &str, user: &User, role: &str) -> Answer {
        let members = json!({"members": [{"email": user.email, "role": role}]});
        self.request(method, &format!("/orgs/{org}/members"), token, members).await
    }

    async fn dismiss(&self, token: &str, org: &str, user: &User) -> Answer {
        let path = format!("/orgs/{org}/members");
        self.request("DELETE", &path, token, json!({"member_ids": [user.id]})).await
    }

    async fn status(&self, path: &str, token: &str) -> u16 {
        self.get(path, token).await.status.as_u16()
    }

    /// An org with a group, and in it a thing; all of one user.
    async fn shop(&self, owner: &User) -> (String, String, String) {
        let (org, group) = (self.org(&owner.token).await, self.group(&owner.token).await);
        let (thing, _) = self.thing(&owner.token).await;
        self.gather(&owner.token, &group, &[&thing]).await;
        let path = format!("/orgs/{org}/groups");
        self.post(&path, &owner.token, json!({"group_ids": [group]})).await.has_no_body(200);
        (org, group, thing)
    }
}

fn ids(page: &Value, field: &str) -> BTreeSet<String> {
    page[field].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|&id| id.to_owned()).collect()
}

#[tokio::test]
async fn circles_are_created_shown_changed_and_deleted() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    for kind in ["orgs", "groups"] {
        let body = json!({"name": "Name", "description": "what\nfor", "metadata": {"a": 1}});
        let created = world.post(&format!("/{kind}"), &ann.token, body).await.has_no_body(201);
        let path = created.header("location").to_owned();
        let shown = world.get(&path, &ann.token).await.is(200).json();
        let time = shown["created_at"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == 24, "{time}");
        assert_eq!(
            shown,
            json!({
                "id": path.rsplit_once('/').unwrap().1, "name": "Name", "owner_id": ann.id, "description": "what\nfor",
                "metadata": {"a": 1}, "created_at": time, "updated_at": time,
            })
        );
        world.put(&path, &ann.token, json!({"name": "other", "metadata": {}})).await.has_no_body(200);
        let shown = world.get(&path, &ann.token).await.is(200).json();
        let texts = [&shown["name"], &shown["description"], &shown["metadata"], &shown["created_at"]];
        assert_eq!(texts, [&json!("other"), &json!("what\nfor"), &Value::Null, &json!(time)]);
        for (field, value) in [
            ("name", json!(5)),
            ("name", json!("")),
            ("name", json!("a\nb")),
            ("description", json!("\0")),
            ("description", json!("x".repeat(4_097))),
            ("metadata", json!([])),
        ] {
            let mut body = json!({});
            body[field] = value;
            let refused = world.post(&format!("/{kind}"), &ann.token, body.clone()).await.refused(400);
            assert_eq!(refused["field"], field);
            assert_eq!(world.put(&path, &ann.token, body).await.refused(400)["field"], field);
        }

        let nameless =
            world.post(&format!("/{kind}"), &ann.token, json!({"metadata": {}})).await.refused(400);
        assert_eq!(nameless["field"], "name");

        world.get(&path, &bob.token).await.refused(404);
        world.put(&path, &bob.token, json!({})).await.refused(404);
        world.delete(&path, &bob.token).await.refused(404);
        world.get(&path, "").await.refused(401);
        let page = world.get(&format!("/{kind}?name=OTH"), &ann.token).await.is(200).json();
        assert_eq!((&page["total"], &page["name"]), (&json!(1), &json!("OTH")));
        let page = world.get(&format!("/{kind}"), &bob.token).await.is(200).json();
        assert_eq!(page, json!({"total": 0, "offset": 0, "limit": 10, "name": "", (kind): []}));
        assert_eq!(world.get(&format!("/{kind}"), &world.admin).await.json()["total"], 1);
        world.delete(&path, &ann.token).await.has_no_body(204);
        world.delete(&path, &ann.token).await.refused(404);
        assert_eq!(world.get(&format!("/{kind}"), &world.admin).await.json()["total"], 0);
    }
}

#[tokio::test]
async fn things_and_users_come_into_a_group_and_out_of_it() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let group = world.group(&ann.token).await;
    let (thing, key) = world.thing(&ann.token).await;
    let (other, _) = world.thing(&ann.token).await;
    let path = format!("/groups/{group}/members");
    world.gather(&ann.token, &group, &[&thing, &bob.id, &other]).await;
    let page = world.get(&format!("{path}?limit=1"), &ann.token).await.is(200).json();
    let shown = json!({"id": thing, "name": "thing", "key": key});
    assert_eq!(page, json!({"total": 2, "offset": 0, "limit": 1, "name": "", "members": [shown]}));
    let page = world.get(&format!("{path}?type=users"), &bob.token).await.is(200).json();
    let users = [json!({"id": ann.id, "email": ann.email}), json!({"id": bob.id, "email": bob.email})];
    assert_eq!(page, json!({"total": 2, "offset": 0, "limit": 10, "name": "", "members": users}));
    assert_eq!(world.get(&format!("{path}?type=dogs"), &ann.token).await.refused(400)["field"], "type");
    let page = world.get(&format!("/things/{thing}/groups"), &bob.token).await.is(200).json();
    assert_eq!(ids(&page, "groups"), set(&[&group]));

    let assign = async |token: &str, body: Value| world.post(&path, token, body).await;
    assign(&ann.token, json!({"members": [thing]})).await.refused(409);
    assign(&ann.token, json!({"members": [new_id()]})).await.refused(404);
    assign(&ann.token, json!({"members": [bob.id], "type": "things"})).await.refused(404);
    assign(&ann.token, json!({"members": [other], "type": "users"})).await.refused(404);
    assign(&ann.token, json!({"members": ["x"]})).await.refused(400);
    assign(&ann.token, json!({"members": [thing], "type": "x"})).await.refused(400);
    assign(&ann.token, json!({"members": []})).await.refused(400);
    assign(&bob.token, json!({"members": [new_id()]})).await.refused(403);
    let (third, _) = world.thing(&ann.token).await;
    assign(&ann.token, json!({"members": [third, new_id()]})).await.refused(404);
    assert_eq!(world.get(&path, &ann.token).await.json()["total"], 2, "all or none");

    world.scatter(&bob.token, &group, &[&thing]).await.refused(403);
    world.scatter(&ann.token, &group, &[&ann.id]).await.refused(409);
    world.scatter(&ann.token, &group, &[&thing, &new_id()]).await.has_no_body(204);
    assert_eq!(ids(&world.get(&path, &bob.token).await.json(), "members"), set(&[&other]));
    world.scatter(&ann.token, &group, &[&bob.id]).await.has_no_body(204);
    world.get(&path, &bob.token).await.refused(404);
    world.get(&format!("/things/{other}"), &bob.token).await.refused(404);
}

#[tokio::test]
async fn a_groups_members_reach_its_things_and_nobody_elses() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (group, thing) = (world.group(&ann.token).await, world.thing(&ann.token).await.0);
    let own = world.thing(&bob.token).await.0;
    let path = format!("/things/{thing}");
    world.gather(&ann.token, &group, &[&thing, &bob.id]).await;
    assert_eq!(ids(&world.get("/things", &bob.token).await.json(), "things"), set(&[&thing, &own]));
    assert!(world.get(&path, &bob.token).await.is(200).json()["key"].is_string());
    let channel = world.channel(&bob.token).await;
    world.connect(&bob.token, &channel, &thing).await;
    world.get(&format!("/users/{}", ann.id), &bob.token).await.is(200);
    assert_eq!(world.get("/users", &bob.token).await.json()["total"], 2);

    world.scatter(&ann.token, &group, &[&bob.id]).await.has_no_body(204);
    world.get(&path, &bob.token).await.refused(404);
    world.put(&path, &bob.token, json!({"name": "x"})).await.refused(404);
    world.delete(&path, &bob.token).await.refused(404);
    world.get(&format!("/users/{}", ann.id), &bob.token).await.refused(404);
    let again = json!({"channel_ids": [channel], "thing_ids": [thing]});
    world.post("/connect", &bob.token, again).await.refused(404);
    assert_eq!(ids(&world.get("/things", &bob.token).await.json(), "things"), set(&[&own]));

    world.gather(&ann.token, &group, &[&bob.id]).await;
    world.delete(&path, &bob.token).await.has_no_body(204);
    let members = world.get(&format!("/groups/{group}/members"), &ann.token).await.is(200).json();
    assert_eq!(members["total"], 0, "a deleted thing is in no group");
    world.delete(&format!("/groups/{group}"), &bob.token).await.refused(403);
    world.delete(&format!("/groups/{group}"), &ann.token).await.has_no_body(204);
    assert_eq!(world.get("/users", &bob.token).await.json()["total"], 1);
}

#[tokio::test]
async fn an_owner_takes_its_thing_out_of_whatever_group_it_was_put_in() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (group, thing) = (world.group(&ann.token).await, world.thing(&ann.token).await.0);
    world.gather(&ann.token, &group, &[&thing, &bob.id]).await;
    let far = world.group(&bob.token).await;
    let own = world.thing(&bob.token).await.0;
    world.gather(&bob.token, &far, &[&thing, &own]).await;
    world.scatter(&ann.token, &group, &[&bob.id]).await.has_no_body(204);
    assert_eq!(world.status(&format!("/things/{thing}"), &bob.token).await, 200, "by the group of its own");

    let page = world.get(&format!("/things/{thing}/groups"), &ann.token).await.is(200).json();
    assert_eq!(ids(&page, "groups"), set(&[&group, &far]));
    world.scatter(&ann.token, &far, &[&thing, &own]).await.refused(404);
    world.scatter(&ann.token, &far, &[&own]).await.refused(404);
    world.scatter(&ann.token, &far, &[&bob.id]).await.refused(404);
    world.scatter(&ann.token, &far, &[&thing]).await.has_no_body(204);
    assert_eq!(world.status(&format!("/things/{thing}"), &bob.token).await, 404);
    world.scatter(&ann.token, &far, &[&thing]).await.refused(404);
}

#[tokio::test]
async fn nobody_pulls_in_what_is_not_its_own() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (org, group, thing) = world.shop(&ann).await;
    let own_group = world.group(&bob.token).await;
    let own_org = world.org(&bob.token).await;
    let members = format!("/groups/{own_group}/members");
    world.post(&members, &bob.token, json!({"members": [thing]})).await.refused(404);
    let groups = format!("/orgs/{own_org}/groups");
    world.post(&groups, &bob.token, json!({"group_ids": [group]})).await.refused(404);
    world.employ("POST", &ann.token, &org, &bob, "viewer").await.is(200);
    world.post(&members, &bob.token, json!({"members": [thing]})).await.refused(403);
    world.post(&groups, &bob.token, json!({"group_ids": [group]})).await.refused(403);
    world.post(&groups, &bob.token, json!({"group_ids": [own_group, group]})).await.refused(403);
    assert_eq!(world.get(&groups, &bob.token).await.json()["total"], 0);
}

#[tokio::test]
async fn a_role_reaches_as_far_as_it_should_and_ends_at_once() {
    let world = World::new().await;
    let (ann, bob, cid) = (world.user().await, world.user().await, world.user().await);
    let (org, group, thing) = world.shop(&ann).await;
    let own_group = world.group(&bob.token).await;
    let (org_path, thing_path) = (format!("/orgs/{org}"), format!("/things/{thing}"));
    let groups_path = format!("/orgs/{org}/groups");
    world.employ("POST", &ann.token, &org, &bob, "viewer").await.has_no_body(200);
    for (role, writes, assigns, manages) in
        [("viewer", 403, 403, 403), ("editor", 200, 200, 403), ("admin", 200, 200, 200)]
    {
        world.employ("PUT", &ann.token, &org, &bob, role).await.has_no_body(200);
        let shown = world.get(&thing_path, &bob.token).await.is(200).json();
        assert_eq!(shown.get("key").is_some(), writes == 200, "{role}");
        let listed = world.get("/things", &bob.token).await.is(200).json();
        assert_eq!(listed["things"][0].get("key").is_some(), writes == 200, "{role}");
        world.put(&thing_path, &bob.token, json!({"name": role})).await.is(writes);
        world.delete(&thing_path, &bob.token).await.refused(403);
        world.get(&format!("/groups/{group}"), &bob.token).await.is(200);
        world.put(&format!("/groups/{group}"), &bob.token, json!({})).await.refused(403);
        assert_eq!(world.get(&groups_path, &bob.token).await.is(200).json()["total"], 1);
        world.post(&groups_path, &bob.token, json!({"group_ids": [own_group]})).await.is(assigns);
        let taken =
            world.request("DELETE", &groups_path, &bob.token, json!({"group_ids": [own_group]})).await;
        assert_eq!(taken.status.as_u16(), if assigns == 200 { 204 } else { 403 }, "{role}");
        world.put(&org_path, &bob.token, json!({"description": role})).await.is(manages);
        world.employ("POST", &bob.token, &org, &cid, "viewer").await.is(manages);
        world.employ("PUT", &bob.token, &org, &ann, "viewer").await.is(if manages == 200 {
            409
        } else {
            403
        });
        world.delete(&org_path, &bob.token).await.refused(403);
    }
    let members = world.get(&format!("{org_path}/members"), &cid.token).await.is(200).json();
    let roles: Vec<[&Value; 2]> =
        members["members"].as_array().unwrap().iter().map(|one| [&one["email"], &one["role"]]).collect();
    let wanted = [(&ann, "owner"), (&bob, "admin"), (&cid, "viewer")];
    let wanted = wanted.map(|(user, role)| [json!(user.email), json!(role)]);
    assert_eq!(roles, wanted.each_ref().map(|one| one.each_ref()));
    let page = world.get(&format!("/members/{}/orgs", bob.id), &cid.token).await.is(200).json();
    assert_eq!(ids(&page, "orgs"), set(&[&org]));

    world.dismiss(&bob.token, &org, &ann).await.refused(409);
    world.dismiss(&ann.token, &org, &bob).await.has_no_body(204);
    world.dismiss(&ann.token, &org, &bob).await.has_no_body(204);
    for path in [&org_path, &thing_path, &groups_path, &format!("/groups/{group}")] {
        world.get(path, &bob.token).await.refused(404);
    }
    world.put(&thing_path, &bob.token, json!({"name": "x"})).await.refused(404);
    assert_eq!(world.get("/orgs", &bob.token).await.json()["total"], 0);
    assert_eq!(world.get("/things", &bob.token).await.json()["total"], 0);
    world.get(&format!("/members/{}/orgs", ann.id), &bob.token).await.refused(404);

    assert_eq!(world.status(&thing_path, &cid.token).await, 200);
    world.delete(&org_path, &ann.token).await.has_no_body(204);
    assert_eq!(world.status(&thing_path, &cid.token).await, 404);
    assert_eq!(world.status(&format!("/groups/{group}"), &ann.token).await, 200, "the group is still there");
}

#[tokio::test]
async fn who_or_what_is_unknown_is_named_by_field_and_id() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (org, group) = (world.org(&ann.token).await, world.group(&ann.token).await);
    let (mine, foreign) = (world.thing(&ann.token).await.0, world.thing(&bob.token).await.0);
    let (nobody, foreign_group) = (new_id(), world.group(&bob.token).await);
    let (members, groups) = (format!("/groups/{group}/members"), format!("/orgs/{org}/groups"));
    for (path, body, field, named) in [
        (&members, json!({"members": [mine, foreign]}), "members", &foreign),
        (&members, json!({"members": [mine, nobody]}), "members", &nobody),
        (&members, json!({"members": [bob.id, nobody], "type": "users"}), "members", &nobody),
        (&groups, json!({"group_ids": [group, foreign_group]}), "group_ids", &foreign_group),
        (&groups, json!({"group_ids": [group, nobody]}), "group_ids", &nobody),
    ] {
        let refused = world.post(path, &ann.token, body).await.refused(404);
        assert_eq!(refused["field"], field, "{refused}");
        assert!(refused["error"].as_str().unwrap().contains(named.as_str()), "{refused}: {named}");
    }
    let many: Vec<Value> = vec![json!({"email": bob.email, "role": "viewer"}); 1_001];
    for members in [json!([]), json!(many), json!([5]), json!("x"), Value::Null] {
        let body = json!({"members": members});
        let refused = world.post(&format!("/orgs/{org}/members"), &ann.token, body).await.refused(400);
        assert_eq!(refused["field"], "members", "{refused}");
    }
    let refused = world.post(&members, &ann.token, json!({"members": [mine, 5]})).await.refused(400);
    assert_eq!((&refused["field"], &refused["record"]), (&json!("members"), &json!(1)));
}

#[tokio::test]
async fn users_in_a_list_are_found_by_email_or_name_which_is_the_same() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (org, group) = (world.org(&ann.token).await, world.group(&ann.token).await);
    let body = json!({"members": [{"email": bob.email, "role": "viewer"}]});
    world.post(&format!("/orgs/{org}/members"), &ann.token, body).await.is(200);
    world.gather(&ann.token, &group, &[&bob.id]).await;
    let part = bob.email.split_once('@').unwrap().0.to_uppercase();
    let lists = [
        (format!("/orgs/{org}/members?"), "members"),
        (format!("/groups/{group}/members?type=users&"), "members"),
        ("/users?".to_owned(), "Users"),
    ];
    for (list, field) in &lists {
        let found = async |query: &str| {
            let page = world.get(&format!("{list}{query}"), &ann.token).await.is(200).json();
            if *field == "members" && !query.is_empty() && !query.starts_with("order") {
                assert_eq!(
                    page["name"],
                    query.split_once('=').unwrap().1.trim_end_matches('&'),
                    "{list}{query}"
                );
            }
            page[field].as_array().unwrap().iter().map(|user| user["email"].to_string()).collect::<Vec<_>>()
        };
        for filter in ["name", "email"] {
            assert_eq!(found(&format!("{filter}={part}")).await, [json!(bob.email).to_string()], "{list}");
            assert_eq!(found(&format!("{filter}=")).await.len(), 2, "{list}");
            assert_eq!(found(&format!("{filter}=nobody-like-this")).await, [""; 0], "{list}");
            assert!(found(&format!("order={filter}")).await.is_sorted(), "{list}");
        }
        let both = world.get(&format!("{list}name=a&email=a"), &ann.token).await.refused(400);
        assert_eq!(both["field"], "name");
    }
}

#[tokio::test]
async fn members_of_an_org_are_changed_all_or_none() {
    let world = World::new().await;
    let (ann, bob, cid) = (world.user().await, world.user().await, world.user().await);
    let org = world.org(&ann.token).await;
    let path = format!("/orgs/{org}/members");
    let pair = |email: &str, role: &str| json!({"email": email, "role": role});
    for (members, status, record) in [
        (json!([pair(&bob.email, "viewer"), pair("nobody@example.com", "viewer")]), 404, json!(1)),
        (json!([pair(&bob.email, "viewer"), pair("\0", "viewer")]), 404, json!(1)),
        (json!([pair(&bob.email, "viewer"), pair(&ann.email, "viewer")]), 409, json!(1)),
        (json!([pair(&bob.email, "viewer"), pair(&bob.email.to_uppercase(), "viewer")]), 400, json!(1)),
        (json!([pair(&bob.email, "king")]), 400, json!(0)),
        (json!([pair(&bob.email, "owner")]), 400, json!(0)),
        (json!([{"email": bob.email}]), 400, json!(0)),
        (json!([{"role": "viewer"}]), 400, json!(0)),
        (json!([]), 400, Value::Null),
        (json!("x"), 400, Value::Null),
        (Value::Null, 400, Value::Null),
    ] {
        let refused = world.post(&path, &ann.token, json!({ "members": members })).await.refused(status);
        assert_eq!(refused["record"], record, "{members}");
    }
    assert_eq!(world.get(&path, &ann.token).await.json()["total"], 1);
    let both = json!({"members": [pair(&bob.email.to_uppercase(), "viewer"), pair(&cid.email, "editor")]});
    world.post(&path, &ann.token, both.clone()).await.has_no_body(200);
    world.post(&path, &ann.token, both).await.refused(409);
    let mixed = json!({"members": [pair(&bob.email, "admin"), pair(ADMIN, "viewer")]});
    world.put(&path, &ann.token, mixed).await.refused(404);
    let page = world.get(&format!("{path}?email={}", bob.email), &ann.token).await.is(200).json();
    assert_eq!(page["members"], json!([{"id": bob.id, "email": bob.email, "role": "viewer"}]));
}

#[tokio::test]
async fn who_owns_a_group_takes_it_out_of_an_org_that_it_left() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (org, group, _) = world.shop(&ann).await;
    let own = world.group(&bob.token).await;
    let path = format!("/orgs/{org}/groups");
    world.employ("POST", &ann.token, &org, &bob, "editor").await.is(200);
    world.post(&path, &bob.token, json!({"group_ids": [own]})).await.is(200);
    world.post(&path, &bob.token, json!({"group_ids": [own]})).await.refused(409);
    world.dismiss(&ann.token, &org, &bob).await.is(204);
    assert_eq!(world.status(&format!("/groups/{own}"), &ann.token).await, 200);
    let take =
        async |ids: &[&str]| world.request("DELETE", &path, &bob.token, json!({"group_ids": ids})).await;
    take(&[&own, &group]).await.refused(404);
    take(&[&own]).await.has_no_body(204);
    take(&[&own]).await.refused(404);
    assert_eq!(world.status(&format!("/groups/{own}"), &ann.token).await, 404);
}

#[tokio::test]
async fn a_deleted_user_leaves_what_it_owned_to_the_admin_and_nothing_else() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let admin = world.get("/users?email=admin", &world.admin).await.json()["Users"][0]["id"].clone();
    let (org, group, thing) = world.shop(&ann).await;
    let own = world.thing(&world.admin).await.0;
    let channel = world.channel(&ann.token).await;
    world.employ("POST", &ann.token, &org, &bob, "viewer").await.is(200);
    let foreign = world.group(&bob.token).await;
    world.gather(&bob.token, &foreign, &[&ann.id]).await;
    let policy = json!({"subjects": [ann.id], "object": own, "policies": ["read"]});
    world.post("/policies", &world.admin, policy).await.is(201);
    let policy = json!({"subjects": [ann.id], "object": "authorities", "policies": ["member"]});
    world.post("/policies", &world.admin, policy).await.is(201);
    let key = world.post("/keys", &ann.token, json!({"type": 2})).await.is(201).json();
    let path = format!("/users/{}", ann.id);
    world.delete(&path, &bob.token).await.refused(403);
    world.delete(&path, &ann.token).await.refused(409);
    world.delete(&path, &world.admin).await.has_no_body(204);
    world.delete(&path, &world.admin).await.refused(404);

    for token in [ann.token.as_str(), key["value"].as_str().unwrap()] {
        assert_eq!(world.status("/things", token).await, 401);
    }
    assert_eq!(world.log_in(&ann.email, PASSWORD, None).await.status, StatusCode::UNAUTHORIZED);
    for circle in [format!("/orgs/{org}"), format!("/groups/{group}")] {
        assert_eq!(world.get(&circle, &world.admin).await.is(200).json()["owner_id"], admin);
    }
    let members = world.get(&format!("/orgs/{org}/members"), &bob.token).await.is(200).json();
    let roles: BTreeSet<&str> =
        members["members"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
    assert_eq!(roles, BTreeSet::from(["owner", "viewer"]));
    let users = world.get(&format!("/groups/{foreign}/members?type=users"), &bob.token).await.json();
    assert_eq!(users["total"], 1);
    let listed = world.get("/things", &world.admin).await.json();
    assert_eq!((&listed["total"], ids(&listed, "things")), (&json!(2), set(&[&thing, &own])));
    for (table, left) in [
        ("SELECT COUNT(*) FROM api_keys", 0),
        ("SELECT COUNT(*) FROM thing_policies", 0),
        ("SELECT COUNT(*) FROM policies", 2),
        (
            "SELECT COUNT(*) FROM things t JOIN users u ON u.id = t.owner_id WHERE u.email_folded = 'admin@example.com'",
            2,
        ),
        (
            "SELECT COUNT(*) FROM channels c JOIN users u ON u.id = c.owner_id WHERE u.email_folded = 'admin@example.com'",
            1,
        ),
        (
            "SELECT CAST(SUM(l.live) AS BIGINT) FROM list_chunks l JOIN users u ON u.id = l.scope WHERE u.email_folded = 'admin@example.com'",
            3,
        ),
        ("SELECT CAST(SUM(live) AS BIGINT) FROM list_chunks WHERE kind = 1", 2),
        ("SELECT COUNT(DISTINCT scope) FROM list_chunks WHERE kind IN (2, 3)", 2),
    ] {
        assert_eq!(world.site.count(table).await, left, "{table}");
    }
    // The admin's own lists go on from there.
    world.thing(&world.admin).await;
    world.delete(&format!("/channels/{channel}"), &world.admin).await.is(204);
    world.delete(&format!("/things/{thing}"), &world.admin).await.is(204);
    let again = json!({"email": ann.email, "password": PASSWORD});
    world.post("/users", "", again).await.is(201);
}

#[tokio::test]
async fn what_is_deleted_leaves_no_row_behind() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let (org, group, thing) = world.shop(&ann).await;
    world.employ("POST", &ann.token, &org, &bob, "admin").await.is(200);
    world.gather(&ann.token, &group, &[&bob.id]).await;
    let policy = json!({"subjects": [bob.id], "object": thing, "policies": ["read", "write", "delete"]});
    world.post("/policies", &world.admin, policy).await.is(201);
    world.delete(&format!("/orgs/{org}"), &ann.token).await.is(204);
    assert_eq!(world.site.count("SELECT COUNT(*) FROM org_members").await, 0);
    assert_eq!(world.site.count("SELECT COUNT(*) FROM org_groups").await, 0);
    world.delete(&format!("/things/{thing}"), &ann.token).await.is(204);
    assert_eq!(world.site.count("SELECT COUNT(*) FROM group_things").await, 0);
    assert_eq!(world.site.count("SELECT COUNT(*) FROM thing_policies").await, 0);
    world.delete(&format!("/groups/{group}"), &ann.token).await.is(204);
    assert_eq!(world.site.count("SELECT COUNT(*) FROM group_users").await, 0);
}
