//! How many connections are open, in all and of one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client_address::{Proxies, network};

/// Gives out places for connections.
#[derive(Debug)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    connections_max: u32,
    addresses: Option<Arc<Addresses>>,
}

/// Open connections by address. Bounded by the connections that are open.
#[derive(Debug)]
struct Addresses {
    connections_max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One place, for as long as it is held.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    addresses: Option<Arc<Addresses>>,
    /// Whose connection it counts as.
    address: Option<IpAddr>,
}

impl Admission {
    pub(super) fn new(connections_max: usize, per_address_max: Option<usize>) -> Self {
        let connections_max = u32::try_from(connections_max).unwrap_or(u32::MAX).min(1 << 28);
        let addresses = per_address_max
            .map(|connections_max| Arc::new(Addresses { connections_max, open: Mutex::default() }));
        Self { places: Arc::new(Semaphore::new(connections_max as usize)), connections_max, addresses }
    }

    /// Waits until there is room for one more connection.
    pub(super) async fn place(&self) -> Place {
        let permit = Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed");
        Place { _permit: permit, addresses: self.addresses.clone(), address: None }
    }

    /// A place, if there is room for one more connection now.
    pub(super) fn free_place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { _permit: permit, addresses: self.addresses.clone(), address: None })
    }

    /// Waits until no connection is open. No place must be asked for any more.
    pub(super) async fn all_free(&self) {
        let all = self.places.acquire_many(self.connections_max).await;
        drop(all.expect("the semaphore is never closed"));
    }
}

impl Place {
    /// The place, if the peer may have one more connection. A proxy stands for many clients and may have any number.
    pub(super) fn for_peer(mut self, peer: IpAddr, proxies: &Proxies) -> Option<Self> {
        let Some(addresses) = self.addresses.as_deref().filter(|_| !proxies.trusts(peer)) else {
            return Some(self);
        };
        let address = network(peer);
        let mut open = addresses.open();
        let count = open.entry(address).or_insert(0);
        if *count >= addresses.connections_max {
            return None;
        }
        *count += 1;
        drop(open);
        self.address = Some(address);
        Some(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (Some(addresses), Some(address)) = (self.addresses.as_deref(), self.address) else { return };
        if let Entry::Occupied(mut count) = addresses.open().entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Addresses {
    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn an_address_has_so_many_connections_and_gets_them_back() {
        let admission = Admission::new(100, Some(2));
        let proxies: Proxies = [Proxies::parse_network("192.0.2.9").unwrap()].into_iter().collect();
        let take = async |peer| admission.place().await.for_peer(address(peer), &proxies);
        let first = take("2001:db8::1").await.unwrap();
        let second = take("2001:db8::2").await.unwrap();
        assert!(take("2001:db8::3").await.is_none(), "a network of 64 bits is one address");
        let other = take("2001:db8:0:1::1").await.unwrap();
        let mut proxied = Vec::new();
        for _ in 0..10 {
            proxied.push(take("192.0.2.9").await.unwrap());
        }
        drop(first);
        let third = take("2001:db8::3").await;
        assert!(third.is_some());
        drop((third, second, other, proxied));
        assert!(admission.addresses.unwrap().open().is_empty(), "nothing is kept of who is gone");
    }
}
