//! Histories: any sequence of appends, purges, expiries and restarts, after which a store equals the model.

use std::collections::HashMap;

use domain::{ChannelId, ChannelProfile, Timestamp};

use super::fixtures::{all_counts, all_rows, append, counts_of};
use super::{Home, Model};
use crate::contract::{CountLevel, Direction, PurgeTarget, Row, Store, TimeCount, WriteRow};
use crate::planner::{CursorKey, Page, Query, Start, TotalRelation, read};

/// Something that happens to a store.
#[derive(Debug, Clone)]
pub enum Step {
    /// A batch is appended.
    Append(Vec<WriteRow>),
    /// A target is purged.
    Purge(PurgeTarget),
    /// What is before a time expires in a channel, and some of it is deleted. From then on nobody looks there.
    Expire(ChannelId, Timestamp),
    /// The store is closed and opened again.
    Reopen,
}

/// Lets a history happen to a store and to the model, and compares what they hold and what they answer.
///
/// `queries` are asked for every way to page through their answer; their own start is not used.
pub async fn agrees_with_the_model(
    home: &mut dyn Home,
    steps: &[Step],
    channels: &[(ChannelId, ChannelProfile)],
    queries: &[Query],
) {
    let mut model = Model::default();
    let mut cut_offs = HashMap::<ChannelId, Timestamp>::new();
    let mut store = home.open().await;
    for step in steps {
        match step {
            Step::Append(rows) => {
                model.append(rows);
                append(&*store, rows.clone()).await;
            }
            Step::Purge(target) => {
                model.purge(*target);
                store.purge(*target).await.expect("a purge works");
            }
            Step::Expire(channel, before) => {
                let cut_off = cut_offs.entry(*channel).or_insert(Timestamp::MIN);
                *cut_off = (*cut_off).max(*before);
                let profile =
                    channels.iter().find(|(known, _)| known == channel).map(|(_, profile)| *profile);
                let profile = profile.expect("a history is of these channels");
                store.expire(*channel, profile, *before).await.expect("expiry works");
            }
            Step::Reopen => {
                drop(store);
                store = home.open().await;
            }
        }
    }
    let cut_off_of = |channel| cut_offs.get(&channel).copied().unwrap_or(Timestamp::MIN);
    for &(channel, profile) in channels {
        holds_the_same(&*store, &model, channel, profile, cut_off_of(channel)).await;
    }
    for query in queries {
        let cut_off = query.cut_off.max(cut_off_of(query.channel));
        answers_the_same(&*store, &model, &Query { cut_off, ..query.clone() }).await;
    }
}

async fn holds_the_same(
    store: &dyn Store,
    model: &Model,
    channel: ChannelId,
    profile: ChannelProfile,
    cut_off: Timestamp,
) {
    let is_kept = |row: &Row| row.record.time >= cut_off;
    for direction in [Direction::Ascending, Direction::Descending] {
        let mut expected = model.rows(channel, direction);
        let mut found = all_rows(store, channel, profile, direction).await;
        expected.retain(is_kept);
        found.retain(is_kept);
        assert_eq!(found, expected, "rows of {channel}, {direction:?}");
        for level in CountLevel::ALL {
            let mut expected = counts_of(expected.iter().map(|row| row.record.time), level);
            let mut found = all_counts(store, channel, profile, level).await;
            // A window that the cut-off is in may be counted with what has expired of it, or without.
            let is_whole = |count: &TimeCount| {
                i128::from(count.start_seconds) * 1_000_000_000 >= i128::from(cut_off.as_nanos())
            };
            if cut_off > Timestamp::MIN {
                expected.retain(is_whole);
                found.retain(is_whole);
            }
            assert_eq!(found, expected, "counts of {channel}, {level:?}");
        }
    }
}

/// Pages through a query's answer by cursor, and looks at it from some offsets.
async fn answers_the_same(store: &dyn Store, model: &Model, query: &Query) {
    let key = CursorKey::from_bytes(&[1; 32]);
    let expected = model.answer(query);
    let total = expected.len() as u64;
    let page_at = async |start: Start| -> Page {
        let query = Query { start, ..query.clone() };
        read(store, &query, &key).await.expect("a page can be read")
    };
    for offset in [0, 1, total / 2, total.saturating_sub(1), total, total + 1, u64::MAX] {
        let page = page_at(Start::Offset(offset)).await;
        let first = expected.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let last = expected.len().min(first + query.limit);
        assert_eq!(page.rows, expected[first..last], "{query:?} at {offset}");
        assert_eq!(
            (page.offset, page.total, page.relation),
            (offset, total, TotalRelation::Exact),
            "{query:?}"
        );
        assert_eq!(page.next.is_some(), last < expected.len(), "{query:?} at {offset}: next");
    }
    let mut page = page_at(Start::Offset(0)).await;
    let mut walked = Vec::new();
    loop {
        assert_eq!(page.offset, walked.len() as u64, "{query:?}: offset of a later page");
        assert_eq!(
            (page.total, page.relation),
            (total, TotalRelation::Exact),
            "{query:?}: total of a later page"
        );
        walked.append(&mut page.rows);
        match page.next {
            Some(next) => page = page_at(Start::Cursor(next)).await,
            None => break,
        }
    }
    assert_eq!(walked, expected, "{query:?} by cursor");
}
