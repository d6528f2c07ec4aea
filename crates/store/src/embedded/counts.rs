//! Counts of rows per window of time, kept in the batch of the rows they count.
//!
//! Exact, because the writer knows of each row whether it is new: a replay adds nothing. Nothing else writes counts.

use domain::{ChannelId, Timestamp};
use fjall::OwnedWriteBatch;

use super::hot::HOT_REPLACEMENTS;
use super::layout::{count_key, decode_number};
use super::recent::Recent;
use super::{Keyspaces, unavailable};
use crate::contract::{CountLevel, StoreError};

/// Counts remembered, 100 bytes each: a channel that is written to has four at a time.
const COUNTS_REMEMBERED: usize = 16_384;

/// Changes to the counts of one batch.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    /// Per channel and second, in no order, with repetitions.
    seconds: Vec<Delta>,
}

#[derive(Debug, Clone, Copy)]
struct Delta {
    channel: ChannelId,
    start: i64,
    rows: i64,
}

impl Deltas {
    /// Notes that rows of one time have come (or gone, if negative).
    pub(super) fn add(&mut self, channel: ChannelId, time: Timestamp, rows: i64) {
        let start = time.as_nanos().div_euclid(1_000_000_000);
        match self.seconds.last_mut() {
            Some(last) if last.channel == channel && last.start == start => last.rows += rows,
            _ => self.seconds.push(Delta { channel, start, rows }),
        }
    }

    /// Adds up what belongs to one window of the level.
    fn merge(&mut self, level: CountLevel) {
        for delta in &mut self.seconds {
            delta.start = level.window_of(delta.start);
        }
        if level == CountLevel::Finest {
            self.seconds.sort_unstable_by_key(|delta| (delta.channel, delta.start));
        }
        self.seconds.dedup_by(|next, kept| {
            let same = (next.channel, next.start) == (kept.channel, kept.start);
            if same {
                kept.rows += next.rows;
            }
            same
        });
    }
}

/// Counts as they are stored, as far as remembered.
#[derive(Debug)]
pub(super) struct KnownCounts(Recent<(ChannelId, CountLevel, i64), KnownCount>);

#[derive(Debug, Clone, Copy, Default)]
struct KnownCount {
    rows: u64,
    /// How often it was replaced since it is remembered.
    replacements: u32,
}

impl KnownCounts {
    pub(super) fn new() -> Self {
        Self(Recent::new(COUNTS_REMEMBERED))
    }

    /// Forgets everything. To be called when a batch was not committed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds the changes to a batch of writes, which the caller commits.
    pub(super) fn apply(
        &mut self,
        keyspaces: &Keyspaces,
        writes: &mut OwnedWriteBatch,
        mut deltas: Deltas,
    ) -> Result<(), StoreError> {
        for level in CountLevel::ALL {
            deltas.merge(level);
            for delta in deltas.seconds.iter().filter(|delta| delta.rows != 0) {
                let key = count_key(delta.channel, level, delta.start);
                let place = (delta.channel, level, delta.start);
                let known = match self.0.get_mut(&place) {
                    Some(known) => *known,
                    None => match keyspaces.counts.get(key).map_err(unavailable)? {
                        Some(stored) => KnownCount { rows: decode_number(&stored)?, replacements: 0 },
                        None => KnownCount::default(),
                    },
                };
                let before = known.rows;
                let after = before.checked_add_signed(delta.rows).ok_or_else(|| {
                    StoreError::Damaged(format!(
                        "channel {} counts {before} rows where {} go",
                        delta.channel, delta.rows
                    ))
                })?;
                match after {
                    0 => writes.remove(&keyspaces.counts, key),
                    rows => writes.insert(&keyspaces.counts, key, rows.to_be_bytes()),
                }
                let replacements = known.replacements.saturating_add(1);
                if replacements.is_multiple_of(HOT_REPLACEMENTS) {
                    keyspaces.hot.note(delta.channel, level, delta.start);
                }
                self.0.insert(place, KnownCount { rows: after, replacements });
            }
        }
        Ok(())
    }
}
