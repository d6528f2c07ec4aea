//! The log on a disk that stops at an arbitrary moment and keeps an arbitrary part of what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use thalweg_log::simulated::SimulatedDisk;
use thalweg_log::suite::{ANY, entry};
use thalweg_log::{EmbeddedConfig, EmbeddedLog, Log, Subscription};

use crate::support::{open_on, position, read_to_end};

/// One life of the machine.
#[derive(Debug, Clone)]
struct Life {
    /// Operations of the disk until it stops.
    operations: u64,
    /// What is tried until then.
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Appends that run at the same time, each of entries of these lengths.
    Append(Vec<Vec<usize>>),
    /// The group reads this many entries and commits them.
    Consume(usize),
}

fn any_life() -> impl Strategy<Value = Life> {
    let length = prop_oneof![4 => 0_usize..60, 1 => 400_usize..3_000];
    let append =
        proptest::collection::vec(proptest::collection::vec(length, 1..4), 1..6).prop_map(Step::Append);
    let step = prop_oneof![3 => append, 1 => (1_usize..20).prop_map(Step::Consume)];
    (1_u64..120, proptest::collection::vec(step, 1..12))
        .prop_map(|(operations, steps)| Life { operations, steps })
}

/// What has to hold, whatever the disk did.
#[derive(Debug, Default)]
struct Ledger {
    tried: BTreeSet<Bytes>,
    /// Offsets that were answered or delivered, and what stands there for ever.
    known: BTreeMap<u64, Bytes>,
    /// Offsets of which the answer says that they are kept.
    acknowledged: BTreeSet<u64>,
    /// The first offset that the group did not commit: as answered, and as tried.
    committed: u64,
    commit_tried: u64,
    next_payload: u64,
}

impl Ledger {
    /// One offset holds one entry for ever, and only one that somebody appended.
    fn learn(&mut self, offset: u64, payload: Bytes) {
        assert!(self.tried.contains(&payload), "offset {offset} holds what nobody appended");
        let known = self.known.entry(offset).or_insert_with(|| payload.clone());
        assert_eq!(*known, payload, "offset {offset} was used twice");
    }

    fn payload(&mut self, length: usize) -> Bytes {
        self.next_payload += 1;
        let mut payload = format!("{:08}", self.next_payload).into_bytes();
        payload.resize(8 + length, (self.next_payload % 251) as u8);
        let payload = Bytes::from(payload);
        self.tried.insert(payload.clone());
        payload
    }

    async fn live(&mut self, disk: &SimulatedDisk, life: &Life, config: EmbeddedConfig) {
        disk.stop_after(life.operations);
        // The machine may stop while the log is being opened.
        let opened = EmbeddedLog::open_on(Arc::new(disk.clone()), Path::new("/log"), config, &[]);
        if let Ok((log, _)) = opened {
            if let Ok(mut subscription) = log.subscribe("g", &[]).await {
                for step in &life.steps {
                    match step {
                        Step::Append(appends) => self.append(&log, appends).await,
                        Step::Consume(entries) => self.consume(&log, subscription.as_mut(), *entries).await,
                    }
                }
            }
            log.close().await;
        }
        disk.crash();
    }

    async fn append(&mut self, log: &EmbeddedLog, appends: &[Vec<usize>]) {
        let mut waiting = Vec::new();
        for lengths in appends {
            let payloads: Vec<_> = lengths.iter().map(|&length| self.payload(length)).collect();
            let entries = payloads.iter().map(|payload| entry(1, 0, payload.clone())).collect();
            waiting.push(async move { (payloads, log.append(entries).await) });
        }
        for (payloads, answer) in join_all(waiting).await {
            for (position, payload) in answer.into_iter().flatten().zip(payloads) {
                self.learn(position.offset, payload);
                self.acknowledged.insert(position.offset);
            }
        }
    }

    async fn consume(&mut self, log: &EmbeddedLog, subscription: &mut dyn Subscription, entries: usize) {
        let limits = thalweg_log::BatchLimits { entries_max: entries, ..ANY };
        if subscription.backlog() == 0 {
            return;
        }
        let Ok(batch) = subscription.next_batch(&limits).await else {
            return;
        };
        for delivery in &batch.deliveries {
            assert!(delivery.position.offset < log.end(), "what is delivered is durable");
            if let Ok(entry) = &delivery.entry {
                self.learn(delivery.position.offset, entry.payload.clone());
            }
        }
        let last = batch.last_positions();
        self.commit_tried = self.commit_tried.max(last[0].offset + 1);
        if subscription.commit(&last).await.is_ok() {
            self.committed = self.committed.max(last[0].offset + 1);
        }
    }

    /// Everything that was answered is there, in order, and nothing else.
    async fn check(&mut self, disk: &SimulatedDisk, config: EmbeddedConfig) {
        let (log, report) = open_on(disk, config);
        let mut subscription = log.subscribe("audit", &[]).await.unwrap();
        let mut next = 0;
        for delivery in read_to_end(subscription.as_mut()).await {
            let offset = delivery.position.offset;
            match delivery.entry {
                Ok(entry) => {
                    assert_eq!(offset, next, "offsets are consecutive");
                    self.learn(offset, entry.payload);
                }
                Err(error) => {
                    let lost = (next..=offset).find(|lost| self.acknowledged.contains(lost));
                    assert_eq!(lost, None, "{error}; {report:?}");
                }
            }
            next = offset + 1;
        }
        assert_eq!(next, log.end());
        let last = self.acknowledged.last();
        assert!(
            last.is_none_or(|&last| last < next),
            "offset {last:?} was answered, but the log ends at {next}"
        );
        let mut group = log.subscribe("g", &[]).await.unwrap();
        let begins = log.end() - group.backlog();
        let allowed = self.committed..=self.commit_tried.max(self.committed);
        assert!(allowed.contains(&begins), "the group begins at {begins}, not in {allowed:?}");
        if begins > 0 {
            group.commit(&[position(begins - 1)]).await.unwrap();
        }
        drop((group, subscription));
        log.close().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn what_was_answered_survives_any_crash(
        seed: u64,
        lives in proptest::collection::vec(any_life(), 1..5),
        segment_bytes in prop_oneof![Just(300_u64), Just(3_000), Just(64 << 10)],
    ) {
        let config = EmbeddedConfig { segment_bytes, ..EmbeddedConfig::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let disk = SimulatedDisk::new(seed);
            let mut ledger = Ledger::default();
            for life in &lives {
                ledger.live(&disk, life, config.clone()).await;
                ledger.check(&disk, config.clone()).await;
            }
        });
    }
}

/// Runs futures at the same time, on this task.
async fn join_all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut futures {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if futures.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    futures.into_iter().map(|(_, output)| output.expect("all are ready")).collect()
}
