//! One consumer's way through the embedded log.
//!
//! Never delivers what is not durable, and loses nothing when a caller stops waiting.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use domain::Position;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::contract::{Batch, BatchLimits, Delivery, LogError, Subscription};
use crate::embedded::groups::TakenGroup;
use crate::embedded::reader::{Item, READ_BYTES, Reader};
use crate::embedded::{LANE, Shared, blocking, decode_entry};

#[derive(Debug)]
pub(crate) struct EmbeddedSubscription {
    shared: Arc<Shared>,
    group: TakenGroup,
    /// The offset behind the last durable entry.
    durable: watch::Receiver<u64>,
    closed: watch::Receiver<bool>,
    reader: Reader,
    /// Read, but not returned yet.
    ready: VecDeque<Delivery>,
    /// Bytes of packs in `ready`.
    ready_bytes: usize,
    /// The first offset that was not returned yet.
    next: u64,
    /// Nothing from this offset on is returned.
    withheld_from: Option<u64>,
}

impl EmbeddedSubscription {
    pub(crate) fn new(
        shared: Arc<Shared>,
        group: TakenGroup,
        durable: watch::Receiver<u64>,
        resumed: Option<u64>,
    ) -> Self {
        let next = group.group().next().max(resumed.unwrap_or(0));
        let reader = Reader::new(Arc::clone(&shared.segments), next);
        let closed = shared.closed.subscribe();
        Self {
            shared,
            group,
            durable,
            closed,
            reader,
            ready: VecDeque::new(),
            ready_bytes: 0,
            next,
            withheld_from: None,
        }
    }

    /// Waits until there is at least one delivery, then until there are enough or the linger is over.
    async fn fill(&mut self, limits: &BatchLimits) -> Result<(), LogError> {
        let mut give_up: Option<Instant> = None;
        loop {
            if *self.closed.borrow() {
                return Err(LogError::new("reading the log", "the log is closed"));
            }
            let durable = *self.durable.borrow_and_update();
            let end = self.withheld_from.map_or(durable, |from| from.min(durable));
            if self.reader.next() < end && !self.has_enough(limits) {
                self.read_on(limits).await?;
                continue;
            }
            let is_over = give_up.is_some_and(|give_up| Instant::now() >= give_up);
            if self.has_enough(limits) || !self.ready.is_empty() && (limits.linger.is_zero() || is_over) {
                return Ok(());
            }
            if !self.ready.is_empty() && give_up.is_none() {
                give_up = Some(Instant::now() + limits.linger);
            }
            tokio::select! {
                changed = self.durable.changed() => if changed.is_err() {
                    // The committer has stopped: no entry will come any more.
                    if !self.ready.is_empty() {
                        return Ok(());
                    }
                    let _ = self.closed.wait_for(|&closed| closed).await;
                },
                _ = self.closed.changed() => {}
                () = until(give_up) => {}
            }
        }
    }

    async fn read_on(&mut self, limits: &BatchLimits) -> Result<(), LogError> {
        let mut reader = self.reader.clone();
        let items_max = limits.entries_max.saturating_sub(self.ready.len()).max(1);
        let (reader, items) = blocking("reading the log", move || {
            let items = reader.read(items_max, READ_BYTES)?;
            Ok((reader, items))
        })
        .await?;
        self.reader = reader;
        let withheld_from = self.withheld_from.unwrap_or(u64::MAX);
        for delivery in items.into_iter().map(delivery) {
            if delivery.position.offset >= withheld_from {
                break;
            }
            self.ready_bytes += pack_bytes(&delivery);
            self.ready.push_back(delivery);
        }
        Ok(())
    }

    fn has_enough(&self, limits: &BatchLimits) -> bool {
        self.ready.len() >= limits.entries_max.max(1)
            || (self.ready_bytes >= limits.bytes_max && !self.ready.is_empty())
    }

    fn take_ready(&mut self, limits: &BatchLimits) -> Batch {
        let (mut deliveries, mut bytes) = (Vec::new(), 0);
        while let Some(first) = self.ready.front() {
            bytes += pack_bytes(first);
            let is_full = deliveries.len() >= limits.entries_max || bytes > limits.bytes_max;
            if is_full && !deliveries.is_empty() {
                break;
            }
            self.ready_bytes -= pack_bytes(first);
            self.next = first.position.offset + 1;
            deliveries.extend(self.ready.pop_front());
        }
        Batch { deliveries }
    }
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next_batch(&mut self, limits: &BatchLimits) -> Result<Batch, LogError> {
        self.fill(limits).await?;
        Ok(self.take_ready(limits))
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), LogError> {
        let Some(last) = positions.iter().map(|position| position.offset).max() else {
            return Ok(());
        };
        if positions.iter().any(|position| position.lane != LANE) || last >= self.shared.segments.end() {
            return Err(LogError::new(
                "committing positions",
                format!("{positions:?} are not all in the log"),
            ));
        }
        let (shared, group) = (Arc::clone(&self.shared), Arc::clone(self.group.group()));
        blocking("committing positions", move || {
            if group.commit(last + 1)? {
                shared.retain_by_newest();
            }
            Ok(())
        })
        .await
    }

    fn withhold(&mut self, from: Position) {
        if from.lane != LANE {
            return;
        }
        self.withheld_from = Some(from.offset);
        self.next = self.next.min(from.offset);
        self.ready.retain(|delivery| delivery.position.offset < from.offset);
        self.ready_bytes = self.ready.iter().map(pack_bytes).sum();
    }

    fn backlog(&self) -> u64 {
        self.shared.segments.end().saturating_sub(self.next)
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn delivery(item: Item) -> Delivery {
    let entry = item.content.and_then(|(headers, payload)| decode_entry(&headers, payload));
    Delivery { position: Position { lane: LANE, offset: item.offset }, entry }
}

fn pack_bytes(delivery: &Delivery) -> usize {
    delivery.entry.as_ref().map_or(0, |entry| entry.payload.len())
}
