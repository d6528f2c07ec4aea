//! What becomes of kept deliveries, on every engine. Times are small numbers of microseconds.

use std::collections::BTreeMap;

use super::*;
use crate::author::Author;
use crate::registry::Registry;
use crate::registry::testing::{new_webhook, on_each_engine};
use crate::registry::webhooks::{Format, Webhook};

const BOUNDS: Bounds = Bounds {
    deliveries_max: 3,
    bytes_max: 1_000,
    give_up_after: 1_000_000,
    replayable_for: 10_000_000,
    disable_after: 5_000,
};
const PLACES: Places = Places { all: 10, slow: 5 };
const FAILURE: Failure = Failure { hold_until: Some(0), is_gone: false };

/// Of so many bytes, told apart by a number.
fn delivery(number: u8, bytes: usize) -> NewDelivery {
    let id = Uuid::from_bytes([number; 16]);
    NewDelivery { id, format: Format::Json, body: vec![number; bytes], records: 1, attempts: 0 }
}

fn kept(webhook: &Webhook, numbers: impl IntoIterator<Item = u8>) -> Kept {
    Kept {
        webhook: webhook.id,
        deliveries: numbers.into_iter().map(|number| delivery(number, 10)).collect(),
        failure: None,
        number: None,
        leaves_number: false,
        hold_until: None,
        slow_until: None,
    }
}

fn settled(webhook: &Webhook, lease: Lease) -> Settled {
    Settled {
        webhook: webhook.id,
        lease,
        delivered: Vec::new(),
        failed: Vec::new(),
        failure: None,
        slow_until: None,
        then: Then::LetGo,
    }
}

/// A registry with what is done to one webhook of it.
struct Desk<'r> {
    registry: &'r Registry,
    webhook: Webhook,
}

impl<'r> Desk<'r> {
    async fn new(registry: &'r Registry) -> Self {
        Self { registry, webhook: new_webhook(registry).await }
    }

    /// A first try succeeds.
    async fn tries_well(&self, at: i64) {
        let attempt = Attempt {
            webhook: self.webhook.id,
            delivery: Uuid::new_v4(),
            at,
            outcome: 1,
            is_delivered: true,
            status: 200,
            latency: 1,
            next_try_at: 0,
            records: 1,
            bytes: 1,
            excerpt: String::new(),
        };
        let tallies = BTreeMap::from([(self.webhook.id, Tally::of(attempt))]);
        self.registry.record_attempts(&tallies).await.unwrap();
    }

    async fn keep(&self, kept: Kept, now: i64) -> Keeping {
        self.registry.keep_deliveries(&[kept], &BOUNDS, now).await.unwrap()
    }

    async fn claim(&self, now: i64, lease: i64) -> bool {
        let claimed = self.registry.claim_webhooks(now, Lease(lease), PLACES).await.unwrap();
        claimed.iter().any(|claimed| claimed.webhook == self.webhook.id)
    }

    async fn settle(&self, settled: Settled, now: i64) -> Settling {
        self.registry.settle_deliveries(&settled, &BOUNDS, now).await.unwrap()
    }

    /// The numbers of what is due, in order, by the rows.
    async fn due(&self, now: i64) -> Vec<(u8, i64)> {
        let due = self.registry.due_deliveries(self.webhook.id, now, 100, 1_000_000).await.unwrap();
        due.iter().map(|pending| (pending.body[0], pending.seq)).collect()
    }

    async fn due_numbers(&self, now: i64) -> Vec<u8> {
        self.due(now).await.into_iter().map(|(number, _)| number).collect()
    }

    async fn webhook(&self) -> Webhook {
        self.registry.webhook(self.webhook.thing, self.webhook.id).await.unwrap().unwrap()
    }

    async fn column(&self, column: &str) -> i64 {
        let mut select = SqlBuilder::new("SELECT ");
        select.push(column).push(" FROM webhooks WHERE id = ").push_bind(self.webhook.id.as_uuid());
        let (value,) = select.build().fetch_one(&self.registry.readers).await.unwrap();
        value
    }

    /// What is kept, by the rows; the counters say the same.
    async fn rows(&self) -> [(i64, i64); 2] {
        let mut found = Vec::new();
        for (state, name) in [(PENDING, "pending"), (EXPIRED, "expired")] {
            let rows: (i64, i64) =
                sql("SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM webhook_deliveries
                     WHERE webhook_id = $1 AND state = $2")
                .bind(self.webhook.id.as_uuid())
                .bind(state)
                .fetch_one(&self.registry.readers)
                .await
                .unwrap();
            let counted =
                (self.column(&format!("{name}_count")).await, self.column(&format!("{name}_bytes")).await);
            assert_eq!(counted, rows, "{name}");
            found.push(rows);
        }
        [found[0], found[1]]
    }
}

#[tokio::test]
async fn who_lost_the_lease_writes_nothing_but_what_was_delivered() {
    on_each_engine(async |registry| {
        let desk = Desk::new(registry).await;
        desk.keep(kept(&desk.webhook, 1..=3), 1).await;
        assert!(desk.claim(10, 70).await && !desk.claim(69, 129).await);
        assert!(desk.claim(70, 130).await, "the first is cut off for longer than its lease");
        let [(_, first), (_, second), _] = desk.due(70).await[..] else { panic!("three are due") };
        let failure = Some(Failure { hold_until: Some(9_000), is_gone: false });
        let late = |then| Settled {
            delivered: vec![first],
            failed: vec![(second, 8_000)],
            failure,
            slow_until: Some(7_000),
            then,
            ..settled(&desk.webhook, Lease(70))
        };
        for then in [Then::LetGo, Then::Rest, Then::GoOn(Lease(150))] {
            assert_eq!(desk.settle(late(then), 90).await, Settling::TooLate);
            assert_eq!(desk.due_numbers(90).await, [2, 3], "what was delivered is not delivered again");
            let seen = [
                desk.column("lease_until").await,
                desk.column("failures").await,
                desk.column("slow_until").await,
            ];
            assert_eq!((seen, desk.column("hold_until").await), ([130, 0, 0], 0));
        }
        assert_eq!(desk.rows().await, [(2, 20), (0, 0)]);
        // Who has it goes on, also if it did not hear that its lease was renewed.
        let renewed = Settled { then: Then::GoOn(Lease(160)), ..settled(&desk.webhook, Lease(130)) };
        assert_eq!(desk.settle(renewed.clone(), 100).await, Settling::Written);
        assert_eq!(desk.settle(renewed, 101).await, Settling::Written);
        assert_eq!(desk.settle(settled(&desk.webhook, Lease(160)), 102).await, Settling::Written);
        assert!(desk.claim(103, 163).await, "it was let go");
    })
    .await;
}

#[tokio::test]
async fn the_oldest_expire_where_there_are_too_many_and_the_oldest_expired_are_dropped() {
    on_each_engine(async |registry| {
        let desk = Desk::new(registry).await;
        desk.keep(kept(&desk.webhook, 1..=3), 1).await;
        assert_eq!(desk.rows().await, [(3, 30), (0, 0)]);
        desk.keep(kept(&desk.webhook, 4..=5), 2).await;
        assert_eq!((desk.rows().await, desk.due_numbers(2).await), ([(3, 30), (2, 20)], vec![3, 4, 5]));
        // 600 bytes and 30 fit, and then 600 more do not, with those.
        let large = |number| Kept { deliveries: vec![delivery(number, 600)], ..kept(&desk.webhook, []) };
        desk.keep(large(6), 3).await;
        assert_eq!((desk.rows().await, desk.due_numbers(3).await), ([(3, 620), (3, 30)], vec![4, 5, 6]));
        desk.keep(large(7), 4).await;
        let (rows, due) = (desk.rows().await, desk.due_numbers(4).await);
        assert_eq!((rows, due), ([(1, 600), (3, 620)], vec![7]), "by bytes");
        let counters = desk.webhook().await.counters;
        assert_eq!((counters.expired, counters.dropped, counters.replayable), (6, 3, 3));
        let (_, shown) = registry.kept_deliveries(desk.webhook.id, KeptState::Expired, 0, 10).await.unwrap();
        let left: Vec<u8> = shown.iter().map(|shown| shown.id.as_bytes()[0]).collect();
        assert_eq!(left, [4, 5, 6]);
        desk.keep(large(8), 5).await;
        assert_eq!(desk.rows().await, [(1, 600), (1, 600)], "those that expired are bounded in bytes, too");
        // Once more the same: nothing comes of it.
        desk.keep(large(8), 6).await;
        assert_eq!(desk.rows().await, [(1, 600), (1, 600)]);
    })
    .await;
}

#[tokio::test]
async fn what_has_expired_is_counted_out_once_whoever_takes_it_away() {
    on_each_engine(async |registry| {
        let desk = Desk::new(registry).await;
        desk.keep(kept(&desk.webhook, 1..=3), 1).await;
        assert!(desk.claim(10, 100).await);
        let due = desk.due(10).await;
        let end = 1 + BOUNDS.give_up_after;
        assert!(!registry.sweep_deliveries(&BOUNDS, end).await.unwrap());
        assert_eq!(desk.rows().await, [(0, 0), (3, 30)]);
        // Given up while it was on its way, and delivered all the same.
        let delivered = Settled { delivered: vec![due[0].1, due[2].1], ..settled(&desk.webhook, Lease(100)) };
        for _ in 0..2 {
            desk.settle(delivered.clone(), end + 1).await;
            assert_eq!(desk.rows().await, [(0, 0), (1, 10)]);
        }
        registry.sweep_deliveries(&BOUNDS, end + BOUNDS.replayable_for).await.unwrap();
        assert_eq!(desk.rows().await, [(0, 0), (0, 0)]);
        desk.settle(Settled { delivered: vec![due[1].1], ..delivered }, end + 2).await;
        assert_eq!(desk.rows().await, [(0, 0), (0, 0)]);
    })
    .await;
}

#[tokio::test]
async fn what_comes_later_is_not_held_back_by_what_stepped_aside() {
    on_each_engine(async |registry| {
        let desk = Desk::new(registry).await;
        desk.keep(kept(&desk.webhook, [1]), 1).await;
        assert!(desk.claim(10, 100).await);
        let [(1, refused)] = desk.due(10).await[..] else { panic!("one is due") };
        let aside = Settled {
            failed: vec![(refused, 5_000)],
            failure: Some(Failure { hold_until: None, is_gone: false }),
            then: Then::GoOn(Lease(110)),
            ..settled(&desk.webhook, Lease(100))
        };
        desk.settle(aside, 20).await;
        let rests = |lease| Settled { then: Then::Rest, ..settled(&desk.webhook, lease) };
        desk.settle(rests(Lease(110)), 30).await;
        assert_eq!((desk.column("hold_until").await, desk.claim(4_999, 6_000).await), (5_000, false));
        desk.keep(kept(&desk.webhook, [2]), 31).await;
        assert!(desk.claim(32, 132).await);
        let [(2, new)] = desk.due(32).await[..] else { panic!("the new one is due alone") };
        // One more comes between the look for what is due and the rest that follows from it.
        desk.settle(
            Settled {
                delivered: vec![new],
                then: Then::GoOn(Lease(133)),
                ..settled(&desk.webhook, Lease(132))
            },
            33,
        )
        .await;
        assert!(desk.due(33).await.is_empty());
        desk.keep(kept(&desk.webhook, [3]), 34).await;
        desk.settle(rests(Lease(133)), 35).await;
        assert!(desk.claim(36, 136).await, "it does not wait for the other one's time");
        assert_eq!(desk.due_numbers(36).await, [3]);
    })
    .await;
}

#[tokio::test]
async fn a_webhook_is_disabled_by_failures_in_a_row_and_not_by_one_now_and_then() {
    on_each_engine(async |registry| {
        let desk = Desk::new(registry).await;
        let failed = |number| Kept { failure: Some(FAILURE), ..kept(&desk.webhook, [number]) };
        let standing = async || {
            let webhook = desk.webhook().await;
            (webhook.counters.failures, webhook.counters.failing_since, webhook.disabled)
        };
        let mut now = 1_000;
        for number in 1..=3 {
            assert!(desk.keep(failed(number), now).await.disabled.is_empty());
            assert_eq!(standing().await, (1, now, None));
            assert!(desk.claim(now + 1, now + 100).await);
            let delivered = desk.due(now + 1).await.into_iter().map(|(_, seq)| seq).collect();
            let settled = Settled { delivered, ..settled(&desk.webhook, Lease(now + 100)) };
            assert_eq!(desk.settle(settled, now + 2).await, Settling::Written);
            assert_eq!(standing().await, (0, 0, None));
            now += 4_000;
        }
        // In one chunk, one is taken before the next fails: that is the first failure.
        desk.keep(failed(4), now).await;
        desk.keep(kept(&desk.webhook, [5]), now).await;
        assert!(desk.claim(now + 1, now + 100).await);
        let due = desk.due(now + 1).await;
        let mixed = Settled {
            delivered: vec![due[0].1],
            failed: vec![(due[1].1, 0)],
            failure: Some(FAILURE),
            ..settled(&desk.webhook, Lease(now + 100))
        };
        desk.settle(mixed, now + 50).await;
        assert_eq!(standing().await, (1, now + 50, None));
        // A first try that succeeds ends a row, too, once nothing is kept.
        desk.tries_well(now + 60).await;
        assert_eq!(standing().await.0, 1, "one waits still");
        assert!(desk.claim(now + 61, now + 161).await);
        let failed_for_long = Settled { failure: Some(FAILURE), ..settled(&desk.webhook, Lease(now + 161)) };
        let end = now + 50 + BOUNDS.disable_after;
        assert_eq!(desk.settle(failed_for_long, end).await, Settling::Disabled(Disabled::Failing));
        assert_eq!(standing().await, (2, now + 50, Some(Disabled::Failing)));
        registry.enable_webhook(&Author::nobody(), &desk.webhook, end + 1).await.unwrap();
        assert_eq!(standing().await, (0, 0, None));
    })
    .await;
}

#[tokio::test]
async fn a_first_success_after_what_expired_ends_a_row_of_failures() {
    on_each_engine(async |registry| {
        let desk = Desk::new(registry).await;
        desk.keep(Kept { failure: Some(FAILURE), ..kept(&desk.webhook, [1]) }, 1).await;
        registry.sweep_deliveries(&BOUNDS, 1 + BOUNDS.give_up_after).await.unwrap();
        assert_eq!(desk.column("failures").await, 1);
        desk.tries_well(5).await;
        assert_eq!((desk.column("failures").await, desk.column("failing_since").await), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn what_fails_after_others_were_kept_behind_it_gets_the_number_before_them() {
    on_each_engine(async |registry| {
        let desk = Desk::new(registry).await;
        let behind = Kept { leaves_number: true, hold_until: Some(50), ..kept(&desk.webhook, [2, 3]) };
        let keeping = desk.keep(behind, 1).await;
        let number = keeping.numbers.get(&desk.webhook.id).copied();
        assert!(number.is_some() && !desk.claim(49, 100).await, "they wait for the try that is under way");
        let failed = Kept { failure: Some(FAILURE), number, ..kept(&desk.webhook, [1, 4]) };
        // The answer is lost the first time.
        for _ in 0..2 {
            desk.keep(failed.clone(), 10).await;
            desk.registry.let_deliveries_go(desk.webhook.id).await.unwrap();
        }
        assert_eq!(desk.column("pending_count").await, 3, "one is more than the bounds, the oldest");
        let (_, shown) = registry.kept_deliveries(desk.webhook.id, KeptState::Expired, 0, 10).await.unwrap();
        assert_eq!(shown[0].id, delivery(1, 0).id);
        assert_eq!(desk.due_numbers(11).await, [2, 3, 4]);
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_a_first_try_waits_whatever_its_owner_does_and_failures_do_not() {
    on_each_engine(async |registry| {
        let desk = Desk::new(registry).await;
        let by = Author::nobody();
        let url = crate::registry::webhooks::WebhookUpdate {
            url: Some("https://b.example/".to_owned()),
            ..Default::default()
        };
        let both = (desk.webhook.thing, desk.webhook.id);
        let hold = async || desk.column("hold_until").await;
        desk.keep(Kept { hold_until: Some(500), ..kept(&desk.webhook, [1]) }, 1).await;
        registry.enable_webhook(&by, &desk.webhook, 2).await.unwrap();
        registry.update_webhook(&by, &desk.webhook, &url, 3).await.unwrap();
        registry.replay_deliveries(&by, both, None, &BOUNDS, 4).await.unwrap();
        assert_eq!(hold().await, 500);
        // Nor does who works on what is kept take it away, if it is put there meanwhile.
        registry.let_deliveries_go(desk.webhook.id).await.unwrap();
        for then in [Then::LetGo, Then::Rest] {
            assert!(desk.claim(10, 100).await);
            desk.keep(Kept { hold_until: Some(500), ..kept(&desk.webhook, []) }, 11).await;
            desk.settle(Settled { then, ..settled(&desk.webhook, Lease(100)) }, 12).await;
            assert_eq!((hold().await, desk.column("steps_aside").await), (500, 0));
            registry.let_deliveries_go(desk.webhook.id).await.unwrap();
        }
        let failing = Failure { hold_until: Some(900), is_gone: false };
        for step in 0..3 {
            desk.keep(Kept { failure: Some(failing), ..kept(&desk.webhook, [2]) }, 20).await;
            assert_eq!(hold().await, 900);
            match step {
                0 => assert!(registry.enable_webhook(&by, &desk.webhook, 21).await.unwrap()),
                1 => assert!(registry.update_webhook(&by, &desk.webhook, &url, 21).await.unwrap()),
                _ => assert_eq!(registry.replay_deliveries(&by, both, None, &BOUNDS, 21).await.unwrap(), 0),
            }
            assert_eq!(hold().await, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn slow_webhooks_are_taken_for_their_places_only() {
    on_each_engine(async |registry| {
        let mut slow = Vec::new();
        for _ in 0..4 {
            let webhook = new_webhook(registry).await;
            let kept = Kept { slow_until: Some(1_000), ..kept(&webhook, [1]) };
            registry.keep_deliveries(&[kept], &BOUNDS, 1).await.unwrap();
            slow.push(webhook.id);
        }
        let quick = Desk::new(registry).await;
        let places = |all, slow| Places { all, slow };
        quick.keep(kept(&quick.webhook, [1]), 1).await;
        let claimed = registry.claim_webhooks(10, Lease(110), places(4, 1)).await.unwrap();
        let ids: Vec<(bool, bool)> =
            claimed.iter().map(|one| (one.is_slow, slow.contains(&one.webhook))).collect();
        assert_eq!(ids, [(true, true), (false, false)]);
        assert!(registry.claim_webhooks(11, Lease(111), places(4, 0)).await.unwrap().is_empty());
        assert_eq!(registry.claim_webhooks(12, Lease(112), places(2, 4)).await.unwrap().len(), 2);
        let claimed = registry.claim_webhooks(1_000, Lease(2_000), places(10, 0)).await.unwrap();
        assert!(claimed.len() == 5 && claimed.iter().all(|one| !one.is_slow), "none is slow for ever");
    })
    .await;
}

#[tokio::test]
async fn every_secret_signs_as_long_as_was_promised_and_there_are_so_many() {
    use crate::registry::webhooks::{Rotation, SECRETS_MAX};
    on_each_engine(async |registry| {
        let desk = Desk::new(registry).await;
        let rotate = async |number: u8, until: i64, now: i64| {
            let sealed = [number];
            registry
                .rotate_webhook_secret(&Author::nobody(), &desk.webhook, &sealed, until, now)
                .await
                .unwrap()
        };
        for number in 1..SECRETS_MAX {
            assert_eq!(rotate(number as u8, 1_000 + number, number).await, Rotation::Done);
        }
        let old = async || {
            let webhooks = registry.webhooks_of(&[desk.webhook.id]).await.unwrap();
            let changes = registry.webhook_changes(0).await.unwrap();
            let secrets = |webhook: &Webhook| -> Vec<(u8, i64)> {
                webhook.old_secrets.iter().map(|old| (old.sealed[0], old.until)).collect()
            };
            assert_eq!(secrets(&changes.webhooks[0]), secrets(&webhooks[0]));
            secrets(&webhooks[0])
        };
        assert_eq!(old().await, [(3, 1_004), (2, 1_003), (1, 1_002), (0, 1_001)]);
        assert_eq!(rotate(9, 2_000, 1_000).await, Rotation::TooMany { until: 1_001 });
        assert_eq!(desk.webhook().await.sealed_secret, [4]);
        assert_eq!(rotate(5, 2_000, 1_001).await, Rotation::Done);
        assert_eq!(old().await, [(4, 2_000), (3, 1_004), (2, 1_003), (1, 1_002)]);
        registry.delete_webhook(&Author::nobody(), &desk.webhook).await.unwrap();
        let count = sql("SELECT COUNT(*) FROM webhook_older_secrets");
        assert_eq!(count.fetch_one::<(i64,)>(&registry.readers).await.unwrap(), (0,));
    })
    .await;
}
