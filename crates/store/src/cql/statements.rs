//! Every statement there is, prepared once. None of them scans: each names a partition whole.

use domain::Retention;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::OnceCell;

use super::openings::LIFE_SECONDS;
use super::schema::rows_of;
use super::{Inner, KeyspaceName, damaged, unavailable};
use crate::contract::StoreError;

/// Rows that one answer of the database brings; further ones are fetched as they are wanted.
const PAGE_ROWS: i32 = 2_000;
/// The same for rows of which only small columns are read.
const NARROW_PAGE_ROWS: i32 = 10_000;

/// The same where nobody knows yet how large they are: with a MiB in each, as many as may be held.
const FIRST_PAGE_ROWS: i32 = 16;

/// A block in a statement.
const BLOCK: &str = "channel = ? AND bucket = ? AND shard = ?";
/// The columns that every row has, in the order of what writes it.
const HEAD: &str = "channel, bucket, shard, time, publisher, subtopic, name, unit, fields, protocol";
/// The columns of a row as [`super::row::Stored`] takes them.
const ROW: &str = "time, publisher, subtopic, name, unit, fields, protocol, value_number, value_text, value_bool, value_data, \
    sum, update_time, WRITETIME(fields)";

/// Those of one table of rows.
pub(super) struct RowStatements {
    pub(super) put_row: PreparedStatement,
    pub(super) put_number: PreparedStatement,
    pub(super) put_text: PreparedStatement,
    pub(super) put_bool: PreparedStatement,
    pub(super) put_data: PreparedStatement,
    pub(super) newest_rows: PreparedStatement,
    pub(super) oldest_rows: PreparedStatement,
    pub(super) ties: PreparedStatement,
    pub(super) ties_behind_publisher: PreparedStatement,
    pub(super) ties_behind_subtopic: PreparedStatement,
    pub(super) ties_behind_name: PreparedStatement,
    pub(super) ties_behind_unit: PreparedStatement,
    pub(super) newest_times: PreparedStatement,
    pub(super) oldest_times: PreparedStatement,
    pub(super) times_of_publishers: PreparedStatement,
    pub(super) delete_block: PreparedStatement,
    pub(super) delete_time: PreparedStatement,
}

/// Those of all other tables, and those of the tables of rows that were needed so far.
pub(super) struct Statements {
    rows: [OnceCell<RowStatements>; Retention::ALL.len()],

    pub(super) put_window: PreparedStatement,
    pub(super) put_block: PreparedStatement,
    pub(super) put_publisher: PreparedStatement,
    pub(super) put_class: PreparedStatement,
    pub(super) put_endless: PreparedStatement,
    pub(super) open: PreparedStatement,
    pub(super) put_mark: PreparedStatement,
    pub(super) own_mark: PreparedStatement,

    pub(super) windows: PreparedStatement,
    pub(super) last_blocks: PreparedStatement,
    pub(super) first_blocks: PreparedStatement,

    pub(super) marks: PreparedStatement,
    pub(super) kept_counts: PreparedStatement,
    pub(super) keep_counts: PreparedStatement,

    pub(super) channel_is_purged: PreparedStatement,
    pub(super) publisher_is_purged: PreparedStatement,
    pub(super) purge_channel: PreparedStatement,
    pub(super) purge_publisher: PreparedStatement,
    pub(super) publisher_buckets: PreparedStatement,
    pub(super) forget_publisher_bucket: PreparedStatement,
    pub(super) class: PreparedStatement,
    pub(super) endless_blocks: PreparedStatement,
    pub(super) forget_endless: PreparedStatement,
    pub(super) forget_window: PreparedStatement,
    pub(super) forget_window_as_of: PreparedStatement,
    pub(super) forget_blocks: PreparedStatement,
    pub(super) forget_block: PreparedStatement,
    pub(super) purges: PreparedStatement,
    pub(super) put_purge: PreparedStatement,
    pub(super) end_purge: PreparedStatement,
    pub(super) server_time: PreparedStatement,
}

/// Prepares a statement.
async fn prepare(session: &Session, text: String, page_rows: i32) -> Result<PreparedStatement, StoreError> {
    let mut statement = session.prepare(text).await.map_err(unavailable)?;
    // Every write says the same when it is said twice.
    statement.set_is_idempotent(true);
    statement.set_page_size(page_rows);
    Ok(statement)
}

impl RowStatements {
    async fn prepare(session: &Session, k: &KeyspaceName, class: Retention) -> Result<Self, StoreError> {
        let p = async |text: String| prepare(session, text, PAGE_ROWS).await;
        let narrow = async |text: String| prepare(session, text, NARROW_PAGE_ROWS).await;
        let table = rows_of(class);
        let rows = |rest: &str| format!("SELECT {ROW} FROM {k}.{table} WHERE {BLOCK} AND {rest} LIMIT ?");
        let times = |rest: &str| {
            format!("SELECT time FROM {k}.{table} WHERE {BLOCK} AND time >= ? AND time <= ? {rest}LIMIT ?")
        };
        let put_plain = async |value: &str| {
            let values = "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?";
            p(format!("INSERT INTO {k}.{table} ({HEAD}, {value}) VALUES ({values}) USING TIMESTAMP ?")).await
        };
        Ok(Self {
            put_row: p(format!(
                "INSERT INTO {k}.{table} ({HEAD}, value_number, value_text, value_bool, value_data, sum, update_time) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
            ))
            .await?,
            put_number: put_plain("value_number").await?,
            put_text: put_plain("value_text").await?,
            put_bool: put_plain("value_bool").await?,
            put_data: put_plain("value_data").await?,
            newest_rows: p(rows("time >= ? AND time <= ?")).await?,
            oldest_rows: p(rows("time >= ? AND time <= ? ORDER BY time ASC")).await?,
            ties: p(rows("time = ?")).await?,
            ties_behind_publisher: p(rows("time = ? AND publisher > ?")).await?,
            ties_behind_subtopic: p(rows("time = ? AND publisher = ? AND subtopic > ?")).await?,
            ties_behind_name: p(rows("time = ? AND publisher = ? AND subtopic = ? AND name > ?")).await?,
            ties_behind_unit: p(rows("time = ? AND publisher = ? AND subtopic = ? AND name = ? AND unit > ?")).await?,
            newest_times: narrow(times("")).await?,
            oldest_times: narrow(times("ORDER BY time ASC ")).await?,
            times_of_publishers: narrow(format!("SELECT time, publisher FROM {k}.{table} WHERE {BLOCK}")).await?,
            delete_block: p(format!("DELETE FROM {k}.{table} USING TIMESTAMP ? WHERE {BLOCK}")).await?,
            delete_time: p(format!(
                "DELETE FROM {k}.{table} USING TIMESTAMP ? WHERE {BLOCK} AND time = ? AND publisher = ?"
            ))
            .await?,
        })
    }
}

impl Statements {
    pub(super) async fn prepare(session: &Session, k: &KeyspaceName) -> Result<Self, StoreError> {
        let p = async |text: String| prepare(session, text, PAGE_ROWS).await;
        let narrow = async |text: String| prepare(session, text, NARROW_PAGE_ROWS).await;
        let blocks = |rest: &str| {
            format!(
                "SELECT bucket, shard FROM {k}.blocks WHERE channel = ? AND span = ? AND bucket >= ? AND bucket <= ? {rest}LIMIT ?"
            )
        };
        Ok(Self {
            rows: Default::default(),

            put_window: p(format!("INSERT INTO {k}.windows (channel, width, span) VALUES (?, ?, ?) USING TTL ?")).await?,
            put_block: p(format!(
                "INSERT INTO {k}.blocks (channel, span, bucket, shard) VALUES (?, ?, ?, ?) USING TTL ?"
            ))
            .await?,
            put_publisher: p(format!(
                "INSERT INTO {k}.publishers (publisher, channel, bucket) VALUES (?, ?, ?) USING TTL ?"
            ))
            .await?,
            put_class: p(format!("INSERT INTO {k}.classes (channel, class) VALUES (?, ?)")).await?,
            put_endless: p(format!("INSERT INTO {k}.classes (channel, bucket, shard) VALUES (?, ?, ?)")).await?,
            open: p(format!(
                "UPDATE {k}.marks USING TIMESTAMP ? AND TTL {LIFE_SECONDS} SET opened = ? WHERE channel = ? AND instance = ?"
            ))
            .await?,
            put_mark: p(format!(
                "INSERT INTO {k}.marks (channel, instance, number, spans) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
            ))
            .await?,
            own_mark: p(format!("SELECT number, spans FROM {k}.marks WHERE channel = ? AND instance = ?")).await?,

            windows: p(format!("SELECT purged, span FROM {k}.windows WHERE channel = ?")).await?,
            last_blocks: narrow(blocks("ORDER BY bucket DESC ")).await?,
            first_blocks: narrow(blocks("")).await?,

            marks: p(format!("SELECT instance, number, spans, opened FROM {k}.marks WHERE channel = ?")).await?,
            kept_counts: p(format!("SELECT start, parts, seen, TTL(parts) FROM {k}.counts WHERE channel = ? AND span = ?")).await?,
            keep_counts: p(format!("INSERT INTO {k}.counts (channel, span, start, parts, seen) VALUES (?, ?, ?, ?, ?)")).await?,

            channel_is_purged: p(format!("SELECT purged FROM {k}.windows WHERE channel = ? LIMIT 1")).await?,
            publisher_is_purged: p(format!("SELECT purged FROM {k}.publishers WHERE publisher = ? LIMIT 1")).await?,
            purge_channel: p(format!("INSERT INTO {k}.windows (channel, purged) VALUES (?, true)")).await?,
            purge_publisher: p(format!("INSERT INTO {k}.publishers (publisher, purged) VALUES (?, true)")).await?,
            publisher_buckets: narrow(format!("SELECT channel, bucket FROM {k}.publishers WHERE publisher = ?")).await?,
            forget_publisher_bucket: p(format!(
                "DELETE FROM {k}.publishers WHERE publisher = ? AND channel = ? AND bucket = ?"
            ))
            .await?,
            class: p(format!("SELECT class FROM {k}.classes WHERE channel = ? LIMIT 1")).await?,
            endless_blocks: narrow(format!(
                "SELECT bucket, shard FROM {k}.classes WHERE channel = ? AND bucket <= ? LIMIT ?"
            ))
            .await?,
            forget_endless: p(format!("DELETE FROM {k}.classes WHERE channel = ? AND bucket = ? AND shard = ?")).await?,
            forget_window: p(format!("DELETE FROM {k}.windows WHERE channel = ? AND span = ?")).await?,
            forget_window_as_of: p(format!(
                "DELETE FROM {k}.windows USING TIMESTAMP ? WHERE channel = ? AND span = ?"
            ))
            .await?,
            forget_blocks: p(format!("DELETE FROM {k}.blocks WHERE channel = ? AND span = ?")).await?,
            forget_block: p(format!(
                "DELETE FROM {k}.blocks WHERE channel = ? AND span = ? AND bucket = ? AND shard = ?"
            ))
            .await?,
            purges: p(format!("SELECT kind, target, asked FROM {k}.purges WHERE slot = 0")).await?,
            put_purge: p(format!("INSERT INTO {k}.purges (slot, kind, target, asked) VALUES (0, ?, ?, ?)")).await?,
            end_purge: p(format!("DELETE FROM {k}.purges WHERE slot = 0 AND kind = ? AND target = ?")).await?,
            server_time: p("SELECT toUnixTimestamp(now()) FROM system.local WHERE key = 'local'".to_owned()).await?,
        })
    }
}

impl Inner {
    /// The statements of the table that has a class's rows; prepared when they are first needed, because most of them
    /// never are.
    pub(super) async fn rows_of(&self, class: Retention) -> Result<&RowStatements, StoreError> {
        let place = usize::from(class.code()) - 1;
        let prepare = || RowStatements::prepare(&self.session, &self.config.keyspace, class);
        self.statements.rows[place].get_or_try_init(prepare).await
    }
}

/// Gives the rows of an answer to `take`, page after page.
pub(super) async fn each<R>(
    session: &Session,
    statement: &PreparedStatement,
    values: impl SerializeRow,
    mut take: impl FnMut(R) -> Result<(), StoreError>,
) -> Result<(), StoreError>
where
    R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
{
    let mut state = PagingState::start();
    loop {
        let (page, next) =
            session.execute_single_page(statement, &values, state).await.map_err(unavailable)?;
        let page = page.into_rows_result().map_err(damaged)?;
        for row in page.rows::<R>().map_err(damaged)? {
            take(row.map_err(damaged)?)?;
        }
        match next {
            PagingStateResponse::HasMorePages { state: next } => state = next,
            PagingStateResponse::NoMorePages => return Ok(()),
        }
    }
}

/// Gives the rows of an answer to `take`, page after page, until it says that they are enough. It says, too, how many bytes it has
/// taken, and how many more it would take: pages are as large as that allows.
///
/// `limit` is the statement's own. Every page is smaller: Cassandra answers a page that could hold all of a statement's rows from
/// their beginning, wherever the page before ended.
pub(super) async fn each_until_full<R>(
    session: &Session,
    statement: &PreparedStatement,
    values: impl SerializeRow,
    limit: usize,
    mut take: impl FnMut(R) -> Result<Room, StoreError>,
) -> Result<bool, StoreError>
where
    R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
{
    let mut statement = statement.clone();
    statement.set_page_size(FIRST_PAGE_ROWS);
    let mut state = PagingState::start();
    let (mut rows, mut bytes) = (0, 0);
    loop {
        let (page, next) =
            session.execute_single_page(&statement, &values, state).await.map_err(unavailable)?;
        let page = page.into_rows_result().map_err(damaged)?;
        let mut left = 0;
        for row in page.rows::<R>().map_err(damaged)? {
            let room = take(row.map_err(damaged)?)?;
            rows += 1;
            bytes += room.taken;
            left = room.left;
            if left == 0 {
                return Ok(true);
            }
        }
        match next {
            PagingStateResponse::HasMorePages { state: next } => state = next,
            PagingStateResponse::NoMorePages => return Ok(false),
        }
        // A page may be empty.
        if let Some(mean) = bytes.checked_div(rows) {
            let fitting = (left / mean.max(1)).min(limit.saturating_sub(1));
            let fitting = i32::try_from(fitting).unwrap_or(i32::MAX);
            statement.set_page_size(fitting.clamp(1, PAGE_ROWS));
        }
    }
}

/// What taking a row came to.
pub(super) struct Room {
    /// Bytes of the row.
    pub(super) taken: usize,
    /// Bytes that are still wanted.
    pub(super) left: usize,
}

/// All rows of an answer.
pub(super) async fn all<R>(
    session: &Session,
    statement: &PreparedStatement,
    values: impl SerializeRow,
) -> Result<Vec<R>, StoreError>
where
    R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
{
    let mut rows = Vec::new();
    each(session, statement, values, |row| {
        rows.push(row);
        Ok(())
    })
    .await?;
    Ok(rows)
}
