//! Clients that say nothing, or say it slowly, or say too much.

use std::io::Write as _;

use serde_json::Value;

use crate::harness::{Server, Thing};
use crate::raw::{dial, exchange, until_closed};

fn head(thing: &Thing, length: usize) -> String {
    format!(
        "POST /http/channels/{}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Thing {}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
        thing.channel, thing.key
    )
}

#[tokio::test]
async fn a_silent_connection_and_half_a_head_are_closed() {
    let server = Server::start_with(&["--header-timeout", "300ms"]);
    let silent = dial(&server);
    let mut half = dial(&server);
    half.write_all(b"POST /http/channels/x/messages HTTP/1.1\r\nHost:").unwrap();
    let mut idle = dial(&server);
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(until_closed(silent), "");
    until_closed(half);
    assert!(
        until_closed(idle).starts_with("HTTP/1.1 200"),
        "a request is answered before its connection is closed"
    );
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_nothing_is_stored() {
    let server = Server::start_with(&["--body-timeout", "300ms"]);
    let thing = server.user().await.connected_thing().await;
    let mut stalled = dial(&server);
    stalled.write_all(head(&thing, 100).as_bytes()).unwrap();
    stalled.write_all(br#"[{"n":"a","v":1}]"#).unwrap();
    let answer = tokio::task::spawn_blocking(move || until_closed(stalled)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(thing.page("").await["total"], 0);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_on_every_route() {
    let server = Server::start_with(&["--body-timeout", "300ms"]);
    let user = server.user().await;
    let (thing, _) = user.thing().await;
    let routes = [
        ("POST", "/users".to_owned()),
        ("POST", "/tokens".to_owned()),
        ("PUT", "/users".to_owned()),
        ("PATCH", "/password".to_owned()),
        ("POST", "/things".to_owned()),
        ("PUT", format!("/things/{thing}")),
        ("PATCH", format!("/things/{thing}/key")),
        ("POST", "/channels".to_owned()),
        ("POST", "/connect".to_owned()),
        ("PUT", "/disconnect".to_owned()),
        ("POST", "/identify".to_owned()),
    ];
    for (method, path) in routes {
        let mut stream = dial(&server);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: 100\r\n\r\n[",
            user.token
        );
        let late = exchange(&mut stream, head.as_bytes());
        assert_eq!(late.status, 408, "{method} {path}: {late:?}");
        assert!(late.error().unwrap().contains("0.3 s"), "{method} {path}: {late:?}");
        assert_eq!(until_closed(stream), "", "{method} {path}");
    }
}

#[tokio::test]
async fn when_all_places_are_taken_the_next_client_waits_for_one() {
    let server = Server::start_with(&["--connections-max", "3", "--header-timeout", "1s"]);
    let silent: Vec<_> = (0..3).map(|_| dial(&server)).collect();
    let livez = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(exchange(&mut dial(&server), livez).status, 200);
    for stream in silent {
        assert_eq!(until_closed(stream), "");
    }
}

#[tokio::test]
async fn a_body_cut_short_by_its_sender_is_not_stored() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let mut cut = dial(&server);
    cut.write_all(head(&thing, 100).as_bytes()).unwrap();
    cut.write_all(br#"[{"n":"a","v":1}]"#).unwrap();
    drop(cut);
    let whole = thing.post("").body(r#"[{"n":"b","v":1}]"#).send().await.unwrap();
    assert_eq!(whole.status(), 202);
    thing.until_stored(1).await;
    assert_eq!(thing.page("").await["messages"][0]["name"], "b");
}

#[tokio::test]
async fn bodies_that_would_take_more_memory_than_there_is_for_them_are_503() {
    let server = Server::start_with(&["--in-flight-bytes-max", "1000000", "--body-bytes-max", "400KiB"]);
    let thing = server.user().await.connected_thing().await;
    // A body of 400 kB that is announced and does not come sets its memory aside, unless the other request was there
    // first; so each try announces one more.
    let mut announced = Vec::new();
    let body = format!("[{{\"n\":\"a\",\"v\":1}}]{}", " ".repeat(400_000));
    let refusal = crate::harness::eventually(async || {
        let mut connection = dial(&server);
        connection.write_all(head(&thing, 400_000).as_bytes()).unwrap();
        announced.push(connection);
        let answer = thing.post("").body(body.clone()).send().await;
        let answer = answer.expect("a refusal arrives, whatever was left unread");
        if answer.status() == 503 { Ok(answer) } else { Err(format!("{}", answer.status())) }
    })
    .await;
    assert_eq!(refusal.headers()["retry-after"], "1");
    assert!(refusal.json::<Value>().await.unwrap()["error"].is_string());
    assert_eq!(thing.post("").body(r#"[{"n":"b","v":1}]"#).send().await.unwrap().status(), 202);
    drop(announced);
    crate::harness::eventually(async || {
        let answer = thing.post("").body(body.clone()).send().await.unwrap();
        if answer.status() == 202 { Ok(()) } else { Err(format!("{}", answer.status())) }
    })
    .await;
}

/// A client that sends all of its body before it reads, as many do, gets to read why it was refused.
#[tokio::test]
async fn a_body_many_times_too_large_is_read_to_its_end_and_told_so() {
    const BYTES: usize = 20 << 20;
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let token = server.user().await.token.clone();
    let publish = head(&thing, BYTES);
    let create = format!(
        "POST /things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {BYTES}\r\n\r\n"
    );
    for request in [publish, create] {
        let mut stream = dial(&server);
        let mut request = request.into_bytes();
        request.resize(request.len() + BYTES, b' ');
        let answer = exchange(&mut stream, &request);
        assert_eq!(answer.status, 413, "{answer:?}");
    }
}
