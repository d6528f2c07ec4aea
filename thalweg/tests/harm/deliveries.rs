//! Webhooks of a cluster whose nodes are killed: no delivery is lost, and each endpoint gets its own in order.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use thalweg_bench::cluster::{Cluster, Fault};

use crate::harness::{Server, Thing, eventually};
use crate::receiver::{Mood, Receiver, is_in_order, publish, until_taken, webhook};

const THINGS: usize = 6;
/// Values that every thing has published between two faults.
const VALUES_BETWEEN: i64 = 20;
/// What is killed, by turns; every endpoint that is sick changes its mind with each.
const VICTIMS: [&[&str]; 3] = [&["webhooks-1"], &["webhooks-1", "webhooks-2"], &["postgres-1"]];

/// Things that publish one value after the other.
struct Fleet {
    things: Vec<Thing>,
    /// Every thing has published the values below this one.
    published: AtomicI64,
    stopped: AtomicBool,
}

impl Fleet {
    async fn publish(&self) {
        while !self.stopped.load(Ordering::Acquire) {
            let value = self.published.load(Ordering::Acquire);
            for thing in &self.things {
                publish(thing, value).await;
            }
            self.published.store(value + 1, Ordering::Release);
        }
    }

    async fn progress(&self) {
        let wanted = self.published.load(Ordering::Acquire) + VALUES_BETWEEN;
        eventually(async || {
            let published = self.published.load(Ordering::Acquire);
            (published >= wanted).then_some(()).ok_or_else(|| format!("{published} of {wanted} published"))
        })
        .await;
    }
}

fn paths(thing: usize) -> [String; 2] {
    [format!("/well/{thing}"), format!("/sick/{thing}")]
}

/// Waits until an endpoint has taken something that was published after now.
async fn until_going_on(fleet: &Fleet, receiver: &Receiver, path: &str) {
    let now = fleet.published.load(Ordering::Acquire) + 1;
    eventually(async || {
        let last = receiver.values(path).into_iter().max();
        (last >= Some(now)).then_some(()).ok_or_else(|| format!("{path} has {last:?}, not {now}"))
    })
    .await;
}

pub(crate) async fn killed_nodes_of_webhooks_and_a_killed_registry_lose_no_delivery(cluster: &Cluster) {
    let server = Server::start();
    let receiver = Receiver::start().await;
    let user = server.user().await;
    let mut things = Vec::new();
    for number in 0..THINGS {
        let thing = user.connected_thing().await;
        for path in paths(number) {
            webhook(&user, &thing, &format!("{}{path}", receiver.base), "json").await;
        }
        things.push(thing);
    }
    let fleet = Arc::new(Fleet { things, published: AtomicI64::new(0), stopped: AtomicBool::new(false) });
    let publishing = tokio::spawn({
        let fleet = Arc::clone(&fleet);
        async move { fleet.publish().await }
    });
    for (turn, victims) in VICTIMS.iter().enumerate() {
        for number in 0..THINGS {
            let mood = if turn % 2 == 0 { Mood::Answers(500) } else { Mood::Takes };
            receiver.is(&format!("/sick/{number}"), mood);
        }
        fleet.progress().await;
        cluster.fault(Fault::Kill, victims).await.unwrap();
        fleet.progress().await;
        cluster.fault(Fault::Restart, victims).await.unwrap();
        for number in 0..THINGS {
            until_going_on(&fleet, &receiver, &format!("/well/{number}")).await;
        }
    }
    fleet.stopped.store(true, Ordering::Release);
    publishing.await.unwrap();
    let published = fleet.published.load(Ordering::Acquire);
    for number in 0..THINGS {
        receiver.is(&format!("/sick/{number}"), Mood::Takes);
    }
    for path in (0..THINGS).flat_map(paths) {
        until_taken(&receiver, &path, published).await;
        let values = receiver.values(&path);
        assert!(is_in_order(&values), "{path}: {values:?}");
        let distinct: HashSet<i64> = values.iter().copied().collect();
        println!(
            "{path}: {} values, {} of them more than once",
            distinct.len(),
            values.len() - distinct.len()
        );
    }
}
