//! Which addresses a name has, as the system says.
//!
//! Decides nothing about them: who asks has to check what comes back, and to dial no other.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// Look-ups at a time. Each takes a thread of those that the whole process has for such work, for as long as its name servers are silent
/// (about 10 s): some of them are left to others, whatever names users think of.
const LOOKUPS_MAX: usize = 64;
/// Addresses of a name that are looked at.
const ADDRESSES_MAX: usize = 16;

/// Says which addresses a name has now. A name is asked for anew for each connection.
#[async_trait]
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The addresses of a host's name, the preferred one first.
    ///
    /// # Errors
    /// There are none, or nobody says which.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// What the system does for every program: its hosts file, its name servers.
#[derive(Debug, Clone)]
pub struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        let lookup = move || {
            // Held by the thread: who asked may be gone before it is.
            let _permit = permit;
            let found = (host.as_str(), 0).to_socket_addrs()?;
            Ok(found.map(|found| found.ip()).take(ADDRESSES_MAX).collect())
        };
        tokio::task::spawn_blocking(lookup).await.map_err(io::Error::other)?
    }
}
