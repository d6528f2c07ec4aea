//! Which tries may go to which host, and who waits for one: one host gets only so many at a time.
//!
//! Pure. It keeps nothing of a host that no try goes to and nobody waits for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use domain::WebhookId;

/// The hosts that are delivered to now: scheme, name and port.
#[derive(Debug)]
pub(crate) struct Hosts {
    places: usize,
    hosts: HashMap<Arc<str>, Host>,
}

#[derive(Debug, Default)]
struct Host {
    tries: usize,
    /// In the order they came. Some may have been forgotten meanwhile.
    waiting: VecDeque<WebhookId>,
}

impl Hosts {
    /// Each has so many places.
    pub(crate) fn new(places: usize) -> Self {
        Self { places, hosts: HashMap::new() }
    }

    /// Takes a place, to be given back by [`Self::leave`]; where none is free, the webhook waits for one.
    pub(crate) fn enter(&mut self, host: &Arc<str>, webhook: WebhookId) -> bool {
        let host = match self.hosts.get_mut(host) {
            Some(host) => host,
            None => self.hosts.entry(Arc::clone(host)).or_default(),
        };
        let is_free = host.tries < self.places;
        if is_free {
            host.tries += 1;
        } else {
            host.waiting.push_back(webhook);
        }
        is_free
    }

    /// Gives a place back.
    pub(crate) fn leave(&mut self, host: &Arc<str>) {
        if let Some(left) = self.hosts.get_mut(host) {
            left.tries -= 1;
            self.forget_if_idle(host);
        }
    }

    /// Who has waited longest for this host, if it has a place.
    pub(crate) fn call(&mut self, host: &Arc<str>) -> Option<WebhookId> {
        let places = self.places;
        let called = self.hosts.get_mut(host).filter(|host| host.tries < places)?.waiting.pop_front();
        self.forget_if_idle(host);
        called
    }

    /// The hosts that have a place, and somebody who waits.
    pub(crate) fn free(&self) -> Vec<Arc<str>> {
        let free = |host: &Host| host.tries < self.places && !host.waiting.is_empty();
        self.hosts.iter().filter(|(_, host)| free(host)).map(|(name, _)| Arc::clone(name)).collect()
    }

    fn forget_if_idle(&mut self, host: &Arc<str>) {
        if self.hosts.get(host).is_some_and(|host| host.tries == 0 && host.waiting.is_empty()) {
            self.hosts.remove(host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_called_in_order_and_an_idle_host_is_forgotten() {
        let [a, b] = ["https://a.example", "https://b.example"].map(Arc::<str>::from);
        let webhook = |number| WebhookId::from_bytes([number; 16]);
        let mut hosts = Hosts::new(2);
        assert!(hosts.enter(&a, webhook(1)) && hosts.enter(&a, webhook(2)));
        assert!(!hosts.enter(&a, webhook(3)) && !hosts.enter(&a, webhook(4)));
        assert!(hosts.enter(&b, webhook(5)), "another host's places are its own");
        assert!(hosts.call(&a).is_none() && hosts.free().is_empty(), "it has no place");
        hosts.leave(&a);
        assert_eq!(
            (hosts.free(), hosts.call(&a), hosts.free()),
            (vec![Arc::clone(&a)], Some(webhook(3)), vec![a.clone()])
        );
        hosts.leave(&a);
        assert_eq!((hosts.call(&a), hosts.call(&a)), (Some(webhook(4)), None));
        hosts.leave(&b);
        assert!(hosts.hosts.is_empty());
    }
}
