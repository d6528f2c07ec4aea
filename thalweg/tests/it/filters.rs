//! Filters in every combination, in both directions, against what was sent; and cursors while writes go on.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{Server, Thing, column};

/// One record as it was sent.
#[derive(Debug, Clone)]
struct Sent {
    publisher: String,
    subtopic: &'static str,
    name: &'static str,
    second: i64,
    field: &'static str,
    value: Value,
}

const SUBTOPICS: [(&str, &str); 2] = [("", ""), ("/kitchen/oven", "kitchen.oven")];
const NAMES: [&str; 2] = ["a", "b"];

/// Records of a thing: each name on each subtopic, one of each kind of value and some numbers.
async fn publish(thing: &Thing, first_second: i64) -> Vec<Sent> {
    let values = [
        ("v", json!(0)),
        ("v", json!(3)),
        ("v", json!(4.5)),
        ("vs", json!("on")),
        ("vb", json!(true)),
        ("vd", json!("aGk")),
    ];
    let mut sent = Vec::new();
    let mut second = first_second;
    for (path, subtopic) in SUBTOPICS {
        let mut pack = Vec::new();
        for name in NAMES {
            for (field, value) in &values {
                pack.push(json!({"n": name, "t": second, *field: value}));
                let (publisher, value) = (thing.id.clone(), value.clone());
                sent.push(Sent { publisher, subtopic, name, second, field, value });
                second += 2;
            }
        }
        let answer = thing.post(path).body(Value::from(pack).to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 202);
    }
    sent
}

/// A part of a query string, and what it lets through.
type Choice = (String, Box<dyn Fn(&Sent) -> bool>);

fn choice(query: impl Into<String>, lets_through: impl Fn(&Sent) -> bool + 'static) -> Choice {
    (query.into(), Box::new(lets_through))
}

/// Everything that each parameter may say, absence included.
fn choices(first: &Thing, nobody: &str) -> Vec<Vec<Choice>> {
    let number = |compare: fn(f64) -> bool| {
        move |sent: &Sent| sent.field == "v" && compare(sent.value.as_f64().unwrap())
    };
    let is =
        |field: &'static str, value: Value| move |sent: &Sent| sent.field == field && sent.value == value;
    let (publisher, all) = (first.id.clone(), |_: &Sent| true);
    vec![
        vec![
            choice("", all),
            choice("&subtopic=kitchen.oven", |sent| sent.subtopic == "kitchen.oven"),
            choice("&subtopic=", |sent| sent.subtopic.is_empty()),
        ],
        vec![
            choice("", all),
            choice(format!("&publisher={publisher}"), move |sent| sent.publisher == publisher),
            choice(format!("&publisher={nobody}"), |_| false),
        ],
        vec![choice("", all), choice("&protocol=http", all)],
        vec![choice("", all), choice("&name=a", |sent| sent.name == "a")],
        vec![
            choice("", all),
            choice("&v=3", number(|value| value == 3.0)),
            choice("&v=3&comparator=lt", number(|value| value < 3.0)),
            choice("&v=3&comparator=ge", number(|value| value >= 3.0)),
            choice("&vs=on", is("vs", json!("on"))),
            choice("&vb=true", is("vb", json!(true))),
            choice("&vd=aGk", is("vd", json!("aGk"))),
        ],
        vec![
            choice("", all),
            choice("&from=1700000010", |sent| sent.second >= 1_700_000_010),
            choice("&to=1700000011.5", |sent| sent.second <= 1_700_000_011),
            choice("&from=1700000010&to=1700000030", |sent| {
                (1_700_000_010..1_700_000_030).contains(&sent.second)
            }),
        ],
    ]
}

#[tokio::test]
async fn every_combination_of_filters_answers_what_was_sent_in_both_directions() {
    let server = Server::start();
    let user = server.user().await;
    let channel = user.channel().await;
    let (first, second) = (user.thing_on(&channel).await, user.thing_on(&channel).await);
    let mut sent = publish(&first, 1_700_000_000).await;
    // Between those of the other thing.
    sent.extend(publish(&second, 1_700_000_001).await);
    first.until_stored(sent.len() as u64).await;
    sent.sort_by_key(|sent| sent.second);

    let choices = choices(&first, &uuid::Uuid::new_v4().to_string());
    let combinations: usize = choices.iter().map(Vec::len).product();
    // Every eleventh still holds whatever two of the parameters may say together.
    for mut number in (0..combinations).step_by(server.fewer(1, 11)) {
        let mut query = "limit=100".to_owned();
        let mut wanted: Vec<&Sent> = sent.iter().collect();
        for parameter in &choices {
            let (text, lets_through) = &parameter[number % parameter.len()];
            number /= parameter.len();
            query.push_str(text);
            wanted.retain(|sent| lets_through(sent));
        }
        for direction in ["asc", "desc"] {
            let page = first.page(&format!("{query}&dir={direction}")).await;
            let times: Vec<i64> = column(&page, "time").iter().map(|time| time.as_i64().unwrap()).collect();
            let mut expected: Vec<i64> = wanted.iter().map(|sent| sent.second).collect();
            if direction == "desc" {
                expected.reverse();
            }
            assert_eq!(times, expected, "{query}&dir={direction}");
            assert_eq!(page["total"], expected.len(), "{query}&dir={direction}");
        }
    }
}

/// Follows `next` to the end, and keeps what the records of before the walk have as values.
async fn walk(thing: &Thing, query: &str, pages: &Semaphore) -> Vec<i64> {
    let mut page = thing.page(query).await;
    let mut values = Vec::new();
    loop {
        pages.add_permits(1);
        let rows = page["messages"].as_array().unwrap();
        values
            .extend(rows.iter().filter(|row| row["name"] == "old").map(|row| row["value"].as_i64().unwrap()));
        let Some(next) = page.get("next").and_then(Value::as_str) else { return values };
        page = thing.page(&format!("{query}&next={next}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_by_cursor_shows_each_record_once_while_a_thing_publishes_all_over_the_channel() {
    let server = Server::start();
    let user = server.user().await;
    let channel = user.channel().await;
    let (thing, busy) = (user.thing_on(&channel).await, user.thing_on(&channel).await);
    // Spread over many buckets, so that a walk takes a while.
    let count = server.fewer(500, 200);
    let old = |i: i64| json!({"n": "old", "t": 1_700_000_000 + i * 600, "v": i});
    thing.publish(&Value::from_iter((0..count).map(old))).await;
    thing.until_stored(count as u64).await;

    // A pack for each page, of fewer records than the page has: a walk that gains less than it loses never ends.
    let pages = Arc::new(Semaphore::new(1));
    let writing = tokio::spawn({
        let pages = Arc::clone(&pages);
        async move {
            let mut packs = 0;
            while let Ok(page) = pages.acquire().await {
                page.forget();
                // Before, between and behind the old ones, at their very times and beside them.
                let new = |i: i64| {
                    let time =
                        1_700_000_000 + (i * 331 + packs * 13) % (count + 200) * 600 - 60_000 + packs % 2;
                    json!({"n": format!("new{packs}"), "t": time, "v": -i - 1})
                };
                busy.publish(&Value::from_iter((0..4).map(new))).await;
                packs += 1;
            }
            packs
        }
    });
    let up: Vec<i64> = (0..count).collect();
    let down: Vec<i64> = (0..count).rev().collect();
    let range = format!("&from=1700000000&to={}", 1_700_000_000 + count * 600);
    for filter in ["", "&name=old", "&v=0&comparator=ge", &range] {
        for (direction, wanted) in [("asc", &up), ("desc", &down)] {
            let query = format!("limit=13&dir={direction}{filter}");
            assert_eq!(&walk(&thing, &query, &pages).await, wanted, "{query}");
        }
    }
    pages.close();
    assert!(writing.await.unwrap() > 100, "packs came between the pages");
}
