//! Endpoints that are down, fail, ask to wait, redirect and hang for a minute: nothing is lost, and the others notice nothing.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::alone;
use crate::harness::{Server, Thing};
use crate::receiver::{Mood, Receiver, is_in_order, publish, until_taken, webhook};

/// How long all endpoints are well,
const WELL_FOR: Duration = Duration::from_secs(10);
/// and how long some are not.
const BAD_FOR: Duration = Duration::from_secs(60);
/// Between two values that each thing publishes.
const PACE: Duration = Duration::from_millis(50);
/// What a busy machine may take for anything: below, there is nothing to compare.
const NOTICEABLE: Duration = Duration::from_millis(25);
const MOODS: [(&str, Mood); 4] = [
    ("/500", Mood::Answers(500)),
    ("/429", Mood::AsksToWait("2")),
    ("/302", Mood::Redirects),
    ("/hangs", Mood::Hangs),
];

/// Two things that publish the same values at the same time.
struct Pair {
    well: Thing,
    bad: Thing,
    /// When each value was published for the one that is well.
    begun: Vec<Instant>,
}

impl Pair {
    async fn publish_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < end {
            pace.tick().await;
            let value = self.begun.len() as i64;
            self.begun.push(Instant::now());
            publish(&self.well, value).await;
            publish(&self.bad, value).await;
        }
    }

    fn published(&self) -> i64 {
        self.begun.len() as i64
    }

    /// Of a hundred values the one that came second to last, of those from here on.
    fn p99(&self, receiver: &Receiver, path: &str, from: i64) -> Duration {
        let mut delays = Vec::new();
        for received in receiver.received(path) {
            for value in received.values() {
                delays.extend((value >= from).then(|| received.at - self.begun[value as usize]));
            }
        }
        delays.sort();
        delays[delays.len() * 99 / 100]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_endpoints_miss_in_a_minute_comes_after_it_and_the_others_wait_no_longer() {
    let machine = alone().await;
    let server = Server::start_with(&["--webhooks-allow-private"]);
    let (well, bad, down) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let user = server.user().await;
    let mut pair =
        Pair { well: user.connected_thing().await, bad: user.connected_thing().await, begun: Vec::new() };
    webhook(&user, &pair.well, &format!("{}/well", well.base), "json").await;
    let mut webhooks = vec![webhook(&user, &pair.bad, &format!("{}/down", down.base), "json").await];
    for (path, _) in MOODS {
        webhooks.push(webhook(&user, &pair.bad, &format!("{}{path}", bad.base), "json").await);
    }

    pair.publish_for(WELL_FOR).await;
    let bad_from = pair.published();
    until_taken(&well, "/well", bad_from).await;
    let alone = pair.p99(&well, "/well", 0);
    down.goes_down();
    for (path, mood) in MOODS {
        bad.is(path, mood);
    }
    pair.publish_for(BAD_FOR).await;
    let published = pair.published();
    until_taken(&well, "/well", published).await;
    let beside = pair.p99(&well, "/well", bad_from);
    println!("p99 {alone:?} while all were well, {beside:?} beside those that were not");
    assert!(beside < 2 * alone.max(NOTICEABLE), "{alone:?} became {beside:?}");
    // From here on nothing is measured, and most of it is waiting.
    drop(machine);

    down.comes_up().await;
    for (path, _) in MOODS {
        bad.is(path, Mood::Takes);
    }
    // By itself the next try may be a minute away; who has mended an endpoint need not wait for it.
    for path in webhooks {
        let enable = user.request(Method::POST, &format!("{path}/enable")).json(&json!({}));
        assert!(enable.send().await.unwrap().status().is_success());
    }
    for (receiver, path) in MOODS.iter().map(|(path, _)| (&bad, *path)).chain([(&down, "/down")]) {
        until_taken(receiver, path, published).await;
        let values = receiver.values(path);
        assert!(is_in_order(&values), "{path}: {values:?}");
    }
}
