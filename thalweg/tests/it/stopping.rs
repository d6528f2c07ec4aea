//! Ends: asked for, and not.

use std::io::Write as _;
use std::net::TcpStream;

use crate::harness::{Server, Thing, eventually};
use crate::raw::{answer, dial, exchange, until_closed};

const PACK: &str = r#"[{"n":"a","v":1}]"#;

/// A publish of which half has been sent.
fn half_sent(server: &Server, thing: &Thing) -> TcpStream {
    let mut stream = dial(server);
    let head = format!(
        "POST /http/channels/{}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Thing {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        thing.channel,
        thing.key,
        PACK.len()
    );
    // The server asks for the body: it has taken the request.
    assert_eq!(exchange(&mut stream, head.as_bytes()).status, 100);
    stream.write_all(&PACK.as_bytes()[..5]).unwrap();
    stream
}

async fn until_it_takes_no_connections(server: &Server) {
    let address = server.base.trim_start_matches("http://");
    eventually(async || match TcpStream::connect(address) {
        Ok(_) => Err("the server still takes connections".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn a_request_under_way_is_finished_and_its_answer_says_that_the_connection_ends() {
    let mut server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let mut under_way = half_sent(&server, &thing);
    server.signal("TERM");
    until_it_takes_no_connections(&server).await;
    under_way.write_all(&PACK.as_bytes()[5..]).unwrap();
    let accepted = answer(&mut under_way, true);
    assert_eq!((accepted.status, accepted.header("connection")), (202, Some("close")), "{accepted:?}");
    assert_eq!(until_closed(under_way), "");
    assert_eq!(server.exit_code(), Some(0));
}

#[tokio::test]
async fn an_open_connection_is_told_that_the_server_is_not_ready_any_more() {
    let mut server = Server::start();
    let (mut watching, mut other) = (dial(&server), dial(&server));
    let readyz = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    // It listens a moment before its writer runs.
    for connection in [&mut watching, &mut other] {
        eventually(async || match exchange(connection, readyz).status {
            200 => Ok(()),
            status => Err(format!("/readyz answers {status}")),
        })
        .await;
    }
    server.signal("TERM");
    let mut told = loop {
        let told = exchange(&mut watching, readyz);
        if told.status != 200 || told.header("connection").is_some() {
            break told;
        }
    };
    // What was looked up just before the stop is still answered as it was; what is asked next is not.
    if told.status == 200 {
        told = exchange(&mut other, readyz);
    }
    assert_eq!((told.status, told.header("connection")), (503, Some("close")), "{told:?}");
    assert_eq!(server.exit_code(), Some(0));
}

#[tokio::test]
async fn a_body_that_does_not_come_does_not_hold_the_stop_past_its_bound() {
    let mut server = Server::start_with(&["--drain-timeout", "1500ms", "--body-timeout", "1h"]);
    let thing = server.user().await.connected_thing().await;
    let stalled = half_sent(&server, &thing);
    let mut half_a_head = dial(&server);
    half_a_head.write_all(b"GET /livez HTTP/1.1\r\nHost:").unwrap();
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));
    assert_eq!(until_closed(stalled), "");
}
