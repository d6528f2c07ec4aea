//! Random histories: the embedded store holds and answers what the model does.

use proptest::prelude::*;
use thalweg_store::suite::history::agrees_with_the_model;

use crate::any::{CHANNELS, any_history, any_query};
use crate::home::EmbeddedHome;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_agrees_with_the_model(
        steps in any_history(),
        queries in proptest::collection::vec(any_query(), 12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut home = EmbeddedHome::new();
        runtime.block_on(agrees_with_the_model(&mut home, &steps, &CHANNELS, &queries));
    }
}
