//! Brokers of one test, which it may kill and freeze.

use crate::own_engines::OwnEngines;

pub(crate) struct Engines {
    own: OwnEngines,
    pub(crate) brokers: String,
}

impl Engines {
    pub(crate) async fn start(nodes: u16) -> Self {
        let words = ["kafka", "--nodes", &nodes.to_string()];
        let (own, brokers) = OwnEngines::start(&words, "THALWEG_KAFKA_BROKERS").await;
        Self { own, brokers }
    }

    pub(crate) async fn act(&self, action: &str, node: &str) {
        self.own.act(action, node).await;
    }
}
