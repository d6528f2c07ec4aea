//! Requests to addresses that users gave us.
//!
//! A user names a URL, and this machine asks it: without care, anybody could reach through it what only it can reach. So a
//! [`Target`] is checked when it is given, and the addresses of its host again for each connection; what was checked is what is dialled.
//! Whoever answers may be hostile too: redirects are not followed, an answer is read in part, and everything has a deadline.
//!
//! It never takes a proxy from the environment, keeps no cookie, and prints of a URL no more than scheme, host and port: what
//! comes behind may be a secret. How often something is tried again is not its business.

mod address;
mod answer;
mod client;
mod connect;
mod resolve;
pub mod signing;
mod slots;
mod target;

pub use address::{Guard, NotPublic};
pub use answer::{Answer, RetryAfter};
pub use client::{Client, PostError};
pub use connect::{RootCertStore, Unreachable, system_roots};
pub use resolve::{Resolve, SystemResolver};
pub use slots::REQUESTS_PER_HOST_MAX;
pub use target::{BadTarget, Target};
