//! Random histories: the CQL store holds and answers what the model does, also where another instance has looked and counted
//! in between.

use domain::ReceivedAt;
use proptest::prelude::*;
use thalweg_store::suite::history::{Step, agrees_with_the_model};

use crate::any::{CHANNELS, any_history, any_query};
use crate::home::CqlHome;

/// Gives each row that differs a version of its own, as nodes do: which of two equal ones stays is not promised.
fn with_versions_of_their_own(mut steps: Vec<Step>) -> Vec<Step> {
    let mut known = Vec::new();
    for step in &mut steps {
        let Step::Append(rows) = step else { continue };
        for row in rows {
            let number = known.iter().position(|other| other == row).unwrap_or_else(|| {
                known.push(row.clone());
                known.len() - 1
            });
            let version = row.row.received.as_micros() * 1_000_000 + number as i64;
            row.row.received = ReceivedAt::from_micros(version);
        }
    }
    steps
}

proptest! {
    // Each case empties a keyspace and asks some hundred pages.
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn any_history_agrees_with_the_model(
        steps in any_history(),
        queries in proptest::collection::vec(any_query(), 6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let steps = with_versions_of_their_own(steps);
        runtime.block_on(async {
            agrees_with_the_model(&mut CqlHome::default(), &steps, &CHANNELS, &queries).await;
        });
    }
}
