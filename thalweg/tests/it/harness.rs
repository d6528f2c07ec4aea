//! A running server, and a client's view of it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const ADMIN_EMAIL: &str = "admin@example.com";
pub(crate) const ADMIN_PASSWORD: &str = "the admin's password";
pub(crate) const PASSWORD: &str = "a user's password";

/// How long a test waits for a condition before it fails. Generous: it is a bound, not an expectation.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks, at first and in the end: what is waited for competes with the looking for the same cores.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
const LOOK_AGAIN_AFTER_MAX: Duration = Duration::from_millis(200);

/// A server process on a directory, killed and cleaned up when it is dropped; or the cluster that is tested.
pub(crate) struct Server {
    /// A cluster is another's process.
    child: Option<Child>,
    pub(crate) base: String,
    data: Option<TempDir>,
    /// Disconnected when the process has ended, where its output is read.
    running: Option<Receiver<()>>,
}

impl Server {
    /// Starts a fresh server and waits until it listens. Under `deploy/cluster with`, that cluster, which tests share.
    pub(crate) fn start() -> Self {
        Self::start_or_join(&[])
    }

    /// The same, with more arguments for a fresh server; the cluster has them already.
    #[expect(
        clippy::disallowed_methods,
        reason = "the script tells its command by variables where the cluster is"
    )]
    pub(crate) fn start_or_join(arguments: &[&str]) -> Self {
        match std::env::var("CLUSTER_DIR").and_then(|_| std::env::var("THALWEG_URL")) {
            Ok(base) => Self { child: None, base, data: None, running: None },
            Err(_) => Self::start_with(arguments),
        }
    }

    /// The same, with more arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut server = Self::start_in(data.path(), arguments);
        server.data = Some(data);
        server
    }

    /// So many of what costs one process little; on a cluster, where each costs the databases' processors more, fewer.
    pub(crate) fn fewer<N>(&self, many: N, on_a_cluster: N) -> N {
        if self.child.is_some() { many } else { on_a_cluster }
    }

    /// Starts a server on a directory that the caller keeps, and waits until it listens.
    pub(crate) fn start_in(directory: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-filter", "warn", "--data-dir"])
            .arg(directory.join("data"))
            .args(arguments)
            .env("THALWEG_ADMIN_EMAIL", ADMIN_EMAIL)
            .env("THALWEG_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (found, base) = sync_channel(1);
        let (runs, running) = sync_channel(0);
        let output = BufReader::new(child.stdout.take().unwrap());
        // Reads to the end, so that the server never waits for a full pipe.
        std::thread::spawn(move || {
            let _runs = runs;
            for line in output.lines().map_while(Result::ok) {
                let address = line.split_whitespace().find(|word| word.starts_with("http://127.0.0.1:"));
                if let Some(address) = address {
                    let _ = found.try_send(address.to_owned());
                }
            }
        });
        let base = base.recv_timeout(PATIENCE).expect("the server prints its address once it listens");
        Self { child: Some(child), base, data: None, running: Some(running) }
    }

    /// Starts a fresh server whose standard output and error go into files, see [`Server::recorded`].
    pub(crate) fn start_recorded(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let file = |name| std::fs::File::create(data.path().join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path().join("data"))
            .args(arguments)
            .env("THALWEG_ADMIN_EMAIL", ADMIN_EMAIL)
            .env("THALWEG_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let mut server = Self { child: Some(child), base: String::new(), data: Some(data), running: None };
        let deadline = Instant::now() + PATIENCE;
        while server.base.is_empty() {
            assert!(Instant::now() < deadline, "it does not listen: {}", server.recorded("stderr"));
            let output = server.recorded("stdout");
            let words =
                output.split_inclusive(char::is_whitespace).filter(|word| word.ends_with([' ', '\n']));
            let address = words.map(str::trim).find(|word| word.starts_with("http://127.0.0.1:"));
            server.base = address.unwrap_or_default().to_owned();
            std::thread::yield_now();
        }
        server
    }

    /// What a recorded server wrote so far: `stdout` or `stderr`.
    pub(crate) fn recorded(&self, name: &str) -> String {
        let bytes = std::fs::read(self.data.as_ref().unwrap().path().join(name)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where its data is.
    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.data.as_ref().unwrap().path().join("data")
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Ends it at once, if it is ours.
    fn end(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGKILL, and a new process on the same data.
    pub(crate) fn kill_and_restart(mut self) -> Self {
        self.end();
        Self::start_on(self.data.take().unwrap())
    }

    /// Starts a server on the directory of one that has ended.
    pub(crate) fn start_on(data: TempDir) -> Self {
        let mut server = Self::start_in(data.path(), &[]);
        server.data = Some(data);
        server
    }

    /// Has the server keep the directory that it was started on.
    pub(crate) fn keep(&mut self, data: TempDir) {
        self.data = Some(data);
    }

    /// Sends a signal, and does not wait for what comes of it.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the process has ended: its exit code, if it was not killed by a signal.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        if let Some(running) = &self.running {
            let ended = running.recv_timeout(PATIENCE);
            assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "the server still runs");
        }
        self.child.as_mut().unwrap().wait().unwrap().code()
    }

    /// SIGKILL; the directory, for a look at its files.
    pub(crate) fn kill(mut self) -> TempDir {
        self.end();
        self.data.take().unwrap()
    }

    /// A new user with a token of its own.
    pub(crate) async fn user(&self) -> User<'_> {
        let email = format!("{}@example.com", uuid::Uuid::new_v4());
        let http = reqwest::Client::new();
        let account = json!({"email": email, "password": PASSWORD});
        let created = http.post(format!("{}/users", self.base)).json(&account).send().await.unwrap();
        assert_eq!(created.status(), 201);
        self.login(&email, PASSWORD).await
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> User<'_> {
        let http = reqwest::Client::new();
        let account = json!({"email": email, "password": password});
        let answer = http.post(format!("{}/tokens", self.base)).json(&account).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        User { server: self, http, token }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A logged-in user of a server.
pub(crate) struct User<'a> {
    server: &'a Server,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
}

impl User<'_> {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.server.base)).bearer_auth(&self.token)
    }

    async fn create(&self, what: &str) -> Value {
        let made = self.request(Method::POST, &format!("/{what}")).json(&json!([{"name": what}]));
        let made = made.send().await.unwrap();
        assert_eq!(made.status(), 201);
        made.json::<Value>().await.unwrap()[what][0].clone()
    }

    pub(crate) async fn channel(&self) -> String {
        self.create("channels").await["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn thing(&self) -> (String, String) {
        let thing = self.create("things").await;
        (thing["id"].as_str().unwrap().to_owned(), thing["key"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn connect(&self, channel: &str, thing: &str) {
        let ids = json!({"channel_ids": [channel], "thing_ids": [thing]});
        let answer = self.request(Method::POST, "/connect").json(&ids).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// A thing of its own on a channel.
    pub(crate) async fn thing_on(&self, channel: &str) -> Thing {
        let (id, key) = self.thing().await;
        self.connect(channel, &id).await;
        Thing {
            http: self.http.clone(),
            base: self.server.base.clone(),
            channel: channel.to_owned(),
            id,
            key,
        }
    }

    /// A thing on a new channel.
    pub(crate) async fn connected_thing(&self) -> Thing {
        self.thing_on(&self.channel().await).await
    }
}

/// A thing that is connected to one channel.
#[derive(Clone)]
pub(crate) struct Thing {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) channel: String,
    pub(crate) id: String,
    pub(crate) key: String,
}

impl Thing {
    /// A publish without a body yet.
    pub(crate) fn post(&self, subtopic: &str) -> RequestBuilder {
        self.http
            .post(format!("{}/http/channels/{}/messages{subtopic}", self.base, self.channel))
            .header("Authorization", format!("Thing {}", self.key))
            .header("Content-Type", "application/senml+json")
    }

    /// Publishes a pack that is accepted.
    pub(crate) async fn publish(&self, pack: &Value) {
        let answer = self.post("").body(pack.to_string()).send().await.unwrap();
        let status = answer.status();
        assert_eq!(status, 202, "{}", answer.text().await.unwrap());
    }

    /// Reads with a query string: status and body.
    pub(crate) async fn read(&self, query: &str) -> (StatusCode, Value) {
        let url = format!("{}/channels/{}/messages?{query}", self.base, self.channel);
        let request = self.http.get(url).header("Authorization", format!("Thing {}", self.key));
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// A page that is there.
    pub(crate) async fn page(&self, query: &str) -> Value {
        let (status, page) = self.read(query).await;
        assert_eq!(status, 200, "{query}: {page}");
        page
    }

    /// Waits until a user sees so many records in the channel.
    pub(crate) async fn until_stored_by_user(&self, user: &User<'_>, total: u64) {
        eventually(async || {
            let page = user.request(Method::GET, &format!("/channels/{}/messages?limit=1", self.channel));
            let page: Value = page.send().await.unwrap().json().await.unwrap();
            (page["total"] == total)
                .then_some(())
                .ok_or_else(|| format!("{} of {total} stored", page["total"]))
        })
        .await;
    }

    /// Waits until the channel holds so many records.
    pub(crate) async fn until_stored(&self, total: u64) {
        eventually(async || {
            let page = self.page("limit=1").await;
            (page["total"] == total)
                .then_some(())
                .ok_or_else(|| format!("{} of {total} stored", page["total"]))
        })
        .await;
    }
}

/// Asks until the answer is good.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = LOOK_AGAIN_AFTER;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(problem) => assert!(Instant::now() < deadline, "{problem}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(LOOK_AGAIN_AFTER_MAX);
    }
}

/// One field of every message of a page.
pub(crate) fn column<'a>(page: &'a Value, field: &str) -> Vec<&'a Value> {
    page["messages"].as_array().unwrap().iter().map(|message| &message[field]).collect()
}
