//! Which counts are replaced again and again, so that reads can step around what that leaves behind.
//!
//! Every batch replaces the counts of the windows that now lie in. The versions before stay in memory until it is written
//! out, many thousand of one count; a scan steps over all of them, a look-up goes to the newest at once. This is only a
//! hint where to look up: no count is read from here.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::ChannelId;

use crate::contract::CountLevel;

/// Replacements of a count after which it is noted as hot, and then once in so many.
pub(super) const HOT_REPLACEMENTS: u32 = 16;
/// Hot windows remembered of one channel and level: two scans' worth.
const WINDOWS_MAX: usize = 256;
/// Channels and levels remembered. About 8 KiB each at most.
const PLACES_MAX: usize = 1_024;

/// The windows whose counts are hot.
#[derive(Debug, Default)]
pub(super) struct HotWindows(Mutex<HashMap<(ChannelId, CountLevel), BTreeSet<i64>>>);

impl HotWindows {
    /// Notes that a window's count is hot.
    pub(super) fn note(&self, channel: ChannelId, level: CountLevel, start: i64) {
        let mut places = self.places();
        if places.len() >= PLACES_MAX && !places.contains_key(&(channel, level)) {
            places.clear();
        }
        let windows = places.entry((channel, level)).or_default();
        windows.insert(start);
        if windows.len() > WINDOWS_MAX {
            windows.pop_first();
        }
    }

    /// The hot windows that start within a range, in order.
    pub(super) fn within(&self, channel: ChannelId, level: CountLevel, starts: &Range<i64>) -> Vec<i64> {
        let places = self.places();
        places
            .get(&(channel, level))
            .map_or_else(Vec::new, |windows| windows.range(starts.clone()).copied().collect())
    }

    fn places(&self) -> MutexGuard<'_, HashMap<(ChannelId, CountLevel), BTreeSet<i64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_windows_of_a_place_are_remembered_in_order() {
        let (hot, channel) = (HotWindows::default(), ChannelId::from_bytes([1; 16]));
        for start in (0..1_000).rev().chain(0..1_000) {
            hot.note(channel, CountLevel::Finest, start);
        }
        let newest: Vec<i64> = (1_000 - WINDOWS_MAX as i64..1_000).collect();
        assert_eq!(hot.within(channel, CountLevel::Finest, &(0..2_000)), newest);
        assert_eq!(hot.within(channel, CountLevel::Finest, &(990..992)), [990, 991]);
        assert!(hot.within(channel, CountLevel::Fine, &(0..2_000)).is_empty());
    }

    #[test]
    fn many_channels_are_bounded() {
        let hot = HotWindows::default();
        for channel in 0..10_000_u128 {
            hot.note(ChannelId::from_bytes(channel.to_be_bytes()), CountLevel::Coarse, 0);
            assert!(hot.places().len() <= PLACES_MAX);
        }
    }
}
