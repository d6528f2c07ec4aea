//! What this instance remembers of its own marks, and writes of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::ChannelId;
use uuid::Uuid;

use super::marks::Touched;
use super::statements::all;
use super::{Inner, unavailable};
use crate::contract::StoreError;

/// Channels whose marks are remembered, 600 bytes each. A mark of another one is read back before it is written.
const CHANNELS_REMEMBERED: usize = 16_384;

/// The mark of one channel. Locked while it is changed and written, so that a later one is always built on it.
type Mark = Arc<tokio::sync::Mutex<Option<Touched>>>;

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
    pub(super) async fn mark_one(
        &self,
        channel: ChannelId,
        seconds: BTreeSet<i64>,
    ) -> Result<(), StoreError> {
        let flushes = &self.flushes;
        let mark = flushes.mark_of(channel);
        let mut mark = mark.lock().await;
        let touched = match &mut *mark {
            Some(touched) => touched,
            empty => empty.insert(self.own_mark(channel).await?),
        };
        touched.touch(flushes.next(), seconds.into_iter());
        let number = i64::try_from(touched.number).map_err(unavailable)?;
        let values = (channel.as_uuid(), flushes.instance, number, touched.encode(), number);
        self.session.execute_unpaged(&self.statements.put_mark, values).await.map(drop).map_err(unavailable)
    }

    async fn own_mark(&self, channel: ChannelId) -> Result<Touched, StoreError> {
        if !self.flushes.forgotten.load(Ordering::Relaxed) {
            return Ok(Touched::default());
        }
        let values = (channel.as_uuid(), self.flushes.instance);
        let stored: Vec<(i64, Vec<u8>)> = all(&self.session, &self.statements.own_mark, values).await?;
        stored
            .into_iter()
            .next()
            .map_or(Ok(Touched::default()), |(number, spans)| Touched::decode(number, &spans))
    }
}
