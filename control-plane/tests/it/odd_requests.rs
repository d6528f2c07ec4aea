//! Requests that no sample shows and some client will send: they mean one thing, or are refused, and never half.

use axum::body::Body;
use http::{Request, header};
use serde_json::{Value, json};

use crate::world::{PASSWORD, World, new_id};

/// UUIDs that no thing or channel has: the nil one, one each of the versions 1, 5 and 7, and one of another variant, whose 4 means
/// nothing.
const OTHER_VERSIONS: [&str; 5] = [
    "00000000-0000-0000-0000-000000000000",
    "c232ab00-9414-11ec-b3c8-9f6bdeced846",
    "2ed6657d-e927-568b-95e1-2665a8aea6a2",
    "019ab1c5-9b4e-7d3a-8f21-0c5d3e7a9b11",
    "d782b42b-e317-4cd7-cdd0-4e2ea0f349c8",
];

#[tokio::test]
async fn a_json_body_may_name_a_charset_and_nothing_may_follow_it() {
    let world = World::new().await;
    for (content_type, status) in [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("application/json;charset=UTF-8", 201),
        ("application/json ; charset=utf-8", 201),
        ("application/json\t;\tcharset=\"utf-8\"", 201),
        ("application/json;", 201),
        ("Application/JSON", 201),
        ("application/senml+json", 201),
        ("text/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application", 415),
        ("application/jsonx", 415),
        ("application/+json", 415),
        ("application/ json", 415),
        ("", 415),
    ] {
        let request = Request::post("/things")
            .header(header::CONTENT_TYPE, content_type)
            .header(header::AUTHORIZATION, format!("Bearer {}", world.admin))
            .body(Body::from("[{}]"));
        let answer = world.send(request.unwrap()).await;
        assert_eq!(answer.status, status, "{content_type}");
    }
    for (text, status) in [
        (" \r\n\t{ \"name\" : \"a\" } \n", 201),
        ("{\"name\":\"a\"}x", 400),
        ("{\"name\":\"a\"}{}", 400),
        ("{\"name\":\"a\"},", 400),
        ("{\"name\":\"a\",}", 400),
        ("{'name':'a'}", 400),
        ("{\"name\":\"\\ud800\"}", 400),
        ("{\"name\":\"a\nb\"}", 400),
        ("{\"metadata\":{\"a\":1e999}}", 400),
        ("{\"metadata\":{\"a\":NaN}}", 400),
        ("\u{feff}{\"name\":\"a\"}", 400),
    ] {
        let answer = world.request_text("POST", "/things", &world.admin, text).await;
        assert_eq!(answer.status, status, "{text:?}");
    }
    let request = Request::post("/things")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {}", world.admin))
        .body(Body::from(b"{\"name\":\"\xff\"}".to_vec()));
    world.send(request.unwrap()).await.refused(400);
}

/// As in Mainflux, and in most JSON readers.
#[tokio::test]
async fn of_a_field_that_is_there_twice_the_last_one_counts() {
    let world = World::new().await;
    let text = r#"[{"name":"first","name":"second","metadata":{"a":1,"a":2}}]"#;
    let created = world.request_text("POST", "/things", &world.admin, text).await.is(201).json();
    assert_eq!(created["things"][0]["name"], "second");
    assert_eq!(created["things"][0]["metadata"], json!({"a": 2}));
}

#[tokio::test]
async fn one_entity_has_one_spelling_of_its_id_in_any_case() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, key) = world.thing(&user.token).await;
    let channel = world.channel(&user.token).await;
    let (upper_thing, upper_channel) = (thing.to_uppercase(), channel.to_uppercase());
    let ids = json!({"channel_ids": [upper_channel, channel], "thing_ids": [thing, upper_thing]});
    world.post("/connect", &user.token, ids).await.is(200);
    assert_eq!(world.access(&upper_channel, &key).await, 200);
    let path = format!("/identify/channels/{upper_channel}/access-by-id");
    world.post(&path, "", json!({"thing_id": upper_thing})).await.is(200);
    assert_eq!(world.get(&format!("/things/{upper_thing}"), &user.token).await.is(200).json()["id"], thing);
    assert_eq!(
        world.get(&format!("/channels/{upper_channel}"), &user.token).await.is(200).json()["id"],
        channel
    );
    let twice = json!([{"id": upper_thing}]);
    assert_eq!(world.post("/things", &user.token, twice).await.refused(409)["code"], "id_taken");
    world.get(&format!("/users/{}", user.id.to_uppercase()), &user.token).await.is(200);

    let bare = thing.replace('-', "");
    for other in [bare.clone(), format!("{{{thing}}}"), format!("urn:uuid:{thing}"), format!(" {thing}")] {
        let ids = json!({"channel_ids": [channel], "thing_ids": [other]});
        assert_eq!(world.post("/connect", &user.token, ids).await.refused(400)["field"], "thing_ids");
        let refused = world.post("/things", &user.token, json!([{"id": other}])).await.refused(400);
        assert_eq!(refused["field"], "id");
    }
    world.get(&format!("/things/{bare}"), &user.token).await.refused(404);
}

#[tokio::test]
async fn ids_of_other_versions_and_of_other_kinds_name_nothing() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, key) = world.thing(&user.token).await;
    let channel = world.channel(&user.token).await;
    let mut nothing: Vec<(String, String)> = OTHER_VERSIONS.map(|id| (id.to_owned(), id.to_owned())).to_vec();
    nothing.push((channel.clone(), thing.clone()));
    nothing.push((user.id.clone(), user.id.clone()));
    for (no_thing, no_channel) in &nothing {
        for path in [format!("/things/{no_thing}"), format!("/channels/{no_channel}")] {
            world.get(&path, &user.token).await.refused(404);
            world.put(&path, &user.token, json!({"name": "x"})).await.refused(404);
            world.delete(&path, &user.token).await.refused(404);
        }
        for (channel, thing) in [(&channel, no_thing), (no_channel, &thing)] {
            let path = format!("/channels/{channel}/things/{thing}");
            world.put(&path, &user.token, Value::Null).await.refused(404);
            world.delete(&path, &user.token).await.refused(404);
            let ids = json!({"channel_ids": [channel], "thing_ids": [thing]});
            world.post("/connect", &user.token, ids).await.refused(404);
        }
        assert_eq!(world.access(no_channel, &key).await, 403);
        let path = format!("/identify/channels/{no_channel}/access-by-id");
        world.post(&path, "", json!({"thing_id": thing})).await.refused(403);
    }
    assert_eq!(world.access("nope", &key).await, 403, "as a publish to it, or a read of it");
    let path = "/identify/channels/nope/access-by-id";
    world.post(path, "", json!({"thing_id": thing})).await.refused(403);
    world.get(&format!("/users/{thing}"), &world.admin).await.refused(404);
}

#[tokio::test]
async fn what_was_deleted_can_be_neither_changed_nor_deleted_again() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, _) = world.thing(&user.token).await;
    let channel = world.channel(&user.token).await;
    world.connect(&user.token, &channel, &thing).await;
    for path in [format!("/things/{thing}"), format!("/channels/{channel}")] {
        world.delete(&path, &user.token).await.is(204);
        for _ in 0..2 {
            world.delete(&path, &user.token).await.refused(404);
            world.put(&path, &user.token, json!({"name": "again"})).await.refused(404);
            world.put(&path, &user.token, json!({})).await.refused(404);
        }
    }
    world.patch(&format!("/things/{thing}/key"), &user.token, json!({"overlap": 60})).await.refused(404);
    let path = format!("/channels/{channel}/things/{thing}");
    world.put(&path, &user.token, Value::Null).await.refused(404);
    let ids = json!({"channel_ids": [channel], "thing_ids": [thing]});
    world.put("/disconnect", &user.token, ids).await.refused(404);
    let path = format!("/identify/channels/{channel}/access-by-id");
    world.post(&path, "", json!({"thing_id": thing})).await.refused(403);
}

#[tokio::test]
async fn names_hold_any_text_of_up_to_1024_bytes() {
    let world = World::new().await;
    let user = world.user().await;
    for name in [
        "",
        " ",
        "naïve – «ключ» 日本 🔑",
        "\"quoted\" \\ 'single' `back`",
        "100%_\\%",
        "'; DROP TABLE things; --",
        "{\"a\":1}",
        "\u{202e}reversed",
        &"é".repeat(512),
        &"🔑".repeat(256),
    ] {
        for list in ["things", "channels"] {
            let created = world.post(&format!("/{list}"), &user.token, json!([{"name": name}])).await.is(201);
            let path = format!("/{list}/{}", created.json()[list][0]["id"].as_str().unwrap());
            assert_eq!(world.get(&path, &user.token).await.is(200).json()["name"], name);
            world.put(&path, &user.token, json!({"name": "other"})).await.is(200);
            world.put(&path, &user.token, json!({ "name": name })).await.is(200);
            assert_eq!(world.get(&path, &user.token).await.is(200).json()["name"], name);
        }
    }
    for name in [&"é".repeat(513), "a\u{0}b", "line\nbreak", "\u{7f}", "\u{85}"] {
        for list in ["things", "channels"] {
            let refused = world.post(&format!("/{list}"), &user.token, json!([{"name": name}])).await;
            assert_eq!(refused.refused(400)["field"], "name", "{name:?}");
        }
    }
}

#[tokio::test]
async fn a_part_of_a_name_that_no_name_has_is_refused_and_not_ignored() {
    let world = World::new().await;
    world.post("/things", &world.admin, json!([{"name": "a"}, {"name": "b"}])).await.is(201);
    for (list, field) in [("things", "name"), ("channels", "name"), ("users", "email")] {
        for part in ["%00", "a%00", "%0A", "%7F", &"x".repeat(1_025), &"%25".repeat(20_000)] {
            let refused = world.get(&format!("/{list}?{field}={part}"), &world.admin).await.refused(400);
            assert_eq!(refused["field"], field, "{part}");
        }
        world.get(&format!("/{list}?{field}={}", "x".repeat(1_024)), &world.admin).await.is(200);
    }
}

#[tokio::test]
async fn an_empty_body_is_no_change_but_a_mistake() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, _) = world.thing(&user.token).await;
    let channel = world.channel(&user.token).await;
    let before = world.get(&format!("/things/{thing}"), &user.token).await.json();
    for path in [format!("/things/{thing}"), format!("/channels/{channel}"), "/users".to_owned()] {
        for text in ["", " ", "null", "[]", "[{}]", "\"name\""] {
            world.request_text("PUT", &path, &user.token, text).await.refused(400);
        }
        world.put(&path, &user.token, json!({})).await.has_no_body(200);
        world.put(&path, &user.token, json!({"name": null, "metadata": null})).await.has_no_body(200);
    }
    assert_eq!(world.get(&format!("/things/{thing}"), &user.token).await.json(), before);
}

#[tokio::test]
async fn metadata_is_an_object_or_not_taken() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, _) = world.thing(&user.token).await;
    let channel = world.channel(&user.token).await;
    let paths = [format!("/things/{thing}"), format!("/channels/{channel}"), "/users".to_owned()];
    for metadata in
        [json!([]), json!([{}]), json!("{}"), json!(1), json!(true), json!({"a": "x".repeat(16 << 10)})]
    {
        for path in &paths {
            let refused = world.put(path, &user.token, json!({ "metadata": metadata })).await.refused(400);
            assert_eq!(refused["field"], "metadata");
        }
    }
    let deep =
        |levels: usize| format!("{{\"metadata\":{}1{}}}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let odd = json!({"": null, "\u{0}": [], "a.b": {"$c": [1, -0.5, 1e300, u64::MAX, "\u{1f511}"]}});
    for path in &paths {
        world.request_text("PUT", path, &user.token, &deep(120)).await.is(200);
        world.request_text("PUT", path, &user.token, &deep(200)).await.refused(400);
        world.put(path, &user.token, json!({ "metadata": odd })).await.is(200);
    }
    for path in [&paths[0], &paths[1], &format!("/users/{}", user.id)] {
        assert_eq!(world.get(path, &user.token).await.is(200).json()["metadata"], odd);
    }
}

#[tokio::test]
async fn a_password_is_counted_in_characters_and_taken_as_it_is() {
    let world = World::new().await;
    let passwords = [
        "12345678",
        "пароль12",
        "🔑🔑🔑🔑🔑🔑🔑🔑",
        "        ",
        " padded ",
        "nul\u{0}tab\t",
        "é".repeat(8).as_str(),
    ]
    .map(str::to_owned);
    for (number, password) in passwords.iter().enumerate() {
        let email = format!("user-{number}@example.com");
        world.post("/users", "", json!({"email": email, "password": password})).await.is(201);
        world.token(&email, password).await;
        world.log_in(&email, password.trim(), None).await.is(if password.trim() == password {
            201
        } else {
            401
        });
    }
    for password in ["1234567", "парол12", "🔑🔑🔑🔑🔑🔑🔑", ""] {
        let body = json!({"email": "short@example.com", "password": password});
        assert_eq!(world.post("/users", "", body).await.refused(400)["field"], "password", "{password}");
    }
    for email in [" a@example.com", "a@example.com ", "a@example.com\u{0}", "a@b", "@", ""] {
        let body = json!({"email": email, "password": PASSWORD});
        assert_eq!(world.post("/users", "", body).await.refused(400)["field"], "email", "{email:?}");
    }
}

/// JSON has one kind of number: how it is written decides nothing.
#[tokio::test]
async fn a_whole_number_may_have_a_fraction_of_zero() {
    let world = World::new().await;
    let user = world.user().await;
    let (thing, _) = world.thing(&user.token).await;
    let path = format!("/things/{thing}/key");
    for (number, status) in [("60", 200), ("60.0", 200), ("6e1", 200), ("-0.0", 200), ("0.5", 400)] {
        let overlap = format!("{{\"overlap\":{number}}}");
        world.request_text("PATCH", &path, &user.token, &overlap).await.is(status);
        let status = if status == 200 { 201 } else { status };
        let key = format!("{{\"type\":2.0,\"duration\":{number}}}");
        world.request_text("POST", "/keys", &user.token, &key).await.is(status);
    }
    for number in ["-1", "-1.0", "1e300", "604800.5", "\"60\""] {
        let overlap = format!("{{\"overlap\":{number}}}");
        let refused = world.request_text("PATCH", &path, &user.token, &overlap).await.refused(400);
        assert_eq!(refused["field"], "overlap", "{number}");
    }
}

#[tokio::test]
async fn a_thousand_are_created_or_none() {
    let world = World::new().await;
    let user = world.user().await;
    for list in ["things", "channels"] {
        let ids: Vec<String> = (0..1_000).map(|_| new_id()).collect();
        let all: Vec<Value> = ids.iter().map(|id| json!({"id": id, "name": id})).collect();
        let path = format!("/{list}");
        world.post(&path, &user.token, json!([{"id": ids[999]}])).await.is(201);
        let refused = world.post(&path, &user.token, json!(all)).await.refused(409);
        assert_eq!((&refused["record"], &refused["field"]), (&json!(999), &json!("id")));
        assert_eq!(world.get(&path, &user.token).await.json()["total"], 1);
        let mut last_is_bad = all[..999].to_vec();
        last_is_bad.push(json!({"metadata": 1}));
        let refused = world.post(&path, &user.token, json!(last_is_bad)).await.refused(400);
        assert_eq!((&refused["record"], &refused["field"]), (&json!(999), &json!("metadata")));
        assert_eq!(world.get(&path, &user.token).await.json()["total"], 1);
        let created = world.post(&path, &user.token, json!(all[..999])).await.is(201).json();
        let created = created[list].as_array().unwrap();
        assert!(created.iter().zip(&ids).all(|(entity, id)| entity["id"] == *id) && created.len() == 999);
        assert_eq!(world.get(&path, &user.token).await.json()["total"], 1_000);
    }
}

/// An engine may take no text with a NUL: nobody's email has one, and nobody is told of the engine.
#[tokio::test]
async fn a_login_with_a_nul_is_a_wrong_one() {
    let world = World::new().await;
    for email in ["admin@example.com\0", "\0"] {
        world.log_in(email, PASSWORD, None).await.refused(401);
    }
    let refused = world.post("/users", "", json!({"email": "a\0@example.com", "password": PASSWORD})).await;
    assert_eq!(refused.refused(400)["field"], "email");
    let nul = json!([{"metadata": {"a\0": "b\0"}}]);
    let created = world.post("/things", &world.admin, nul.clone()).await.is(201).json();
    assert_eq!(created["things"][0]["metadata"], nul[0]["metadata"]);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_told_how_large_it_may_be() {
    let world = World::new().await;
    let (thing, _) = world.thing(&world.admin).await;
    let body = json!({"name": "x".repeat(2 << 20)});
    for (method, path) in [("POST", "/things".to_owned()), ("PATCH", format!("/things/{thing}/key"))] {
        let refused = world.request(method, &path, &world.admin, body.clone()).await.refused(413);
        assert_eq!(refused["code"], "too_large");
        assert!(refused["error"].as_str().unwrap().contains("2097152 bytes"), "{refused}");
    }
}
