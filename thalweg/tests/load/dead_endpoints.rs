//! A thousand webhooks, of which a hundred have endpoints that hang: what it costs in memory, and what the others notice.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::alone;
use crate::harness::{Server, Thing, eventually};
use crate::memory::{peak_bytes, resident_bytes};
use crate::receiver::{Mood, Receiver, publish, until_taken};

const THINGS: usize = 100;
const WEBHOOKS_PER_THING: usize = 10;
const HANGING_THINGS: usize = 10;
const PACKS: i64 = 200;
/// What the server may grow by: what waits for a hundred endpoints goes to the registry, not into memory.
const GROWTH_MAX: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_endpoints_that_hang_take_no_memory_and_keep_nobody_waiting() {
    let _alone = alone().await;
    let server = Server::start_with(&["--webhooks-allow-private"]);
    let (well, hanging) = (Receiver::start().await, Receiver::start().await);
    let user = server.user().await;
    let channel = user.channel().await;
    let mut things: Vec<Thing> = Vec::new();
    for number in 0..THINGS {
        let thing = user.thing_on(&channel).await;
        let receiver = if number < HANGING_THINGS { &hanging } else { &well };
        let webhooks = (0..WEBHOOKS_PER_THING).map(|hook| {
            let path = format!("/{number}/{hook}");
            if number < HANGING_THINGS {
                hanging.is(&path, Mood::Hangs);
            }
            json!({"name": path, "format": "json", "url": format!("{}{path}", receiver.base)})
        });
        let body = Value::from_iter(webhooks);
        let made = user.request(Method::POST, &format!("/webhooks/{}", thing.id)).json(&body).send().await;
        assert_eq!(made.unwrap().status(), 201);
        things.push(thing);
    }
    let round = async |value: i64| {
        join_all(things.iter().map(|thing| publish(thing, value))).await;
    };
    for value in 0..20 {
        round(value).await;
    }
    until_taken(&well, &format!("/{}/0", THINGS - 1), 20).await;
    let before = resident_bytes(&server);
    for value in 20..PACKS {
        round(value).await;
    }
    for number in HANGING_THINGS..THINGS {
        for hook in 0..WEBHOOKS_PER_THING {
            until_taken(&well, &format!("/{number}/{hook}"), PACKS).await;
        }
    }
    let peak = peak_bytes(&server);
    println!("{} MiB before, {} MiB at the peak", before >> 20, peak >> 20);
    assert!(peak < before + GROWTH_MAX, "{before} bytes grew to {peak}");
    // What hung is there when its endpoints are.
    for number in 0..HANGING_THINGS {
        for hook in 0..WEBHOOKS_PER_THING {
            hanging.is(&format!("/{number}/{hook}"), Mood::Takes);
        }
    }
    eventually(async || {
        let taken = hanging.values("/0/0").len();
        (taken as i64 >= PACKS).then_some(()).ok_or_else(|| format!("{taken} of {PACKS} came after all"))
    })
    .await;
}
