//! A server that is killed, and files that are damaged while it is down: it starts, keeps what it has, and takes new packs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::first_message::documented_pack;
use crate::harness::{Server, Thing};

fn newest_segment(data: &Path) -> PathBuf {
    let files = fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "segment")).max().unwrap()
}

/// The bytes of the segment up to its last one that is not zero: behind it there is only reserved space.
fn used_bytes(segment: &Path) -> usize {
    let bytes = fs::read(segment).unwrap();
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

#[tokio::test]
async fn a_cut_or_flipped_segment_costs_nothing_that_is_stored_and_new_packs_are_kept() {
    let mut server = Server::start();
    let thing = server.user().await.connected_thing().await;
    let mut stored = 0_u64;
    for round in 0..16_u64 {
        let thing = Thing { base: server.base.clone(), ..thing.clone() };
        for i in 0..10 {
            thing.publish(&json!([{"n": "x", "t": 1_700_000_000 + round * 100 + i, "v": 1}])).await;
        }
        stored += 10;
        thing.until_stored(stored).await;
        let directory = server.kill();
        let segment = newest_segment(&directory.path().join("data"));
        let used = used_bytes(&segment);
        let place = used * (round as usize % 8 + 1) / 9;
        if round % 2 == 0 {
            fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(place as u64).unwrap();
        } else {
            let mut bytes = fs::read(&segment).unwrap();
            bytes[place] ^= 0x40;
            fs::write(&segment, bytes).unwrap();
        }
        server = Server::start_on(directory);
    }
    let thing = Thing { base: server.base.clone(), ..thing };
    thing.until_stored(stored).await;
}

#[tokio::test]
async fn records_survive_a_kill_right_after_the_202() {
    let server = Server::start();
    let user = server.user().await;
    let thing = user.connected_thing().await;
    thing.publish(&documented_pack()).await;
    drop(user);
    let server = server.kill_and_restart();
    let thing = Thing { base: server.base.clone(), ..thing };
    thing.until_stored(3).await;
    thing.publish(&documented_pack()).await;
    thing.publish(&json!([{"n": "end", "v": 1}])).await;
    thing.until_stored(4).await;
}
