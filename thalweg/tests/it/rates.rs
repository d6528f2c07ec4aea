//! Limits of requests and connections, by address and by thing.

use std::io::Write as _;

use serde_json::json;

use crate::harness::{PASSWORD, Server, eventually};
use crate::raw::{answer, dial, exchange, until_closed};

/// So slow that nothing comes back while a test runs.
const SLOW: &str = "0.001";

#[tokio::test]
async fn a_thing_that_publishes_too_often_has_to_wait_and_stores_nothing() {
    let server = Server::start_with(&["--rate-per-thing", &format!("{SLOW}:3")]);
    let user = server.user().await;
    let thing = user.connected_thing().await;
    for remaining in [2, 1, 0] {
        let taken = thing.post("").body(r#"[{"n":"a","t":1700000000,"v":1}]"#).send().await.unwrap();
        assert_eq!(taken.status(), 202);
        let headers = taken.headers();
        assert_eq!(headers["ratelimit-limit"], "3");
        assert_eq!(headers["ratelimit-remaining"], remaining.to_string());
        assert_eq!(headers["ratelimit-policy"], "3;w=3000");
        assert!(headers["ratelimit-reset"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    }
    // The body of the next never comes: it is refused by its head.
    let mut stream = dial(&server);
    let head = format!(
        "POST /http/channels/{}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Thing {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n",
        thing.channel, thing.key
    );
    let refused = exchange(&mut stream, head.as_bytes());
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.error().unwrap().contains("thing"), "{refused:?}");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1_000).contains(&wait), "{refused:?}");
    assert_eq!(refused.header("ratelimit-remaining"), Some("0"));
    // Its reads count, too; who is no thing does not.
    assert_eq!(thing.read("").await.0, 429);
    let page = user.request(reqwest::Method::GET, &format!("/channels/{}/messages", thing.channel));
    assert_eq!(page.send().await.unwrap().status(), 200);
    thing.until_stored_by_user(&user, 1).await;
}

#[tokio::test]
async fn an_address_that_asks_too_often_has_to_wait_and_others_do_not() {
    let server =
        Server::start_with(&["--rate-per-address", &format!("{SLOW}:2"), "--trusted-proxies", "127.0.0.1"]);
    let ask = |forwarded: &str| {
        let request = format!("GET /things HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {forwarded}\r\n\r\n");
        exchange(&mut dial(&server), request.as_bytes())
    };
    for remaining in ["1", "0"] {
        let taken = ask("1.1.1.1, 192.0.2.1");
        assert_eq!(taken.status, 401);
        assert_eq!(taken.header("ratelimit-remaining"), Some(remaining), "{taken:?}");
    }
    let refused = ask("192.0.2.1");
    assert_eq!((refused.status, refused.header("ratelimit-limit")), (429, Some("2")), "{refused:?}");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(ask("192.0.2.2").status, 401);
    // Addresses of one IPv6 network count together.
    let statuses =
        ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"].map(|from| ask(from).status);
    assert_eq!(statuses, [401, 401, 429, 401]);
    // Whoever watches over the server is not counted.
    for _ in 0..5 {
        assert_eq!(exchange(&mut dial(&server), b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    }
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_may_say_whom_it_asks_for() {
    let server = Server::start_with(&["--rate-per-address", &format!("{SLOW}:2")]);
    let statuses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|forwarded| {
        let request = format!("GET /things HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {forwarded}\r\n\r\n");
        exchange(&mut dial(&server), request.as_bytes()).status
    });
    assert_eq!(statuses, [401, 401, 429]);
}

#[tokio::test]
async fn without_a_limit_nothing_is_said_of_one() {
    let server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let taken = thing.post("").body(r#"[{"n":"a","v":1}]"#).send().await.unwrap();
    assert_eq!(taken.status(), 202);
    assert!(!taken.headers().keys().any(|name| name.as_str().starts_with("ratelimit")), "{taken:?}");
}

#[tokio::test]
async fn the_twenty_first_failed_login_for_an_email_is_429_from_any_address() {
    let server = Server::start_with(&["--trusted-proxies", "127.0.0.0/8"]);
    let account = json!({"email": "ann@example.com", "password": PASSWORD}).to_string();
    let send = |stream: &mut _, path: &str, body: &str, from: u8| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Forwarded-For: 192.0.2.{from}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(stream, request.as_bytes())
    };
    let mut stream = dial(&server);
    assert_eq!(send(&mut stream, "/users", &account, 0).status, 201);
    let wrong = json!({"email": "ann@example.com", "password": "not the password"}).to_string();
    for from in 1..=20 {
        assert_eq!(send(&mut stream, "/tokens", &wrong, from).status, 401);
    }
    let refused = send(&mut stream, "/tokens", &account, 21);
    assert_eq!(refused.status, 429, "{refused:?}");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{refused:?}");
    assert_eq!(refused.header("x-frame-options"), Some("DENY"));
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_one_more_is_closed() {
    let server = Server::start_with(&["--connections-per-address-max", "3"]);
    let livez = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut taken: Vec<_> = (0..3).map(|_| dial(&server)).collect();
    for stream in &mut taken {
        assert_eq!(exchange(stream, livez).status, 200);
    }
    let mut surplus = dial(&server);
    let _ = surplus.write_all(livez);
    assert_eq!(until_closed(surplus), "");
    drop(taken.pop());
    eventually(async || {
        let mut stream = dial(&server);
        let sent = stream.write_all(livez);
        // Closed at once, if the place is not free yet.
        let there = sent.is_ok() && stream.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
        if there { Ok(answer(&mut stream, true)) } else { Err("still closed".to_owned()) }
    })
    .await;
}
