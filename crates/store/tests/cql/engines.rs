//! Nodes of one test, which it may kill and freeze.

use tokio::sync::SemaphorePermit;

use crate::own_engines::OwnEngines;

pub(crate) struct Engines {
    own: OwnEngines,
    pub(crate) nodes: Vec<String>,
    /// Three nodes take the whole machine. Given back when they have ended.
    _alone: SemaphorePermit<'static>,
}

impl Engines {
    pub(crate) async fn start(nodes: u8) -> Self {
        let alone = crate::home::alone().await;
        let words = ["cassandra", "--nodes", &nodes.to_string()];
        let (own, nodes) = OwnEngines::start(&words, "THALWEG_CQL_NODES").await;
        Self { own, nodes: nodes.split(',').map(str::to_owned).collect(), _alone: alone }
    }

    pub(crate) async fn act(&self, action: &str, nodes: &str) {
        self.own.act(action, nodes).await;
    }
}
