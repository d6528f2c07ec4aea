//! What is odd about a request besides what it asks for: every answer is HTTP, and every refusal says why.

use std::io::Write as _;

use crate::harness::Server;
use crate::raw::{answer, dial, exchange, until_closed};

/// A head, with `\n` for the ends of its lines, and the status of its answer. `KEY`, `CHANNEL` and `TOKEN` stand for real ones.
struct Case(&'static str, u16);

const CASES: &[Case] = &[
    // Paths and targets.
    Case("GET /nowhere HTTP/1.1\nHost: x\n\n", 404),
    Case("GET / HTTP/1.1\nHost: x\n\n", 404),
    Case("GET //things HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 404),
    Case("GET /things/ HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 404),
    Case("GET /things// HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 404),
    Case("GET /./things HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 404),
    Case("GET /things/%zz HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 404),
    Case("GET /things/%ff HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 404),
    Case("GET /things/% HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 404),
    Case("GET /things?limit=%zz HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 400),
    Case("GET /things?name=%ff HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 200),
    Case("GET http://elsewhere.example/things HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 200),
    Case("GET http://elsewhere.example HTTP/1.1\nHost: x\n\n", 404),
    Case("GET /things?? HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 200),
    Case("GET livez HTTP/1.1\nHost: x\n\n", 404),
    Case("GET * HTTP/1.1\nHost: x\n\n", 404),
    Case("OPTIONS * HTTP/1.1\nHost: x\n\n", 200),
    Case("CONNECT example.com:443 HTTP/1.1\nHost: example.com:443\n\n", 404),
    // Methods.
    Case("HEAD /livez HTTP/1.1\nHost: x\n\n", 200),
    Case("HEAD /things HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\n\n", 200),
    Case("HEAD /nowhere HTTP/1.1\nHost: x\n\n", 404),
    Case("BREW /things HTTP/1.1\nHost: x\n\n", 405),
    Case("get /things HTTP/1.1\nHost: x\n\n", 405),
    Case("TRACE /things HTTP/1.1\nHost: x\n\n", 405),
    Case("PATCH /users HTTP/1.1\nHost: x\n\n", 405),
    Case("OPTIONS /things HTTP/1.1\nHost: x\n\n", 200),
    // Bodies and their lengths.
    Case("GET /livez HTTP/1.1\nHost: x\nContent-Length: 5\n\nhello", 200),
    Case("GET /things HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\nContent-Length: 5\n\nhello", 200),
    Case("POST /tokens HTTP/1.1\nHost: x\nContent-Type: application/json\n\n", 400),
    Case("POST /tokens HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 3\n\n{\"a", 400),
    Case("POST /tokens HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 3\n\n\u{e9}x", 400),
    Case("POST /tokens HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}", 415),
    Case(
        "POST /tokens HTTP/1.1\nHost: x\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n2\n{}\n0\n\n",
        400,
    ),
    Case(
        "POST /things HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\nContent-Type: text/plain\nContent-Length: 2\n\n[]",
        415,
    ),
    Case(
        "POST /http/channels/CHANNEL/messages HTTP/1.1\nHost: x\nAuthorization: Thing KEY\nContent-Type: application/json\n\n",
        400,
    ),
    Case(
        "POST /http/channels/CHANNEL/messages HTTP/1.1\nHost: x\nAuthorization: Thing KEY\nContent-Type: application/json\n\
         Transfer-Encoding: chunked\n\n11\n[{\"n\":\"a\",\"v\":1}]\n0\n\n",
        202,
    ),
    // Headers that are there twice.
    Case("GET /things HTTP/1.1\nHost: x\nHost: y\nAuthorization: Bearer TOKEN\n\n", 200),
    Case("GET /things HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\nAuthorization: Bearer none\n\n", 401),
    Case("GET /things HTTP/1.1\nHost: x\nAuthorization: Bearer TOKEN\nAuthorization: Bearer TOKEN\n\n", 401),
    Case(
        "POST /tokens HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 2\nContent-Length: 2\n\n{}",
        400,
    ),
    Case("GET /livez HTTP/1.0\n\n", 200),
    Case("GET /livez HTTP/1.1\n\n", 200),
];

#[tokio::test]
async fn an_odd_request_is_answered_in_our_shape() {
    let server = Server::start();
    let user = server.user().await;
    let thing = user.connected_thing().await;
    for Case(request, status) in CASES {
        let sent = request.replace('\n', "\r\n").replace("TOKEN", &user.token);
        let sent = sent.replace("KEY", &thing.key).replace("CHANNEL", &thing.channel);
        let answer = exchange(&mut dial(&server), sent.as_bytes());
        assert_eq!(answer.status, *status, "{request}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{request}: {answer:?}");
        if *status >= 400 && !request.starts_with("HEAD") {
            assert!(answer.error().is_some_and(|error| !error.is_empty()), "{request}: {answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{request}");
        }
        if *status == 405 {
            assert!(answer.header("allow").is_some(), "{request}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused_without_a_body_and_closed() {
    let server = Server::start();
    // hyper answers these by itself: see the server's module.
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(40_000));
    let large_head = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(40_000));
    let many_headers = format!("GET /livez HTTP/1.1\r\n{}\r\n", "X-Many: x\r\n".repeat(101));
    let cases: &[(&str, u16)] = &[
        ("\r\n\r\n garbage\r\n\r\n", 400),
        ("GET\r\n\r\n", 400),
        ("GET /livez\r\n\r\n", 400),
        ("GET /livez HTTP/3.0\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET /\u{e9} HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n", 400),
        ("GET /livez HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        ("POST /tokens HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
        ("POST /tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400),
        ("POST /tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\u{0}\u{a5}\u{1}\u{0}\u{0}", 400),
        (&long_path, 431),
        (&large_head, 431),
        (&many_headers, 431),
    ];
    for (request, status) in cases {
        let mut stream = dial(&server);
        stream.write_all(request.as_bytes()).unwrap();
        let said = until_closed(stream);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60?}: {said:?}");
        assert!(said.contains("connection: close") && said.ends_with("\r\n\r\n"), "{request:.60?}: {said:?}");
    }
    // The preface of HTTP/2, which we do not speak.
    let mut stream = dial(&server);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    until_closed(stream);
    assert_eq!(exchange(&mut dial(&server), b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
}

#[tokio::test]
async fn a_client_that_asks_first_sends_its_body_only_when_it_is_wanted() {
    let server = Server::start_with(&["--body-bytes-max", "2000"]);
    let thing = server.user().await.connected_thing().await;
    let head = |key: &str, length: usize| {
        format!(
            "POST /http/channels/{}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Thing {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n",
            thing.channel
        )
    };
    let mut refused = dial(&server);
    assert_eq!(exchange(&mut refused, head("no-such-key", 17).as_bytes()).status, 401);

    let mut taken = dial(&server);
    let go_on = exchange(&mut taken, head(&thing.key, 17).as_bytes());
    assert_eq!((go_on.status, go_on.body.as_str()), (100, ""));
    assert_eq!(exchange(&mut taken, br#"[{"n":"a","v":1}]"#).status, 202);
    thing.until_stored(1).await;
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_their_order() {
    let server = Server::start();
    let mut stream = dial(&server);
    let requests = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nHEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(requests.as_bytes()).unwrap();
    let statuses = [true, true, false].map(|has_body| answer(&mut stream, has_body).status);
    assert_eq!(statuses, [200, 404, 200]);
}
