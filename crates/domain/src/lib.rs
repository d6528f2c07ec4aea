//! The pure core of Thalweg: what a thing, a channel, a key, a pack and a record are.
//!
//! Nothing here is async, reads a clock, touches a file, a socket or the environment: time and randomness are
//! arguments. Everything else depends on this crate, and this crate depends on none of ours.

pub mod access;
pub mod channel;
pub mod entry;
pub mod id;
pub mod key;
pub mod limits;
pub mod record;
pub mod senml;
pub mod subtopic;
pub mod time;

pub use access::{Action, Denied, Grant};
pub use channel::{BucketWidth, ChannelProfile, Retention};
pub use entry::{Entry, Lane, Position, Protocol};
pub use id::{ApiKeyId, ChannelId, GroupId, OrgId, ThingId, UserId, WebhookId};
pub use key::{KeyDigest, ThingKey};
pub use record::{Record, Value};
pub use subtopic::Subtopic;
pub use time::{ReceivedAt, Timestamp};
