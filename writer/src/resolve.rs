//! From a batch of deliveries to rows and positions.
//!
//! Pure but for the logs; run off the async threads, because a batch may hold many thousand records.

use domain::senml::{self, ErrorCode, PackLimits, Scratch};
use domain::{Position, ReceivedAt};
use log::{Batch, DeadLetter, Delivery, Undeliverable};
use store::{Row, WriteRow};
use tokio::task::JoinHandle;

use crate::Obstacle;

/// What a batch comes to.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) rows: Vec<WriteRow>,
    /// Last position of each lane that is done once the rows are stored and the dead buried.
    pub(crate) positions: Vec<Position>,
    pub(crate) dead: Vec<Dead>,
    /// Stretches of the log that can't be read.
    pub(crate) damaged: u64,
    /// Reception of the oldest entry.
    pub(crate) oldest: Option<ReceivedAt>,
    /// Where lanes go no further: nothing of them from there on is in the rest.
    pub(crate) obstacles: Vec<Obstacle>,
}

/// An entry that can never be stored, and the code of its fault.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) letter: DeadLetter,
    pub(crate) code: ErrorCode,
}

/// A batch that is being resolved on a blocking thread.
pub(crate) struct Resolving(JoinHandle<Resolved>);

impl Resolving {
    pub(crate) fn begin(batch: Batch, limits: PackLimits) -> Self {
        Self(tokio::task::spawn_blocking(move || resolve(batch, &limits)))
    }

    pub(crate) async fn resolved(self) -> Resolved {
        self.0.await.expect("resolving accepts any bytes without a panic (property tests of domain::senml)")
    }
}

fn resolve(mut batch: Batch, limits: &PackLimits) -> Resolved {
    let mut resolved = Resolved::default();
    batch.deliveries.retain(|Delivery { position, entry }| {
        let is_behind = resolved.obstacles.iter().any(|(at, _)| at.lane == position.lane);
        match entry {
            _ if is_behind => false,
            Err(newer @ Undeliverable::UnknownVersion(_)) => {
                resolved.obstacles.push((*position, newer.clone()));
                false
            }
            _ => true,
        }
    });
    resolved.positions = batch.last_positions();
    let mut scratch = Scratch::default();
    for Delivery { position, entry } in batch.deliveries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(damage) => {
                tracing::error!(?position, %damage, "acknowledged packs can't be read back");
                resolved.damaged += 1;
                continue;
            }
        };
        resolved.oldest = Some(resolved.oldest.map_or(entry.received, |oldest| oldest.min(entry.received)));
        match senml::resolve(entry.format, &entry.payload, entry.received, limits, &mut scratch) {
            Ok(records) => resolved.rows.extend(records.into_iter().map(|record| WriteRow {
                channel: entry.channel,
                profile: entry.profile,
                row: Row {
                    publisher: entry.publisher,
                    subtopic: entry.subtopic.clone(),
                    protocol: entry.protocol,
                    received: entry.received,
                    record,
                },
            })),
            Err(error) => resolved.dead.push(Dead {
                letter: DeadLetter { position, entry, reason: error.to_string() },
                code: error.code(),
            }),
        }
    }
    resolved
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use domain::senml::Format;
    use domain::{ChannelId, ChannelProfile, Entry, Lane, Protocol, ReceivedAt, Subtopic, ThingId};

    use super::*;

    pub(crate) fn entry(pack: &'static str) -> Entry {
        Entry {
            channel: ChannelId::from_bytes([1; 16]),
            profile: ChannelProfile::default(),
            publisher: ThingId::from_bytes([2; 16]),
            subtopic: Subtopic::default(),
            protocol: Protocol::Http,
            format: Format::Json,
            received: ReceivedAt::from_micros(1),
            payload: Bytes::from_static(pack.as_bytes()),
        }
    }

    fn at(offset: u64, pack: Result<&'static str, Undeliverable>) -> Delivery {
        Delivery { position: Position { lane: Lane(0), offset }, entry: pack.map(entry) }
    }

    pub(crate) const GOOD: &str = r#"[{"n":"a","v":1},{"n":"b","v":2}]"#;

    #[test]
    fn what_can_never_be_stored_is_dead_and_what_follows_is_stored() {
        let batch = Batch { deliveries: vec![at(4, Ok(GOOD)), at(5, Ok("[")), at(6, Ok(GOOD))] };
        let resolved = resolve(batch, &PackLimits::default());
        assert_eq!(resolved.rows.len(), 4);
        assert_eq!(resolved.positions, [Position { lane: Lane(0), offset: 6 }]);
        assert_eq!(resolved.dead.len(), 1);
        assert_eq!(resolved.dead[0].letter.position.offset, 5);
        assert!(resolved.obstacles.is_empty());
    }

    #[test]
    fn damage_is_passed_and_counts_as_done() {
        let damage = Undeliverable::Damaged("bytes 10 to 20".into());
        let resolved =
            resolve(Batch { deliveries: vec![at(1, Err(damage)), at(2, Ok(GOOD))] }, &PackLimits::default());
        assert_eq!((resolved.rows.len(), resolved.positions[0].offset), (2, 2));
    }

    #[test]
    fn an_entry_of_a_newer_version_ends_its_lane_before_it_and_no_other() {
        let newer = Undeliverable::UnknownVersion(9);
        let mut other = at(7, Ok(GOOD));
        other.position.lane = Lane(1);
        let batch = Batch {
            deliveries: vec![at(1, Ok(GOOD)), at(2, Err(newer.clone())), other.clone(), at(3, Ok(GOOD))],
        };
        let resolved = resolve(batch, &PackLimits::default());
        let lane_0 = |offset| Position { lane: Lane(0), offset };
        assert_eq!((resolved.rows.len(), resolved.positions), (4, vec![lane_0(1), other.position]));
        assert_eq!(resolved.obstacles, [(lane_0(2), newer)]);
    }
}
