//! What a pack means, over HTTP: each rule of resolution, from the published pack to the records that are read.

use serde_json::{Value, json};

use crate::harness::{Server, Thing};

/// A pack, and its records from the newest: name, unit, time, and what else a record says of itself.
struct Case(&'static str, &'static [(&'static str, &'static str, &'static str, &'static str)]);

/// One or more for each rule; times are absolute, so that what is read does not depend on when a test runs.
const CASES: &[Case] = &[
    // Base fields carry forward until they appear again.
    Case(
        r#"[{"bn":"a:","bt":1600000000,"bu":"V","bv":10,"bs":100,"n":"x","v":1,"s":1},{"n":"y","t":1,"v":2},
            {"bn":"b:","bu":"A","bv":0,"bs":0,"n":"z","t":2,"v":3}]"#,
        &[
            ("b:z", "A", "1600000002", r#""value":3"#),
            ("a:y", "V", "1600000001", r#""value":12,"sum":100"#),
            ("a:x", "V", "1600000000", r#""value":11,"sum":101"#),
        ],
    ),
    // A name is base name and name; either may be missing.
    Case(
        r#"[{"bn":"urn:dev:","bt":1600000000,"v":1},{"n":"_-:./9","t":1,"v":1}]"#,
        &[
            ("urn:dev:_-:./9", "", "1600000001", r#""value":1"#),
            ("urn:dev:", "", "1600000000", r#""value":1"#),
        ],
    ),
    // A unit is kept as it was sent.
    Case(
        r#"[{"bt":1600000000,"bu":"V","n":"a","u":"furlong²","v":1},{"n":"b","t":1,"u":"","v":1}]"#,
        &[("b", "", "1600000001", r#""value":1"#), ("a", "furlong²", "1600000000", r#""value":1"#)],
    ),
    // A missing value is the base value where the record has a name, and a base value is added to numbers only.
    Case(
        r#"[{"bt":1600000000,"bv":20.5,"n":"a"},{"n":"b","t":1,"v":1.25},{"n":"c","t":2,"vs":"x"},
            {"n":"d","t":3,"vb":false},{"n":"e","t":4,"vd":"AQ=="}]"#,
        &[
            ("e", "", "1600000004", r#""data_value":"AQ""#),
            ("d", "", "1600000003", r#""bool_value":false"#),
            ("c", "", "1600000002", r#""string_value":"x""#),
            ("b", "", "1600000001", r#""value":21.75"#),
            ("a", "", "1600000000", r#""value":20.5"#),
        ],
    ),
    // A sum is enough, and so is a base sum.
    Case(
        r#"[{"n":"a","t":1600000000,"s":0},{"bs":100,"n":"b","t":1600000001},{"n":"c","t":1600000002,"s":-1}]"#,
        &[
            ("c", "", "1600000002", r#""sum":99"#),
            ("b", "", "1600000001", r#""sum":100"#),
            ("a", "", "1600000000", r#""sum":0"#),
        ],
    ),
    // Times are added as decimals, are exact, and round half to even beyond nanoseconds.
    Case(
        r#"[{"bt":1554381569.1,"n":"a","t":0.2,"v":1},{"bt":0,"n":"b","t":1.554381569992e+09,"v":1},
            {"n":"c","t":1554381570.0000000005,"v":1},{"n":"d","t":1554381571.0000000015,"v":1},
            {"bt":1554381572.0000000003,"n":"e","t":0.0000000003,"v":1},{"bt":268435456,"n":"f","v":1}]"#,
        &[
            ("e", "", "1554381572.000000001", r#""value":1"#),
            ("d", "", "1554381571.000000002", r#""value":1"#),
            ("c", "", "1554381570", r#""value":1"#),
            ("b", "", "1554381569.992", r#""value":1"#),
            ("a", "", "1554381569.3", r#""value":1"#),
            ("f", "", "268435456", r#""value":1"#),
        ],
    ),
    // Records that hold only base fields, or nothing, are legal anywhere.
    Case(
        r#"[{},{"bn":"a:"},{"n":"x","t":1600000000,"v":1},{"bn":"b:"},{}]"#,
        &[("a:x", "", "1600000000", r#""value":1"#)],
    ),
    // Versions that are known, the first of them behind records without one.
    Case(r#"[{"n":"a","t":1600000000,"v":1},{"bver":26}]"#, &[("a", "", "1600000000", r#""value":1"#)]),
    // Fields that are not known are ignored, and labels are case-sensitive.
    Case(
        r#"[{"n":"a","t":1600000000,"v":1,"N":5,"V":"x","x":{"y":[1]},"BT":null}]"#,
        &[("a", "", "1600000000", r#""value":1"#)],
    ),
    // An update time is kept.
    Case(
        r#"[{"n":"a","t":1600000000,"v":1,"ut":0},{"n":"b","t":1600000001,"v":1,"ut":0.5}]"#,
        &[
            ("b", "", "1600000001", r#""value":1,"update_time":0.5"#),
            ("a", "", "1600000000", r#""value":1,"update_time":0"#),
        ],
    ),
    // Of what a pack says twice of one name, unit and time, the last is kept; the unit tells records apart.
    Case(
        r#"[{"bt":1600000000,"n":"a","v":1},{"n":"a","u":"V","v":2},{"n":"a","vs":"x"}]"#,
        &[("a", "", "1600000000", r#""string_value":"x""#), ("a", "V", "1600000000", r#""value":2"#)],
    ),
];

/// A page's messages as they were printed: times and numbers are not to pass through doubles.
async fn messages(thing: &Thing, rows: usize) -> String {
    thing.until_stored(rows as u64).await;
    let url = format!("{}/channels/{}/messages?limit=100", thing.base, thing.channel);
    let request = thing.http.get(url).header("Authorization", format!("Thing {}", thing.key));
    let text = request.send().await.unwrap().text().await.unwrap();
    let (_, messages) = text.split_once(r#""messages":"#).unwrap();
    messages.to_owned()
}

#[tokio::test]
async fn each_rule_of_resolution_holds_from_publish_to_read() {
    let server = Server::start();
    let user = server.user().await;
    for Case(pack, rows) in CASES {
        let thing = user.connected_thing().await;
        let answer = thing.post("").body(*pack).send().await.unwrap();
        let status = answer.status();
        assert_eq!(status, 202, "{pack}: {}", answer.text().await.unwrap());
        let row = |(name, unit, time, rest): &(&str, &str, &str, &str)| {
            format!(
                r#"{{"channel_name":"{}","publisher":"{}","protocol":"http","name":"{name}","unit":"{unit}","time":{time},{rest}}}"#,
                thing.channel, thing.id
            )
        };
        let wanted = format!("[{}]}}", rows.iter().map(row).collect::<Vec<_>>().join(","));
        assert_eq!(messages(&thing, rows.len()).await, wanted, "{pack}");
    }
}

/// Times below 2^28 s are relative to the reception, before it where they are negative.
#[tokio::test]
async fn relative_times_are_relative_to_the_reception() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let before = now();
    thing
        .publish(&json!([{"n": "now", "v": 1}, {"n": "ago", "t": -3600, "v": 1}, {"n": "ahead", "t": 60.5, "v": 1}]))
        .await;
    let after = now();
    thing.until_stored(3).await;
    let page = thing.page("").await;
    let time = |name: &str| {
        let rows = page["messages"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).and_then(|row| row["time"].as_f64()).unwrap()
    };
    // A double holds such times to a quarter of a microsecond.
    let reception = time("now");
    assert!((before - 1e-5..=after + 1e-5).contains(&reception), "{before} {reception} {after}");
    assert!((time("ago") - (reception - 3_600.0)).abs() < 1e-5, "{page}");
    assert!((time("ahead") - (reception + 60.5)).abs() < 1e-5, "{page}");
    let newest: Vec<&Value> = crate::harness::column(&page, "name");
    assert_eq!(newest, ["ahead", "now", "ago"]);
}
