//! Publishes simulated readings at a steady rate, whatever the server does.
//!
//! An open loop: a pack's latency counts from when it was due, so that a server that falls behind can't hide it.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use service::clock;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::{Api, Thing};
use super::settings::Rate;
use super::simulation::ColdRoom;
use super::tally::Tally;

/// Packs that wait for their answer; more wait for their turn. Enough for the highest rate at some milliseconds each.
const IN_FLIGHT_MAX: usize = 128;

/// What publishes, and where to.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) channel: String,
    pub(super) things: Vec<Thing>,
}

/// Has the things take turns until `stop`; returns when every pack has its answer.
pub(super) async fn publish(
    api: Api,
    fleet: Arc<Fleet>,
    rate: Rate,
    tally: Arc<Tally>,
    stop: CancellationToken,
) {
    let mut random = StdRng::from_rng(&mut rand::rng());
    let mut rooms: Vec<ColdRoom> = fleet.things.iter().map(|_| ColdRoom::new(&mut random)).collect();
    let (places, packs) = (Arc::new(Semaphore::new(IN_FLIGHT_MAX)), TaskTracker::new());
    let (began, mut last_micros) = (Instant::now(), 0);
    for index in 0.. {
        let due = began + rate.due(index);
        let turn = async {
            tokio::time::sleep_until(due).await;
            Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed")
        };
        let Some(place) = stop.run_until_cancelled(turn).await else { break };
        let number = usize::try_from(index % fleet.things.len() as u64).expect("it is below a length");
        let room = &mut rooms[number];
        room.step(&mut random);
        last_micros = u64::try_from(clock::unix_micros()).unwrap_or(0).max(last_micros + 1);
        let pack = room.pack(last_micros);
        let (api, fleet, tally) = (api.clone(), Arc::clone(&fleet), Arc::clone(&tally));
        packs.spawn(async move {
            tally.sent();
            match api.publish(&fleet.channel, &fleet.things[number], pack).await {
                Ok(()) => tally.acknowledged(latency(due)),
                Err(problem) => tally.failed(format!("{problem:#}"), Instant::now().into_std()),
            }
            drop(place);
        });
    }
    packs.close();
    packs.wait().await;
}

fn latency(due: Instant) -> Duration {
    Instant::now().saturating_duration_since(due)
}
