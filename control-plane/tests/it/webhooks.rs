//! Webhooks of things: creating, showing, changing, deleting, and who may.

use serde_json::{Value, json};

use crate::world::{World, new_id};

fn hook(name: &str, url: &str) -> Value {
    json!({"name": name, "format": "json", "url": url})
}

async fn list(world: &World, thing: &str, token: &str) -> Vec<Value> {
    let list = world.get(&format!("/webhooks/{thing}"), token).await.is(200).json();
    assert_eq!(list.as_object().unwrap().len(), 1);
    list["webhooks"].as_array().unwrap().clone()
}

/// A thing with one webhook: the thing's id and the webhook's path.
async fn with_webhook(world: &World, token: &str) -> (String, String) {
    let (thing, _) = world.thing(token).await;
    let path = format!("/webhooks/{thing}");
    world.post(&path, token, hook("one", "https://a.example/x")).await.has_no_body(201);
    let id = list(world, &thing, token).await[0]["id"].as_str().unwrap().to_owned();
    (thing, format!("{path}/{id}"))
}

#[tokio::test]
async fn webhooks_are_created_listed_and_shown_to_the_owner() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, _) = world.thing(&user.token).await;
    let path = format!("/webhooks/{thing}");
    assert_eq!(list(&world, &thing, &user.token).await, Vec::<Value>::new());
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let second = json!({"name": "Test2", "format": "senml", "url": "https://api.test2.com/", "secret": secret, "x": 1});
    let created =
        world.post(&path, &user.token, json!([hook("Test", "https://api.test.com/"), second])).await;
    assert_eq!(created.header("strict-transport-security"), "max-age=63072000; includeSubdomains");
    created.has_no_body(201);
    let listed = list(&world, &thing, &user.token).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["secret"], secret);
    let made = listed[0]["secret"].as_str().unwrap();
    assert!(made.starts_with("whsec_") && made.len() == 6 + 44, "{made}");
    let wanted = json!({"thing_id": thing, "name": "Test", "format": "json", "url": "https://api.test.com/",
                        "id": listed[0]["id"], "secret": made});
    assert_eq!(listed[0], wanted);
    let shown =
        world.get(&format!("{path}/{}", listed[0]["id"].as_str().unwrap()), &user.token).await.is(200);
    let shown = shown.json();
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&shown[field], value);
    }
    assert_eq!((&shown["enabled"], &shown["status"]), (&json!(true), &json!("ok")));
    let counters = json!({"attempts": 0, "delivered": 0, "failed": 0, "pending": 0, "expired": 0, "replayable": 0,
                          "dropped": 0});
    assert_eq!(shown["counters"], counters);
}

#[tokio::test]
async fn several_are_created_all_or_none_and_a_thing_has_so_many() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, _) = world.thing(&user.token).await;
    let path = format!("/webhooks/{thing}");
    let good = hook("good", "https://a.example/");
    for (bad, field) in [
        (json!({"format": "json", "url": "https://a.example/"}), "name"),
        (json!({"name": "", "format": "json", "url": "https://a.example/"}), "name"),
        (json!({"name": "x", "format": "xml", "url": "https://a.example/"}), "format"),
        (json!({"name": "x", "url": "https://a.example/"}), "format"),
        (json!({"name": "x", "format": "json"}), "url"),
        (hook("x", "not a url"), "url"),
        (hook("x", "http://a.example/"), "url"),
        (hook("x", &format!("https://a.example/{}", "x".repeat(2_048))), "url"),
        (
            json!({"name": "x", "format": "json", "url": "https://a.example/", "secret": "whsec_short"}),
            "secret",
        ),
        (json!({"name": "x", "format": "json", "url": "https://a.example/", "secret": 5}), "secret"),
    ] {
        let refused = world.post(&path, &user.token, json!([good, bad])).await.refused(400);
        assert_eq!((&refused["record"], &refused["field"]), (&json!(1), &json!(field)), "{refused}");
    }
    assert!(list(&world, &thing, &user.token).await.is_empty());
    world.post(&path, &user.token, json!(vec![good.clone(); 19])).await.is(201);
    let refused = world.post(&path, &user.token, json!([good, good])).await.refused(409);
    assert_eq!(refused["code"], "too_many");
    world.post(&path, &user.token, good).await.is(201);
    assert_eq!(list(&world, &thing, &user.token).await.len(), 20);
}

#[tokio::test]
async fn webhooks_are_changed_disabled_and_deleted() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, path) = with_webhook(&world, &user.token).await;
    let change = json!({"name": "another", "format": "senml", "url": "https://b.example/"});
    world.put(&path, &user.token, change.clone()).await.has_no_body(200);
    let shown = world.get(&path, &user.token).await.is(200).json();
    for (field, value) in change.as_object().unwrap() {
        assert_eq!(&shown[field], value);
    }
    world.put(&path, &user.token, json!({"name": "third"})).await.is(200);
    world.put(&path, &user.token, json!({"url": "ftp://b.example/"})).await.refused(400);
    let shown = world.get(&path, &user.token).await.json();
    assert_eq!((&shown["name"], &shown["url"]), (&json!("third"), &json!("https://b.example/")));

    world.post(&format!("{path}/disable"), &user.token, Value::Null).await.has_no_body(200);
    let shown = world.get(&path, &user.token).await.json();
    let seen = [&shown["enabled"], &shown["status"], &shown["disabled_reason"]];
    assert_eq!(seen, [&json!(false), &json!("disabled"), &json!("by_owner")]);
    world.post(&format!("{path}/enable"), &user.token, Value::Null).await.has_no_body(200);
    assert_eq!(world.get(&path, &user.token).await.json()["enabled"], true);

    world.delete(&path, &user.token).await.has_no_body(204);
    world.get(&path, &user.token).await.refused(404);
    for (method, end) in [
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", "/enable"),
        ("POST", "/disable"),
        ("POST", "/secret"),
        ("POST", "/test"),
        ("GET", "/deliveries"),
        ("POST", "/replay"),
    ] {
        let body = if method == "PUT" { json!({"name": "x"}) } else { Value::Null };
        world.request(method, &format!("{path}{end}"), &user.token, body).await.refused(404);
    }
    assert!(list(&world, &thing, &user.token).await.is_empty());
}

#[tokio::test]
async fn only_the_owner_and_admins_have_to_do_with_them() {
    let world = World::new().await;
    let [owner, reader, stranger] = [world.user().await, world.user().await, world.user().await];
    let (thing, path) = with_webhook(&world, &owner.token).await;
    let policy = json!({"subjects": [reader.id], "policies": ["read", "write", "delete"], "object": thing});
    world.post("/policies", &world.admin, policy).await.is(201);
    let all = format!("/webhooks/{thing}");
    let requests = [
        ("POST", all.clone(), hook("x", "https://a.example/")),
        ("GET", all, Value::Null),
        ("GET", path.clone(), Value::Null),
        ("PUT", path.clone(), json!({"name": "x"})),
        ("POST", format!("{path}/secret"), Value::Null),
        ("POST", format!("{path}/test"), Value::Null),
        ("GET", format!("{path}/deliveries"), Value::Null),
        ("POST", format!("{path}/replay"), Value::Null),
        ("DELETE", path.clone(), Value::Null),
    ];
    for (method, path, body) in requests {
        world.request(method, &path, &reader.token, body.clone()).await.refused(403);
        world.request(method, &path, &stranger.token, body.clone()).await.refused(404);
        world.request(method, &path, "", body).await.refused(401);
    }
    world.get(&path, &world.admin).await.is(200);
    world.put(&path, &world.admin, json!({"name": "by an admin"})).await.is(200);
    let (other, _) = world.thing(&owner.token).await;
    let id = path.rsplit('/').next().unwrap();
    world.get(&format!("/webhooks/{other}/{id}"), &owner.token).await.refused(404);
    world.get(&format!("/webhooks/{other}/no-id"), &owner.token).await.refused(404);
    world.get(&format!("/webhooks/{}", new_id()), &owner.token).await.refused(404);
}

#[tokio::test]
async fn a_secret_is_replaced_by_a_new_one_or_a_given_one() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, path) = with_webhook(&world, &user.token).await;
    let secret_of = async || list(&world, &thing, &user.token).await[0]["secret"].clone();
    let before = secret_of().await;
    let rotated = world.post(&format!("{path}/secret"), &user.token, Value::Null).await.is(200).json();
    assert_eq!(secret_of().await, rotated["secret"]);
    assert_ne!(before, rotated["secret"]);
    assert_eq!(world.get(&path, &user.token).await.json()["old_secret_until"], rotated["old_secret_until"]);
    let own = json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
    world.post(&format!("{path}/secret"), &user.token, own.clone()).await.is(200);
    assert_eq!(secret_of().await, own["secret"]);
    let refused =
        world.post(&format!("{path}/secret"), &user.token, json!({"secret": "x"})).await.refused(400);
    assert_eq!(refused["field"], "secret");
    let text = own["secret"].as_str().unwrap().to_owned();
    let World { site, app, .. } = world;
    app.close().await;
    drop(app);
    assert!(!site.holds(text.as_bytes()).await, "a secret is stored in the clear");
}

#[tokio::test]
async fn they_go_with_their_thing_and_with_its_owner() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, path) = with_webhook(&world, &user.token).await;
    let (kept, kept_path) = with_webhook(&world, &user.token).await;
    world.delete(&format!("/things/{thing}"), &user.token).await.is(204);
    world.get(&path, &world.admin).await.refused(404);
    world.get(&kept_path, &world.admin).await.is(200);
    world.delete(&format!("/users/{}", user.id), &world.admin).await.is(204);
    assert!(list(&world, &kept, &world.admin).await.is_empty(), "an endpoint of somebody who is gone");
    assert_eq!(world.site.count("SELECT COUNT(*) FROM webhooks").await, 0);
}

#[tokio::test]
async fn pages_of_deliveries_refuse_what_is_out_of_range() {
    let world = World::new().await;
    let user = world.user().await;
    let (_, path) = with_webhook(&world, &user.token).await;
    let page = world.get(&format!("{path}/deliveries"), &user.token).await.is(200).json();
    assert_eq!(page, json!({"total": 0, "offset": 0, "limit": 10, "attempts": []}));
    for state in ["pending", "expired"] {
        let page = world.get(&format!("{path}/deliveries?state={state}&limit=5"), &user.token).await.is(200);
        assert_eq!(page.json(), json!({"total": 0, "offset": 0, "limit": 5, "deliveries": []}));
    }
    for query in ["limit=0", "limit=1001", "offset=-1", "state=lost"] {
        let refused = world.get(&format!("{path}/deliveries?{query}"), &user.token).await.refused(400);
        assert_eq!(refused["field"], query.split('=').next().unwrap());
    }
    let replayed = world.post(&format!("{path}/replay"), &user.token, Value::Null).await.is(200).json();
    assert_eq!(replayed, json!({"replayed": 0}));
    world.post(&format!("{path}/replay"), &user.token, json!({"delivery": new_id()})).await.refused(404);
    world.post(&format!("{path}/replay"), &user.token, json!({"delivery": "x"})).await.refused(400);
}
