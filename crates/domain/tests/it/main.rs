//! The laws of the domain, over its public interface.

mod any_body;
mod refusals;
mod resolution;
mod rfc8428;
mod round_trip;
mod senml;
