//! Channels whose records expire: what is refused, what is hidden, and what becomes of it when a retention is shortened.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Server, Thing, User, column, eventually};

const DAY: i64 = 86_400;
const WIDTHS: [Option<&str>; 3] = [Some("5m"), None, Some("1d")];
const RETENTIONS: [(Option<&str>, Option<i64>); 4] =
    [(Some("7d"), Some(7)), (Some("90d"), Some(90)), (Some("400d"), Some(400)), (None, None)];

#[expect(clippy::disallowed_methods, reason = "the server looks at the same clock")]
fn now_nanos() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

fn now() -> i64 {
    now_nanos() / 1_000_000_000
}

/// A channel of these properties with a thing on it.
async fn thing_on_new(user: &User<'_>, channel: Value) -> Thing {
    let created = user.request(Method::POST, "/channels").json(&json!([channel])).send().await.unwrap();
    assert_eq!(created.status(), 201);
    let created: Value = created.json().await.unwrap();
    user.thing_on(created["channels"][0]["id"].as_str().unwrap()).await
}

async fn shown(user: &User<'_>, thing: &Thing) -> Value {
    let path = format!("/channels/{}", thing.channel);
    user.request(Method::GET, &path).send().await.unwrap().json().await.unwrap()
}

async fn put(user: &User<'_>, thing: &Thing, body: Value) -> (u16, Value) {
    let path = format!("/channels/{}", thing.channel);
    let answer = user.request(Method::PUT, &path).json(&body).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

/// Publishes a pack that is refused: the status and what the body says of it.
async fn refused(thing: &Thing, pack: &Value) -> (u16, Value, Value, Value) {
    let answer = thing.post("").body(pack.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    (status, body["code"].clone(), body["record"].clone(), body["field"].clone())
}

fn at(second: i64, value: i64) -> Value {
    json!({"n": "x", "t": second, "v": value})
}

async fn values(thing: &Thing, query: &str) -> Vec<i64> {
    let page = thing.page(query).await;
    let values: Vec<i64> = column(&page, "value").into_iter().map(|value| value.as_i64().unwrap()).collect();
    assert_eq!(page["total"], values.len(), "{query}");
    values
}

/// Of every width and retention: what has expired is refused whole, with its place, and what has not is kept.
#[tokio::test]
async fn an_expired_record_refuses_its_pack() {
    let server = Server::start();
    let user = server.user().await;
    for (width, (retention, days)) in WIDTHS.iter().flat_map(|width| RETENTIONS.map(|of| (width, of))) {
        let channel = json!({"name": "c", "bucket_width": width, "retention": retention});
        let thing = thing_on_new(&user, channel).await;
        let view = shown(&user, &thing).await;
        assert_eq!(view.get("retention"), retention.map(Value::from).as_ref(), "{view}");
        assert_eq!(view.get("bucket_width"), width.map(Value::from).as_ref(), "{view}");
        let now = now();
        let Some(days) = days else {
            thing.publish(&json!([at(now, 0), at(0, 1), at(300_000_000, 2)])).await;
            thing.until_stored(3).await;
            continue;
        };
        let expired = |record: u64, field: &str| (400, json!("expired"), json!(record), json!(field));
        let pack = json!([at(now, 1), at(now - days * DAY - 60, 2), {"n": "y"}]);
        assert_eq!(refused(&thing, &pack).await, expired(1, "t"), "{view}");
        let base = json!([{"bt": now - (days + 1) * DAY, "n": "x", "v": 3}]);
        assert_eq!(refused(&thing, &base).await, expired(0, "bt"));
        let relative = json!([at(-days * DAY - 60, 4)]);
        assert_eq!(refused(&thing, &relative).await, expired(0, "t"));
        thing.publish(&json!([at(now, 5), at(now - (days - 1) * DAY, 6), at(now + 1_000 * DAY, 7)])).await;
        thing.until_stored(3).await;
        assert_eq!(values(&thing, "").await, [7, 5, 6], "nothing of what was refused");
        assert_eq!(values(&thing, "from=0&dir=asc").await, [6, 5, 7]);
        assert_eq!(values(&thing, &format!("from={}", now - 10_000 * DAY)).await, [7, 5, 6]);
    }
    let refusals = reqwest::get(format!("{}/metrics", server.base)).await.unwrap().text().await.unwrap();
    assert!(refusals.contains("ingest_packs_total{outcome=\"expired\"} 27\n"), "{refusals}");
}

/// Records expire one by one, each at its own moment: no page shows one after it, none leaves one out before it, and the
/// total says the same.
#[tokio::test]
async fn records_expire_to_the_moment() {
    const RECORDS: i64 = 150;
    const STEP_NANOS: i64 = 10_000_000;
    let server = Server::start();
    let thing = thing_on_new(&server.user().await, json!({"name": "c", "retention": "7d"})).await;
    let week = 7 * DAY * 1_000_000_000;
    let first = now_nanos() - week + 5_000_000_000;
    let time_of = |n: i64| first + n * STEP_NANOS;
    let seconds = |nanos: i64| format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    // The pack is stored whole: once the record of today is there, all of them are.
    let records = (0..RECORDS).map(|n| format!(r#"{{"n":"x","t":{},"v":{n}}}"#, seconds(time_of(n))));
    let today = format!(r#"{{"n":"x","t":{},"v":{RECORDS}}}"#, now());
    let pack = format!("[{}]", records.chain([today]).collect::<Vec<_>>().join(","));
    assert_eq!(thing.post("").body(pack).send().await.unwrap().status(), 202);
    eventually(async || match thing.page("limit=1").await["total"].as_u64() {
        Some(0) => Err("not stored".to_owned()),
        _ => Ok(()),
    })
    .await;
    let expected = |now: i64| (0..RECORDS).filter(|n| time_of(*n) >= now - week).count() as i64 + 1;
    let mut seen = std::collections::BTreeSet::new();
    eventually(async || {
        for (query, offset) in [("limit=1000", 0), ("limit=1000&dir=asc", 0), ("limit=1000&offset=1", 1)] {
            let before = now_nanos();
            let page = thing.page(query).await;
            // The server's clock counts microseconds.
            let (most, least) = (expected(before - 1_000), expected(now_nanos()));
            let total = page["total"].as_i64().unwrap();
            assert!((least..=most).contains(&total), "{total} of {least} to {most}: {query}");
            assert_eq!(page["messages"].as_array().unwrap().len() as i64, (total - offset).max(0), "{query}");
            seen.insert(total);
        }
        if seen.contains(&1) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert!(seen.len() > 2, "totals were looked at in between: {seen:?}");
}

/// A shorter retention is in force when it is answered, for reading and for publishing, and the space comes back; it never
/// becomes longer.
#[tokio::test]
async fn shortening_hides_at_once_and_is_for_good() {
    let server = Server::start();
    let user = server.user().await;
    for created in [Some("90d"), None] {
        let thing = thing_on_new(&user, json!({"name": "c", "retention": created})).await;
        let now = now();
        thing
            .publish(&json!([at(now, 1), at(now - 6 * DAY, 2), at(now - 8 * DAY, 3), at(now - 80 * DAY, 4)]))
            .await;
        thing.until_stored(4).await;
        let first = thing.page("limit=1&dir=asc").await;

        let (status, body) = put(&user, &thing, json!({"retention": "7d"})).await;
        assert_eq!((status, body), (200, Value::Null));
        assert_eq!(values(&thing, "").await, [1, 2]);
        assert_eq!(values(&thing, "dir=asc&from=0").await, [2, 1]);
        assert_eq!(values(&thing, "offset=0&name=x").await, [1, 2]);
        let next = first["next"].as_str().unwrap();
        assert_eq!(
            column(&thing.page(&format!("dir=asc&next={next}")).await, "value"),
            [2, 1],
            "walks go on"
        );
        let late = json!([at(now, 5), at(now - 8 * DAY, 6)]);
        assert_eq!(refused(&thing, &late).await, (400, json!("expired"), json!(1), json!("t")));
        assert_eq!(shown(&user, &thing).await["retention"], "7d");

        for longer in ["90d", "400d", "forever"] {
            let (status, refusal) = put(&user, &thing, json!({"name": "d", "retention": longer})).await;
            assert_eq!((status, &refusal["field"]), (400, &json!("retention")), "{refusal}");
            assert!(refusal["error"].as_str().unwrap().contains("7d"), "{refusal}");
        }
        for (wrong, choices) in
            [(json!("8d"), true), (json!(""), true), (json!(7), false), (json!({}), false)]
        {
            let (status, refusal) = put(&user, &thing, json!({"retention": wrong})).await;
            assert_eq!((status, &refusal["field"]), (400, &json!("retention")), "{refusal}");
            assert_eq!(
                refusal["error"].as_str().unwrap().contains("7d, 90d, 400d, forever"),
                choices,
                "{refusal}"
            );
        }
        assert_eq!(
            put(&user, &thing, json!({"name": "e", "retention": "7d"})).await.0,
            200,
            "the same changes nothing"
        );
        assert_eq!(shown(&user, &thing).await["name"], "e");
        assert_eq!(put(&user, &thing, json!({"name": "f"})).await.0, 200);
        assert_eq!(shown(&user, &thing).await["retention"], "7d", "what is not named stays");
        thing.publish(&json!([at(now - 6 * DAY, 7)])).await;
        eventually(async || match values(&thing, "").await.as_slice() {
            [1, 7] => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    // Two records of each of the two channels have a block of their own.
    eventually(async || {
        let text = reqwest::get(format!("{}/metrics", server.base)).await.unwrap().text().await.unwrap();
        let deleted = text.lines().find_map(|line| line.strip_prefix("control_plane_expired_blocks_total "));
        (deleted == Some("4")).then_some(()).ok_or_else(|| format!("{deleted:?} blocks deleted"))
    })
    .await;
    let created = json!([{"name": "a"}, {"name": "b", "retention": "1y"}]);
    let refusal = user.request(Method::POST, "/channels").json(&created).send().await.unwrap();
    assert_eq!(refusal.status(), 400);
    let refusal: Value = refusal.json().await.unwrap();
    assert_eq!((&refusal["record"], &refusal["field"]), (&json!(1), &json!("retention")), "{refusal}");
    assert!(refusal["error"].as_str().unwrap().contains("7d, 90d, 400d, forever"), "{refusal}");
}

/// What was hidden stays so over a crash, and what is accepted afterwards is stored beside what was there.
#[tokio::test]
async fn a_retention_outlives_a_crash() {
    let server = Server::start();
    let (thing, path) = {
        let user = server.user().await;
        let thing =
            thing_on_new(&user, json!({"name": "c", "retention": "400d", "bucket_width": "1d"})).await;
        thing.publish(&json!([at(now(), 1), at(now() - 80 * DAY, 2), at(now() - 100 * DAY, 3)])).await;
        thing.until_stored(3).await;
        assert_eq!(put(&user, &thing, json!({"retention": "90d"})).await.0, 200);
        let path = format!("/channels/{}/messages", thing.channel);
        (thing, path)
    };
    let server = server.kill_and_restart();
    let thing = Thing { base: server.base.clone(), ..thing };
    assert_eq!(values(&thing, "").await, [1, 2]);
    let pack = json!([at(now() - 100 * DAY, 4)]);
    assert_eq!(refused(&thing, &pack).await.0, 400);
    thing.publish(&json!([at(now() - 79 * DAY, 5)])).await;
    thing.until_stored(3).await;
    let admin = server.login(crate::harness::ADMIN_EMAIL, crate::harness::ADMIN_PASSWORD).await;
    let page: Value = admin.request(Method::GET, &path).send().await.unwrap().json().await.unwrap();
    assert_eq!(page["total"], 3, "users see the same");
}
