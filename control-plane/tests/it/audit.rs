//! The audit: each change is told once, by the one who made it, to those who may know; a refused one is not.

use std::time::Instant;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{PASSWORD, User, World, median, new_id};

impl World {
    async fn audit(&self, token: &str, query: &str) -> Vec<Value> {
        let page = self.get(&format!("/audit?limit=1000&{query}"), token).await.is(200).json();
        assert!(page.get("next").is_none(), "more than a page");
        page["entries"].as_array().unwrap().clone()
    }

    /// What was done since there were so many entries: who, what, to what, with what, how. Oldest first.
    async fn deeds(&self, since: usize) -> Vec<[String; 5]> {
        let mut entries = self.audit(&self.admin, "").await;
        entries.reverse();
        let fields = ["user", "action", "entity", "other", "detail"];
        let deed = |entry: &Value| fields.map(|field| entry[field].as_str().unwrap_or_default().to_owned());
        entries[since..].iter().map(deed).collect()
    }

    async fn admin_id(&self) -> String {
        let page = self.get("/users?email=admin", &self.admin).await.json();
        page["Users"][0]["id"].as_str().unwrap().to_owned()
    }
}

fn deed(by: &str, action: &str, entity: &str, other: &str, detail: &str) -> [String; 5] {
    [by, action, entity, other, detail].map(str::to_owned)
}

#[tokio::test]
async fn each_change_is_told_once_by_who_made_it() {
    let world = World::new().await;
    let (ann, bob, admin) = (world.user().await, world.user().await, world.admin_id().await);
    let (a, b, t) = (ann.id.as_str(), bob.id.as_str(), ann.token.as_str());
    let mut wanted = vec![
        deed("", "user.create", &admin, "", ""),
        deed("", "user.create", a, "", ""),
        deed("", "user.create", b, "", ""),
    ];
    assert_eq!(world.deeds(0).await, wanted);

    world.put("/users", t, json!({"metadata": {"a": 1}})).await.is(200);
    wanted.push(deed(a, "user.update", a, "", "metadata"));
    let change = json!({"old_password": PASSWORD, "password": "another horse 7"});
    world.patch("/password", &bob.token, change).await.is(201);
    wanted.push(deed(b, "user.password", b, "", ""));

    let (thing, channel) = (world.thing(t).await.0, world.channel(t).await);
    world.put(&format!("/things/{thing}"), t, json!({"name": "x", "metadata": {}})).await.is(200);
    world.patch(&format!("/things/{thing}/key"), t, Value::Null).await.is(200);
    world.connect(t, &channel, &thing).await;
    world.connect(t, &channel, &thing).await;
    world.delete(&format!("/channels/{channel}/things/{thing}"), t).await.is(204);
    world.delete(&format!("/channels/{channel}/things/{thing}"), t).await.is(204);
    world.put(&format!("/channels/{channel}"), t, json!({"retention": "90d"})).await.is(200);
    wanted.extend([
        deed(a, "thing.create", &thing, "", ""),
        deed(a, "channel.create", &channel, "", ""),
        deed(a, "thing.update", &thing, "", "name"),
        deed(a, "thing.key", &thing, "", ""),
        deed(a, "thing.connect", &thing, &channel, ""),
        deed(a, "thing.disconnect", &thing, &channel, ""),
        deed(a, "channel.update", &channel, "", "retention"),
    ]);

    let (org, group) = (world.org(t).await, world.group(t).await);
    world.put(&format!("/orgs/{org}"), t, json!({"description": "d"})).await.is(200);
    world.put(&format!("/groups/{group}"), t, json!({})).await.is(200);
    world.gather(t, &group, &[&thing]).await;
    let members = json!({"members": [{"email": bob.email, "role": "viewer"}]});
    world.post(&format!("/orgs/{org}/members"), t, members).await.is(200);
    world.post(&format!("/orgs/{org}/groups"), t, json!({"group_ids": [group]})).await.is(200);
    world
        .request("DELETE", &format!("/orgs/{org}/members"), t, json!({"member_ids": [b, a]}))
        .await
        .refused(409);
    world
        .request("DELETE", &format!("/orgs/{org}/members"), t, json!({"member_ids": [b, new_id()]}))
        .await
        .is(204);
    world.request("DELETE", &format!("/orgs/{org}/groups"), t, json!({"group_ids": [group]})).await.is(204);
    world.scatter(t, &group, &[&thing, &new_id()]).await.is(204);
    wanted.extend([
        deed(a, "org.create", &org, "", ""),
        deed(a, "group.create", &group, "", ""),
        deed(a, "org.update", &org, "", "description"),
        deed(a, "group.assign", &group, &thing, "thing"),
        deed(a, "org.role", &org, b, "viewer"),
        deed(a, "org.group", &org, &group, ""),
        deed(a, "org.unassign", &org, b, ""),
        deed(a, "org.ungroup", &org, &group, ""),
        deed(a, "group.unassign", &group, &thing, "thing"),
    ]);

    let issued = world.post("/keys", t, json!({"type": 2})).await.is(201).json();
    let (key, value) = (issued["id"].as_str().unwrap(), issued["value"].as_str().unwrap());
    world.put(&format!("/things/{thing}"), value, json!({"name": "y"})).await.is(200);
    let by_key = &world.audit(&world.admin, "action=thing.update").await[0];
    assert_eq!((&by_key["user"], &by_key["key"]), (&json!(a), &json!(key)));
    world.delete(&format!("/keys/{key}"), t).await.is(204);
    for (object, policy) in [(thing.as_str(), "read"), (group.as_str(), "member"), ("authorities", "member")]
    {
        let policies = json!({"subjects": [b], "object": object, "policies": [policy]});
        for _ in 0..2 {
            world.post("/policies", &world.admin, policies.clone()).await.is(201);
        }
        world.put("/policies", &world.admin, policies.clone()).await.is(204);
        world.put("/policies", &world.admin, policies).await.is(204);
    }
    wanted.extend([
        deed(a, "key.issue", key, a, ""),
        deed(a, "thing.update", &thing, "", "name"),
        deed(a, "key.revoke", key, a, ""),
        deed(&admin, "policy.add", &thing, b, "read"),
        deed(&admin, "policy.take", &thing, b, "read"),
        deed(&admin, "policy.add", &group, b, "member"),
        deed(&admin, "policy.take", &group, b, "member"),
        deed(&admin, "policy.add", "", b, "member on authorities"),
        deed(&admin, "policy.take", "", b, "member on authorities"),
    ]);

    let webhooks = format!("/webhooks/{thing}");
    let hook = json!({"name": "w", "format": "json", "url": "https://a.example/"});
    world.post(&webhooks, t, hook).await.is(201);
    let made = world.get(&webhooks, t).await.is(200).json();
    let webhook = made["webhooks"][0]["id"].as_str().unwrap();
    let path = format!("{webhooks}/{webhook}");
    world.put(&path, t, json!({"name": "v"})).await.is(200);
    for what in ["disable", "enable", "secret", "replay"] {
        world.post(&format!("{path}/{what}"), t, Value::Null).await.is(200);
    }
    world.delete(&path, t).await.is(204);
    let deeds = ["create", "update", "disable", "enable", "secret", "replay", "delete"];
    wanted.extend(deeds.map(|what| deed(a, &format!("webhook.{what}"), &thing, webhook, "")));

    for path in [
        format!("/things/{thing}"),
        format!("/channels/{channel}"),
        format!("/groups/{group}"),
        format!("/orgs/{org}"),
    ] {
        world.delete(&path, t).await.is(204);
        world.delete(&path, t).await.refused(404);
    }
    world.delete(&format!("/users/{b}"), &world.admin).await.is(204);
    wanted.extend([
        deed(a, "thing.delete", &thing, "", ""),
        deed(a, "channel.delete", &channel, "", ""),
        deed(a, "group.delete", &group, "", ""),
        deed(a, "org.delete", &org, "", ""),
        deed(&admin, "user.delete", b, &admin, ""),
    ]);
    let told = world.deeds(0).await;
    for (index, (told, wanted)) in told.iter().zip(&wanted).enumerate() {
        assert_eq!(told, wanted, "entry {index}");
    }
    assert_eq!(told.len(), wanted.len());
}

#[tokio::test]
async fn what_is_refused_is_not_told() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let thing = world.thing(&ann.token).await.0;
    let group = world.group(&bob.token).await;
    let told = world.deeds(0).await.len();
    let taken = json!([{"name": "new"}, {"name": "taken", "id": thing}]);
    world.post("/things", &bob.token, taken).await.refused(409);
    world.put(&format!("/things/{thing}"), &bob.token, json!({"name": "x"})).await.refused(404);
    world.delete(&format!("/things/{thing}"), &bob.token).await.refused(404);
    let members = json!({"members": [bob.id, thing]});
    world.post(&format!("/groups/{group}/members"), &bob.token, members).await.refused(404);
    let account = json!({"email": ann.email, "password": PASSWORD});
    world.post("/users", "", account).await.refused(409);
    let grant = json!({"subjects": [ann.id, new_id()], "object": thing, "policies": ["read"]});
    world.post("/policies", &world.admin, grant).await.refused(404);
    let admins =
        json!({"subjects": [world.admin_id().await], "object": "authorities", "policies": ["member"]});
    world.put("/policies", &world.admin, admins).await.refused(409);
    world.delete(&format!("/keys/{}", new_id()), &ann.token).await.refused(404);
    assert_eq!(world.deeds(told).await, [[""; 5]; 0]);
}

#[tokio::test]
async fn entries_are_found_by_whatever_they_concern_and_page_by_page() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    for user in [&ann, &bob, &ann] {
        let things: Vec<Value> = (0..7).map(|i| json!({"name": format!("t{i}")})).collect();
        world.post("/things", &user.token, json!(things)).await.is(201);
    }
    let (thing, channel) = (world.thing(&ann.token).await.0, world.channel(&ann.token).await);
    world.connect(&ann.token, &channel, &thing).await;
    let admin = world.admin.as_str();
    let all = world.audit(admin, "").await;
    let whole =
        |keep: &dyn Fn(&Value) -> bool| all.iter().filter(|entry| keep(entry)).cloned().collect::<Vec<_>>();
    let (by_ann, by_bob) = (json!(ann.id), json!(bob.id));
    assert_eq!(
        world.audit(admin, &format!("user={}", ann.id)).await,
        whole(&|entry| entry["user"] == by_ann)
    );
    let query = format!("user={}&action=thing.create", bob.id);
    assert_eq!(world.audit(admin, &query).await, whole(&|entry| entry["user"] == by_bob));
    let concerned = world.audit(admin, &format!("entity={channel}")).await;
    let actions: Vec<&str> = concerned.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["thing.connect", "channel.create"]);
    assert_eq!(world.audit(admin, &format!("entity={channel}&user={}", bob.id)).await, [] as [Value; 0]);
    assert_eq!(world.audit(admin, "request=nobody-asked-this").await, [] as [Value; 0]);
    assert_eq!(world.audit(admin, "from=0&to=9000000001").await, all);
    assert_eq!(world.audit(admin, "to=1000").await, [] as [Value; 0]);
    assert_eq!(world.audit(admin, "from=9000000000").await, [] as [Value; 0]);

    for query in ["", &format!("user={}", ann.id), "action=thing.create"] {
        let whole = world.audit(admin, query).await;
        let (mut walked, mut next) = (Vec::new(), String::new());
        loop {
            let page = world.get(&format!("/audit?limit=4&{query}{next}"), admin).await.is(200).json();
            let entries = page["entries"].as_array().unwrap();
            assert!(entries.len() <= 4 && page["limit"] == 4);
            walked.extend(entries.clone());
            // What happens meanwhile is in front of the walk.
            world.channel(&bob.token).await;
            match page["next"].as_str() {
                Some(place) => next = format!("&next={place}"),
                None => break,
            }
        }
        assert_eq!(walked, whole, "{query}");
    }
    for query in [
        "user=x",
        "entity=1",
        "org=",
        "action=thing.burn",
        "from=yesterday",
        "to=1e99",
        "limit=0",
        "limit=1001",
        "next=x",
        "next=-1",
    ] {
        let field = query.split('=').next().unwrap();
        assert_eq!(
            world.get(&format!("/audit?{query}"), admin).await.refused(400)["field"],
            field,
            "{query}"
        );
    }
}

async fn org_of(world: &World, owner: &User, members: &[(&User, &str)]) -> String {
    let org = world.org(&owner.token).await;
    for (user, role) in members {
        let body = json!({"members": [{"email": user.email, "role": role}]});
        world.post(&format!("/orgs/{org}/members"), &owner.token, body).await.is(200);
    }
    org
}

#[tokio::test]
async fn who_decides_over_an_org_sees_what_was_done_in_it_while_it_was_in_it() {
    let world = World::new().await;
    let [ann, bob, eve, dan] =
        [world.user().await, world.user().await, world.user().await, world.user().await];
    let org = org_of(&world, &ann, &[(&bob, "admin"), (&eve, "editor")]).await;
    let other_org = org_of(&world, &dan, &[]).await;
    let (thing, group) = (world.thing(&ann.token).await.0, world.group(&ann.token).await);
    let rename = async |name: &str| {
        world.put(&format!("/things/{thing}"), &ann.token, json!({ "name": name })).await.is(200);
    };
    let share = json!({"group_ids": [group]});
    rename("before").await;
    world.gather(&ann.token, &group, &[&thing]).await;
    world.post(&format!("/orgs/{org}/groups"), &ann.token, share.clone()).await.is(200);
    rename("shared").await;
    world.put(&format!("/groups/{group}"), &ann.token, json!({"name": "shared"})).await.is(200);
    let grant = json!({"subjects": [dan.id], "object": thing, "policies": ["read"]});
    world.post("/policies", &world.admin, grant).await.is(201);
    world.request("DELETE", &format!("/orgs/{org}/groups"), &ann.token, share).await.is(204);
    rename("after").await;

    let query = format!("org={org}");
    let actions = async |token: &str| {
        let entries = world.audit(token, &query).await;
        entries.iter().rev().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let wanted = [
        "org.create",
        "org.role",
        "org.role",
        "org.group",
        "thing.update",
        "group.update",
        "policy.add",
        "org.ungroup",
    ];
    for token in [&ann.token, &bob.token, &world.admin] {
        assert_eq!(actions(token).await, wanted);
    }
    let refused =
        async |query: &str, token: &str| world.get(&format!("/audit?{query}"), token).await.status.as_u16();
    assert_eq!(refused(&query, &eve.token).await, 403, "an editor");
    assert_eq!(refused(&query, &dan.token).await, 404, "the owner of another org");
    assert_eq!(refused(&format!("org={other_org}"), &bob.token).await, 404);
    assert_eq!(refused(&format!("org={}", new_id()), &bob.token).await, 404);
    assert_eq!(refused("", &ann.token).await, 403, "all of it");
    assert_eq!(refused(&format!("user={}", ann.id), &ann.token).await, 403, "without an org");
    assert_eq!(refused(&query, "").await, 401);
    world.delete(&format!("/orgs/{org}"), &ann.token).await.is(204);
    assert_eq!(refused(&query, &bob.token).await, 404);
    assert_eq!(actions(&world.admin).await.last().unwrap(), "org.delete");
}

#[tokio::test]
async fn an_update_that_changes_nothing_moves_no_time_and_is_not_told() {
    let world = World::new().await;
    let user = world.user().await;
    let body = json!({"name": "n", "description": "d", "metadata": {"a": 1, "b": [1.5]}});
    let mut paths = Vec::new();
    for kind in ["orgs", "groups", "channels"] {
        let made = world.post(&format!("/{kind}"), &user.token, body.clone()).await.is(201);
        paths.push(made.header("location").to_owned());
    }
    let made = world.post("/things", &user.token, json!([body.clone()])).await.is(201).json();
    paths.push(format!("/things/{}", made["things"][0]["id"].as_str().unwrap()));
    paths.push("/users".to_owned());
    world.put("/users", &user.token, body.clone()).await.is(200);
    let seen = async || {
        let mut seen = vec![json!(world.audit(&world.admin, "").await.len())];
        for path in &paths {
            seen.push(world.get(path, &user.token).await.is(200).json());
        }
        let moved = "SELECT COUNT(*) FROM things t JOIN channels c ON TRUE JOIN users u ON TRUE
                     WHERE t.updated_at = t.created_at AND c.updated_at = c.created_at AND u.updated_at > u.created_at";
        seen.push(json!(world.site.count(moved).await));
        seen
    };
    let before = seen().await;
    assert_eq!(before.last(), Some(&json!(1)), "a thing, a channel, and the user who gave itself metadata");
    for same in [
        json!({}),
        json!({"name": null, "description": null, "metadata": null}),
        json!({"colour": "red", "id": new_id()}),
        body.clone(),
        json!({"metadata": {"b": [1.5], "a": 1}}),
    ] {
        for path in &paths {
            world.put(path, &user.token, same.clone()).await.has_no_body(200);
        }
        assert_eq!(seen().await, before, "{same}");
    }
    for path in &paths {
        world.put(path, &user.token, json!({"name": "m", "metadata": {"a": 1, "b": [1.5]}})).await.is(200);
    }
    let entries = world.audit(&world.admin, "").await;
    assert_eq!(json!(entries.len() - 4), before[0], "of a user nothing changed");
    assert!(entries[..4].iter().all(|entry| entry["detail"] == "name"), "{entries:?}");
}

#[tokio::test]
async fn what_is_too_old_is_forgotten() {
    let world = World::new().await;
    let user = world.user().await;
    world.thing(&user.token).await;
    let old = "UPDATE audit SET at = at - 401 * CAST(86400000000 AS BIGINT) WHERE deed <> 'thing.create'";
    assert_eq!(world.site.execute(old, &[]).await, 2);
    let stop = CancellationToken::new();
    let upkeep = tokio::spawn(world.app.clone().run(stop.clone()));
    let began = Instant::now();
    while world.deeds(0).await.len() > 1 {
        assert!(began.elapsed().as_secs() < 30, "it is still there");
        tokio::task::yield_now().await;
    }
    assert_eq!(world.deeds(0).await[0][1], "thing.create");
    assert_eq!(world.site.count("SELECT COUNT(*) FROM audit_concerns").await, 2, "the author and the thing");
    stop.cancel();
    upkeep.await.unwrap();
}

/// Ratios of medians of alternating rounds.
#[tokio::test]
async fn of_100_000_entries_the_last_page_costs_less_than_twice_the_first() {
    const ENTRIES: i64 = 100_000;
    let world = World::new().await;
    let user = world.user().await;
    // A second each, from the epoch on.
    let entries = "INSERT INTO audit (seq, at, user_id, deed)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
        SELECT 1000 + i, i * CAST(1000000 AS BIGINT), $1, 'thing.create' FROM n";
    assert_eq!(world.site.execute(entries, &[&user.id]).await as i64, ENTRIES);
    let concerns = "INSERT INTO audit_concerns (role, id, seq) SELECT 1, $1, seq FROM audit WHERE seq > 1000";
    world.site.execute(concerns, &[&user.id]).await;
    for query in ["to=99999".to_owned(), format!("user={}", user.id), "action=thing.create".to_owned()] {
        let mut costs = [const { Vec::new() }; 3];
        for _ in 0..101 {
            let places = [String::new(), format!("&next={}", 1_000 + ENTRIES / 2), "&next=1020".to_owned()];
            for (place, costs) in places.iter().zip(&mut costs) {
                let began = Instant::now();
                let page = world.get(&format!("/audit?{query}{place}"), &world.admin).await.is(200).json();
                costs.push(began.elapsed());
                assert_eq!(page["entries"].as_array().unwrap().len(), 10);
            }
        }
        let costs = costs.map(median);
        let times = costs.map(|cost| cost.as_secs_f64() / costs[0].as_secs_f64());
        println!("{query}: {times:.2?} times the first page, {costs:?}");
        assert!(times.iter().all(|times| *times < 2.0), "{query}: {times:.2?}");
    }
    // A window of long ago is no walk along all that came since.
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for _ in 0..101 {
        for (query, costs) in [("from=99900&to=99950", &mut near), ("from=100&to=150", &mut far)] {
            let began = Instant::now();
            let page = world.get(&format!("/audit?{query}"), &world.admin).await.is(200).json();
            costs.push(began.elapsed());
            assert_eq!(page["entries"].as_array().unwrap().len(), 10);
        }
    }
    let ratio = median(far).as_secs_f64() / median(near).as_secs_f64();
    println!("a window of long ago: {ratio:.2} times one of now");
    assert!(ratio < 2.0, "{ratio}");
}
