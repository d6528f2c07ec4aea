//! Whom connections are made to, and which are used again.

use std::sync::Arc;

use http::StatusCode;
use thalweg_outbound::{Guard, NotPublic, PostError, Target, Unreachable};
use tokio::net::TcpListener;

use crate::receiver::{LENIENT, LONG, Receiver, SHORT, Says, Silent, client, plain, post};

const STRICT: Guard = Guard { allow_private: false };
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Public by every rule, and nobody has been given it: who dials it, dials nobody.
const NOBODY: &str = "3000::1";

fn refused(answer: &Result<thalweg_outbound::Answer, PostError>) -> Option<(String, NotPublic)> {
    match answer {
        Err(PostError::Refused { address, kind }) => Some((address.to_string(), *kind)),
        _ => None,
    }
}

fn named(receiver: &Receiver, scheme: &str, guard: &Guard) -> Target {
    Target::parse(&format!("{scheme}://rebind.example:{}/", receiver.address.port()), guard).unwrap()
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_by_now_is_checked_again() {
    let receiver = Receiver::answering(OK).await;
    let resolver = Says::these(&[&[NOBODY], &["127.0.0.1"]]);
    let client = client(STRICT, resolver.clone());
    let target = named(&receiver, "https", &STRICT);
    // Nobody is there, or there is no way to it.
    let first = post(&client, &target, SHORT).await;
    assert!(matches!(first, Err(PostError::Unreachable(_) | PostError::TimedOut)), "{first:?}");
    let second = post(&client, &target, LONG).await;
    assert_eq!(refused(&second), Some(("127.0.0.1".to_owned(), NotPublic::Loopback)), "{second:?}");
    assert_eq!((resolver.asked(), receiver.connections()), (2, 0));
    let text = second.unwrap_err().to_string();
    assert_eq!(text, "the host has no address that may be dialled: it is a loopback address");
}

#[tokio::test]
async fn of_several_addresses_only_those_that_may_be_are_dialled() {
    let receiver = Receiver::answering(OK).await;
    let resolver = Says::these(&[&["127.0.0.1", "::ffff:127.0.0.1", NOBODY]]);
    let answer = post(&client(STRICT, resolver), &named(&receiver, "https", &STRICT), SHORT).await;
    assert!(matches!(answer, Err(PostError::Unreachable(_) | PostError::TimedOut)), "{answer:?}");
    assert_eq!(receiver.connections(), 0);
    // The same, where it may: of two the one that is there answers.
    let resolver = Says::these(&[&["169.254.169.254", "::ffff:127.0.0.1", "127.0.0.1"]]);
    let answer = post(&client(LENIENT, resolver), &named(&receiver, "http", &LENIENT), LONG).await;
    assert_eq!(answer.unwrap().status, StatusCode::OK);
    assert_eq!(receiver.connections(), 1);
}

/// A target that was made with another guard than the client's is checked by the client's.
#[tokio::test]
async fn literal_addresses_are_checked_when_they_are_dialled_too() {
    let receiver = Receiver::answering(OK).await;
    let answer = post(&client(STRICT, Says::these(&[])), &receiver.target("/"), LONG).await;
    assert_eq!(refused(&answer), Some(("127.0.0.1".to_owned(), NotPublic::Loopback)), "{answer:?}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_connection_is_used_again_and_its_name_is_not_asked_again() {
    let receiver = Receiver::answering(OK).await;
    let resolver = Says::these(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let client = client(LENIENT, resolver.clone());
    let target = named(&receiver, "http", &LENIENT);
    for _ in 0..3 {
        assert_eq!(post(&client, &target, LONG).await.unwrap().status, StatusCode::OK);
    }
    assert_eq!((resolver.asked(), receiver.connections()), (1, 1));
}

#[tokio::test]
async fn a_connection_that_was_closed_is_not_made_again_to_what_may_not_be_dialled() {
    let receiver = Receiver::start(|mut caller| async move {
        caller.request().await;
        caller.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let resolver = Says::these(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let client = client(LENIENT, resolver.clone());
    let target = named(&receiver, "http", &LENIENT);
    assert_eq!(post(&client, &target, LONG).await.unwrap().status, StatusCode::OK);
    let answer = post(&client, &target, LONG).await;
    assert_eq!(refused(&answer), Some(("169.254.169.254".to_owned(), NotPublic::LinkLocal)), "{answer:?}");
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_has_no_name() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = Target::parse(&format!("http://{free}/"), &LENIENT).unwrap();
    let answer = post(&plain(), &target, LONG).await;
    assert!(matches!(answer, Err(PostError::Unreachable(Unreachable::NotAccepted(_)))), "{answer:?}");
    let target = Target::parse("https://nowhere.example/", &STRICT).unwrap();
    for resolver in [Says::these(&[]), Says::these(&[&[]])] {
        let answer = post(&client(STRICT, resolver), &target, LONG).await;
        assert!(matches!(answer, Err(PostError::Unreachable(Unreachable::Unresolved(_)))), "{answer:?}");
    }
}

#[tokio::test]
async fn the_look_up_of_a_name_is_part_of_the_deadline() {
    let target = Target::parse("https://silent.example/", &STRICT).unwrap();
    let answer = post(&client(STRICT, Arc::new(Silent)), &target, SHORT).await;
    assert!(matches!(answer, Err(PostError::TimedOut)), "{answer:?}");
}

#[tokio::test]
async fn the_system_is_asked_for_names_and_its_answer_is_checked() {
    let receiver = Receiver::answering(OK).await;
    let target = Target::parse(&format!("http://localhost:{}/", receiver.address.port()), &LENIENT).unwrap();
    let lenient = client(LENIENT, Arc::new(thalweg_outbound::SystemResolver::default()));
    assert_eq!(post(&lenient, &target, LONG).await.unwrap().status, StatusCode::OK);
    let strict = client(STRICT, Arc::new(thalweg_outbound::SystemResolver::default()));
    let answer = post(&strict, &target, LONG).await;
    assert_eq!(refused(&answer).map(|(_, kind)| kind), Some(NotPublic::Loopback), "{answer:?}");
}
