//! The few requests of the API that the ledger needs besides publishing: set-up, and reading pages.
//!
//! A page is parsed without going through floating point: a time that is off by a nanosecond must be seen.

use std::borrow::Cow;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::http::{Answer, Connection};

/// Entities in one bulk create, and ids in one connect request: what the server takes.
const BULK_MAX: usize = 1_000;
/// Records on one page: the largest that the API gives.
pub const PAGE_RECORDS_MAX: usize = 1_000;

/// A thing, with the secret that it publishes with.
#[derive(Clone, Serialize, Deserialize)]
pub struct Thing {
    /// Id of the thing: the publisher of its records.
    pub id: String,
    /// Its key.
    pub key: String,
}

/// Without the key.
impl std::fmt::Debug for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thing").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Thing {
    /// What the thing sends as `Authorization`.
    ///
    /// # Errors
    /// When the key can't be part of a header.
    pub fn authorization(&self) -> anyhow::Result<HeaderValue> {
        HeaderValue::try_from(format!("Thing {}", self.key)).context("the thing's key can't be a header")
    }
}

/// The channels and things of one ledger: every thing is connected to every channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fleet {
    /// Ids of the channels.
    pub channels: Vec<String>,
    /// The things.
    pub things: Vec<Thing>,
}

impl Fleet {
    /// Ids and keys that no server knows, for a server that looks nothing up.
    pub fn made_up(channels: usize, things: usize) -> Self {
        let id = |kind: u32, n: usize| format!("{kind:08x}-0000-4000-8000-{n:012x}");
        Self {
            channels: (0..channels).map(|n| id(1, n)).collect(),
            things: (0..things).map(|n| Thing { id: id(2, n), key: format!("tk_{n:032x}") }).collect(),
        }
    }

    /// Creates channels and things, and connects each thing to each channel, as the user who logs in.
    ///
    /// # Errors
    /// When the server refuses one of the requests; the text names it.
    pub async fn create(
        address: SocketAddr,
        login: &Login,
        channels: usize,
        things: usize,
    ) -> anyhow::Result<Self> {
        let mut connection = Connection::open(address).await?;
        let mut user = Session::log_in(&mut connection, login).await?;
        let mut fleet = Self { channels: Vec::new(), things: Vec::new() };
        while fleet.channels.len() < channels {
            let count = (channels - fleet.channels.len()).min(BULK_MAX);
            fleet.channels.append(&mut user.create_channels(count).await?);
        }
        while fleet.things.len() < things {
            let count = (things - fleet.things.len()).min(BULK_MAX);
            fleet.things.append(&mut user.create_things(count).await?);
        }
        for channels in fleet.channels.chunks(BULK_MAX / 2) {
            for things in fleet.things.chunks(BULK_MAX / 2) {
                user.connect(channels, things).await?;
            }
        }
        Ok(fleet)
    }
}

/// Who sets things up.
#[derive(Clone)]
pub struct Login {
    /// Email of a user who may create things and channels.
    pub email: String,
    /// Password of that user.
    pub password: String,
}

/// Without the password.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("email", &self.email).finish_non_exhaustive()
    }
}

struct Session<'a> {
    connection: &'a mut Connection,
    authorization: HeaderValue,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

#[derive(Deserialize)]
struct Channels {
    channels: Vec<Channel>,
}

#[derive(Deserialize)]
struct Channel {
    id: String,
}

#[derive(Deserialize)]
struct Things {
    things: Vec<Thing>,
}

impl<'a> Session<'a> {
    async fn log_in(connection: &'a mut Connection, login: &Login) -> anyhow::Result<Self> {
        let body = json!({ "email": login.email, "password": login.password }).to_string();
        let answer = connection.call(Method::POST, "/tokens", None, Some(body.into())).await?;
        let Token { token } =
            serde_json::from_slice(&expect(&answer, StatusCode::CREATED, "POST /tokens")?.body)
                .context("the answer to POST /tokens")?;
        let authorization =
            HeaderValue::try_from(format!("Bearer {token}")).context("the token can't be a header")?;
        Ok(Self { connection, authorization })
    }

    async fn post(&mut self, path: &str, body: String) -> anyhow::Result<Answer> {
        Ok(self.connection.call(Method::POST, path, Some(&self.authorization), Some(body.into())).await?)
    }

    async fn create_channels(&mut self, count: usize) -> anyhow::Result<Vec<String>> {
        let body: Vec<_> = (0..count).map(|n| json!({ "name": format!("ledger channel {n}") })).collect();
        let answer = self.post("/channels", serde_json::to_string(&body)?).await?;
        expect(&answer, StatusCode::CREATED, "POST /channels")?;
        // For a single channel the API may answer its address only.
        if answer.body.is_empty() {
            let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let id = location.and_then(|path| path.rsplit('/').next());
            return Ok(vec![id.context("POST /channels answered neither a body nor a Location")?.to_owned()]);
        }
        let made: Channels = serde_json::from_slice(&answer.body).context("the answer to POST /channels")?;
        Ok(made.channels.into_iter().map(|channel| channel.id).collect())
    }

    async fn create_things(&mut self, count: usize) -> anyhow::Result<Vec<Thing>> {
        let body: Vec<_> = (0..count).map(|n| json!({ "name": format!("ledger thing {n}") })).collect();
        let answer = self.post("/things", serde_json::to_string(&body)?).await?;
        expect(&answer, StatusCode::CREATED, "POST /things")?;
        let made: Things = serde_json::from_slice(&answer.body).context("the answer to POST /things")?;
        Ok(made.things)
    }

    async fn connect(&mut self, channels: &[String], things: &[Thing]) -> anyhow::Result<()> {
        let things: Vec<_> = things.iter().map(|thing| thing.id.as_str()).collect();
        let body = json!({ "channel_ids": channels, "thing_ids": things }).to_string();
        let answer = self.post("/connect", body).await?;
        expect(&answer, StatusCode::OK, "POST /connect")?;
        Ok(())
    }
}

/// Gives each of the things, as the user who logs in and owns them, so many webhooks that lead to a URL.
///
/// # Errors
/// When the server refuses one of the requests.
pub async fn create_webhooks(
    address: SocketAddr,
    login: &Login,
    things: &[Thing],
    each: usize,
    url: &str,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    let mut user = Session::log_in(&mut connection, login).await?;
    let webhook = |n| json!({ "name": format!("webhook {n}"), "format": "senml", "url": url });
    let body = serde_json::to_string(&(0..each).map(webhook).collect::<Vec<_>>())?;
    for thing in things {
        let answer = user.post(&format!("/webhooks/{}", thing.id), body.clone()).await?;
        expect(&answer, StatusCode::CREATED, "POST /webhooks")?;
    }
    Ok(())
}

/// One page of a channel's records, still as text where a float would lose something.
#[derive(Debug, Deserialize)]
pub struct Page<'a> {
    /// Records that match, on all pages.
    pub total: u64,
    /// The records of this page.
    #[serde(borrow)]
    pub messages: Vec<Row<'a>>,
    /// Where the next page begins; absent on the last one.
    #[serde(default)]
    pub next: Option<String>,
}

/// One record as the reader prints it.
#[derive(Debug, Deserialize)]
pub struct Row<'a> {
    /// Id of the channel, under the API's name for it.
    #[serde(borrow)]
    pub channel_name: Cow<'a, str>,
    /// Id of the thing.
    #[serde(borrow)]
    pub publisher: Cow<'a, str>,
    /// How it was published.
    #[serde(borrow)]
    pub protocol: Cow<'a, str>,
    /// Name of the record.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its unit.
    #[serde(borrow, default)]
    pub unit: Option<Cow<'a, str>>,
    /// Its time in seconds, as text.
    #[serde(borrow)]
    pub time: &'a RawValue,
    /// Its value.
    #[serde(default)]
    pub value: Option<f64>,
}

/// The path of a page: at `offset`, or behind the cursor of the page before.
pub fn page_path(channel: &str, limit: usize, at: PageStart<'_>) -> String {
    match at {
        PageStart::Offset(offset) => format!("/channels/{channel}/messages?offset={offset}&limit={limit}"),
        PageStart::Cursor(next) => {
            let next = utf8_percent_encode(next, NON_ALPHANUMERIC);
            format!("/channels/{channel}/messages?next={next}&limit={limit}")
        }
    }
}

/// Where a page begins.
#[derive(Debug, Clone, Copy)]
pub enum PageStart<'a> {
    /// Behind this many newer records.
    Offset(u64),
    /// Where an earlier page ended: its `next`.
    Cursor(&'a str),
}

/// Reads one page as text; [`parse_page`] makes sense of it.
///
/// # Errors
/// When the server does not answer 200.
pub async fn read_page(
    connection: &mut Connection,
    authorization: &HeaderValue,
    path: &str,
) -> anyhow::Result<Bytes> {
    let answer = connection.call(Method::GET, path, Some(authorization), None).await?;
    expect(&answer, StatusCode::OK, path)?;
    Ok(answer.body)
}

/// Parses a page.
///
/// # Errors
/// When it is not one.
pub fn parse_page(body: &[u8]) -> anyhow::Result<Page<'_>> {
    serde_json::from_slice(body).with_context(|| format!("not a page: {}", excerpt(body)))
}

fn expect<'a>(answer: &'a Answer, wanted: StatusCode, what: &str) -> anyhow::Result<&'a Answer> {
    if answer.status != wanted {
        bail!("{what} answered {} instead of {wanted}: {}", answer.status, excerpt(&answer.body));
    }
    Ok(answer)
}

fn excerpt(body: &[u8]) -> String {
    const EXCERPT_BYTES_MAX: usize = 300;
    String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES_MAX)]).into_owned()
}
