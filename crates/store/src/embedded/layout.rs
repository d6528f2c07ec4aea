//! Keys of everything that is not a row: counts, and the catalogue (which blocks hold anything, which channels a thing
//! wrote to, positions, what was purged).
//!
//! Stored data depends on every byte here.

use std::ops::Range;

use domain::{BucketWidth, ChannelId, Lane, Position, ThingId};

use super::key::{behind, from_ordered, ordered};
use crate::contract::{Block, CountLevel, PurgeTarget, StoreError};

/// Seconds of one window of the index.
const INDEX_WINDOW_SECONDS: i64 = 30 * 86_400;

const BLOCK: u8 = b'B';
const POSITION: u8 = b'L';
const PUBLISHER: u8 = b'P';
const PURGED: u8 = b'T';
const UNFINISHED: u8 = b'U';

/// Key of a channel's count: channel, level, start of the window.
pub(super) fn count_key(channel: ChannelId, level: CountLevel, start: i64) -> [u8; 25] {
    let mut key = [0; 25];
    key[..16].copy_from_slice(channel.as_bytes());
    key[16] = match level {
        CountLevel::Finest => 0,
        CountLevel::Fine => 1,
        CountLevel::Coarse => 2,
        CountLevel::Coarsest => 3,
    };
    key[17..].copy_from_slice(&ordered(start));
    key
}

/// Start of the window that a count's key is about.
pub(super) fn count_start(key: &[u8]) -> Result<i64, StoreError> {
    let start = key.get(17..).and_then(|start| start.try_into().ok());
    start.map(from_ordered).ok_or_else(|| damaged("a count's key", key))
}

/// A count, or an offset of a lane.
pub(super) fn decode_number(stored: &[u8]) -> Result<u64, StoreError> {
    stored.try_into().map(u64::from_be_bytes).map_err(|_| damaged("a number", stored))
}

/// Key of a block in the index: channel, window of 30 days, bucket, shard.
pub(super) fn block_key(channel: ChannelId, width: BucketWidth, block: Block) -> Vec<u8> {
    let mut key = bucket_key(channel, width, block.bucket);
    key.extend_from_slice(&block.shard.to_be_bytes());
    key
}

/// What the keys of a bucket's blocks begin with.
fn bucket_key(channel: ChannelId, width: BucketWidth, bucket: i64) -> Vec<u8> {
    let mut key = channel_blocks(channel);
    key.extend_from_slice(&ordered((bucket * width.seconds()).div_euclid(INDEX_WINDOW_SECONDS)));
    key.extend_from_slice(&ordered(bucket));
    key
}

/// What the keys of a channel's blocks begin with.
pub(super) fn channel_blocks(channel: ChannelId) -> Vec<u8> {
    let mut key = Vec::with_capacity(35);
    key.push(BLOCK);
    key.extend_from_slice(channel.as_bytes());
    key
}

/// The keys of all blocks from one bucket to another, both inclusive.
pub(super) fn block_range(channel: ChannelId, width: BucketWidth, first: i64, last: i64) -> Range<Vec<u8>> {
    bucket_key(channel, width, first)..behind(&bucket_key(channel, width, last))
}

/// The block that a key of the index is about.
pub(super) fn decode_block(key: &[u8]) -> Result<Block, StoreError> {
    let parts = key.get(25..).and_then(|rest| rest.split_first_chunk::<8>());
    let block = parts.and_then(|(bucket, shard)| {
        Some(Block { bucket: from_ordered(*bucket), shard: u16::from_be_bytes(shard.try_into().ok()?) })
    });
    block.ok_or_else(|| damaged("a key of the index", key))
}

/// Key of the last position of a lane.
pub(super) fn position_key(lane: Lane) -> [u8; 5] {
    let [a, b, c, d] = lane.0.to_be_bytes();
    [POSITION, a, b, c, d]
}

/// What the keys of all positions begin with.
pub(super) const POSITIONS: [u8; 1] = [POSITION];

/// The position that a key and a value stand for.
pub(super) fn decode_position(key: &[u8], value: &[u8]) -> Result<Position, StoreError> {
    let lane = key.get(1..).and_then(|lane| lane.try_into().ok());
    let lane = lane.map(u32::from_be_bytes).ok_or_else(|| damaged("a key of a position", key))?;
    Ok(Position { lane: Lane(lane), offset: decode_number(value)? })
}

/// Key that says that a thing wrote to a channel.
pub(super) fn publisher_key(publisher: ThingId, channel: ChannelId) -> Vec<u8> {
    [publisher_channels(publisher).as_slice(), channel.as_bytes()].concat()
}

/// What the keys of the channels that a thing wrote to begin with.
pub(super) fn publisher_channels(publisher: ThingId) -> [u8; 17] {
    tagged(PUBLISHER, publisher.as_bytes())
}

/// The channel that a key of [`publisher_key`] names.
pub(super) fn decode_publisher_channel(key: &[u8]) -> Result<ChannelId, StoreError> {
    let channel = key.get(17..).and_then(|channel| channel.try_into().ok());
    channel.map(ChannelId::from_bytes).ok_or_else(|| damaged("a key of a publisher", key))
}

/// Key that says that a target is purged for ever.
pub(super) fn purged_key(target: PurgeTarget) -> Vec<u8> {
    [&[PURGED], target_bytes(target).as_slice()].concat()
}

/// Key that says that a purged target may still have rows.
pub(super) fn unfinished_key(target: PurgeTarget) -> Vec<u8> {
    [&[UNFINISHED], target_bytes(target).as_slice()].concat()
}

/// What the keys of unfinished purges begin with.
pub(super) const UNFINISHED_PURGES: [u8; 1] = [UNFINISHED];

/// The target of an unfinished purge.
pub(super) fn decode_unfinished(key: &[u8]) -> Result<PurgeTarget, StoreError> {
    match key.split_first_chunk::<2>() {
        Some(([UNFINISHED, b'C'], id)) if id.len() == 16 => Ok(PurgeTarget::Channel(ChannelId::from_bytes(
            id.try_into().expect("its length was just checked"),
        ))),
        Some(([UNFINISHED, b'P'], id)) if id.len() == 16 => Ok(PurgeTarget::Publisher(ThingId::from_bytes(
            id.try_into().expect("its length was just checked"),
        ))),
        _ => Err(damaged("a key of a purge", key)),
    }
}

fn target_bytes(target: PurgeTarget) -> [u8; 17] {
    match target {
        PurgeTarget::Channel(channel) => tagged(b'C', channel.as_bytes()),
        PurgeTarget::Publisher(publisher) => tagged(b'P', publisher.as_bytes()),
    }
}

fn tagged(tag: u8, id: &[u8; 16]) -> [u8; 17] {
    let mut key = [tag; 17];
    key[1..].copy_from_slice(id);
    key
}

fn damaged(what: &str, bytes: &[u8]) -> StoreError {
    StoreError::Damaged(format!("{what} is malformed: {}", bytes.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: ChannelId = ChannelId::from_bytes(*b"0123456789abcdef");
    const THING: ThingId = ThingId::from_bytes(*b"fedcba9876543210");

    /// Written by the first release: these may never change.
    #[test]
    fn keys_of_format_1_stay_readable() {
        let block = Block { bucket: -1, shard: 11 };
        let key = block_key(CHANNEL, BucketWidth::Hour, block);
        let expected =
            b"B0123456789abcdef\x7f\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x0b";
        assert_eq!((key.as_slice(), decode_block(&key).unwrap()), (expected.as_slice(), block));

        let key = count_key(CHANNEL, CountLevel::Coarse, 16_384);
        assert_eq!(key.as_slice(), b"0123456789abcdef\x02\x80\x00\x00\x00\x00\x00\x40\x00");
        assert_eq!(count_start(&key).unwrap(), 16_384);

        let position = Position { lane: Lane(3), offset: 258 };
        assert_eq!(position_key(Lane(3)), *b"L\x00\x00\x00\x03");
        assert_eq!(decode_position(b"L\x00\x00\x00\x03", &[0, 0, 0, 0, 0, 0, 1, 2]).unwrap(), position);

        let key = publisher_key(THING, CHANNEL);
        assert_eq!(key, b"Pfedcba98765432100123456789abcdef");
        assert_eq!(decode_publisher_channel(&key).unwrap(), CHANNEL);

        for (target, rest) in [
            (PurgeTarget::Channel(CHANNEL), b"C0123456789abcdef"),
            (PurgeTarget::Publisher(THING), b"Pfedcba9876543210"),
        ] {
            assert_eq!(purged_key(target), [b"T", rest.as_slice()].concat());
            assert_eq!(unfinished_key(target), [b"U", rest.as_slice()].concat());
            assert_eq!(decode_unfinished(&unfinished_key(target)).unwrap(), target);
        }
    }

    #[test]
    fn the_index_sorts_by_bucket_at_the_ends_of_time_too() {
        for width in BucketWidth::ALL {
            let last = width.bucket_of(domain::Timestamp::MAX);
            let first = width.bucket_of(domain::Timestamp::MIN);
            let buckets = [first, first + 1, -8_641, -1, 0, 1, 8_639, 8_640, last - 1, last];
            let keys: Vec<_> = buckets
                .into_iter()
                .map(|bucket| block_key(CHANNEL, width, Block { bucket, shard: 1 }))
                .collect();
            assert!(keys.is_sorted());
            assert!(keys.iter().all(|key| block_range(CHANNEL, width, first, last).contains(key)));
        }
    }
}
