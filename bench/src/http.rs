//! One keep-alive HTTP/1.1 connection, which tells apart what was never sent from what was sent and not answered.
//!
//! It never sends a request twice and never reconnects by itself: whoever owns the ledger decides that.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bytes of an answer. A page of 1,000 records of the longest names is under 1 MiB; this leaves room for other servers.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long an answer may take. A server that drains answers within 25 s.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// One open connection to a server.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    has_answered: bool,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Status of the answer.
    pub status: StatusCode,
    /// Headers of the answer.
    pub headers: HeaderMap,
    /// Body of the answer.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// The connection was closed before the request went out: the server has not seen it.
    Unsent(anyhow::Error),
    /// The request, or a part of it, went out: the server may have done what it asks for.
    Unknown(anyhow::Error),
}

impl From<Fault> for anyhow::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unsent(error) => error.context("the connection was closed before the request went out"),
            Fault::Unknown(error) => error.context("the connection broke before the answer"),
        }
    }
}

impl Connection {
    /// Opens a connection; a task of its own drives it until it is dropped.
    ///
    /// # Errors
    /// When nothing listens at `address`.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let connected = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            anyhow::Ok(http1::handshake(TokioIo::new(stream)).await?)
        };
        let (sender, connection) =
            connected.await.with_context(|| format!("no connection to http://{address}"))?;
        // Its error reaches the owner through the sender as well.
        tokio::spawn(connection);
        let host = HeaderValue::try_from(address.to_string()).expect("an address is printable ASCII");
        Ok(Self { sender, host, has_answered: false })
    }

    /// Whether anything was ever answered on it. Until then, it may be one that the system completed and no server took.
    pub fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Sends one request and reads its whole answer.
    ///
    /// # Errors
    /// [`Fault`]; after one the connection is of no more use.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        request.headers_mut().insert(HOST, self.host.clone());
        self.sender.ready().await.map_err(|error| Fault::Unsent(error.into()))?;
        let answer = async {
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body =
                Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        match tokio::time::timeout(ANSWER_WAIT_MAX, answer).await {
            // hyper cancels what it has not begun to write: a server may close a connection just before.
            Ok(Err(error)) if error.downcast_ref().is_some_and(hyper::Error::is_canceled) => {
                Err(Fault::Unsent(error))
            }
            Ok(answer) => {
                self.has_answered |= answer.is_ok();
                answer.map_err(Fault::Unknown)
            }
            Err(_) => Err(Fault::Unknown(anyhow::anyhow!("no answer within {ANSWER_WAIT_MAX:?}"))),
        }
    }

    /// Sends one JSON request, or one without a body.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        authorization: Option<&HeaderValue>,
        body: Option<Bytes>,
    ) -> Result<Answer, Fault> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(credential) = authorization {
            request = request.header(AUTHORIZATION, credential);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| Fault::Unsent(anyhow::Error::new(error).context(format!("path {path:?}"))))?;
        self.send(request).await
    }
}
