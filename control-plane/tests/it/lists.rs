//! Pages of things and channels: order, filters, totals, and what a deep one costs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{User, World, median};

async fn names(world: &World, user: &User, query: &str) -> Vec<String> {
    let page = world.get(&format!("/things?{query}"), &user.token).await.is(200).json();
    names_of(&page)
}

fn names_of(page: &Value) -> Vec<String> {
    page["things"]
        .as_array()
        .unwrap()
        .iter()
        .map(|thing| thing["name"].as_str().unwrap().to_owned())
        .collect()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<Value> {
    range.map(|i| json!({"name": format!("t{i:04}"), "metadata": {"even": i % 2 == 0, "i": i}})).collect()
}

#[tokio::test]
async fn a_page_has_the_documented_fields_and_the_order_of_creation() {
    let world = World::new().await;
    let user = world.user().await;
    world.post("/things", &user.token, json!(numbered(0..7))).await.is(201);
    world.thing(&world.admin).await;
    let page = world.get("/things", &user.token).await.is(200);
    assert!(
        page.body
            .starts_with(br#"{"total":7,"offset":0,"limit":10,"order":"","direction":"","things":[{"id":""#)
    );
    assert_eq!(page.header("access-control-expose-headers"), "Location");
    assert_eq!(names_of(&page.json()), ["t0000", "t0001", "t0002", "t0003", "t0004", "t0005", "t0006"]);
    let page = world.get("/things?offset=3&limit=3&dir=desc", &user.token).await.is(200).json();
    assert_eq!(names_of(&page), ["t0003", "t0002", "t0001"]);
    assert_eq!((&page["total"], &page["direction"]), (&json!(7), &json!("desc")));
    assert_eq!(names(&world, &user, "offset=7").await, [""; 0]);
    assert_eq!(names(&world, &user, "offset=9223372036854775807&limit=1000").await, [""; 0]);
    assert_eq!(world.get("/things", &world.admin).await.json()["total"], 8);

    let channels = world.post("/channels", &user.token, json!([{"name": "b"}, {"name": "a"}])).await.json();
    let page = world.get("/channels", &user.token).await.is(200).json();
    let fields = json!({"total": 2, "offset": 0, "limit": 10, "order": "", "direction": "",
                        "channels": channels["channels"]});
    assert_eq!(page, fields);
}

#[tokio::test]
async fn parameters_out_of_range_are_refused_by_name() {
    let world = World::new().await;
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1.5",
        "offset=-1",
        "offset=x",
        "offset=9223372036854775808",
        "order=age",
        "dir=up",
        "metadata=x",
        "metadata=[]",
        "metadata=1",
    ] {
        for list in ["/things", "/channels"] {
            let refused = world.get(&format!("{list}?{query}"), &world.admin).await.refused(400);
            assert_eq!(refused["field"], query.split('=').next().unwrap(), "{query}");
        }
    }
    for list in ["/things", "/channels", "/orgs", "/groups", "/keys", "/audit"] {
        let twice = world.get(&format!("{list}?limit=1&limit=2"), &world.admin).await.refused(400);
        assert_eq!(twice["field"], "limit", "{twice}");
        assert_eq!(twice["error"], "limit is there more than once");
    }
    for query in ["dir=", "order=", "name=", "dir=&order=&name="] {
        world.get(&format!("/things?{query}"), &world.admin).await.is(200);
    }
    world.get("/things?limit=x", "").await.refused(401);
    world.get("/things?limit=1000&unknown=1", &world.admin).await.is(200);
}

#[tokio::test]
async fn filters_and_orders_combine() {
    let world = World::new().await;
    let user = world.user().await;
    let things = json!([
        {"name": "Boiler 1", "metadata": {"floor": 1, "tags": ["hot", "old"]}},
        {"name": "boiler 2", "metadata": {"floor": 2, "tags": ["hot"]}},
        {"name": "Äpfel_100%", "metadata": {"floor": 1}},
        {"name": "apple"},
    ]);
    world.post("/things", &user.token, things).await.is(201);
    world
        .post("/things", &world.admin, json!([{"name": "boiler of the admin", "metadata": {"floor": 1}}]))
        .await;
    for (query, wanted) in [
        ("name=boiler", vec!["Boiler 1", "boiler 2"]),
        ("name=BOILER&dir=desc", vec!["boiler 2", "Boiler 1"]),
        ("name=%C3%A4PFEL", vec!["Äpfel_100%"]),
        ("name=%25", vec!["Äpfel_100%"]),
        ("name=_", vec!["Äpfel_100%"]),
        ("name=%5C", vec![]),
        ("name=", vec!["Boiler 1", "boiler 2", "Äpfel_100%", "apple"]),
        ("order=name", vec!["apple", "Boiler 1", "boiler 2", "Äpfel_100%"]),
        ("order=name&dir=desc&limit=2&offset=1", vec!["boiler 2", "Boiler 1"]),
        ("metadata=%7B%22floor%22:1%7D", vec!["Boiler 1", "Äpfel_100%"]),
        ("metadata=%7B%22floor%22:1%7D&name=b", vec!["Boiler 1"]),
        ("metadata=%7B%22tags%22:%5B%22hot%22%5D%7D&order=name&dir=desc", vec!["boiler 2", "Boiler 1"]),
        ("metadata=%7B%22floor%22:3%7D", vec![]),
    ] {
        assert_eq!(names(&world, &user, query).await, wanted, "{query}");
    }
    for (query, total) in [
        ("name=boiler&limit=1", 2),
        ("order=name&limit=1", 4),
        ("metadata=%7B%22floor%22:1%7D&limit=1&offset=1", 2),
    ] {
        let page = world.get(&format!("/things?{query}"), &user.token).await.json();
        assert_eq!((&page["total"], page["things"].as_array().unwrap().len()), (&json!(total), 1), "{query}");
    }
    let ids = world.get("/things?order=id&limit=100", &user.token).await.json();
    let ids: Vec<_> = ids["things"].as_array().unwrap().iter().map(|thing| thing["id"].to_string()).collect();
    assert!(ids.is_sorted() && ids.len() == 4);
}

/// More than one chunk of the list, with deletions in each: pages have no gap and no repeat, and totals are exact.
#[tokio::test]
async fn pages_are_exact_over_chunks_and_deletions() {
    let world = World::new().await;
    let user = world.user().await;
    let mut things: Vec<(String, String)> = Vec::new();
    for bulk in 0..3 {
        let body = json!(numbered(bulk * 700..(bulk + 1) * 700));
        let created = world.post("/things", &user.token, body).await.is(201).json();
        let text = |thing: &Value, field: &str| thing[field].as_str().unwrap().to_owned();
        things.extend(created["things"].as_array().unwrap().iter().map(|t| (text(t, "id"), text(t, "name"))));
    }
    world.thing(&world.admin).await;
    for gone in [2_099, 1_500, 1_024, 1_023, 512, 1, 0] {
        let (id, _) = things.remove(gone);
        world.delete(&format!("/things/{id}"), &user.token).await.is(204);
    }
    let wanted: Vec<String> = things.into_iter().map(|(_, name)| name).collect();
    let backwards: Vec<String> = wanted.iter().rev().cloned().collect();
    for (direction, token, total, wanted) in [
        ("asc", &user.token, 2_093, &wanted),
        ("desc", &user.token, 2_093, &backwards),
        ("asc", &world.admin, 2_094, &wanted),
    ] {
        let mut seen = Vec::new();
        for offset in (0..2_200).step_by(199) {
            let query = format!("/things?limit=199&offset={offset}&dir={direction}");
            let page = world.get(&query, token).await.is(200).json();
            assert_eq!(page["total"], total);
            seen.extend(names_of(&page));
        }
        seen.retain(|name| name != "thing");
        assert_eq!(seen, *wanted, "{direction}");
    }
}

/// Medians of alternating rounds: on a busy machine all pages get slower together, while the smallest time is a matter of
/// luck.
#[tokio::test]
async fn of_100_000_things_the_last_page_costs_less_than_twice_the_first() {
    const THINGS: usize = 100_000;
    let world = World::new().await;
    let user = world.user().await;
    for bulk in 0..THINGS / 1_000 {
        let things: Vec<Value> =
            (0..1_000).map(|i| json!({"name": format!("t{}", bulk * 1_000 + i)})).collect();
        world.post("/things", &user.token, json!(things)).await.is(201);
    }
    for (who, token) in [("owner", &user.token), ("admin", &world.admin)] {
        for direction in ["asc", "desc"] {
            let costs = page_costs(&world, "/things", token, direction, THINGS, 101).await;
            let times = costs.map(|cost| cost.as_secs_f64() / costs[0].as_secs_f64());
            println!("{who}, {direction}: {times:.2?} times the first page, {costs:?}");
            assert!(times.iter().all(|times| *times < 2.0), "{who}, {direction}: {times:.2?}");
        }
    }

    // Who shares them: the list is no numbered one.
    let bob = world.user().await;
    let group = world.group(&user.token).await;
    world.gather(&user.token, &group, &[&bob.id]).await;
    let all = "INSERT INTO group_things (thing_id, group_id) SELECT id, $1 FROM things";
    assert_eq!(world.site.execute(all, &[&group]).await, THINGS as u64);
    for path in ["/things".to_owned(), format!("/groups/{group}/members")] {
        let costs = page_costs(&world, &path, &bob.token, "asc", THINGS, 5).await;
        let times = costs.map(|cost| cost.as_secs_f64() / costs[0].as_secs_f64());
        println!("{path} of who shares: {times:.2?} times the first page, {costs:?}");
        assert!(times.iter().all(|times| *times < 2.0), "{path}: {times:.2?}");
    }
}

/// What the first page costs, the one that skips the most entries of a chunk of the list, one in the middle, and the last.
async fn page_costs(
    world: &World,
    list: &str,
    token: &str,
    direction: &str,
    things: usize,
    rounds: usize,
) -> [Duration; 4] {
    let mut costs = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        for (offset, costs) in [0, 1_023, things / 2, things - 10].iter().zip(&mut costs) {
            let path = format!("{list}?offset={offset}&dir={direction}");
            let began = Instant::now();
            let page = world.get(&path, token).await.is(200);
            costs.push(began.elapsed());
            assert_eq!(page.json()["total"], things);
        }
    }
    costs.map(median)
}

/// What others share is in the same list, once, in the same order, whatever it is reached by.
#[tokio::test]
async fn what_is_shared_is_listed_with_what_is_owned() {
    let world = World::new().await;
    let (ann, bob) = (world.user().await, world.user().await);
    let create = async |user: &User, range| {
        let made = world.post("/things", &user.token, json!(numbered(range))).await.is(201).json();
        let ids = made["things"].as_array().unwrap().iter();
        ids.map(|thing| thing["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    create(&bob, 0..3).await;
    let shared = create(&ann, 3..6).await;
    create(&bob, 6..9).await;
    create(&ann, 9..12).await;
    assert_eq!(names(&world, &bob, "").await.len(), 6);
    let ids: Vec<&str> = shared.iter().map(String::as_str).collect();
    for _ in 0..2 {
        let group = world.group(&ann.token).await;
        world.gather(&ann.token, &group, &[ids.as_slice(), &[&bob.id]].concat()).await;
    }
    let policy = json!({"subjects": [bob.id], "object": ids[0], "policies": ["read", "write"]});
    world.post("/policies", &world.admin, policy).await.is(201);
    let all: Vec<String> = (0..9).map(|i| format!("t{i:04}")).collect();
    assert_eq!(names(&world, &bob, "limit=100").await, all);
    assert_eq!(names(&world, &bob, "offset=2&limit=3").await, all[2..5]);
    assert_eq!(names(&world, &bob, "dir=desc&limit=4").await, ["t0008", "t0007", "t0006", "t0005"]);
    assert_eq!(names(&world, &bob, "name=T0004&order=name").await, ["t0004"]);
    assert_eq!(names(&world, &bob, "metadata=%7B%22even%22:true%7D").await.len(), 5);
    assert_eq!(world.get("/things?limit=1", &bob.token).await.json()["total"], 9);
}
