//! What nodes ask the control plane: access, over a listener and with a credential of its own, never over the public one.
//!
//! HTTP/1.1 with JSON bodies, and two questions. `POST /grants` asks what things may do, up to [`wire::QUESTIONS_MAX`] at a
//! time; `POST /user-read` asks whether a user may read a channel. Each carries `Authorization: Bearer` and the installation's
//! internal secret; whoever has it may ask for everything, so that it is for the pipeline's own processes only.
//!
//! [`RemoteAuthority`] asks, the control plane answers. Digests of keys travel here and nowhere else; none is logged.

mod client;
mod gate;
mod nodes;
mod queue;
mod secrets;
pub mod wire;

pub use client::{RemoteAuthority, RemoteConfig};
pub use gate::{Gate, Place, Turn};
pub use nodes::{BadUrl, BaseUrl};
pub use secrets::InternalSecrets;
