//! Somebody on loopback who answers as a test wants, byte by byte; and resolvers that say what a test wants.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use thalweg_outbound::{Answer, Client, Guard, PostError, Resolve, RootCertStore, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const LENIENT: Guard = Guard { allow_private: true };
/// Longer than any test should take, so that what should end by itself is seen to.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// For what has to end by its deadline.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// One who listens, and counts who comes.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    /// Every connection is served by `serve`.
    pub(crate) async fn start<F, S>(serve: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Caller) -> F + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(Caller { stream, read: Vec::new() }));
            }
        });
        Self { address, connections }
    }

    /// Each request on each connection gets the same answer.
    pub(crate) async fn answering(answer: &'static str) -> Self {
        Self::start(move |mut caller| async move {
            while caller.request().await.is_some() {
                caller.send(answer).await;
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn target(&self, path: &str) -> Target {
        Target::parse(&format!("http://{}{path}", self.address), &LENIENT).unwrap()
    }
}

/// Who came.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Caller {
    /// A whole request, head and body. `None`: no further one comes.
    pub(crate) async fn request(&mut self) -> Option<String> {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if let Some(head) = text.find("\r\n\r\n") {
                let length =
                    text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
                let end = head + 4 + length.parse::<usize>().unwrap();
                if self.read.len() >= end {
                    self.read.drain(..end);
                    return Some(text[..end].to_owned());
                }
            }
            if self.stream.read_buf(&mut self.read).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Whether it was still there to take it.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Waits until the other side has closed.
    pub(crate) async fn closed(&mut self) {
        let mut rest = [0; 1024];
        while self.stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    }
}

/// Answers what it was told to, one after the other; the last answer again and again.
#[derive(Debug)]
pub(crate) struct Says {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Says {
    pub(crate) fn these(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(parse).collect()),
            asked: AtomicUsize::new(0),
        })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Resolve for Says {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        next.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Never answers.
#[derive(Debug)]
pub(crate) struct Silent;

#[async_trait]
impl Resolve for Silent {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        std::future::pending().await
    }
}

/// A client that trusts nobody and asks this resolver.
pub(crate) fn client(guard: Guard, resolver: Arc<dyn Resolve>) -> Client {
    Client::with(guard, resolver, RootCertStore::empty())
}

/// A client for receivers on loopback.
pub(crate) fn plain() -> Client {
    client(LENIENT, Says::these(&[]))
}

pub(crate) async fn post(client: &Client, target: &Target, within: Duration) -> Result<Answer, PostError> {
    client.post(target, HeaderMap::new(), Bytes::from_static(b"[]"), within).await
}
