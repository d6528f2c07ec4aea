//! Webhooks: what things publish reaches endpoints that fail, hang and come back, in order, and whatever happens to the server.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, Thing, User, eventually};
use crate::receiver::{Mood, Receiver, get, is_in_order, publish, until_taken, webhook};

const ALLOW: [&str; 1] = ["--webhooks-allow-private"];

async fn post(user: &User<'_>, path: &str, body: Value) -> Value {
    let answer = user.request(Method::POST, path).json(&body).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

#[tokio::test]
async fn records_are_delivered_in_both_formats_signed_and_counted() {
    let server = Server::start_or_join(&ALLOW);
    let receiver = Receiver::start().await;
    let user = server.user().await;
    let thing = user.connected_thing().await;
    let senml = webhook(&user, &thing, &format!("{}/senml", receiver.base), "senml").await;
    webhook(&user, &thing, &format!("{}/json", receiver.base), "json").await;
    let pack = json!([
        {"bn": "boiler:", "bt": 1_700_000_000, "n": "t", "u": "Cel", "v": 20.5},
        {"n": "on", "vb": true}, {"n": "state", "vs": "warm"},
    ]);
    let answer = thing.post("/heat").body(pack.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let delivered = async |path: &str| {
        eventually(async || receiver.received(path).pop().ok_or_else(|| format!("nothing at {path}"))).await
    };
    let (first, second) = (delivered("/senml").await, delivered("/json").await);
    let named = |name: &str| {
        let records = first.body.as_array().unwrap().iter();
        records.clone().find(|record| record["n"] == name).unwrap().clone()
    };
    assert_eq!(named("boiler:t"), json!({"n": "boiler:t", "u": "Cel", "t": 1_700_000_000, "v": 20.5}));
    assert_eq!((&named("boiler:on")["vb"], &named("boiler:state")["vs"]), (&json!(true), &json!("warm")));
    assert_eq!(second.body["channel"], thing.channel);
    assert_eq!(second.body["publisher"], thing.id);
    thing.until_stored(3).await;
    let mut stored = thing.page("limit=10").await["messages"].as_array().unwrap().clone();
    let mut messages = second.body["messages"].as_array().unwrap().clone();
    let by_name = |message: &Value| message["name"].to_string();
    stored.sort_by_key(by_name);
    messages.sort_by_key(by_name);
    assert_eq!(messages, stored, "as the reader prints them");
    for received in [&first, &second] {
        let header = |name: &str| received.headers[name].to_str().unwrap().to_owned();
        assert!(header("webhook-signature").starts_with("v1,"), "{received:?}");
        assert!(header("webhook-timestamp").parse::<i64>().unwrap() > 1_700_000_000);
        assert!(uuid::Uuid::try_parse(&header("webhook-id")).is_ok());
    }
    assert_eq!(first.headers["content-type"], "application/senml+json");
    assert_eq!(second.headers["content-type"], "application/json");

    let id = first.headers["webhook-id"].to_str().unwrap();
    let seen = eventually(async || {
        let view = get(&user, &senml).await;
        (view["counters"]["attempts"] == 1).then_some(view.clone()).ok_or(view.to_string())
    })
    .await;
    assert_eq!((&seen["status"], &seen["enabled"]), (&json!("ok"), &json!(true)));
    assert_eq!((&seen["counters"]["delivered"], &seen["counters"]["pending"]), (&json!(1), &json!(0)));
    let page = get(&user, &format!("{senml}/deliveries")).await;
    assert_eq!((&page["total"], &page["attempts"][0]["delivery"]), (&json!(1), &json!(id)));
    let attempt = &page["attempts"][0];
    assert_eq!(
        (&attempt["outcome"], &attempt["status"], &attempt["records"]),
        (&json!("delivered"), &json!(200), &json!(3))
    );
}

#[tokio::test]
async fn a_test_delivery_tells_what_the_endpoint_answered() {
    let server = Server::start_or_join(&ALLOW);
    let receiver = Receiver::start().await;
    let user = server.user().await;
    let thing = user.connected_thing().await;
    let path = webhook(&user, &thing, &format!("{}/hook", receiver.base), "senml").await;
    let answer = post(&user, &format!("{path}/test"), json!({})).await;
    assert_eq!((&answer["delivered"], &answer["status"]), (&json!(true), &json!(200)), "{answer}");
    assert_eq!(receiver.received("/hook")[0].body[0]["n"], "thalweg:test");
    receiver.is("/hook", Mood::Answers(503));
    let answer = post(&user, &format!("{path}/test"), json!({})).await;
    assert_eq!((&answer["delivered"], &answer["outcome"]), (&json!(false), &json!("failed")), "{answer}");
    let page = get(&user, &format!("{path}/deliveries")).await;
    assert_eq!((&page["total"], &page["attempts"][0]["status"]), (&json!(2), &json!(503)));
    assert_eq!(get(&user, &path).await["status"], "ok", "a test is no failure");
}

#[tokio::test]
async fn what_endpoints_fail_to_take_comes_again_in_order_and_nothing_is_lost() {
    let server = Server::start_or_join(&ALLOW);
    let receiver = Receiver::start().await;
    let user = server.user().await;
    let thing = user.connected_thing().await;
    let moods = [
        ("/500", Mood::Answers(500)),
        ("/429", Mood::AsksToWait("2")),
        ("/302", Mood::Redirects),
        ("/hangs", Mood::Hangs),
        ("/404", Mood::Answers(404)),
        ("/well", Mood::Takes),
    ];
    let down = Receiver::start().await;
    let down_path = webhook(&user, &thing, &format!("{}/down", down.base), "json").await;
    down.goes_down();
    let mut webhooks = BTreeMap::from([("/down", down_path)]);
    for (path, mood) in moods {
        receiver.is(path, mood);
        let url = format!("{}{path}", receiver.base);
        webhooks.insert(path, webhook(&user, &thing, &url, "json").await);
    }
    for value in 0..30 {
        publish(&thing, value).await;
    }
    until_taken(&receiver, "/well", 30).await;
    for path in ["/down", "/500", "/429", "/302", "/404"] {
        eventually(async || {
            let view = get(&user, &webhooks[path]).await;
            let kept = view["counters"]["pending"].as_i64().unwrap() > 0 && view["status"] == "failing";
            kept.then_some(()).ok_or_else(|| format!("{path}: {view}"))
        })
        .await;
    }
    let asked_at = Instant::now();
    down.comes_up().await;
    for (path, _) in moods {
        receiver.is(path, Mood::Takes);
    }
    for value in 30..40 {
        publish(&thing, value).await;
    }
    for (path, _) in moods {
        until_taken(&receiver, path, 40).await;
        if path != "/404" {
            assert!(is_in_order(&receiver.values(path)), "{path}: {:?}", receiver.values(path));
        }
    }
    until_taken(&down, "/down", 40).await;
    assert!(is_in_order(&down.values("/down")), "{:?}", down.values("/down"));
    assert!(receiver.received("/elsewhere").is_empty(), "a redirect was followed");
    // Nothing came to the one that asked to be left alone before its time.
    let limited = receiver.received("/429");
    let refusals: Vec<Instant> = limited.iter().filter(|one| !one.taken).map(|one| one.at).collect();
    let after = limited.iter().find(|one| one.taken).unwrap().at;
    assert!(after - *refusals.last().unwrap() >= Duration::from_millis(1_900), "{:?}", after - asked_at);
    // A try that comes again has the id it had.
    let ids: HashSet<String> = receiver
        .received("/500")
        .iter()
        .filter(|one| !one.taken)
        .map(|one| one.headers["webhook-id"].to_str().unwrap().to_owned())
        .collect();
    let taken = receiver.received("/500");
    let first = taken.iter().find(|one| one.taken).unwrap();
    assert!(ids.contains(first.headers["webhook-id"].to_str().unwrap()));
    eventually(async || {
        let view = get(&user, &webhooks["/500"]).await;
        let done = view["status"] == "ok" && view["counters"]["pending"] == 0;
        done.then_some(()).ok_or_else(|| view.to_string())
    })
    .await;
}

#[tokio::test]
async fn endpoints_that_hang_keep_no_other_waiting() {
    const HANGING: usize = 40;
    let server = Server::start_or_join(&ALLOW);
    let receiver = Receiver::start().await;
    let user = server.user().await;
    // An endpoint of another host: of one, only so many requests are made at a time.
    let others_receiver = Receiver::start().await;
    let well = user.connected_thing().await;
    webhook(&user, &well, &format!("{}/well", receiver.base), "senml").await;
    let others: Vec<Thing> = {
        let mut others = Vec::new();
        for _ in 0..HANGING / 20 {
            others.push(user.connected_thing().await);
        }
        others
    };
    let mut delays = Vec::new();
    let mut next = 0;
    let mut measure = async |delays: &mut Vec<Duration>| {
        let begun = Instant::now();
        publish(&well, next).await;
        next += 1;
        until_taken(&receiver, "/well", next).await;
        delays.push(begun.elapsed());
    };
    for _ in 0..20 {
        measure(&mut delays).await;
    }
    others_receiver.is("/hangs", Mood::Hangs);
    for thing in &others {
        for _ in 0..20 {
            webhook(&user, thing, &format!("{}/hangs", others_receiver.base), "senml").await;
        }
        publish(thing, 0).await;
    }
    eventually(async || {
        let waiting = others_receiver.received("/hangs").len();
        (waiting >= HANGING).then_some(()).ok_or_else(|| format!("{waiting} hang"))
    })
    .await;
    let mut meanwhile = Vec::new();
    for _ in 0..20 {
        measure(&mut meanwhile).await;
    }
    delays.sort();
    meanwhile.sort();
    let (alone, beside) = (delays[delays.len() / 2], meanwhile[meanwhile.len() / 2]);
    println!("median {alone:?} alone, {beside:?} beside {HANGING} that hang");
    assert!(beside < 4 * alone + Duration::from_millis(100), "{alone:?} became {beside:?}");
}

#[tokio::test]
async fn a_killed_server_loses_no_delivery() {
    let mut server = Server::start_with(&ALLOW);
    let receiver = Receiver::start().await;
    let (channel, id, key) = {
        let user = server.user().await;
        let thing = user.connected_thing().await;
        for path in ["/well", "/sick"] {
            webhook(&user, &thing, &format!("{}{path}", receiver.base), "json").await;
        }
        (thing.channel.clone(), thing.id.clone(), thing.key.clone())
    };
    let mut next = 0;
    for round in 0..4 {
        receiver.is("/sick", if round % 2 == 0 { Mood::Answers(500) } else { Mood::Takes });
        let thing = Thing {
            http: reqwest::Client::new(),
            base: server.base.clone(),
            channel: channel.clone(),
            id: id.clone(),
            key: key.clone(),
        };
        // Killed while some are on their way, some kept, some neither.
        for _ in 0..25 {
            publish(&thing, next).await;
            next += 1;
        }
        if round == 2 {
            until_taken(&receiver, "/well", next - 10).await;
        }
        let data = server.kill();
        server = Server::start_in(data.path(), &ALLOW);
        server.keep(data);
    }
    receiver.is("/sick", Mood::Takes);
    for path in ["/well", "/sick"] {
        until_taken(&receiver, path, next).await;
    }
}
