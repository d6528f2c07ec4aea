//! What users share with each other, and how fast that ends.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN_EMAIL, ADMIN_PASSWORD, Server, User};

/// Asks with a JSON body (none for `null`): the status, and the id behind a `Location`.
async fn ask(user: &User<'_>, method: Method, path: &str, body: Value) -> (u16, String) {
    let request = user.request(method, path);
    let request = if body.is_null() { request } else { request.json(&body) };
    let answer = request.send().await.unwrap();
    let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
    let id = location.and_then(|path| path.rsplit_once('/').map(|(_, id)| id.to_owned()));
    (answer.status().as_u16(), id.unwrap_or_default())
}

async fn status(user: &User<'_>, method: Method, path: &str, body: Value) -> u16 {
    ask(user, method, path, body).await.0
}

async fn email_and_id(user: &User<'_>) -> (String, String) {
    let page: Value = user.request(Method::GET, "/users").send().await.unwrap().json().await.unwrap();
    let me = &page["Users"][0];
    [&me["email"], &me["id"]].map(|text| text.as_str().unwrap().to_owned()).into()
}

#[tokio::test]
async fn an_api_key_reads_messages_until_it_is_revoked() {
    let server = Server::start();
    let user = server.user().await;
    let thing = user.connected_thing().await;
    thing.publish(&json!([{"n": "a", "v": 1, "t": 1_700_000_000}])).await;
    thing.until_stored(1).await;
    let issued = user.request(Method::POST, "/keys").json(&json!({"type": 2, "duration": 1_000}));
    let issued: Value = issued.send().await.unwrap().json().await.unwrap();
    let key = issued["value"].as_str().unwrap();
    let path = format!("/channels/{}/messages", thing.channel);
    let read = async || {
        let request = user.http.get(format!("{}{path}", server.base)).bearer_auth(key);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(read().await, 200);
    let revoke = format!("/keys/{}", issued["id"].as_str().unwrap());
    assert_eq!(status(&user, Method::DELETE, &revoke, Value::Null).await, 204);
    assert_eq!(read().await, 401);
    assert_eq!(status(&user, Method::GET, &path, Value::Null).await, 200, "the login goes on");
}

/// 50 times each: what was answered is in force for the next request.
#[tokio::test]
async fn what_is_taken_away_is_out_of_force_when_that_is_answered() {
    let server = Server::start();
    let (ann, bob) = (server.user().await, server.user().await);
    let admin = server.login(ADMIN_EMAIL, ADMIN_PASSWORD).await;
    let (email, id) = email_and_id(&bob).await;
    let (thing, _) = ann.thing().await;
    let (created, org) = ask(&ann, Method::POST, "/orgs", json!({"name": "org"})).await;
    assert_eq!(created, 201);
    let (created, group) = ask(&ann, Method::POST, "/groups", json!({"name": "group"})).await;
    assert_eq!(created, 201);
    let things = format!("/groups/{group}/members");
    assert_eq!(status(&ann, Method::POST, &things, json!({"members": [thing]})).await, 200);
    let groups = format!("/orgs/{org}/groups");
    assert_eq!(status(&ann, Method::POST, &groups, json!({"group_ids": [group]})).await, 200);

    let member = json!({"members": [{"email": email, "role": "viewer"}]});
    let policy = json!({"subjects": [id], "object": thing, "policies": ["read"]});
    let authority = json!({"subjects": [id], "object": "authorities", "policies": ["member"]});
    let members = format!("/orgs/{org}/members");
    type Step<'a> = (&'a User<'a>, Method, &'a str, Value);
    let pairs: [[Step<'_>; 2]; 4] = [
        [
            (&ann, Method::POST, &things, json!({"members": [id]})),
            (&ann, Method::DELETE, &things, json!({"members": [id]})),
        ],
        [
            (&ann, Method::POST, &members, member),
            (&ann, Method::DELETE, &members, json!({"member_ids": [id]})),
        ],
        [(&admin, Method::POST, "/policies", policy.clone()), (&admin, Method::PUT, "/policies", policy)],
        [
            (&admin, Method::POST, "/policies", authority.clone()),
            (&admin, Method::PUT, "/policies", authority),
        ],
    ];
    let path = format!("/things/{thing}");
    for _ in 0..50 {
        for [grant, take] in &pairs {
            let (user, method, to, body) = grant.clone();
            assert!([200, 201].contains(&status(user, method, to, body.clone()).await), "{to} {body}");
            assert_eq!(status(&bob, Method::GET, &path, Value::Null).await, 200, "{to} {body}");
            let (user, method, to, body) = take.clone();
            assert_eq!(status(user, method, to, body.clone()).await, 204, "{to} {body}");
            assert_eq!(status(&bob, Method::GET, &path, Value::Null).await, 404, "{to} {body}");
        }
    }
}
