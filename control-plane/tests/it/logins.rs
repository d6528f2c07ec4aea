//! Tokens, passwords, and what is done against guessing.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, header};
use serde_json::{Value, json};

use crate::world::{PASSWORD, World, median};

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_login_answers_a_token_with_the_documented_claims() {
    let world = World::new().await;
    let user = world.user().await;
    let answer = world.log_in(&user.email, PASSWORD, None).await.is(201);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1);
    let claims = part(body["token"].as_str().unwrap(), 1);
    let issued = claims["iat"].as_i64().unwrap();
    let wanted = json!({
        "exp": issued + 36_000, "iat": issued, "iss": "mainflux.auth", "sub": user.email,
        "issuer_id": user.id, "type": 0,
    });
    assert_eq!(claims, wanted);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_email_look_the_same() {
    let world = World::new().await;
    let user = world.user().await;
    let wrong = world.log_in(&user.email, "not the password", None).await.refused(401);
    assert_eq!(world.log_in("nobody@example.com", PASSWORD, None).await.refused(401), wrong);
    assert_eq!(world.log_in("no email at all", PASSWORD, None).await.refused(401), wrong);
    assert_eq!(world.log_in(&user.email, "", None).await.refused(401), wrong);
    assert_eq!(world.log_in(&user.email, &"x".repeat(2_000), None).await.refused(401), wrong);
    world.post("/tokens", "", json!({"email": user.email})).await.refused(400);
    world.post("/tokens", "", json!({"password": PASSWORD})).await.refused(400);
    world.post("/tokens", "", json!([])).await.refused(400);
}

/// Medians of alternating rounds: on a busy machine both get slower together, while the smallest time is a matter of luck.
#[tokio::test]
async fn a_wrong_password_and_an_unknown_email_take_the_same_time() {
    const ROUNDS: usize = 31;
    let world = World::new().await;
    let users = [world.user().await, world.user().await];
    let (mut wrong, mut unknown) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // 20 failures for one email are answered without a look at the password: two users share them.
        let known = (users[round % 2].email.clone(), &mut wrong);
        let nobody = (format!("nobody-{round}@example.com"), &mut unknown);
        let order = if round % 4 < 2 { [known, nobody] } else { [nobody, known] };
        for (email, times) in order {
            let began = Instant::now();
            world.log_in(&email, "not the password", None).await.refused(401);
            times.push(began.elapsed());
        }
    }
    let (wrong, unknown) = (median(wrong), median(unknown));
    let ratio = wrong.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.67..1.5).contains(&ratio), "wrong password {wrong:?}, unknown email {unknown:?}");
}

/// One thread serves this test: a hash computed on it would keep it from everything else.
#[tokio::test]
async fn passwords_are_hashed_beside_other_requests() {
    let world = World::new().await;
    let user = world.user().await;
    let ended = AtomicUsize::new(0);
    let logins = futures::future::join_all((0..12).map(async |number| {
        world.log_in(&format!("nobody-{number}@example.com"), PASSWORD, None).await.refused(401);
        ended.fetch_add(1, Ordering::Relaxed);
    }));
    let other = async {
        world.get("/things", &user.token).await.is(200);
        ended.load(Ordering::Relaxed)
    };
    let (_, logins_before) = futures::join!(logins, other);
    assert!(logins_before < 12, "every login was answered first");
}

#[tokio::test]
async fn a_token_of_another_server_or_a_changed_one_is_refused() {
    let (world, other) = (World::new().await, World::new().await);
    let user = world.user().await;
    world.get("/things", &user.token).await.is(200);
    world.get("/things", &other.admin).await.refused(401);

    let [head, claims, tag] = user.token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut admins = part(&user.token, 1);
    admins["issuer_id"] = part(&world.admin, 1)["issuer_id"].clone();
    let mut none = part(&user.token, 0);
    none["alg"] = json!("none");
    for forged in [
        format!("{head}.{}.{tag}", encode(&admins)),
        format!("{}.{claims}.", encode(&none)),
        format!("{}.{claims}.{tag}", encode(&none)),
        format!("{head}.{claims}."),
        format!("{head}.{claims}"),
    ] {
        let refused = world.get("/things", &forged).await;
        assert!(refused.header("www-authenticate").contains("Bearer"));
        refused.refused(401);
    }
    for value in [format!("Thing {}", user.token), user.token.clone(), "Bearer".to_owned()] {
        let request = Request::get("/things").header(header::AUTHORIZATION, value);
        world.send(request.body(Body::empty()).unwrap()).await.refused(401);
    }
}

#[tokio::test]
async fn a_password_change_ends_the_tokens_issued_before_it_and_no_other() {
    let world = World::new().await;
    let user = world.user().await;
    let second = world.token(&user.email, PASSWORD).await;
    let change = |old: &str, new: &str| json!({"old_password": old, "password": new});
    world.patch("/password", "", change(PASSWORD, "another one 1")).await.refused(401);
    world.patch("/password", &user.token, change("not the one", "another one 1")).await.refused(403);
    let short = world.patch("/password", &user.token, change(PASSWORD, "short")).await.refused(400);
    assert_eq!(short["field"], "password");
    world.patch("/password", &user.token, json!({"password": "another one 1"})).await.refused(400);
    world.get("/things", &user.token).await.is(200);

    let changed = world.patch("/password", &user.token, change(PASSWORD, "another one 1")).await.is(201);
    assert_eq!(changed.header("x-frame-options"), "DENY");
    for ended in [&user.token, &second] {
        world.get("/things", ended).await.refused(401);
    }
    world.log_in(&user.email, PASSWORD, None).await.refused(401);
    // All of this happens within a second, which is as fine as the times in a token are.
    let token = world.token(&user.email, "another one 1").await;
    world.get("/things", &token).await.is(200);
    world.get("/things", &world.admin).await.is(200);
}

#[tokio::test]
async fn the_twenty_first_failed_login_for_an_email_has_to_wait() {
    let world = World::new().await;
    let (user, other) = (world.user().await, world.user().await);
    for host in 0..20 {
        let from = Some(IpAddr::from([192, 0, 2, host]));
        world.log_in(&user.email, "not the password", from).await.refused(401);
    }
    let refused = world.log_in(&user.email.to_uppercase(), PASSWORD, None).await;
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.refused(429)["code"], "too_many_requests");
    world.get("/things", &user.token).await.is(200);
    world.token(&other.email, PASSWORD).await;
}

#[tokio::test]
async fn an_address_that_tries_one_email_after_the_other_has_to_wait() {
    let world = World::new().await;
    let too_long = "x".repeat(2_000);
    let from = |host: u8| Some(IpAddr::from([192, 0, 2, host]));
    for i in 0..300 {
        world.log_in(&format!("user-{i}@example.com"), &too_long, from(1)).await.refused(401);
    }
    world.log_in("user-300@example.com", &too_long, from(1)).await.refused(429);
    world.log_in("user-300@example.com", &too_long, from(2)).await.refused(401);
    world.log_in("user-300@example.com", &too_long, None).await.refused(401);
}

#[tokio::test]
async fn guessing_the_old_password_with_a_stolen_token_has_to_wait_too() {
    let world = World::new().await;
    let user = world.user().await;
    let guess = json!({"old_password": "not the password", "password": "another one 1"});
    for _ in 0..20 {
        world.patch("/password", &user.token, guess.clone()).await.refused(403);
    }
    world.patch("/password", &user.token, guess).await.refused(429);
}
