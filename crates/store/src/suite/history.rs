//! Histories: any sequence of appends, purges and restarts, after which a store equals the model.

use domain::{ChannelId, ChannelProfile};

use super::fixtures::{all_counts, all_rows, append, counts_of};
use super::{Home, Model};
use crate::contract::{CountLevel, Direction, PurgeTarget, Store, WriteRow};
use crate::planner::{CursorKey, Page, Query, Start, TotalRelation, read};

/// Something that happens to a store.
#[derive(Debug, Clone)]
pub enum Step {
    /// A batch is appended.
    Append(Vec<WriteRow>),
    /// A target is purged.
    Purge(PurgeTarget),
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
            Step::Reopen => {
                drop(store);
                store = home.open().await;
            }
        }
    }
    for &(channel, profile) in channels {
        holds_the_same(&*store, &model, channel, profile).await;
    }
    for query in queries {
        answers_the_same(&*store, &model, query).await;
    }
}

async fn holds_the_same(store: &dyn Store, model: &Model, channel: ChannelId, profile: ChannelProfile) {
    for direction in [Direction::Ascending, Direction::Descending] {
        let expected = model.rows(channel, direction);
        let found = all_rows(store, channel, profile.bucket_width, direction).await;
        assert_eq!(found, expected, "rows of {channel}, {direction:?}");
        for level in CountLevel::ALL {
            let counts = counts_of(expected.iter().map(|row| row.record.time), level);
            assert_eq!(all_counts(store, channel, level).await, counts, "counts of {channel}, {level:?}");
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
