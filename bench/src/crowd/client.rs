//! One member of the crowd: what it does to hold on to a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

/// Between two bytes of those who are slow.
const BYTE_PAUSE: Duration = Duration::from_secs(1);
/// Before a member that the server closed comes back, at most: they came in at once, and do not return so.
const RETURN_PAUSE_MAX: Duration = Duration::from_secs(3);
/// What a client that does not read lets its system keep for it.
const UNREAD_BYTES: u32 = 4 << 10;
/// Large pages that such a client asks for at once: more than the system takes for the server.
const PAGES_ASKED: usize = 8;

/// Whom the crowd presses.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// A channel with one large page.
    pub(super) channel: String,
    /// Of a thing on it.
    pub(super) credential: HeaderValue,
}

/// What a member does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Silent,
    HalfAHead,
    SlowHead,
    TricklingBody,
    Unreading,
}

impl Kind {
    const NAMES: [&str; 5] = ["silent", "half a head", "slow head", "trickling body", "unreading"];

    /// Of a hundred, most say nothing, and one does not read.
    pub(super) fn of(number: usize) -> Self {
        match number % 100 {
            0..40 => Self::Silent,
            40..60 => Self::HalfAHead,
            60..80 => Self::SlowHead,
            80..99 => Self::TricklingBody,
            _ => Self::Unreading,
        }
    }

    /// What it sends first.
    fn opening(self, target: &Target) -> String {
        let credential = target.credential.to_str().unwrap_or_default();
        let channel = &target.channel;
        match self {
            Self::Silent => String::new(),
            Self::HalfAHead | Self::SlowHead => "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned(),
            Self::TricklingBody => format!(
                "POST /http/channels/{channel}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: {credential}\r\n\
                 Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n["
            ),
            Self::Unreading => format!(
                "GET /channels/{channel}/messages?limit=1000 HTTP/1.1\r\nHost: x\r\nAuthorization: {credential}\r\n\r\n"
            )
            .repeat(PAGES_ASKED),
        }
    }
}

/// What the server did about it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    closed: [AtomicU64; 5],
}

impl Seen {
    /// Connections that the server closed, by kind.
    pub(super) fn closed(&self) -> Vec<(&'static str, u64)> {
        Kind::NAMES
            .into_iter()
            .zip(self.closed.each_ref().map(|count| count.load(Ordering::Relaxed)))
            .collect()
    }
}

/// Holds on to a connection for ever, and to the next one when the server closes it.
pub(super) async fn crowd_in(
    number: usize,
    target: &Target,
    seen: &Seen,
    gathered: &AtomicU64,
) -> anyhow::Result<()> {
    let kind = Kind::of(number);
    let pause = RETURN_PAUSE_MAX.mul_f64((number % 97) as f64 / 97.0);
    let mut is_there = false;
    loop {
        let mut stream = connect(kind, target).await?;
        let opened = stream.write_all(kind.opening(target).as_bytes()).await;
        if !is_there {
            gathered.fetch_add(1, Ordering::Relaxed);
            is_there = true;
        }
        if opened.is_ok() {
            hold(kind, &mut stream).await;
        }
        seen.closed[kind as usize].fetch_add(1, Ordering::Relaxed);
        sleep(pause).await;
    }
}

async fn connect(kind: Kind, target: &Target) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if matches!(kind, Kind::Unreading) {
        socket.set_recv_buffer_size(UNREAD_BYTES)?;
    }
    socket.connect(target.address).await
}

/// Until the server closes the connection.
async fn hold(kind: Kind, stream: &mut TcpStream) {
    let mut answer = [0; 512];
    loop {
        match kind {
            Kind::Silent | Kind::HalfAHead => {
                if !matches!(stream.read(&mut answer).await, Ok(1..)) {
                    return;
                }
            }
            Kind::SlowHead | Kind::TricklingBody => match timeout(BYTE_PAUSE, stream.read(&mut answer)).await
            {
                Ok(Ok(1..)) => {}
                Ok(_) => return,
                Err(_) if stream.write_all(b" ").await.is_err() => return,
                Err(_) => {}
            },
            // To see the end it has to write: it takes nothing in.
            Kind::Unreading => {
                sleep(BYTE_PAUSE).await;
                if stream.try_write(b"G").is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                    return;
                }
            }
        }
    }
}
