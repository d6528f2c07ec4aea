//! Things, channels and rows that the laws speak of.

use domain::{
    BucketWidth, ChannelId, ChannelProfile, Protocol, ReceivedAt, Record, Subtopic, ThingId, Timestamp, Value,
};

use crate::contract::{
    BlockScan, CountLevel, Direction, Row, Store, TimeCount, TimeRange, WriteBatch, WriteRow,
};

/// A channel, the same for the same number.
pub const fn channel(number: u8) -> ChannelId {
    ChannelId::from_bytes([number; 16])
}

/// A thing, the same for the same number.
pub const fn thing(number: u8) -> ThingId {
    ThingId::from_bytes([number; 16])
}

/// A row with a number, of a channel whose buckets are hours and that keeps it for ever.
pub fn number_row(channel: ChannelId, publisher: ThingId, nanos: i64, number: f64) -> WriteRow {
    WriteRow {
        channel,
        profile: BucketWidth::Hour.into(),
        row: Row {
            publisher,
            subtopic: Subtopic::default(),
            protocol: Protocol::Http,
            received: ReceivedAt::from_micros(1),
            record: Record {
                name: "n".to_owned(),
                unit: String::new(),
                time: Timestamp::from_nanos(nanos),
                value: Some(Value::Number(number)),
                sum: None,
                update_time: None,
            },
        },
    }
}

pub(super) fn batch(rows: impl IntoIterator<Item = WriteRow>) -> WriteBatch {
    WriteBatch { rows: rows.into_iter().collect(), positions: Vec::new() }
}

pub(super) async fn append(store: &dyn Store, rows: impl IntoIterator<Item = WriteRow>) {
    store.append(batch(rows)).await.expect("an append works");
}

/// Everything a channel has, in order, read block by block as the planner would with one row at a time per scan.
pub(super) async fn all_rows(
    store: &dyn Store,
    channel: ChannelId,
    profile: impl Into<ChannelProfile>,
    direction: Direction,
) -> Vec<Row> {
    let profile = profile.into();
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let blocks = store
            .blocks(channel, profile, TimeRange::ALL, direction, after, 3)
            .await
            .expect("blocks can be listed");
        let Some(last) = blocks.last() else { return rows };
        after = Some(last.bucket);
        for bucket in blocks.chunk_by(|a, b| a.bucket == b.bucket) {
            let scans = bucket.iter().map(|&block| BlockScan {
                block,
                range: TimeRange::ALL,
                direction,
                after: None,
                limit: usize::MAX,
                bytes_max: usize::MAX,
            });
            let found =
                store.rows(channel, profile, scans.collect(), usize::MAX).await.expect("rows can be read");
            let mut bucket_rows: Vec<Row> = found.into_iter().flat_map(|scanned| scanned.rows).collect();
            sort(&mut bucket_rows, direction);
            rows.append(&mut bucket_rows);
        }
    }
}

/// Puts rows in the order of reads.
pub(super) fn sort(rows: &mut [Row], direction: Direction) {
    rows.sort_by_key(|row| {
        (row.publisher, row.subtopic.clone(), row.record.name.clone(), row.record.unit.clone())
    });
    match direction {
        Direction::Ascending => rows.sort_by_key(|row| row.record.time),
        Direction::Descending => rows.sort_by_key(|row| std::cmp::Reverse(row.record.time)),
    }
}

pub(super) async fn all_counts(
    store: &dyn Store,
    channel: ChannelId,
    profile: impl Into<ChannelProfile>,
    level: CountLevel,
) -> Vec<TimeCount> {
    store.counts(channel, profile.into(), level, i64::MIN..i64::MAX).await.expect("counts can be read")
}

/// What counts have to be for rows of these times.
pub(super) fn counts_of(times: impl Iterator<Item = Timestamp>, level: CountLevel) -> Vec<TimeCount> {
    let mut counts = std::collections::BTreeMap::<i64, u64>::new();
    for time in times {
        let second = time.as_nanos().div_euclid(1_000_000_000);
        *counts.entry(level.window_of(second)).or_default() += 1;
    }
    counts.into_iter().map(|(start_seconds, rows)| TimeCount { start_seconds, rows }).collect()
}
