//! A process that is frozen, and woken when much has happened: it must not go on with what it knew.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::{ChannelId, ChannelProfile, Grant, KeyDigest};
use thalweg_service::access_cache::AccessCache;
use thalweg_service::authority::{Authority, AuthorityError, ReadDenied};
use thalweg_service::feed::kafka::{KafkaFeed, KafkaFeedConfig, KafkaPublisher};
use thalweg_service::feed::{Change, ChangePublisher as _};

use crate::site::{CHANNEL, LONG, brokers, config, key, thing};

const STALE_AFTER: Duration = Duration::from_secs(2);
const TOPIC: &str = "FROZEN_TEST_TOPIC";
const REVOKED: &str = "FROZEN_TEST_REVOKED";

/// The thing is connected until a file is there.
struct Registry(PathBuf);

#[async_trait]
impl Authority for Registry {
    async fn grant(&self, _: &KeyDigest, _: ChannelId) -> Result<Option<Grant>, AuthorityError> {
        let connection = (!self.0.exists()).then(ChannelProfile::default);
        Ok(Some(Grant { thing: thing(1), connection }))
    }

    async fn user_read(&self, _: &str, _: ChannelId) -> Result<ChannelProfile, ReadDenied> {
        Err(ReadDenied::InvalidToken)
    }
}

/// The process that is frozen, not a test by itself: the test below runs it. It asks without end, and says when the answer was
/// begun to be asked for, on the clock that goes on meanwhile, and what it was.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test of frozen processes"]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "its settings and its answers")]
async fn ask_without_end() {
    let (Ok(topic), Ok(revoked)) = (std::env::var(TOPIC), std::env::var(REVOKED)) else { return };
    let config = KafkaFeedConfig { topic, stale_after: STALE_AFTER, ..config(&brokers(), 1) };
    let feed = KafkaFeed::open(config, Default::default()).await.unwrap();
    let cache = AccessCache::new(&Default::default(), Arc::new(Registry(revoked.into())), &feed);
    loop {
        let began = thalweg_service::clock::since_boot();
        let grant = cache.grant(key(1), CHANNEL).await.unwrap().unwrap();
        println!("asked {} {}", began.as_nanos(), grant.connection.is_some());
        tokio::task::yield_now().await;
    }
}

/// Killed when dropped, frozen or not.
struct Process(Child);

impl Process {
    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn answers(process: &mut Process) -> Receiver<(u128, bool)> {
    let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let (sender, answers) = sync_channel(1_000);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut words = line.split(' ').skip_while(|word| *word != "asked").skip(1);
            if let (Some(began), Some(may)) = (words.next(), words.next())
                && sender.send((began.parse().unwrap(), may.parse().unwrap())).is_err()
            {
                return;
            }
        }
    });
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_frozen_believes_nothing_from_before() {
    let directory = tempfile::tempdir().unwrap();
    let revoked = directory.path().join("revoked");
    let config = config(&brokers(), 1);
    let publisher = KafkaPublisher::open(config.clone()).await.unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "frozen::ask_without_end"]);
    command.env(TOPIC, &config.topic).env(REVOKED, &revoked).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Process(command.spawn().unwrap());
    let answers = answers(&mut process);
    tokio::task::block_in_place(|| {
        for _ in 0..10_000 {
            assert!(answers.recv_timeout(LONG).unwrap().1);
        }
    });
    process.signal("STOP");
    std::fs::write(&revoked, "").unwrap();
    publisher.publish(&[Change::Thing(thing(1))]).await.unwrap();
    let frozen = Instant::now();
    while frozen.elapsed() < STALE_AFTER {
        // What it said before it was frozen.
        let _ = tokio::task::block_in_place(|| answers.recv_timeout(STALE_AFTER / 10));
    }
    let woken = thalweg_service::clock::since_boot().as_nanos();
    process.signal("CONT");
    let mut later = 0;
    while later < 1_000 {
        let (began, may) = tokio::task::block_in_place(|| answers.recv_timeout(LONG).unwrap());
        if began > woken {
            assert!(!may, "answer {later} after it was woken");
            later += 1;
        }
    }
}
