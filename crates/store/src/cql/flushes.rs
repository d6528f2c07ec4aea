//! What this instance remembers of its own marks, and writes of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::ChannelId;
use scylla::statement::batch::{Batch, BatchType};
use tokio::time::Instant;
use uuid::Uuid;

use super::marks::{Touch, Touched};
use super::openings::{Opening, Openings};
use super::statements::all;
use super::{Inner, unavailable};
use crate::contract::StoreError;

/// Channels whose marks are remembered, 600 bytes each. A mark of another one is read back before it is written.
const CHANNELS_REMEMBERED: usize = 16_384;

/// The mark of one channel. Locked while it is changed and written, so that a later one is always built on it.
type Mark = Arc<tokio::sync::Mutex<OwnMark>>;

#[derive(Debug, Default)]
struct OwnMark {
    /// None before it was read.
    touched: Option<Touched>,
    openings: Openings,
}

/// What an append opened of a channel: open until it is marked. Given up without, it is open for as long as its rows may
/// still arrive.
#[derive(Debug)]
pub(super) struct Opened {
    channel: ChannelId,
    touch: Touch,
    /// A mark that somebody holds is not forgotten.
    mark: Mark,
    opening: Opening,
}

/// The marks of this instance.
#[derive(Debug)]
pub(super) struct Flushes {
    instance: Uuid,
    /// Number of the last flush, over all channels: a channel that was forgotten never meets an old number.
    last: AtomicU64,
    marks: Mutex<HashMap<ChannelId, Mark>>,
    /// Whether there may be marks of this instance that it does not remember.
    forgotten: AtomicBool,
}

impl Flushes {
    pub(super) fn new() -> Self {
        Self {
            instance: Uuid::new_v4(),
            last: AtomicU64::new(0),
            marks: Mutex::default(),
            forgotten: AtomicBool::new(false),
        }
    }

    fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn mark_of(&self, channel: ChannelId) -> Mark {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.len() >= CHANNELS_REMEMBERED && !marks.contains_key(&channel) {
            self.forgotten.store(true, Ordering::Relaxed);
            let mut rest = marks.len() / 4;
            // Those that somebody is about to write stay: two of one channel would hide each other's.
            marks.retain(|_, mark| {
                let goes = rest > 0 && Arc::strong_count(mark) == 1;
                rest -= usize::from(goes);
                !goes
            });
        }
        Arc::clone(marks.entry(channel).or_default())
    }
}

impl Inner {
    /// Opens what an append touches of a channel. No row is written before this is done.
    pub(super) async fn open_one(&self, channel: ChannelId, touch: Touch) -> Result<Opened, StoreError> {
        let flushes = &self.flushes;
        let mark = flushes.mark_of(channel);
        let mut own = mark.lock().await;
        let (number, now) = (flushes.next(), Instant::now());
        let (opening, tell) = own.openings.begin(number, &touch, now);
        if let Some(open) = tell {
            let number = i64::try_from(number).map_err(unavailable)?;
            let values = (number, open.encode(), channel.as_uuid(), flushes.instance);
            self.session.execute_unpaged(&self.statements.open, values).await.map_err(unavailable)?;
            own.openings.told(open, now);
        }
        drop(own);
        Ok(Opened { channel, touch, mark, opening })
    }

    /// Marks what an append touched of a channel, when its rows are acknowledged.
    pub(super) async fn mark_one(&self, opened: Opened) -> Result<(), StoreError> {
        let Opened { channel, touch, mark, opening } = opened;
        let flushes = &self.flushes;
        let mut own = mark.lock().await;
        let OwnMark { touched, openings } = &mut *own;
        let touched = match touched {
            Some(touched) => touched,
            empty => empty.insert(self.own_mark(channel).await?),
        };
        touched.touch(flushes.next(), touch.seconds.iter().copied());
        let number = i64::try_from(touched.number).map_err(unavailable)?;
        let (statements, now) = (&self.statements, Instant::now());
        let values = (channel.as_uuid(), flushes.instance, number, touched.encode(), number);
        if let Some(open) = openings.closing(&opening) {
            // Of one row, so that nobody sees it closed and not marked.
            let both = vec![statements.put_mark.clone().into(), statements.open.clone().into()];
            let mut batch = Batch::new_with_statements(BatchType::Unlogged, both);
            batch.set_is_idempotent(true);
            let values = (values, (number, open.encode(), channel.as_uuid(), flushes.instance));
            self.session.batch(&batch, values).await.map_err(unavailable)?;
            openings.told(open, now);
        } else {
            self.session.execute_unpaged(&statements.put_mark, values).await.map_err(unavailable)?;
        }
        openings.closed(opening);
        Ok(())
    }

    async fn own_mark(&self, channel: ChannelId) -> Result<Touched, StoreError> {
        if !self.flushes.forgotten.load(Ordering::Relaxed) {
            return Ok(Touched::default());
        }
        let values = (channel.as_uuid(), self.flushes.instance);
        let stored: Vec<(Option<i64>, Option<Vec<u8>>)> =
            all(&self.session, &self.statements.own_mark, values).await?;
        // Where there is only an opening, there is neither.
        let (number, spans) = stored.into_iter().next().unwrap_or_default();
        Touched::decode(number.unwrap_or(0), &spans.unwrap_or_default())
    }
}
