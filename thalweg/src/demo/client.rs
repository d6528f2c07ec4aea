//! The API as the demo uses it: what any client would send, over HTTP only.
//!
//! Its errors are for the person who started the demo: they say what was asked, what was answered, and what to do.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::settings::Base;

/// How long a server may take to take a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long it may take to answer. A server that drains answers within 25 s.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Characters of an answer that an error quotes.
const QUOTED_CHARS_MAX: usize = 200;

/// A server's API.
#[derive(Debug, Clone)]
pub(super) struct Api {
    http: Client,
    base: Base,
}

/// An account. Its `Debug` does not show the password.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) email: String,
    pub(super) password: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("email", &self.email).finish_non_exhaustive()
    }
}

/// A thing, with the key that it publishes with.
#[derive(Clone, Deserialize)]
pub(super) struct Thing {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) key: String,
}

/// Without the key.
impl std::fmt::Debug for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thing").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A page of a channel's records, newest first.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    /// Records of the channel, on all pages.
    pub(super) total: u64,
    pub(super) messages: Vec<Row>,
}

/// A record as the reader prints it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Row {
    pub(super) publisher: String,
    pub(super) name: String,
    pub(super) time: f64,
    pub(super) value: Option<f64>,
    pub(super) string_value: Option<String>,
    pub(super) bool_value: Option<bool>,
}

impl Api {
    /// The API at an address. No proxy of the environment is used: the demo's server is on this machine or near it.
    pub(super) fn new(base: Base) -> anyhow::Result<Self> {
        let http = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_MAX)
            .timeout(ANSWER_MAX)
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self { http, base })
    }

    /// Makes sure that there is a Thalweg.
    pub(super) async fn greet(&self) -> anyhow::Result<()> {
        let base = &self.base;
        let answer =
            self.request(Method::GET, "/version").send().await.map_err(without_url).with_context(|| {
                format!(
                    "nothing answers at {base}: start a server there with `thalweg serve`, or leave --url out"
                )
            })?;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        if !status.is_success() || body["name"] != "thalweg" {
            bail!(
                "what answers at {base} is no Thalweg: GET {base}/version answered {status} without its name"
            );
        }
        Ok(())
    }

    /// Makes an account.
    pub(super) async fn sign_up(&self, account: &Account) -> anyhow::Result<()> {
        let body = json!({ "email": account.email, "password": account.password });
        let answer = self.send(self.request(Method::POST, "/users").json(&body)).await?;
        if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            bail!(
                "sign-up is closed at {}: name an account of that server with --email, and its password in \
                 THALWEG_DEMO_PASSWORD",
                self.base
            );
        }
        expect(answer, StatusCode::CREATED, "POST /users").await?;
        Ok(())
    }

    /// Logs in: a user's token.
    pub(super) async fn log_in(&self, account: &Account) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct LoggedIn {
            token: String,
        }
        let body = json!({ "email": account.email, "password": account.password });
        let answer = self.send(self.request(Method::POST, "/tokens").json(&body)).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            bail!("{} does not know the account {} with this password", self.base, account.email);
        }
        let LoggedIn { token } = read(answer, StatusCode::CREATED, "POST /tokens").await?;
        Ok(token)
    }

    /// Creates a channel: its id.
    pub(super) async fn create_channel(&self, token: &str, name: &str) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        struct Channels {
            channels: Vec<Channel>,
        }
        #[derive(Deserialize)]
        struct Channel {
            id: String,
        }
        let request = self.request(Method::POST, "/channels").bearer_auth(token);
        let answer = self.send(request.json(&json!([{ "name": name }]))).await?;
        let Channels { channels } = read(answer, StatusCode::CREATED, "POST /channels").await?;
        let channel = channels.into_iter().next().context("POST /channels answered no channel")?;
        Ok(channel.id)
    }

    /// Creates things.
    pub(super) async fn create_things(&self, token: &str, names: &[String]) -> anyhow::Result<Vec<Thing>> {
        #[derive(Deserialize)]
        struct Things {
            things: Vec<Thing>,
        }
        let body: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        let request = self.request(Method::POST, "/things").bearer_auth(token);
        let Things { things } =
            read(self.send(request.json(&body)).await?, StatusCode::CREATED, "POST /things").await?;
        if things.len() != names.len() {
            bail!("POST /things answered {} things instead of {}", things.len(), names.len());
        }
        Ok(things)
    }

    /// Connects things to a channel.
    pub(super) async fn connect(&self, token: &str, channel: &str, things: &[Thing]) -> anyhow::Result<()> {
        let ids: Vec<&str> = things.iter().map(|thing| thing.id.as_str()).collect();
        let body = json!({ "channel_ids": [channel], "thing_ids": ids });
        let request = self.request(Method::POST, "/connect").bearer_auth(token);
        expect(self.send(request.json(&body)).await?, StatusCode::OK, "POST /connect").await?;
        Ok(())
    }

    /// Publishes a pack. `Ok`: the server answered 202, it keeps the pack.
    pub(super) async fn publish(&self, channel: &str, thing: &Thing, pack: String) -> anyhow::Result<()> {
        let request = self
            .request(Method::POST, &format!("/http/channels/{channel}/messages"))
            .header("Authorization", format!("Thing {}", thing.key))
            .header("Content-Type", "application/senml+json");
        expect(self.send(request.body(pack)).await?, StatusCode::ACCEPTED, "publishing a pack").await?;
        Ok(())
    }

    /// The newest records of a channel.
    pub(super) async fn latest(&self, channel: &str, thing: &Thing, limit: u64) -> anyhow::Result<Page> {
        let request = self
            .request(Method::GET, &format!("/channels/{channel}/messages?limit={limit}"))
            .header("Authorization", format!("Thing {}", thing.key));
        read(self.send(request).await?, StatusCode::OK, "reading the channel").await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        request.send().await.map_err(without_url).with_context(|| format!("{} does not answer", self.base))
    }
}

/// Without the address, which the context has.
fn without_url(error: reqwest::Error) -> reqwest::Error {
    error.without_url()
}

async fn read<T: DeserializeOwned>(answer: Response, wanted: StatusCode, what: &str) -> anyhow::Result<T> {
    let answer = expect(answer, wanted, what).await?;
    answer.json().await.map_err(without_url).with_context(|| format!("the answer to {what} can't be read"))
}

/// An answer of another status is an error, with what the server says of it.
async fn expect(answer: Response, wanted: StatusCode, what: &str) -> anyhow::Result<Response> {
    let status = answer.status();
    if status == wanted {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let problem = body["error"].as_str().unwrap_or(&text);
    let problem: String = problem.chars().filter(|c| !c.is_control()).take(QUOTED_CHARS_MAX).collect();
    bail!("{what} answered {status}: {problem}")
}
