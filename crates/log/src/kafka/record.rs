//! Entries and dead letters as messages of the broker.
//!
//! The key is the thing's id as text, the value the pack as it was sent. The first header, [`ENTRY`], is what we read: the
//! entry's own encoding, led by its version. The others are for people and for other consumers, and never read by us.

use bytes::{Bytes, BytesMut};
use domain::entry::EntryError;
use domain::senml::Format;
use domain::{Entry, Lane, Position};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};

use crate::contract::{DeadLetter, Delivery, StoredLetter, Undeliverable};

/// The header that holds [`Entry::encode_headers`]; always the first.
pub(crate) const ENTRY: &str = "thalweg-entry";
/// Why a dead letter can't be processed.
pub(crate) const REASON: &str = "dead-letter-reason";
/// Where a dead letter stood.
pub(crate) const LANE: &str = "dead-letter-lane";
pub(crate) const OFFSET: &str = "dead-letter-offset";

/// Bytes of a reason: it may quote what the publisher sent.
const REASON_BYTES_MAX: usize = 4 << 10;
/// Headers of a dead letter.
const HEADERS_MAX: usize = 7;

/// What goes to the broker beside the topic.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) key: String,
    pub(crate) headers: OwnedHeaders,
    pub(crate) timestamp_millis: i64,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    pub(crate) fn entry(entry: &Entry) -> Self {
        let mut encoded = BytesMut::new();
        entry.encode_headers(&mut encoded);
        let headers = OwnedHeaders::new_with_capacity(HEADERS_MAX);
        let headers = with(headers, ENTRY, &encoded);
        let headers = with(headers, "content-type", content_type(entry.format).as_bytes());
        let headers = with(headers, "channel", entry.channel.to_string().as_bytes());
        let headers = with(headers, "subtopic", entry.subtopic.as_str().as_bytes());
        Self {
            key: entry.publisher.to_string(),
            headers,
            // Brokers know no time before 1970.
            timestamp_millis: entry.received.as_micros().div_euclid(1_000).max(0),
            payload: entry.payload.clone(),
        }
    }

    pub(crate) fn letter(letter: &DeadLetter) -> Self {
        let mut outgoing = Self::entry(&letter.entry);
        let reason = &letter.reason[..letter.reason.floor_char_boundary(REASON_BYTES_MAX)];
        let Position { lane, offset } = letter.position;
        let headers = with(outgoing.headers, REASON, reason.as_bytes());
        let headers = with(headers, LANE, lane.0.to_string().as_bytes());
        outgoing.headers = with(headers, OFFSET, offset.to_string().as_bytes());
        outgoing
    }
}

fn with(headers: OwnedHeaders, key: &str, value: &[u8]) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/senml+json",
    }
}

/// What stands at a message's place.
pub(crate) fn delivery(message: &BorrowedMessage<'_>) -> Delivery {
    let position = Position { lane: lane_of(message.partition()), offset: offset_of(message.offset()) };
    Delivery { position, entry: entry(message) }
}

/// The dead letter that a message is.
pub(crate) fn stored_letter(message: &BorrowedMessage<'_>) -> StoredLetter {
    let number = |key: &str| -> Option<u64> { text_of(message, key)?.parse().ok() };
    let letter = entry(message).and_then(|entry| {
        let lane = number(LANE).and_then(|lane| u32::try_from(lane).ok());
        let position = lane.zip(number(OFFSET)).map(|(lane, offset)| Position { lane: Lane(lane), offset });
        let malformed = || Undeliverable::Damaged("it does not say why it is a dead letter".into());
        let (position, reason) = position.zip(text_of(message, REASON)).ok_or_else(malformed)?;
        Ok(DeadLetter { position, entry, reason })
    });
    StoredLetter { number: offset_of(message.offset()), letter }
}

/// The header with this name. The client panics on a name that is not UTF-8, which only a stranger can have written.
fn text_of(message: &BorrowedMessage<'_>, key: &str) -> Option<String> {
    let headers = message.headers()?;
    let find = || headers.iter().find(|header| header.key == key)?.value.map(<[u8]>::to_vec);
    let value = std::panic::catch_unwind(std::panic::AssertUnwindSafe(find)).ok()??;
    String::from_utf8(value).ok()
}

/// The client counts lanes and offsets with signs, and has no negative ones in what it delivers.
pub(crate) fn lane_of(partition: i32) -> Lane {
    Lane(partition.unsigned_abs())
}

pub(crate) fn offset_of(offset: i64) -> u64 {
    offset.unsigned_abs()
}

fn entry(message: &BorrowedMessage<'_>) -> Result<Entry, Undeliverable> {
    let damaged = |reason: &str| Undeliverable::Damaged(reason.into());
    let headers = message.headers().ok_or_else(|| damaged("it has no headers, so it is no entry of ours"))?;
    let first = first_of(headers).ok_or_else(|| damaged("its first header is not that of an entry"))?;
    let payload = message.payload().map_or_else(Bytes::new, Bytes::copy_from_slice);
    Entry::decode(first, payload).map_err(|error| match error {
        EntryError::UnknownVersion(version) => Undeliverable::UnknownVersion(version),
        EntryError::Malformed(_) => Undeliverable::Damaged(error.to_string()),
    })
}

/// The value of the first header if it is ours.
fn first_of(headers: &impl Headers) -> Option<&[u8]> {
    // The client panics on a name that is not UTF-8, which only a stranger can have written.
    let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| headers.try_get(0))).ok()??;
    first.value.filter(|_| first.key == ENTRY)
}
