//! Keys of rows: how a row's place becomes bytes whose order is the order of reads, newest first.
//!
//! Stored data depends on every byte here. What is read back is checked, never trusted.

use domain::{ChannelId, Subtopic, ThingId, Timestamp};

use crate::contract::{Block, RowKey, StoreError};

/// Bytes that all rows of a block begin with: channel, bucket, shard.
pub(super) const BLOCK_BYTES: usize = 16 + 8 + 2;
/// Bytes that all rows of one time in a block begin with.
pub(super) const TIME_BYTES: usize = BLOCK_BYTES + 8;

/// Ends a text within a key. Smaller than what any text goes on with, so that a text sorts before longer ones.
const END: [u8; 2] = [0, 1];
/// Stands for a zero byte within a text.
const ZERO: [u8; 2] = [0, 0xff];

/// A number as bytes that sort as numbers do, negative ones first.
pub(super) const fn ordered(number: i64) -> [u8; 8] {
    (number as u64 ^ (1 << 63)).to_be_bytes()
}

/// The number that [`ordered`] gave the bytes for.
pub(super) const fn from_ordered(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64
}

/// What all rows of a block begin with.
pub(super) fn block_prefix(channel: ChannelId, block: Block) -> [u8; BLOCK_BYTES] {
    let mut prefix = [0; BLOCK_BYTES];
    prefix[..16].copy_from_slice(channel.as_bytes());
    prefix[16..24].copy_from_slice(&ordered(block.bucket));
    prefix[24..].copy_from_slice(&block.shard.to_be_bytes());
    prefix
}

/// What all rows of one time in a block begin with. Later times come first.
pub(super) fn time_prefix(channel: ChannelId, block: Block, time: Timestamp) -> [u8; TIME_BYTES] {
    let mut prefix = [0; TIME_BYTES];
    prefix[..BLOCK_BYTES].copy_from_slice(&block_prefix(channel, block));
    prefix[BLOCK_BYTES..].copy_from_slice(&ordered(time.as_nanos()).map(|byte| !byte));
    prefix
}

/// The first key behind all keys that begin with the prefix.
pub(super) fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < 0xff {
            key.push(last + 1);
            break;
        }
    }
    key
}

/// The parts of a row's key that are not its block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    pub(super) time: Timestamp,
    pub(super) publisher: ThingId,
    pub(super) subtopic: &'a str,
    pub(super) name: &'a str,
    pub(super) unit: &'a str,
}

impl<'a> From<&'a RowKey> for Identity<'a> {
    fn from(key: &'a RowKey) -> Self {
        Self {
            time: key.time,
            publisher: key.publisher,
            subtopic: key.subtopic.as_str(),
            name: &key.name,
            unit: &key.unit,
        }
    }
}

/// Appends the key of a row: channel, bucket, shard, time, publisher, subtopic, name, unit.
pub(super) fn put_row_key(into: &mut Vec<u8>, channel: ChannelId, block: Block, row: Identity<'_>) {
    into.extend_from_slice(&time_prefix(channel, block, row.time));
    into.extend_from_slice(row.publisher.as_bytes());
    put_text(into, row.subtopic);
    put_text(into, row.name);
    into.extend_from_slice(row.unit.as_bytes());
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    for part in text.as_bytes().split_inclusive(|&byte| byte == 0) {
        match part.strip_suffix(&[0]) {
            Some(before) => {
                into.extend_from_slice(before);
                into.extend_from_slice(&ZERO);
            }
            None => into.extend_from_slice(part),
        }
    }
    into.extend_from_slice(&END);
}

/// Reads a row's key back: its channel, its block and its place within the channel.
pub(super) fn decode_row_key(key: &[u8]) -> Result<(ChannelId, Block, RowKey), StoreError> {
    let (prefix, rest) = key.split_first_chunk::<TIME_BYTES>().ok_or_else(|| damaged(key))?;
    let (publisher, rest) = rest.split_first_chunk::<16>().ok_or_else(|| damaged(key))?;
    let (subtopic, rest) = take_text(rest).ok_or_else(|| damaged(key))?;
    let (name, unit) = take_text(rest).ok_or_else(|| damaged(key))?;
    let unit = std::str::from_utf8(unit).map_err(|_| damaged(key))?;
    let block = Block {
        bucket: from_ordered(array(&prefix[16..24])),
        shard: u16::from_be_bytes(array(&prefix[24..BLOCK_BYTES])),
    };
    let place = RowKey {
        time: time_of(prefix),
        publisher: ThingId::from_bytes(*publisher),
        subtopic: Subtopic::from_stored(subtopic),
        name,
        unit: unit.to_owned(),
    };
    Ok((ChannelId::from_bytes(array(&prefix[..16])), block, place))
}

/// The time that a key, cut to what rows of one time share, stands for.
pub(super) fn time_of(prefix: &[u8; TIME_BYTES]) -> Timestamp {
    Timestamp::from_nanos(from_ordered(array::<8>(&prefix[BLOCK_BYTES..]).map(|byte| !byte)))
}

fn take_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut text = Vec::new();
    let mut rest = bytes;
    loop {
        let zero = rest.iter().position(|&byte| byte == 0)?;
        text.extend_from_slice(&rest[..zero]);
        let (mark, behind) = rest[zero..].split_first_chunk::<2>()?;
        rest = behind;
        match *mark {
            END => return Some((String::from_utf8(text).ok()?, rest)),
            ZERO => text.push(0),
            _ => return None,
        }
    }
}

fn damaged(key: &[u8]) -> StoreError {
    StoreError::Damaged(format!("a row's key is malformed: {}", key.escape_ascii()))
}

fn array<const N: usize>(slice: &[u8]) -> [u8; N] {
    slice.try_into().expect("the caller cut the slice to this length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_row() -> impl Strategy<Value = RowKey> {
        // Few letters, so that texts often are each other's beginnings; zero bytes, because they are escaped.
        let text = || "[\0\u{1}a\u{ff}]{0,3}";
        (prop_oneof![any::<i64>(), -2i64..2], 0u8..3, text(), text(), text()).prop_map(
            |(time, publisher, subtopic, name, unit)| RowKey {
                time: Timestamp::from_nanos(time),
                publisher: ThingId::from_bytes([publisher; 16]),
                subtopic: Subtopic::from_stored(subtopic),
                name,
                unit,
            },
        )
    }

    const CHANNEL: ChannelId = ChannelId::from_bytes([7; 16]);

    fn encode(block: Block, row: &RowKey) -> Vec<u8> {
        let mut key = Vec::new();
        put_row_key(&mut key, CHANNEL, block, row.into());
        key
    }

    proptest! {
        #[test]
        fn a_key_survives_a_round_trip(bucket: i64, shard: u16, row in any_row()) {
            let block = Block { bucket, shard };
            let decoded = decode_row_key(&encode(block, &row)).unwrap();
            prop_assert_eq!(decoded, (CHANNEL, block, row));
        }

        #[test]
        fn keys_sort_newest_first_and_ties_upwards(a in any_row(), b in any_row()) {
            let block = Block { bucket: 0, shard: 0 };
            let expected = b.time.cmp(&a.time).then_with(|| {
                let ties = |row: &RowKey| RowKey { time: Timestamp::MIN, ..row.clone() };
                ties(&a).cmp(&ties(&b))
            });
            prop_assert_eq!(encode(block, &a).cmp(&encode(block, &b)), expected);
        }

        #[test]
        fn blocks_sort_by_bucket_then_shard(a: (i64, u16), b: (i64, u16)) {
            let prefix = |(bucket, shard)| block_prefix(CHANNEL, Block { bucket, shard });
            prop_assert_eq!(prefix(a).cmp(&prefix(b)), a.cmp(&b));
        }

        #[test]
        fn no_key_panics(key in any::<Vec<u8>>()) {
            let _ = decode_row_key(&key);
        }
    }

    /// Written by the first release: this must stay readable for ever.
    #[test]
    fn a_key_of_format_1_stays_readable() {
        let stored = b"\x1a\x0c\xde\x06\x5e\x8c\x4f\x07\xaa\xc5\x95\xaf\xf4\xa1\x9e\xa0\
            \x80\x00\x00\x00\x00\x06\x96\x9c\
            \x00\x0b\
            \x6a\x6d\xba\x32\x93\x36\x7d\xff\
            \x33\xeb\x28\xc3\x4c\xa2\x45\xc3\xb1\xc5\xd5\xd0\x49\xc6\xc2\x4e\
            a.b\x00\x01boiler:t\x00\x01Cel";
        let (channel, block, row) = decode_row_key(stored).unwrap();
        assert_eq!(channel.to_string(), "1a0cde06-5e8c-4f07-aac5-95aff4a19ea0");
        assert_eq!(block, Block { bucket: 431_772, shard: 11 });
        assert_eq!(row.time.to_string(), "1554381569.992");
        assert_eq!(row.publisher.to_string(), "33eb28c3-4ca2-45c3-b1c5-d5d049c6c24e");
        assert_eq!((row.subtopic.as_str(), row.name.as_str(), row.unit.as_str()), ("a.b", "boiler:t", "Cel"));
        let mut again = Vec::new();
        put_row_key(&mut again, channel, block, (&row).into());
        assert_eq!(again, stored);
    }

    #[test]
    fn behind_a_prefix_is_behind_all_its_keys() {
        assert_eq!(behind(&[1, 2]), [1, 3]);
        assert_eq!(behind(&[1, 0xff]), [2]);
        assert_eq!(behind(&[0xff, 0xff]), [0u8; 0]);
    }
}
