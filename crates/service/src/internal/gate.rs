//! A bound on what is taken on at a time: some are served, some wait, and the others are told at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets so many in, and serves so many of those at a time. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Gate {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Gate {
    /// A gate that serves `at_once`, while `waiting` others wait inside.
    pub fn new(at_once: usize, waiting: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(at_once + waiting)), turns: Arc::new(Semaphore::new(at_once)) }
    }

    /// A place inside; nothing if there is none left.
    pub fn enter(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { turns: Arc::clone(&self.turns), place })
    }
}

/// A place inside of a gate; given back when dropped.
#[derive(Debug)]
pub struct Place {
    turns: Arc<Semaphore>,
    place: OwnedSemaphorePermit,
}

impl Place {
    /// Waits to be served: whoever came first goes first. What it returns is given back when dropped.
    pub async fn turn(self) -> Turn {
        let turn = self.turns.acquire_owned().await.expect("nobody closes the gate");
        Turn { _turn: turn, _place: self.place }
    }
}

/// The turn of one that is served.
#[derive(Debug)]
pub struct Turn {
    _turn: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn some_are_served_some_wait_and_the_others_are_told() {
        let gate = Gate::new(1, 1);
        let served = gate.enter().unwrap().turn().await;
        let mut waiting = Box::pin(gate.enter().unwrap().turn());
        assert!(gate.enter().is_none() && (&mut waiting).now_or_never().is_none());
        drop(served);
        let served = waiting.await;
        let mut waiting = Box::pin(gate.enter().unwrap().turn());
        assert!(gate.enter().is_none() && (&mut waiting).now_or_never().is_none());
        drop((served, waiting));
        assert_eq!((gate.places.available_permits(), gate.turns.available_permits()), (2, 1));
    }
}
