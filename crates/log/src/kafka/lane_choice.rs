//! In which lane a key's entries stand.
//!
//! As Kafka's own clients choose by default, so that they find a thing's entries where ours put them: murmur2 of the key, without
//! its sign, modulo the number of lanes (`BuiltInPartitioner.partitionForKey` in Apache Kafka; `murmur2_random` elsewhere).

use std::sync::Arc;

use domain::Lane;

/// A topic and how many lanes it has. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    name: Arc<str>,
    lanes: u32,
}

impl Topic {
    pub(super) fn new(name: &str, lanes: u32) -> Self {
        Self { name: name.into(), lanes: lanes.max(1) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn lanes(&self) -> u32 {
        self.lanes
    }

    pub(super) fn lane_of(&self, key: &str) -> Lane {
        Lane((murmur2(key.as_bytes()) & 0x7fff_ffff) % self.lanes)
    }
}

/// MurmurHash2, 32 bits, little-endian, with Kafka's seed. Source: Austin Appleby's MurmurHash2; `Utils.murmur2` in Apache Kafka.
fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let scrambled = |word: u32| {
        let word = word.wrapping_mul(MULTIPLIER);
        (word ^ (word >> 24)).wrapping_mul(MULTIPLIER)
    };
    let (words, rest) = key.as_chunks::<4>();
    // Keys are as short as a UUID's text.
    let mut hash = words.iter().fold(SEED ^ key.len() as u32, |hash, word| {
        hash.wrapping_mul(MULTIPLIER) ^ scrambled(u32::from_le_bytes(*word))
    });
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafkas_own_tests() {
        let known: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()), hash as u32, "{key}");
        }
    }
}
