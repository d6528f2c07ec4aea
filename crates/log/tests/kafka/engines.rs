//! Brokers of one test, which it may kill and freeze.

use tokio::sync::{Mutex, MutexGuard};

use crate::own_engines::OwnEngines;

/// One test at a time has brokers of its own: starting them takes the whole machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

pub(crate) struct Engines {
    own: OwnEngines,
    pub(crate) brokers: String,
    _turn: MutexGuard<'static, ()>,
}

impl Engines {
    pub(crate) async fn start(nodes: u16) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let words = ["kafka", "--nodes", &nodes.to_string()];
        let (own, brokers) = OwnEngines::start(&words, "THALWEG_KAFKA_BROKERS").await;
        Self { own, brokers, _turn: turn }
    }

    pub(crate) async fn act(&self, action: &str, node: &str) {
        self.own.act(action, node).await;
    }
}
