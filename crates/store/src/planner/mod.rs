//! Answers queries (range, filter, page, cursor, total) over any [`Store`].
//!
//! It decides which blocks to read, merges their shards, filters and pages; where the bytes are is the store's matter.
//! It never writes, never reads a whole block for a small page, and never examines rows without a bound.

mod cursor;
mod filter;
mod walk;

use domain::limits::{EXAMINED_RECORDS_MAX, PAGE_BYTES_MAX};
use domain::{ChannelId, ChannelProfile, Timestamp};

use self::cursor::{NotACursor, Place};
use self::walk::Walk;
use crate::contract::{Direction, Row, RowKey, Store, StoreError, TimeRange};
use crate::tally::{Seek, Tally, Wants};

pub use self::cursor::CursorKey;
pub use self::filter::{Comparator, Filter, NumberFilter};

/// What a reader asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Whose rows.
    pub channel: ChannelId,
    /// The channel's profile.
    pub profile: ChannelProfile,
    /// Rows of these times.
    pub range: TimeRange,
    /// What is before this has expired, see [`ChannelProfile::cut_off`]: it is not shown, not counted and not looked at.
    /// It is no part of what a cursor is bound to, because it moves.
    pub cut_off: Timestamp,
    /// Newest or oldest first.
    pub direction: Direction,
    /// Which of them.
    pub filter: Filter,
    /// At most so many on the page. The caller bounds it, see
    /// [`PAGE_RECORDS_MAX`](domain::limits::PAGE_RECORDS_MAX).
    pub limit: usize,
    /// Where the page begins.
    pub start: Start,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Behind so many rows.
    Offset(u64),
    /// Where the page ended whose [`Page::next`] this is.
    Cursor(String),
}

/// One page of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows, in order of time in the query's direction; ties by publisher, subtopic, name and unit.
    pub rows: Vec<Row>,
    /// Bytes that they take ([`Row::bytes`]).
    pub bytes: usize,
    /// Rows on the pages before.
    pub offset: u64,
    /// Rows on all pages. With a filter, later pages repeat what the first one found.
    pub total: u64,
    /// What `total` says.
    pub relation: TotalRelation,
    /// A cursor for the next page; none on the last one.
    pub next: Option<String>,
}

/// What a total says of the rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TotalRelation {
    /// There are so many.
    Exact,
    /// There are at least so many: a filtered read stopped looking.
    AtLeast,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The text is not a cursor that came with a page of this very query.
    #[error("next is not a cursor of this query")]
    BadCursor,
    /// A filtered read would have to examine more records than it may to get to the offset.
    #[error("offset is behind the first {examined} records, which is as far as a filter looks: use next")]
    OffsetTooDeep {
        /// Records that were examined.
        examined: u64,
    },
    /// The page would take more bytes than it may. None of it is answered: who goes on by offset would miss what is left out.
    #[error(
        "the first {fitting} records of the page are as many as fit into {bytes_max} bytes: ask for fewer"
    )]
    PageTooLarge {
        /// Records from where the page begins that are not too many.
        fitting: usize,
        /// Bytes that a page may take.
        bytes_max: usize,
    },
}

impl From<NotACursor> for ReadError {
    fn from(NotACursor: NotACursor) -> Self {
        Self::BadCursor
    }
}

/// Rows asked for in one call where a filter may leave few of them.
const EXAMINED_PER_CALL: usize = 2_048;

/// Answers one page.
///
/// Without a filter the total is exact and an offset costs the same however deep it is. With one, at most
/// [`EXAMINED_RECORDS_MAX`] records are examined: the first page's total is exact if that was all, and a page that ends
/// there is short, possibly empty, and goes on with [`Page::next`].
///
/// # Errors
/// [`ReadError`]: the store failed, the query's start is not one, or its page would be larger than [`PAGE_BYTES_MAX`].
pub async fn read(store: &dyn Store, query: &Query, key: &CursorKey) -> Result<Page, ReadError> {
    read_within(store, query, key, Bounds::default()).await
}

/// What one page may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Records that a filter looks at. At least 1: less is taken for it.
    pub examined_max: u64,
    /// Bytes of its rows ([`Row::bytes`]).
    pub bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { examined_max: EXAMINED_RECORDS_MAX, bytes_max: PAGE_BYTES_MAX }
    }
}

/// [`read`] with other bounds.
///
/// # Errors
/// As for [`read`].
pub async fn read_within(
    store: &dyn Store,
    query: &Query,
    key: &CursorKey,
    bounds: Bounds,
) -> Result<Page, ReadError> {
    let begin = match &query.start {
        Start::Offset(offset) => Begin::Offset(*offset),
        Start::Cursor(text) => Begin::Behind(key.open(query, text)?),
    };
    let range = query.range.not_before(query.cut_off);
    // A page that examines nothing would go on with itself for ever.
    let bounds = Bounds { examined_max: bounds.examined_max.max(1), ..bounds };
    let reading = Reading { store, query, range, key, bounds };
    match (begin, query.filter.is_empty()) {
        (Begin::Offset(offset), true) => reading.at_offset(offset).await,
        (Begin::Behind(place), true) => reading.behind(place).await,
        (begin, false) => reading.filtered(begin).await,
    }
}

enum Begin {
    Offset(u64),
    Behind(Place),
}

/// One query being answered.
struct Reading<'a> {
    store: &'a dyn Store,
    query: &'a Query,
    /// What of the query's range has not expired.
    range: TimeRange,
    key: &'a CursorKey,
    bounds: Bounds,
}

/// The rows of a page, as they are found.
struct PageRows {
    rows: Vec<Row>,
    bytes: usize,
    bytes_max: usize,
}

impl PageRows {
    fn take(&mut self, row: Row) -> Result<(), ReadError> {
        self.bytes += row.bytes();
        if self.bytes > self.bytes_max {
            return Err(ReadError::PageTooLarge { fitting: self.rows.len(), bytes_max: self.bytes_max });
        }
        self.rows.push(row);
        Ok(())
    }
}

impl Reading<'_> {
    fn no_rows(&self) -> PageRows {
        PageRows { rows: Vec::new(), bytes: 0, bytes_max: self.bounds.bytes_max }
    }

    async fn at_offset(&self, offset: u64) -> Result<Page, ReadError> {
        let range = self.range;
        if offset == 0 {
            let [total] = self.tally([Tally::total(range)]).await?;
            return self.unfiltered(Seek { range, skip: 0 }, None, 0, total.passed()).await;
        }
        let seek = Tally::seek(range, self.query.direction, offset);
        let [total, seek] = self.tally([Tally::total(range), seek]).await?;
        match seek.wants() {
            Wants::Found(seek) => self.unfiltered(*seek, None, offset, total.passed()).await,
            _ => {
                let (total, relation) = (total.passed(), TotalRelation::Exact);
                Ok(Page { rows: Vec::new(), bytes: 0, offset, total, relation, next: None })
            }
        }
    }

    async fn behind(&self, place: Place) -> Result<Page, ReadError> {
        let range = self.range;
        let [total] = self.tally([Tally::total(range)]).await?;
        self.unfiltered(Seek { range, skip: 0 }, Some(place.after), place.before, total.passed()).await
    }

    /// Lets tallies come to their end.
    async fn tally<const N: usize>(&self, tallies: [Tally; N]) -> Result<[Tally; N], ReadError> {
        let Query { channel, profile, .. } = *self.query;
        let mut tallies = tallies.to_vec();
        loop {
            tallies = self.store.tally(channel, profile, tallies).await?;
            let mut done = true;
            for tally in &mut tallies {
                if let Wants::Rows(part) = *tally.wants() {
                    tally.take_rows(self.count_rows(part).await?);
                    done = false;
                }
            }
            if done {
                let changed =
                    || StoreError::Damaged("the store answered another number of tallies than asked".into());
                return tallies.try_into().map_err(|_| changed().into());
            }
        }
    }

    /// Counts rows one by one: those of a part of a second.
    async fn count_rows(&self, part: TimeRange) -> Result<u64, StoreError> {
        let mut walk = Walk::new(self.store, self.query, part, None, EXAMINED_PER_CALL);
        let mut rows = 0;
        while walk.next().await?.is_some() {
            rows += 1;
        }
        Ok(rows)
    }

    async fn unfiltered(
        &self,
        seek: Seek,
        after: Option<RowKey>,
        offset: u64,
        total: u64,
    ) -> Result<Page, ReadError> {
        let skip = usize::try_from(seek.skip).unwrap_or(usize::MAX);
        let wanted = skip.saturating_add(self.query.limit).saturating_add(1).min(EXAMINED_PER_CALL);
        let mut walk = Walk::new(self.store, self.query, seek.range, after, wanted);
        for _ in 0..seek.skip {
            walk.next().await?;
        }
        let mut page = self.no_rows();
        let mut more = false;
        while let Some(row) = walk.next().await? {
            if page.rows.len() == self.query.limit {
                more = true;
                break;
            }
            page.take(row)?;
        }
        let PageRows { rows, bytes, .. } = page;
        let before = offset + rows.len() as u64;
        let next = match rows.last() {
            Some(last) if more => {
                Some(self.key.seal(self.query, &Place { after: last.key(), before, total: None }))
            }
            _ => None,
        };
        let total = at_least_shown(total, offset, &rows, more);
        Ok(Page { rows, bytes, offset, total, relation: TotalRelation::Exact, next })
    }

    /// Examines rows until the page is full and there is one more. The first page goes on to the bound, for its total.
    async fn filtered(&self, begin: Begin) -> Result<Page, ReadError> {
        let limit = self.query.limit;
        let (offset, skip, after, known_total) = match begin {
            Begin::Offset(offset) => (offset, offset, None, None),
            Begin::Behind(place) => (place.before, 0, Some(place.after), place.total),
        };
        let mut walk = Walk::new(self.store, self.query, self.range, after, EXAMINED_PER_CALL);
        let mut page = self.no_rows();
        let (mut found, mut examined, mut more) = (0, 0, false);
        // The row examined last, where that is not the last one on the page.
        let mut passed = None;
        while examined < self.bounds.examined_max {
            let Some(row) = walk.next().await? else { break };
            examined += 1;
            let matches = self.query.filter.matches(&row);
            found += u64::from(matches);
            if matches && found > skip && page.rows.len() < limit {
                page.take(row)?;
                passed = None;
                continue;
            }
            more |= matches && found > skip;
            passed = Some(row);
            if more && known_total.is_some() {
                break;
            }
        }
        let PageRows { rows, bytes, .. } = page;
        // The row behind the last one examined decides whether that was the end.
        let stopped = examined > 0 && walk.next().await?.is_some();
        if stopped && skip > 0 && found <= skip {
            return Err(ReadError::OffsetTooDeep { examined });
        }
        let relation = if stopped { TotalRelation::AtLeast } else { TotalRelation::Exact };
        let total = known_total.unwrap_or((found, relation));
        let before = offset + rows.len() as u64;
        let goes_on_behind =
            if more || rows.len() == limit { rows.last() } else { passed.as_ref().or(rows.last()) };
        let after = goes_on_behind.filter(|_| more || stopped).map(Row::key);
        let next = after.map(|after| self.key.seal(self.query, &Place { after, before, total: Some(total) }));
        let (total, relation) = (at_least_shown(total.0, offset, &rows, more), total.1);
        Ok(Page { rows, bytes, offset, total, relation, next })
    }
}

/// Rows may have come since they were counted: a total below what the page shows, and says to follow, would contradict it.
fn at_least_shown(total: u64, offset: u64, rows: &[Row], more: bool) -> u64 {
    if rows.is_empty() { total } else { total.max(offset + rows.len() as u64 + u64::from(more)) }
}
