//! Random histories, and queries to ask afterwards.

use domain::{
    BucketWidth, ChannelId, ChannelProfile, Protocol, ReceivedAt, Record, Retention, Subtopic, Timestamp,
    Value,
};
use proptest::prelude::*;
use thalweg_store::planner::{Comparator, Filter, NumberFilter, Query, Start};
use thalweg_store::suite::history::Step;
use thalweg_store::suite::{channel, thing};
use thalweg_store::{Direction, PurgeTarget, Row, TimeRange, WriteRow};

/// A channel of each width: one that keeps for ever, one that expires, and one whose retention became shorter.
pub(crate) const CHANNELS: [(ChannelId, ChannelProfile); 3] = [
    (channel(1), ChannelProfile::new(BucketWidth::FiveMinutes, Retention::Forever)),
    (channel(2), ChannelProfile::new(BucketWidth::Hour, Retention::Days7)),
    (
        channel(3),
        ChannelProfile {
            retention: Retention::Days7,
            ..ChannelProfile::new(BucketWidth::Day, Retention::Days90)
        },
    ),
];

const SECOND: i64 = 1_000_000_000;

/// Times around the edges of seconds, windows, buckets and of time itself; few enough that rows meet.
fn any_time() -> impl Strategy<Value = i64> {
    let places = prop_oneof![
        2 => Just(i64::MIN),
        2 => Just(i64::MAX - 3 * SECOND),
        4 => Just(0),
        2 => Just(-86_400 * SECOND),
        8 => Just(1_554_381_569_992_000_000),
        1 => Just(1_554_381_569_992_000_000 + 299 * SECOND),
        1 => Just(1_554_381_569_992_000_000 + 3_600 * SECOND),
        1 => Just(1_554_381_569_992_000_000 + 30 * 86_400 * SECOND),
        1 => Just(300 * SECOND),
    ];
    let steps = prop_oneof![
        (0i64..3),
        (-2i64..3).prop_map(|n| n * SECOND / 2),
        (0i64..20).prop_map(|n| n * 40 * SECOND),
        (0i64..40).prop_map(|n| n * SECOND / 100),
    ];
    (places, steps).prop_map(|(place, step)| place.saturating_add(step))
}

fn any_value() -> impl Strategy<Value = (Option<Value>, Option<f64>)> {
    prop_oneof![
        4 => (0..4).prop_map(|n| (Some(Value::Number(f64::from(n))), None)),
        1 => "[ab]{0,2}".prop_map(|text| (Some(Value::Text(text)), Some(1.5))),
        1 => any::<bool>().prop_map(|bool| (Some(Value::Bool(bool)), None)),
        1 => proptest::collection::vec(0u8..2, 0..2).prop_map(|data| (Some(Value::Data(data)), None)),
        1 => Just((None, Some(2.5))),
    ]
}

fn any_row() -> impl Strategy<Value = WriteRow> {
    let place = (0usize..3, any_time(), 0u8..5, prop_oneof![Just(""), Just("a"), Just("a.b")]);
    let key = (prop_oneof![3 => Just("t"), 1 => Just("t1")], prop_oneof![3 => Just("C"), 1 => Just("")]);
    (place, key, 0i64..6, any_value()).prop_map(
        |((number, nanos, publisher, subtopic), (name, unit), received, (value, sum))| WriteRow {
            channel: CHANNELS[number].0,
            profile: CHANNELS[number].1,
            row: Row {
                publisher: thing(publisher),
                subtopic: Subtopic::from_stored(subtopic),
                protocol: Protocol::Http,
                received: ReceivedAt::from_micros(received),
                record: Record {
                    name: name.into(),
                    unit: unit.into(),
                    time: Timestamp::from_nanos(nanos),
                    value,
                    sum,
                    update_time: sum.map(|sum| sum * 2.0),
                },
            },
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => proptest::collection::vec(any_row(), 0..60).prop_map(Step::Append),
        1 => (0u8..5).prop_map(|n| Step::Purge(PurgeTarget::Publisher(thing(n)))),
        1 => (0usize..3).prop_map(|n| Step::Purge(PurgeTarget::Channel(CHANNELS[n].0))),
        1 => (0usize..3, any_time())
            .prop_map(|(n, time)| Step::Expire(CHANNELS[n].0, Timestamp::from_nanos(time))),
        2 => Just(Step::Reopen),
    ]
}

/// Histories in which batches are also replayed, later and in another order.
pub(crate) fn any_history() -> impl Strategy<Value = Vec<Step>> {
    let replays = proptest::collection::vec(any::<prop::sample::Index>(), 0..4);
    (proptest::collection::vec(any_step(), 1..10), replays).prop_map(|(mut steps, replays)| {
        for replay in replays {
            if let Step::Append(rows) = steps[replay.index(steps.len())].clone() {
                steps.push(Step::Append(rows.into_iter().rev().collect()));
            }
        }
        steps
    })
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let number = |comparator| Some(NumberFilter { comparator, number: 2.0 });
    prop_oneof![
        5 => Just(Filter::default()),
        1 => (0u8..5).prop_map(|n| Filter { publisher: Some(thing(n)), ..Filter::default() }),
        1 => Just(Filter { subtopic: Some(Subtopic::from_stored("a")), ..Filter::default() }),
        1 => Just(Filter { name: Some("t1".into()), protocol: Some("http".into()), ..Filter::default() }),
        1 => Just(Filter { protocol: Some("coap".into()), ..Filter::default() }),
        1 => Just(Filter { number: number(Comparator::Less), ..Filter::default() }),
        1 => Just(Filter { number: number(Comparator::GreaterOrEqual), ..Filter::default() }),
        1 => Just(Filter { text: Some("a".into()), ..Filter::default() }),
        1 => Just(Filter { bool: Some(true), subtopic: Some(Subtopic::default()), ..Filter::default() }),
        1 => Just(Filter { data: Some(vec![1]), ..Filter::default() }),
    ]
}

fn any_range() -> impl Strategy<Value = TimeRange> {
    let to = proptest::option::of(any_time());
    let all = Just(TimeRange::ALL);
    let some = (any_time(), to).prop_map(|(from, to)| TimeRange {
        from: Timestamp::from_nanos(from),
        to: to.map(Timestamp::from_nanos),
    });
    prop_oneof![all, some]
}

pub(crate) fn any_query() -> impl Strategy<Value = Query> {
    let cut_off = prop_oneof![2 => Just(Timestamp::MIN), 1 => any_time().prop_map(Timestamp::from_nanos)];
    let limit = prop_oneof![1usize..8, Just(1_000)];
    (0usize..3, any_range(), cut_off, any::<bool>(), any_filter(), limit).prop_map(
        |(number, range, cut_off, descending, filter, limit)| Query {
            channel: CHANNELS[number].0,
            profile: CHANNELS[number].1,
            range,
            cut_off,
            direction: if descending { Direction::Descending } else { Direction::Ascending },
            filter,
            limit,
            start: Start::Offset(0),
        },
    )
}
