//! Whose turn it is to deliver to a webhook: one try at a time, whether it is the first of something or another of what is kept.
//!
//! Of this process. Between processes it is the lease, and what waits for a first try is held back in the registry.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::WebhookId;

/// Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<HashSet<WebhookId>>>);

/// Nobody else delivers to the webhook until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    webhook: WebhookId,
}

impl Turns {
    /// The turn, if nobody has it.
    pub(crate) fn take(&self, webhook: WebhookId) -> Option<Turn> {
        self.taken().insert(webhook).then(|| Turn { turns: self.clone(), webhook })
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<WebhookId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.taken().remove(&self.webhook);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_delivered_to_by_one_at_a_time() {
        let turns = Turns::default();
        let [one, other] = [1, 2].map(|number| WebhookId::from_bytes([number; 16]));
        let turn = turns.take(one).unwrap();
        assert!(turns.take(one).is_none() && turns.take(other).is_some());
        drop(turn);
        assert!(turns.take(one).is_some());
    }
}
