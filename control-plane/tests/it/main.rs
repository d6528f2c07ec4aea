//! The control plane over its router, on a registry and a store of its own.

#[cfg(test)]
mod access;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod channels;
#[cfg(test)]
mod circles;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod deliveries;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod format;
#[cfg(test)]
mod internal;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod logins;
#[cfg(test)]
mod odd_requests;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod policies;
#[cfg(test)]
mod purges;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod site;
#[cfg(test)]
mod things;
#[cfg(test)]
mod users;
#[cfg(test)]
mod webhooks;
#[cfg(test)]
mod world;
