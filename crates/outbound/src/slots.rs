//! How many requests one host gets at a time, over all who have something for it.
//!
//! It keeps nothing of a host that nobody asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests to one host (scheme, name and port) at a time. A thousand webhooks are no means to knock somebody over; and so many that
/// hang are not likely to be all that is asked of a host that others use, too. As many connections to it are kept.
pub const REQUESTS_PER_HOST_MAX: usize = 128;

/// The hosts that are asked now.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<Hosts>);

type Hosts = HashMap<Arc<str>, Arc<Semaphore>>;

/// The right to ask a host, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

/// Somebody who asks a host, or waits for it. The last one takes the host's entry away.
#[derive(Debug)]
struct Place {
    slots: Arc<Slots>,
    host: Arc<str>,
}

impl Slots {
    /// Waits until the host may be asked.
    pub(crate) async fn enter(self: &Arc<Self>, host: &Arc<str>) -> Slot {
        let semaphore = {
            let mut hosts = self.lock();
            let new = || Arc::new(Semaphore::new(REQUESTS_PER_HOST_MAX));
            Arc::clone(hosts.entry(Arc::clone(host)).or_insert_with(new))
        };
        // Dropped behind the semaphore's clone, whichever way this ends.
        let place = Place { slots: Arc::clone(self), host: Arc::clone(host) };
        let permit = semaphore.acquire_owned().await.expect("nobody closes it");
        Slot { _permit: permit, _place: place }
    }

    fn lock(&self) -> MutexGuard<'_, Hosts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut hosts = self.slots.lock();
        if hosts.get(&self.host).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            hosts.remove(&self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_host_has_so_many_slots_and_no_entry_when_nobody_asks_it() {
        let slots = Arc::new(Slots::default());
        let [a, b] = ["https://a.example", "https://b.example"].map(Arc::<str>::from);
        let mut taken = Vec::new();
        for _ in 0..REQUESTS_PER_HOST_MAX {
            taken.push(slots.enter(&a).await);
        }
        // A task that got so much at once would have to wait for anything.
        tokio::task::yield_now().await;
        let mut waiting = Box::pin(slots.enter(&a));
        assert!(waiting.as_mut().now_or_never().is_none(), "it has to wait");
        assert!(pin!(slots.enter(&b)).now_or_never().is_some(), "another host's are its own");
        taken.pop();
        let got = waiting.await;
        let given_up = Box::pin(slots.enter(&a));
        drop((taken, got, given_up));
        assert!(slots.lock().is_empty(), "{:?}", slots.lock());
    }
}
