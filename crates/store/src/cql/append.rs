//! Appends: a batch of rows becomes entries of the index, then writes of one partition each, then marks.
//!
//! The order is what counts rest on: a block is listed and seconds are opened before they hold anything, and a channel is marked
//! when its rows are acknowledged, before the append is. A failed append may be there in part; the same batch again completes it.
//! Of what expires, every write says how long it lives.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use domain::{ChannelId, Retention, ThingId};
use futures::{StreamExt, TryStreamExt, stream};
use scylla::statement::batch::{Batch, BatchType};

use super::flushes::Opened;
use super::index::span_of;
use super::marks::Touch;
use super::row::{Written, written_bytes};
use super::schema::INDEX_WINDOW_SECONDS;
use super::{Inner, life, unavailable};
use crate::contract::{Block, PurgeTarget, Row, StoreError, WriteRow};

/// Bytes of the rows of one batch: databases warn of batches above 64 KiB or so, and refuse larger ones.
const BATCH_BYTES_MAX: usize = 48 << 10;

/// How far a row's time may be from when it was received to be of that time: clocks differ, and devices send late.
const NOW_SECONDS: u64 = 600;

/// What has to be listed before rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Listing {
    /// A window of the index, with the code of the channel's width.
    Window(ChannelId, i32, u8),
    /// A block.
    Block(ChannelId, i32, Block),
    /// A bucket of a channel that a thing published to.
    Publisher(ThingId, ChannelId, i64),
    /// A channel's class of retention, if it has an end.
    Class(ChannelId, Retention),
    /// A block that holds a row without an end, of a class that has one.
    Endless(ChannelId, Block),
}

/// Where rows lie: table and partition.
type Place = (ChannelId, Retention, Block);
/// The rows of one partition, in its order.
type Partition<'a> = (Place, Vec<&'a Row>);

impl Inner {
    pub(super) async fn append(&self, rows: &[WriteRow]) -> Result<(), StoreError> {
        // Held to the end: a purge in this process waits for those who did not know of it.
        let _unaware = self.purges_gate.read().await;
        let purged = self.purged_among(rows).await?;
        let rows: Vec<&WriteRow> = rows.iter().filter(|row| !purged.has(row)).collect();
        let partitions = partitions(&rows);
        let (opened, ()) = tokio::try_join!(self.open(touched(&partitions)), self.list(&rows))?;
        self.write(&partitions).await?;
        self.mark(opened).await
    }

    async fn purged_among(&self, rows: &[WriteRow]) -> Result<Purged, StoreError> {
        let targets: HashSet<PurgeTarget> = rows
            .iter()
            .flat_map(|row| [PurgeTarget::Channel(row.channel), PurgeTarget::Publisher(row.row.publisher)])
            .collect();
        let known =
            stream::iter(targets).map(|target| async move { Ok((target, self.is_purged(target).await?)) });
        let known: Vec<_> = known.buffer_unordered(self.requests_in_flight()).try_collect::<Vec<_>>().await?;
        Ok(Purged(known.into_iter().filter(|(_, purged)| *purged).map(|(target, _)| target).collect()))
    }

    /// Lists what is not known to be listed. A window of the index goes behind its blocks: whoever finds no blocks in it,
    /// and strikes it off as of before it looked, does not strike off this.
    async fn list(&self, rows: &[&WriteRow]) -> Result<(), StoreError> {
        let mut listings = HashMap::new();
        for row in rows {
            note_listings(row, &mut listings);
        }
        let (mut windows, mut others): (HashMap<_, _>, HashMap<_, _>) =
            listings.into_iter().partition(|(listing, _)| matches!(listing, Listing::Window(..)));
        others.retain(|listing, _| !self.listed.contains_key(listing));
        let new_blocks: HashSet<(ChannelId, i32)> = others
            .keys()
            .filter_map(|listing| match listing {
                Listing::Block(channel, span, _) => Some((*channel, *span)),
                _ => None,
            })
            .collect();
        windows.retain(|listing, _| match listing {
            Listing::Window(channel, span, _) if new_blocks.contains(&(*channel, *span)) => true,
            listing => !self.listed.contains_key(listing),
        });
        self.list_all(others).await?;
        self.list_all(windows).await
    }

    async fn list_all(&self, listings: HashMap<Listing, i32>) -> Result<(), StoreError> {
        let writes = stream::iter(listings).map(|(listing, life)| async move {
            self.list_one(listing, life).await?;
            self.listed.insert(listing, ());
            Ok(())
        });
        writes.buffer_unordered(self.requests_in_flight()).try_collect().await
    }

    async fn list_one(&self, listing: Listing, life: i32) -> Result<(), StoreError> {
        let (session, statements) = (&self.session, &self.statements);
        let written = match listing {
            Listing::Window(channel, span, width) => {
                let values = (channel.as_uuid(), width as i8, span, life);
                session.execute_unpaged(&statements.put_window, values).await
            }
            Listing::Block(channel, span, Block { bucket, shard }) => {
                let values = (channel.as_uuid(), span, bucket, shard as i16, life);
                session.execute_unpaged(&statements.put_block, values).await
            }
            Listing::Publisher(publisher, channel, bucket) => {
                let values = (publisher.as_bytes().as_slice(), channel.as_uuid(), bucket, life);
                session.execute_unpaged(&statements.put_publisher, values).await
            }
            Listing::Class(channel, class) => {
                let values = (channel.as_uuid(), class.code() as i8);
                session.execute_unpaged(&statements.put_class, values).await
            }
            Listing::Endless(channel, Block { bucket, shard }) => {
                let values = (channel.as_uuid(), bucket, shard as i16);
                session.execute_unpaged(&statements.put_endless, values).await
            }
        };
        written.map(drop).map_err(unavailable)
    }

    async fn write(&self, partitions: &[Partition<'_>]) -> Result<(), StoreError> {
        let mut writes = Vec::new();
        for (place, rows) in partitions {
            writes.extend(batches(rows).map(|rows| (*place, rows)));
        }
        let writes = &writes;
        let writes = stream::iter(0..writes.len()).map(|at| self.write_one(writes[at].0, writes[at].1));
        writes.buffer_unordered(self.requests_in_flight()).try_collect().await
    }

    async fn write_one(&self, (channel, class, block): Place, rows: &[&Row]) -> Result<(), StoreError> {
        let statements = self.rows_of(class).await?;
        let values: Vec<_> = rows.iter().map(|row| Written::new(channel, class, block, row)).collect();
        let written = match &values[..] {
            [row] => self.session.execute_unpaged(row.statement(statements), row).await,
            rows => {
                let statements = rows.iter().map(|row| row.statement(statements).clone().into()).collect();
                let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
                batch.set_is_idempotent(true);
                self.session.batch(&batch, rows).await
            }
        };
        written.map(drop).map_err(unavailable)
    }

    /// Opens the seconds that are about to be touched in each channel.
    pub(super) async fn open(&self, touched: HashMap<ChannelId, Touch>) -> Result<Vec<Opened>, StoreError> {
        let opened = stream::iter(touched).map(|(channel, touch)| self.open_one(channel, touch));
        opened.buffer_unordered(self.requests_in_flight()).try_collect().await
    }

    /// Marks the seconds that were opened, and are touched now.
    pub(super) async fn mark(&self, opened: Vec<Opened>) -> Result<(), StoreError> {
        let marks = stream::iter(opened).map(|opened| self.mark_one(opened));
        marks.buffer_unordered(self.requests_in_flight()).try_collect().await
    }
}

/// Notes what a row needs to be listed, and how long that has to live at least.
fn note_listings(WriteRow { channel, profile, row }: &WriteRow, listings: &mut HashMap<Listing, i32>) {
    let (width, class) = (profile.bucket_width, profile.storage_class);
    let block = Block::of(width, row.record.time, row.publisher);
    let span = span_of(width, block.bucket);
    let life = life::of_row(class, row.record.time, row.received);
    // By publisher a row is only looked for to be purged, and nobody needs to purge what is hidden.
    let shown = life::of_row(profile.retention, row.record.time, row.received);
    let mut note = |listing, life| {
        let longest = listings.entry(listing).or_insert(life);
        *longest = life::longer(*longest, life);
    };
    let in_bucket = |life| life::of_listing(life, width.seconds());
    note(Listing::Window(*channel, span, width.code()), life::of_listing(life, INDEX_WINDOW_SECONDS));
    note(Listing::Block(*channel, span, block), in_bucket(life));
    note(Listing::Publisher(row.publisher, *channel, block.bucket), in_bucket(shown));
    if class != Retention::Forever {
        note(Listing::Class(*channel, class), life::ENDLESS);
        if life == life::ENDLESS {
            note(Listing::Endless(*channel, block), life::ENDLESS);
        }
    }
}

/// Those of a batch's channels and things that are purged.
struct Purged(HashSet<PurgeTarget>);

impl Purged {
    fn has(&self, row: &WriteRow) -> bool {
        !self.0.is_empty()
            && (self.0.contains(&PurgeTarget::Channel(row.channel))
                || self.0.contains(&PurgeTarget::Publisher(row.row.publisher)))
    }
}

/// The rows by partition, of those with one identity only the one that wins: of the latest version the last.
fn partitions<'a>(rows: &[&'a WriteRow]) -> Vec<Partition<'a>> {
    let mut partitions: BTreeMap<Place, Vec<&Row>> = BTreeMap::new();
    for WriteRow { channel, profile, row } in rows {
        let block = Block::of(profile.bucket_width, row.record.time, row.publisher);
        partitions.entry((*channel, profile.storage_class, block)).or_default().push(row);
    }
    for rows in partitions.values_mut() {
        // Stable, so that of equal versions the one accepted last comes last.
        rows.sort_by(|a, b| compare(a, b).then(a.received.cmp(&b.received)));
        rows.dedup_by(|next, kept| {
            let same = compare(next, kept).is_eq();
            if same {
                *kept = *next;
            }
            same
        });
    }
    partitions.into_iter().collect()
}

fn touched(partitions: &[Partition<'_>]) -> HashMap<ChannelId, Touch> {
    let mut touched: HashMap<ChannelId, Touch> = HashMap::new();
    for ((channel, ..), rows) in partitions {
        let nothing = || Touch { seconds: BTreeSet::new(), rows: 0, is_of_now: true };
        let touch = touched.entry(*channel).or_insert_with(nothing);
        touch.rows += rows.len();
        for row in rows {
            let second = row.record.time.as_nanos().div_euclid(1_000_000_000);
            let received = row.received.as_micros().div_euclid(1_000_000);
            touch.is_of_now &= second.abs_diff(received) <= NOW_SECONDS;
            touch.seconds.insert(second);
        }
    }
    touched
}

/// The order of rows within their partition.
fn compare(a: &Row, b: &Row) -> Ordering {
    let times = b.record.time.cmp(&a.record.time);
    times
        .then_with(|| a.publisher.cmp(&b.publisher))
        .then_with(|| a.subtopic.cmp(&b.subtopic))
        .then_with(|| a.record.name.cmp(&b.record.name))
        .then_with(|| a.record.unit.cmp(&b.record.unit))
}

/// Cuts rows into batches of bounded size. A row that is larger by itself goes by itself.
fn batches<'r, 'a>(rows: &'r [&'a Row]) -> impl Iterator<Item = &'r [&'a Row]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|row| {
            bytes += written_bytes(row);
            bytes <= BATCH_BYTES_MAX
        });
        let count = fitting.count().max(1).min(rest.len());
        let (batch, behind) = rest.split_at(count);
        rest = behind;
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{channel, number_row, thing};
    use domain::{ReceivedAt, Value};

    #[test]
    fn of_one_identity_the_latest_version_goes_and_of_equal_ones_the_last() {
        let version = |nanos, micros, number| {
            let mut row = number_row(channel(1), thing(1), nanos, number);
            row.row.received = ReceivedAt::from_micros(micros);
            row
        };
        let rows = [
            version(1, 7, 1.0),
            version(2, 7, 2.0),
            version(1, 8, 3.0),
            version(1, 6, 4.0),
            version(2, 7, 5.0),
        ];
        let partitions = partitions(&rows.iter().collect::<Vec<_>>());
        let values: Vec<_> = partitions[0].1.iter().map(|row| row.record.value.clone()).collect();
        assert_eq!((partitions.len(), values), (1, vec![Some(Value::Number(5.0)), Some(Value::Number(3.0))]));
    }

    #[test]
    fn a_batch_is_bounded_and_a_large_row_goes_alone() {
        let mut rows: Vec<WriteRow> = (0..1_000).map(|n| number_row(channel(1), thing(1), n, 1.0)).collect();
        rows[500].row.record.value = Some(Value::Text("x".repeat(BATCH_BYTES_MAX)));
        let rows: Vec<&Row> = rows.iter().map(|row| &row.row).collect();
        let cut: Vec<&[&Row]> = batches(&rows).collect();
        assert_eq!(cut.concat(), rows);
        assert!(cut.iter().any(|batch| batch.len() == 1));
        for batch in cut.iter().filter(|batch| batch.len() > 1) {
            assert!(batch.iter().map(|row| written_bytes(row)).sum::<usize>() <= BATCH_BYTES_MAX);
        }
        assert!(cut.len() < 20);
        assert_eq!(batches(&[]).count(), 0);
    }
}
