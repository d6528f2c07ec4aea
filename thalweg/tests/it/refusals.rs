//! Everything that a publish may be refused for, over HTTP: status, code, record and field, and nothing stored.

use serde_json::{Value, json};

use crate::harness::Server;

/// A body, and how it is refused: code, record, field.
struct Case(&'static str, &'static str, Option<u64>, Option<&'static str>);

/// One or more for each code of the table of refusals.
const CASES: &[Case] = &[
    Case("", "malformed", None, None),
    Case("[", "malformed", None, None),
    Case("[{\"n\":\"a\",\"v\":NaN}]", "malformed", None, None),
    Case("[{\"n\":\"a\",\"v\":1}] x", "malformed", None, None),
    Case("[{\"n\":\"a\",\"vs\":\"\\ud800\"}]", "malformed", Some(0), None),
    Case("[{\"n\":\"a\",\"v\":1,\"x\":[[[1]]]}]", "malformed", Some(0), None),
    Case("{}", "not_a_pack", None, None),
    Case("\"text\"", "not_a_pack", None, None),
    Case("[]", "empty_pack", None, None),
    Case("null", "empty_pack", None, None),
    Case("[{\"bn\":\"a\"},{}]", "empty_pack", None, None),
    Case("[{\"n\":\"a\",\"v\":1},2]", "bad_record", Some(1), None),
    Case("[{\"n\":\"a\",\"v\":\"1\"}]", "bad_type", Some(0), Some("v")),
    Case("[{\"n\":\"a\",\"v\":null}]", "bad_type", Some(0), Some("v")),
    Case("[{\"n\":5,\"v\":1}]", "bad_type", Some(0), Some("n")),
    Case("[{\"n\":\"a\",\"n\":\"b\",\"v\":1}]", "duplicate_field", Some(0), Some("n")),
    Case("[{\"n\":\"a\",\"v\":1},{\"n\":\"b\"}]", "no_value", Some(1), None),
    Case("[{\"n\":\"a\",\"v\":1,\"vs\":\"x\"}]", "many_values", Some(0), None),
    Case("[{\"v\":1}]", "bad_name", Some(0), None),
    Case("[{\"n\":\"a b\",\"v\":1}]", "bad_name", Some(0), None),
    Case("[{\"n\":\"-a\",\"v\":1}]", "bad_name", Some(0), None),
    Case("[{\"n\":\"a\",\"v\":1e400}]", "bad_number", Some(0), Some("v")),
    Case("[{\"n\":\"a\",\"v\":1,\"ut\":-1}]", "bad_number", Some(0), Some("ut")),
    Case("[{\"n\":\"a\",\"v\":1,\"t\":1e12}]", "time_range", Some(0), None),
    Case("[{\"n\":\"a\",\"vd\":\"+/==\"}]", "bad_data", Some(0), Some("vd")),
    Case("[{\"n\":\"a\",\"v\":1,\"x_\":1}]", "must_understand", Some(0), Some("x_")),
    Case("[{\"bver\":11,\"n\":\"a\",\"v\":1}]", "unsupported_version", Some(0), Some("bver")),
    Case("[{\"bver\":0,\"n\":\"a\",\"v\":1}]", "unsupported_version", Some(0), Some("bver")),
    Case(
        "[{\"bver\":5,\"n\":\"a\",\"v\":1},{\"bver\":6,\"n\":\"b\",\"v\":1}]",
        "version_change",
        Some(1),
        Some("bver"),
    ),
];

#[tokio::test]
async fn each_bad_pack_is_named_and_nothing_of_it_is_stored() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    for Case(body, code, record, field) in CASES {
        let answer = thing.post("").body(*body).send().await.unwrap();
        let status = answer.status();
        let refusal: Value = answer.json().await.unwrap();
        assert_eq!(status, 400, "{body}: {refusal}");
        assert_eq!(refusal["code"], *code, "{body}: {refusal}");
        assert_eq!(refusal.get("record").and_then(Value::as_u64), *record, "{body}: {refusal}");
        if field.is_some() {
            assert_eq!(refusal["field"].as_str(), *field, "{body}: {refusal}");
        }
        assert!(!refusal["error"].as_str().unwrap().is_empty(), "{body}: {refusal}");
    }
    let not_utf8 = thing.post("").body(&b"[{\"n\":\"a\",\"vs\":\"\xff\"}]"[..]).send().await.unwrap();
    assert_eq!(not_utf8.json::<Value>().await.unwrap()["code"], "malformed");
    thing.publish(&json!([{"n": "good", "v": 1}])).await;
    thing.until_stored(1).await;
}

#[tokio::test]
async fn what_is_too_large_is_413() {
    let server = Server::start_with(&["--body-bytes-max", "2000", "--records-per-pack-max", "10"]);
    let thing = server.user().await.connected_thing().await;
    let pack = |records: usize| Value::from_iter((0..records).map(|i| json!({"n": format!("n{i}"), "v": i})));
    thing.publish(&pack(10)).await;
    for body in [pack(11).to_string(), format!("[{{\"n\":\"a\",\"vs\":\"{}\"}}]", "x".repeat(2_000))] {
        let answer = thing.post("").body(body).send().await.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "too_large");
    }
    thing.until_stored(10).await;
}

#[tokio::test]
async fn a_content_type_that_is_not_senml_is_415() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let path = format!("{}/http/channels/{}/messages", thing.base, thing.channel);
    let request = |content_type: Option<&str>| {
        let request = thing.http.post(&path).header("Authorization", format!("Thing {}", thing.key));
        let request = request.body(r#"[{"n":"a","v":1}]"#);
        content_type.into_iter().fold(request, |request, value| request.header("Content-Type", value))
    };
    for refused in [None, Some("text/plain"), Some("application/senml+xml"), Some("")] {
        let answer = request(refused).send().await.unwrap();
        assert_eq!(answer.status(), 415, "{refused:?}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "unsupported_media_type");
    }
    for taken in ["application/json", "application/senml+json", "Application/SenML+JSON; charset=utf-8"] {
        assert_eq!(request(Some(taken)).send().await.unwrap().status(), 202, "{taken}");
    }
}

#[tokio::test]
async fn a_bad_subtopic_is_400_and_an_unknown_route_is_404_in_our_shape() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let pack = r#"[{"n":"a","v":1}]"#;
    for subtopic in ["/a//b", "/*", "/a%20b", "/a/%3E", "/%FF", "/a/%c3%28", &format!("/{}", "x".repeat(255))]
    {
        let answer = thing.post(subtopic).body(pack).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{subtopic}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "bad_subtopic");
    }
    for (method, path, status) in [("GET", "/nowhere", 404), ("DELETE", "/http/channels/x/messages", 405)] {
        let url = format!("{}{path}", server.base);
        let answer = thing.http.request(method.parse().unwrap(), url).send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert!(answer.json::<Value>().await.unwrap()["error"].is_string(), "{path}");
    }
}
