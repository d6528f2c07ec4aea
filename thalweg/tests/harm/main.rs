//! Harm to the cluster that `deploy/cluster with` started, and what has to happen within a second: one test at a time, and nothing
//! else is asked of it meanwhile. A test that has to wait shows in that time what its harm has nothing to do with.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[expect(dead_code, reason = "the other tests of the product need more of it")]
#[path = "../it/harness.rs"]
mod harness;
#[expect(dead_code, reason = "the other tests of the product need more of it")]
#[path = "../it/receiver.rs"]
mod receiver;

mod deliveries;
mod faults;
mod feed;
mod outages;
mod revocation;

use std::path::Path;

use thalweg_bench::cluster::Cluster;
use tokio::sync::{Mutex, MutexGuard};

use crate::harness::Thing;

const PACK: &str = r#"[{"n":"a","v":1}]"#;
const CONTROL_PLANES: [&str; 2] = ["control-plane-1", "control-plane-2"];

/// Waits until no other test harms the cluster, and keeps the others waiting as long as the guard lives.
async fn alone() -> MutexGuard<'static, ()> {
    static CLUSTER: Mutex<()> = Mutex::const_new(());
    CLUSTER.lock().await
}

fn cluster() -> Cluster {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/cluster");
    Cluster::from_environment(&script).unwrap()
}

/// A thing as each of the ingest nodes sees it, without the proxy.
fn at_each_node(thing: &Thing) -> [Thing; 2] {
    let base = |node| format!("http://{}", cluster().address_of(node).unwrap());
    ["ingest-1", "ingest-2"].map(|node| Thing { base: base(node), ..thing.clone() })
}

/// The status that a publish is answered with.
async fn status(thing: &Thing) -> u16 {
    thing.post("").body(PACK).send().await.unwrap().status().as_u16()
}
