//! Accounts: creating, showing, listing, changing.

use serde_json::{Value, json};

use crate::world::{ADMIN, PASSWORD, World};

#[tokio::test]
async fn an_account_is_created_shown_and_changed() {
    let world = World::new().await;
    let body = json!({"email": "Ann@Example.com", "password": "12345678", "metadata": {"a": 1}});
    let created = world.post("/users", "", body).await.has_no_body(201);
    for (name, value) in [
        ("strict-transport-security", "max-age=63072000; includeSubdomains"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "*"),
        ("access-control-allow-headers", "*"),
    ] {
        assert_eq!(created.header(name), value);
    }
    let path = created.header("location").to_owned();
    let id = path.strip_prefix("/users/").unwrap();
    let token = world.token("Ann@Example.com", "12345678").await;
    let shown = world.get(&path, &token).await.is(200);
    assert_eq!(shown.json(), json!({"id": id, "email": "Ann@Example.com", "metadata": {"a": 1}}));
    assert_eq!(shown.header("x-frame-options"), "DENY");

    world.put("/users", &token, json!({"metadata": {"foo": "bar"}})).await.has_no_body(200);
    assert_eq!(world.get(&path, &token).await.json()["metadata"], json!({"foo": "bar"}));
    world.put("/users", &token, json!({})).await.has_no_body(200);
    assert_eq!(world.get(&path, &token).await.json()["metadata"], json!({"foo": "bar"}));
    world.put("/users", &token, json!({"metadata": {}})).await.has_no_body(200);
    assert_eq!(world.get(&path, &token).await.json(), json!({"id": id, "email": "Ann@Example.com"}));
}

#[tokio::test]
async fn an_account_that_cannot_be_is_refused_by_field() {
    let world = World::new().await;
    for (body, field) in [
        (json!({"email": "a@example.com", "password": "1234567"}), "password"),
        (json!({"email": "a@example.com", "password": "x".repeat(1_025)}), "password"),
        (json!({"email": "a@example.com", "password": 12_345_678}), "password"),
        (json!({"email": "a@example.com"}), "password"),
        (json!({"email": "nobody", "password": PASSWORD}), "email"),
        (json!({"email": null, "password": PASSWORD}), "email"),
        (json!({"password": PASSWORD}), "email"),
        (json!({"email": "a@example.com", "password": PASSWORD, "metadata": []}), "metadata"),
    ] {
        assert_eq!(world.post("/users", "", body.clone()).await.refused(400)["field"], field, "{body}");
    }
    for text in ["", "{", "[]", "1", "null"] {
        world.request_text("POST", "/users", "", text).await.refused(400);
    }
    assert_eq!(world.get("/users", &world.admin).await.json()["total"], 1);
}

#[tokio::test]
async fn an_email_is_taken_in_any_case() {
    let world = World::new().await;
    let account = |email: &str| json!({"email": email, "password": PASSWORD});
    world.post("/users", "", account("ann@example.com")).await.is(201);
    for taken in ["ann@example.com", "ANN@example.COM"] {
        let refused = world.post("/users", "", account(taken)).await.refused(409);
        assert_eq!(
            (refused["code"].as_str(), refused["field"].as_str()),
            (Some("email_taken"), Some("email"))
        );
    }
    world.token("Ann@EXAMPLE.com", PASSWORD).await;
}

#[tokio::test]
async fn users_are_seen_by_themselves_and_admins() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let path = format!("/users/{}", ann.id);
    let shown = json!({"id": ann.id, "email": ann.email});
    assert_eq!(world.get(&path, &ann.token).await.is(200).json(), shown);
    assert_eq!(world.get(&path, &world.admin).await.is(200).json(), shown);
    world.get(&path, &bob.token).await.refused(404);
    world.get("/users/00000000-0000-4000-8000-000000000000", &world.admin).await.refused(404);
    world.get("/users/nobody", &world.admin).await.refused(404);
    world.get(&path, "").await.refused(401);
    world.get("/users", "not.a.token").await.refused(401);

    let page = world.get("/users", &ann.token).await.is(200).json();
    assert_eq!(page, json!({"total": 1, "offset": 0, "limit": 10, "Users": [shown]}));
    assert_eq!(world.get("/users?offset=1", &ann.token).await.json()["Users"], json!([]));

    let page = world.get("/users", &world.admin).await.is(200).json();
    let emails: Vec<&Value> = page["Users"].as_array().unwrap().iter().map(|user| &user["email"]).collect();
    assert_eq!(emails, [&json!(ADMIN), &json!(ann.email), &json!(bob.email)]);
    assert_eq!((&page["total"], &page["offset"], &page["limit"]), (&json!(3), &json!(0), &json!(10)));
    let page = world.get("/users?offset=1&limit=1", &world.admin).await.is(200).json();
    assert_eq!(page, json!({"total": 3, "offset": 1, "limit": 1, "Users": [shown]}));
    world.put("/users", &bob.token, json!({"metadata": {"floor": 2}})).await.is(200);
    let admin = ADMIN.to_owned();
    for (query, emails) in [
        (format!("email={}", ann.email[..15].to_uppercase()), vec![&ann.email]),
        ("email=USER-&dir=desc".to_owned(), vec![&bob.email, &ann.email]),
        ("email=user-&offset=1".to_owned(), vec![&bob.email]),
        ("email=nobody".to_owned(), vec![]),
        ("metadata=%7B%22floor%22:2%7D".to_owned(), vec![&bob.email]),
        ("metadata=%7B%22floor%22:2%7D&email=admin".to_owned(), vec![]),
        ("order=email&dir=desc&limit=1&offset=2".to_owned(), vec![&admin]),
        ("offset=3".to_owned(), vec![]),
    ] {
        let page = world.get(&format!("/users?{query}"), &world.admin).await.is(200).json();
        let found: Vec<&Value> =
            page["Users"].as_array().unwrap().iter().map(|user| &user["email"]).collect();
        assert_eq!(found, emails, "{query}");
    }
    for (query, total) in [
        ("email=user-", 1),
        ("email=admin", 0),
        ("metadata=%7B%22floor%22:2%7D", 1),
        ("metadata=%7B%22a%22:1%7D", 0),
    ] {
        let page = world.get(&format!("/users?{query}"), &bob.token).await.is(200).json();
        assert_eq!(
            (&page["total"], page["Users"].as_array().unwrap().len()),
            (&json!(total), total),
            "{query}"
        );
    }
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "offset=-1",
        "offset=99999999999999999999",
        "order=age",
        "dir=up",
        "metadata=x",
    ] {
        let refused = world.get(&format!("/users?{query}"), &world.admin).await.refused(400);
        assert_eq!(refused["field"], query.split('=').next().unwrap());
    }
}

/// Takes the policy away under the server, as an admin will by the API of policies.
#[tokio::test]
async fn once_sign_up_is_closed_only_admins_make_accounts() {
    let world = World::new().await;
    let user = world.user().await;
    let account = |name: &str| json!({"email": format!("{name}@example.com"), "password": PASSWORD});
    world.post("/users", "not.a.token", account("open")).await.is(201);

    let close = "DELETE FROM policies WHERE subject = '*' AND object = 'user' AND relation = 'create'";
    assert_eq!(world.site.execute(close, &[]).await, 1);
    let refused = world.post("/users", "", account("late")).await.refused(401);
    assert!(refused["error"].as_str().unwrap().contains("sign-up is closed"), "{refused}");
    world.post("/users", "", json!({})).await.refused(401);
    world.post("/users", "not.a.token", account("late")).await.refused(401);
    world.post("/users", &user.token, account("late")).await.refused(403);
    world.post("/users", &world.admin, account("invited")).await.is(201);

    let policy = format!("('{}', 'user', 'create')", user.id);
    let grant = format!("INSERT INTO policies (subject, object, relation) VALUES {policy}");
    world.site.execute(&grant, &[]).await;
    world.post("/users", &user.token, account("by-a-user")).await.is(201);
    world.post("/users", "", account("late")).await.refused(401);
    world.token("invited@example.com", PASSWORD).await;
}
