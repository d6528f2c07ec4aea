//! A server of one test, which it may kill and freeze.

use crate::own_engines::OwnEngines;

pub(crate) struct Engines {
    own: OwnEngines,
    pub(crate) url: String,
}

impl Engines {
    pub(crate) async fn start() -> Self {
        let (own, url) = OwnEngines::start(&["postgres"], "THALWEG_POSTGRES_URL").await;
        Self { own, url }
    }

    pub(crate) async fn act(&self, action: &str) {
        self.own.act(action, "postgres-1").await;
    }
}
