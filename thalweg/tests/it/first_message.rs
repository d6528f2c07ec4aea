//! The main path: a pack goes in, records come out, and stay.

use serde_json::{Value, json};

use crate::harness::{Server, column};

pub(crate) fn documented_pack() -> Value {
    json!([
        {"bn": "some-base-name:", "bt": 1.276020076001e+09, "bu": "A", "bver": 5, "n": "voltage", "u": "V", "v": 120.1},
        {"n": "current", "t": -5, "v": 1.2},
        {"n": "current", "t": -4, "v": 1.3}
    ])
}

#[tokio::test]
async fn the_documented_pack_reads_back_as_documented() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    thing.publish(&documented_pack()).await;
    thing.until_stored(3).await;
    let row = |name: &str, unit: &str, time: f64, value: f64| {
        json!({
            "channel_name": thing.channel, "publisher": thing.id, "protocol": "http",
            "name": format!("some-base-name:{name}"), "unit": unit, "time": time, "value": value,
        })
    };
    let page = thing.page("offset=0&limit=5").await;
    let wanted = json!({
        "offset": 0, "limit": 5, "format": "messages", "total": 3,
        "messages": [
            row("voltage", "V", 1_276_020_076.001, 120.1),
            row("current", "A", 1_276_020_072.001, 1.3),
            row("current", "A", 1_276_020_071.001, 1.2),
        ],
    });
    assert_eq!(page, wanted);
}

#[tokio::test]
async fn every_kind_of_value_reads_back_and_a_new_kind_replaces_the_old_one() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let at = |n: &str, field: &str, value: Value| json!({"n": n, "t": 1_700_000_000, field: value});
    thing
        .publish(&json!([
            at("a", "v", json!(-1.5e-9)), at("b", "vs", json!("ключ \u{0000} \u{1F511}")), at("c", "vb", json!(false)),
            at("d", "vd", json!("_-8")), at("e", "s", json!(3)),
            {"n": "f", "t": 1_700_000_000, "v": 1, "s": 2, "ut": 60},
        ]))
        .await;
    thing.until_stored(6).await;
    let page = thing.page("").await;
    assert_eq!(column(&page, "name"), ["a", "b", "c", "d", "e", "f"]);
    let row = |i: usize| page["messages"][i].clone();
    assert_eq!(row(0)["value"], json!(-1.5e-9));
    assert_eq!(row(1)["string_value"], "ключ \u{0000} \u{1F511}");
    assert_eq!(row(2)["bool_value"], false);
    assert_eq!(row(3)["data_value"], "_-8");
    assert_eq!((&row(4)["sum"], row(4).get("value")), (&json!(3), None));
    assert_eq!(
        (&row(5)["value"], &row(5)["sum"], &row(5)["update_time"]),
        (&json!(1), &json!(2), &json!(60))
    );

    thing.publish(&json!([at("a", "vs", json!("now a text")), {"n": "end", "v": 0}])).await;
    thing.until_stored(7).await;
    let page = thing.page("name=a").await;
    assert_eq!(page["messages"][0]["string_value"], "now a text");
    assert_eq!(page["messages"][0].get("value"), None);
}

#[tokio::test]
async fn times_are_exact_to_the_nanosecond() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let times = ["1554381569.992", "1554381569.123456789", "1554381569.12345678", "9223372036.854775807"];
    for (i, time) in times.iter().enumerate() {
        let pack = format!(r#"[{{"n":"n{i}","t":{time},"v":1}}]"#);
        assert_eq!(thing.post("").body(pack).send().await.unwrap().status(), 202);
    }
    thing.until_stored(4).await;
    let url = format!("{}/channels/{}/messages", thing.base, thing.channel);
    let answer =
        thing.http.get(url).header("Authorization", format!("Thing {}", thing.key)).send().await.unwrap();
    let text = answer.text().await.unwrap();
    for time in times {
        assert!(text.contains(&format!("\"time\":{time},")), "{time} in {text}");
    }
}
