//! Pages, filters, ranges, both directions, cursors.

use serde_json::{Value, json};

use crate::harness::{Server, Thing, column};

/// Records at 1,700,000,000 s and on, one a second: numbers 0 to 9, then a text, a truth and bytes.
async fn filled(server: &Server) -> Thing {
    let thing = server.user().await.connected_thing().await;
    let mut pack = vec![json!({"bn": "f:", "bt": 1_700_000_000, "n": "number", "u": "V", "t": 0, "v": 0})];
    pack.extend((1..10).map(|i| json!({"n": "number", "u": "V", "t": i, "v": i})));
    pack.push(json!({"n": "text", "t": 10, "vs": "on"}));
    pack.push(json!({"n": "truth", "t": 11, "vb": true}));
    pack.push(json!({"n": "bytes", "t": 12, "vd": "aGk"}));
    thing.publish(&Value::from(pack)).await;
    let answer =
        thing.post("/kitchen/oven").body(r#"[{"n":"f:heat","t":1700000013,"v":0}]"#).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    thing.until_stored(14).await;
    thing
}

#[tokio::test]
async fn every_filter_selects_what_it_says_in_both_directions() {
    let server = Server::start();
    let thing = filled(&server).await;
    let nobody = uuid::Uuid::new_v4();
    let cases = [
        ("name=f:text".to_owned(), 1),
        ("name=f:nothing".to_owned(), 0),
        ("v=0".to_owned(), 2),
        ("v=0&subtopic=kitchen.oven".to_owned(), 1),
        ("v=3&comparator=eq".to_owned(), 1),
        ("v=3&comparator=lt".to_owned(), 4),
        ("v=3&comparator=le".to_owned(), 5),
        ("v=3&comparator=gt".to_owned(), 6),
        ("v=3&comparator=ge".to_owned(), 7),
        ("v=3e0".to_owned(), 1),
        ("vs=on".to_owned(), 1),
        ("vs=off".to_owned(), 0),
        ("vb=true".to_owned(), 1),
        ("vb=false".to_owned(), 0),
        ("vd=aGk".to_owned(), 1),
        ("vd=aGk=".to_owned(), 1),
        ("vd=aGl".to_owned(), 0),
        ("subtopic=kitchen.oven".to_owned(), 1),
        ("subtopic=kitchen".to_owned(), 0),
        (format!("publisher={}", thing.id), 14),
        (format!("publisher={nobody}"), 0),
        ("protocol=http".to_owned(), 14),
        ("protocol=mqtt".to_owned(), 0),
        ("from=1700000010".to_owned(), 4),
        ("to=1700000010".to_owned(), 10),
        ("from=1700000003&to=1700000005".to_owned(), 2),
        ("from=1700000003.000000001&to=1700000005.000000001".to_owned(), 2),
        ("from=1700000005&to=1700000003".to_owned(), 0),
        ("from=1700000013.0000000004".to_owned(), 0),
        ("from=1700000012.9999999996".to_owned(), 1),
        ("to=1700000000.0000000004".to_owned(), 1),
        ("to=1699999999.9999999996".to_owned(), 0),
        ("from=1.7e9".to_owned(), 14),
        ("from=1700000002&v=5&comparator=lt&name=f:number".to_owned(), 3),
    ];
    for (query, total) in &cases {
        let down = thing.page(&format!("limit=100&{query}")).await;
        assert_eq!(down["total"], *total, "{query}: {down}");
        assert_eq!(down["messages"].as_array().unwrap().len(), *total as usize, "{query}");
        assert_eq!(down.get("next"), None, "{query}: the only page has no next");
        let up = thing.page(&format!("limit=100&dir=asc&{query}")).await;
        let reversed: Vec<&Value> = column(&up, "time").into_iter().rev().collect();
        assert_eq!(column(&down, "time"), reversed, "{query}");
    }
}

#[tokio::test]
async fn parameters_out_of_range_are_400_and_name_themselves() {
    let server = Server::start();
    let thing = filled(&server).await;
    let cases = [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-5", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("offset=-1", "offset"),
        ("offset=1.5", "offset"),
        ("offset=99999999999999999999", "offset"),
        ("offset=9223372036854775808", "offset"),
        ("dir=up", "dir"),
        ("comparator=zz&v=1", "comparator"),
        ("v=x", "v"),
        ("v=", "v"),
        ("v=NaN", "v"),
        ("v=1e999", "v"),
        ("vb=maybe", "vb"),
        ("vd=!", "vd"),
        ("from=x", "from"),
        ("to=x", "to"),
        ("from=1e30", "from"),
        ("publisher=me", "publisher"),
        ("next=abc", "next"),
        ("limit=1&limit=2", "limit"),
        ("nmae=a", "nmae"),
        ("name=%FF", "name"),
    ];
    for (query, field) in cases {
        let (status, refusal) = thing.read(query).await;
        assert_eq!(status, 400, "{query}: {refusal}");
        assert_eq!(refusal["field"], field, "{query}: {refusal}");
    }
    for good in ["limit=1000", "limit=1", "offset=0", "dir=desc", "dir=", "name=", "format=messages", ""] {
        assert_eq!(thing.page(good).await["total"], 14, "{good}");
    }
    assert_eq!(thing.page("offset=9223372036854775807").await["messages"], json!([]));
}

/// Follows `next` to the end: the values of all pages, and how many pages there were.
async fn follow(thing: &Thing, query: &str) -> (Vec<i64>, usize) {
    let (mut values, mut pages) = (Vec::new(), 0);
    let mut page = thing.page(query).await;
    loop {
        pages += 1;
        assert_eq!(page["offset"], values.len(), "a page says how many records came before it");
        values.extend(column(&page, "value").iter().map(|value| value.as_i64().unwrap()));
        let Some(next) = page.get("next").and_then(Value::as_str) else { return (values, pages) };
        page = thing.page(&format!("{query}&next={next}")).await;
    }
}

#[tokio::test]
async fn pages_by_offset_and_by_cursor_show_every_record_once() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let pack = Value::from_iter((0..250).map(|i| json!({"n": "x", "t": 1_700_000_000 + i * 977, "v": i})));
    thing.publish(&pack).await;
    thing.until_stored(250).await;
    let up: Vec<i64> = (0..250).collect();
    let down: Vec<i64> = (0..250).rev().collect();
    for (direction, wanted) in [("desc", &down), ("asc", &up)] {
        for filter in ["", "&name=x", "&from=0&to=1800000000"] {
            let query = format!("limit=60&dir={direction}{filter}");
            assert_eq!(follow(&thing, &query).await, (wanted.clone(), 5), "{query}");
            let mut by_offset = Vec::new();
            for offset in (0..250).step_by(60) {
                let page = thing.page(&format!("{query}&offset={offset}")).await;
                assert_eq!(page["total"], 250);
                by_offset.extend(column(&page, "value").iter().map(|value| value.as_i64().unwrap()));
            }
            assert_eq!(&by_offset, wanted, "{query}");
        }
    }
    let beyond = thing.page("offset=1000").await;
    assert_eq!((beyond["total"].as_u64(), beyond["messages"].as_array().unwrap().len()), (Some(250), 0));
}

#[tokio::test]
async fn a_cursor_is_stable_while_writes_go_on_and_is_bound_to_its_query() {
    let server = Server::start();
    let user = server.user().await;
    let thing = user.connected_thing().await;
    let at = |i: i64| json!({"n": "x", "t": 1_700_000_000 + i, "v": i});
    thing.publish(&Value::from_iter((0..100).map(|i| at(i * 10)))).await;
    thing.until_stored(100).await;
    let first = thing.page("limit=40").await;
    let next = first["next"].as_str().unwrap();
    // Newer ones, older ones, one before the cursor and one behind it.
    thing.publish(&json!([at(5_000), at(-5_000), at(995), at(15)])).await;
    thing.until_stored(104).await;
    let mut values: Vec<i64> = column(&first, "value").iter().map(|value| value.as_i64().unwrap()).collect();
    let mut page = thing.page(&format!("limit=40&next={next}")).await;
    loop {
        values.extend(column(&page, "value").iter().map(|value| value.as_i64().unwrap()));
        let Some(next) = page.get("next").and_then(Value::as_str) else { break };
        page = thing.page(&format!("limit=40&next={next}")).await;
    }
    let mut wanted: Vec<i64> = (0..100).rev().map(|i| i * 10).collect();
    wanted.insert(98, 15);
    wanted.push(-5_000);
    assert_eq!(values, wanted, "nothing twice, nothing skipped, what came behind the cursor is shown");

    let (status, refusal) = thing.read(&format!("limit=40&name=x&next={next}")).await;
    assert_eq!((status.as_u16(), &refusal["field"]), (400, &json!("next")));
    let other = user.connected_thing().await;
    assert_eq!(other.read(&format!("limit=40&next={next}")).await.0, 400, "of another channel");
    let mut forged = next.to_owned().into_bytes();
    for i in 0..forged.len() {
        let kept = forged[i];
        forged[i] = if kept == b'A' { b'B' } else { b'A' };
        let (status, _) = thing.read(&format!("limit=40&next={}", String::from_utf8_lossy(&forged))).await;
        forged[i] = kept;
        assert_eq!(status, 400, "character {i} changed");
    }
    assert_eq!(
        thing.read(&format!("limit=40&offset=3&next={next}")).await.0,
        400,
        "offset and next exclude each other"
    );
}

#[tokio::test]
async fn deep_offsets_and_far_times_are_exact() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let block_records = server.fewer(3_000, 600_i64);
    let all = 10 * block_records as usize;
    let mut sent = Vec::new();
    for block in 0..10_i64 {
        // A block a pack, dense and sparse in turn, decades apart.
        let time = |i: i64| block * 400_000_000 + 300_000_000 + i * (1 + block % 3 * 1_000);
        let pack: Vec<_> = (0..block_records).map(|i| (time(i), block * block_records + i)).collect();
        thing.publish(&Value::from_iter(pack.iter().map(|(t, v)| json!({"n": "x", "t": t, "v": v})))).await;
        sent.extend(pack);
    }
    thing.until_stored(all as u64).await;
    sent.sort_unstable();
    for offset in [0, 1, all / 10 - 1, all / 10, all / 2 - 679, all - 10] {
        let page = thing.page(&format!("dir=asc&offset={offset}")).await;
        let wanted: Vec<Value> = sent[offset..].iter().take(10).map(|(_, v)| json!(v)).collect();
        assert_eq!(column(&page, "value"), wanted.iter().collect::<Vec<_>>(), "ascending, offset {offset}");
        let page = thing.page(&format!("offset={offset}")).await;
        let wanted: Vec<Value> = sent.iter().rev().skip(offset).take(10).map(|(_, v)| json!(v)).collect();
        assert_eq!(column(&page, "value"), wanted.iter().collect::<Vec<_>>(), "descending, offset {offset}");
        assert_eq!(page["total"], all);
    }
}

/// Records with a text of a megabyte each.
#[tokio::test]
async fn a_page_of_large_records_is_refused_and_fewer_of_them_are_answered() {
    const RECORDS: i64 = 40;
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let text = "x".repeat(1_000_000);
    for second in 0..RECORDS {
        thing.publish(&json!([{"n": "large", "t": 1_700_000_000 + second, "vs": text}])).await;
    }
    thing.publish(&json!([{"n": "small", "t": 1_700_001_000, "v": 1}])).await;
    thing.until_stored(RECORDS as u64 + 1).await;
    for query in ["limit=40", "limit=1000", "limit=40&name=large", "limit=1000&dir=asc"] {
        let (status, refused) = thing.read(query).await;
        assert_eq!(status, 400, "{query}: {refused}");
        assert_eq!((&refused["code"], &refused["field"]), (&json!("page_too_large"), &json!("limit")));
    }
    assert_eq!(
        thing.page("limit=1000&name=small").await["total"],
        1,
        "what a filter passes by takes no room"
    );
    let mut times = Vec::new();
    for offset in [0, 15, 30] {
        let page = thing.page(&format!("limit=15&dir=asc&offset={offset}")).await;
        assert_eq!(page["total"], RECORDS + 1);
        times.extend(column(&page, "time").iter().map(|time| time.as_i64().unwrap()));
    }
    let wanted: Vec<i64> = (0..RECORDS).chain([1_000]).map(|second| 1_700_000_000 + second).collect();
    assert_eq!(times, wanted);
}
