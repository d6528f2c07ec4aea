//! A store as simple as can be, to compare others with: maps in memory, and every answer by looking at every row.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{ChannelId, ThingId};

use super::fixtures::sort;
use crate::contract::{Direction, PurgeTarget, Row, RowKey, WriteRow};
use crate::planner::Query;

/// What a store has to hold after a history.
#[derive(Debug, Default)]
pub struct Model {
    channels: HashMap<ChannelId, BTreeMap<RowKey, Row>>,
    purged_channels: HashSet<ChannelId>,
    purged_publishers: HashSet<ThingId>,
}

impl Model {
    /// Stores rows.
    pub fn append(&mut self, rows: &[WriteRow]) {
        for WriteRow { channel, row, .. } in rows {
            if self.purged_channels.contains(channel) || self.purged_publishers.contains(&row.publisher) {
                continue;
            }
            let stored = self.channels.entry(*channel).or_default();
            match stored.get(&row.key()) {
                Some(there) if there.received > row.received => {}
                _ => {
                    stored.insert(row.key(), row.clone());
                }
            }
        }
    }

    /// Forgets a target for ever.
    pub fn purge(&mut self, target: PurgeTarget) {
        match target {
            PurgeTarget::Channel(channel) => {
                self.purged_channels.insert(channel);
                self.channels.remove(&channel);
            }
            PurgeTarget::Publisher(publisher) => {
                self.purged_publishers.insert(publisher);
                for rows in self.channels.values_mut() {
                    rows.retain(|key, _| key.publisher != publisher);
                }
            }
        }
    }

    /// All rows of a channel, in order.
    pub fn rows(&self, channel: ChannelId, direction: Direction) -> Vec<Row> {
        let mut rows: Vec<Row> =
            self.channels.get(&channel).into_iter().flat_map(BTreeMap::values).cloned().collect();
        sort(&mut rows, direction);
        debug_assert!(match direction {
            Direction::Ascending => rows.is_sorted_by_key(|row| row.record.time),
            Direction::Descending => rows.is_sorted_by_key(|row| Reverse(row.record.time)),
        });
        rows
    }

    /// All rows that a query asks for, on whatever page, and how many rows were looked at.
    pub fn answer(&self, query: &Query) -> Vec<Row> {
        let mut rows = self.rows(query.channel, query.direction);
        let range = query.range.not_before(query.cut_off);
        rows.retain(|row| range.contains(row.record.time) && query.filter.matches(row));
        rows
    }
}
