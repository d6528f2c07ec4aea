//! What is made of answers, whoever gives them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use thalweg_outbound::{PostError, RetryAfter};
use tokio::sync::mpsc;

use crate::receiver::{LONG, Receiver, SHORT, plain, post};

/// Runs what should end long before the clients' patience does.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG / 4, future).await.expect("it should have ended long ago")
}

#[tokio::test]
async fn a_request_is_what_was_asked_for_and_no_more() {
    let (requests, mut seen) = mpsc::channel(2);
    let receiver = Receiver::start(move |mut caller| {
        let requests = requests.clone();
        async move {
            while let Some(request) = caller.request().await {
                requests.send(request).await.unwrap();
                caller.send("HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    let client = plain();
    for _ in 0..2 {
        let headers =
            HeaderMap::from_iter([(http::header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        let target = receiver.target("/hooks?key=a%20b");
        let answer = soon(client.post(&target, headers, "[1]".into(), LONG)).await.unwrap();
        assert_eq!(
            (answer.status, answer.retry_after, answer.excerpt.as_str()),
            (StatusCode::OK, None, "ok")
        );
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "POST /hooks?key=a%20b HTTP/1.1\r\ncontent-type: application/json\r\nuser-agent: Thalweg-Webhooks/{version}\r\n\
             accept: */*\r\nhost: {}\r\ncontent-length: 3\r\n\r\n[1]",
            receiver.address
        );
        assert_eq!(seen.recv().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_follows_it() {
    for status in ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"] {
        let elsewhere = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let location = format!("http://{}/", elsewhere.address);
        let head = format!("HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::answering(head.leak()).await;
        let answer = soon(post(&plain(), &receiver.target("/"), LONG)).await.unwrap();
        assert_eq!(answer.status.as_str(), &status[..3]);
        assert_eq!((receiver.connections(), elsewhere.connections()), (1, 0), "{status}");
    }
}

#[tokio::test]
async fn an_endless_body_is_read_in_part() {
    let sent = Arc::new(AtomicUsize::new(0));
    let (ended, mut end) = mpsc::channel(1);
    let counter = Arc::clone(&sent);
    let receiver = Receiver::start(move |mut caller| {
        let (counter, ended) = (Arc::clone(&counter), ended.clone());
        async move {
            caller.request().await;
            caller.send("HTTP/1.1 500 No\r\ncontent-length: 1000000000000\r\n\r\n").await;
            while caller.send([b'x'; 8192]).await {
                counter.fetch_add(8192, Ordering::SeqCst);
            }
            ended.send(()).await.unwrap();
        }
    })
    .await;
    let client = plain();
    let answer = soon(post(&client, &receiver.target("/"), LONG)).await.unwrap();
    assert_eq!((answer.status, answer.excerpt), (StatusCode::INTERNAL_SERVER_ERROR, "x".repeat(256)));
    soon(end.recv()).await.expect("the connection was closed");
    // What was under way in the system's buffers, and not a part of it read.
    assert!(sent.load(Ordering::SeqCst) < 64 << 20, "{sent:?}");
}

#[tokio::test]
async fn a_body_that_drips_changes_nothing_and_costs_its_deadline() {
    let receiver = Receiver::start(|mut caller| async move {
        caller.request().await;
        caller.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        while caller.send("x").await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let started = Instant::now();
    let answer = post(&plain(), &receiver.target("/"), SHORT).await.unwrap();
    assert!(started.elapsed() < LONG / 6, "{:?}", started.elapsed());
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.excerpt.starts_with('x') && answer.excerpt.len() < 1000, "{answer:?}");
    // However long the deadline is, it does not wait for all of that.
    assert_eq!(soon(post(&plain(), &receiver.target("/"), LONG)).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn who_never_answers_or_never_ends_its_head_costs_a_deadline_and_the_connection() {
    for head in ["", "HTTP/1.1 200 OK\r\nx: ", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let (ended, mut end) = mpsc::channel(1);
        let receiver = Receiver::start(move |mut caller| {
            let ended = ended.clone();
            async move {
                caller.request().await;
                caller.send(head).await;
                caller.closed().await;
                ended.send(()).await.unwrap();
            }
        })
        .await;
        let client = plain();
        let started = Instant::now();
        let answer = post(&client, &receiver.target("/"), SHORT).await;
        assert!(matches!(answer, Err(PostError::TimedOut)), "{head:?} {answer:?}");
        assert!(started.elapsed() >= SHORT && started.elapsed() < LONG / 6, "{:?}", started.elapsed());
        soon(end.recv()).await.expect("the connection was closed");
    }
}

#[tokio::test]
async fn a_head_that_drips_costs_a_deadline() {
    let receiver = Receiver::start(|mut caller| async move {
        caller.request().await;
        caller.send("HTTP/1.1 200 OK\r\nx: ").await;
        while caller.send("y").await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let answer = post(&plain(), &receiver.target("/"), SHORT).await;
    assert!(matches!(answer, Err(PostError::TimedOut)), "{answer:?}");
}

#[tokio::test]
async fn what_is_no_answer_is_said_to_be_none() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    let cases =
        ["SSH-2.0-OpenSSH_9.9\r\n", "\0\x01\x02\x03\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n", "", &long, &many];
    for (case, answer) in cases.into_iter().enumerate() {
        let answer: &'static str = answer.to_owned().leak();
        let receiver = Receiver::start(move |mut caller| async move {
            caller.request().await;
            caller.send(answer).await;
        })
        .await;
        let answer = soon(post(&plain(), &receiver.target("/"), LONG)).await;
        assert!(matches!(answer, Err(PostError::Broken(_))), "{case}: {answer:?}");
    }
}

#[tokio::test]
async fn an_answer_whose_body_breaks_off_is_one() {
    let receiver = Receiver::start(|mut caller| async move {
        caller.request().await;
        caller.send("HTTP/1.1 202 Accepted\r\ncontent-length: 1000\r\n\r\nhalf").await;
    })
    .await;
    let answer = soon(post(&plain(), &receiver.target("/"), LONG)).await.unwrap();
    assert_eq!((answer.status, answer.excerpt.as_str()), (StatusCode::ACCEPTED, "half"));
}

#[tokio::test]
async fn an_answer_says_when_to_come_again() {
    let in_seconds = "HTTP/1.1 429 Too Many\r\nretry-after: 17\r\ncontent-length: 0\r\n\r\n";
    let at_a_date = "HTTP/1.1 503 Not Now\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                     date: Sun, 06 Nov 1994 08:48:37 GMT\r\ncontent-length: 0\r\n\r\n";
    for (answer, seconds) in [(in_seconds, 17), (at_a_date, 60)] {
        let receiver = Receiver::answering(answer).await;
        let answer = soon(post(&plain(), &receiver.target("/"), LONG)).await.unwrap();
        assert_eq!(answer.retry_after, Some(RetryAfter::In(Duration::from_secs(seconds))));
    }
}
