//! One test for each way in which a server can break its promises.

use crate::faulty::Fault;
use crate::{NO_SETTLE, SETTLE, verdict_on};

#[tokio::test]
async fn an_honest_server_holds() {
    let (published, verdict) = verdict_on(Fault::None, SETTLE).await;
    assert_eq!((published.packs_acknowledged, published.records_acknowledged), (1_400, 2_800));
    assert_eq!(published.answers, [(202, 1_400)].into());
    assert!(verdict.holds(), "{verdict}");
    assert_eq!((verdict.acknowledged, verdict.stored, verdict.total), (2_800, 2_800, 2_800));
}

#[tokio::test]
async fn lost_records_are_found() {
    let (_, verdict) = verdict_on(Fault::Lose, NO_SETTLE).await;
    assert_eq!((verdict.lost, verdict.acknowledged, verdict.stored), (400, 2_800, 2_400), "{verdict}");
    assert!(!verdict.holds());
    assert!(verdict.examples[0].starts_with("acknowledged, not there: 2 records of pack"), "{verdict}");
}

#[tokio::test]
async fn doubled_records_are_found() {
    let (_, verdict) = verdict_on(Fault::Double, SETTLE).await;
    assert_eq!((verdict.doubled, verdict.lost, verdict.stored), (200, 0, 3_000), "{verdict}");
    assert!(!verdict.holds());
}

#[tokio::test]
async fn records_out_of_order_are_found() {
    let (_, verdict) = verdict_on(Fault::Reorder, SETTLE).await;
    // Two channels of 1,400 records: two pages each.
    assert_eq!((verdict.misordered, verdict.lost, verdict.doubled), (4, 0, 0), "{verdict}");
    assert!(!verdict.holds());
}

#[tokio::test]
async fn records_under_another_name_are_invented() {
    let (_, verdict) = verdict_on(Fault::InventName, SETTLE).await;
    assert_eq!((verdict.invented, verdict.lost), (200, 0), "{verdict}");
    assert!(!verdict.holds());
}

#[tokio::test]
async fn records_of_the_future_are_invented() {
    let (_, verdict) = verdict_on(Fault::InventTime, SETTLE).await;
    assert_eq!((verdict.invented, verdict.lost), (200, 0), "{verdict}");
    assert!(!verdict.holds());
}

#[tokio::test]
async fn altered_values_are_found() {
    let (_, verdict) = verdict_on(Fault::Alter, SETTLE).await;
    assert_eq!((verdict.altered, verdict.lost), (200, 0), "{verdict}");
    assert!(!verdict.holds());
}

#[tokio::test]
async fn what_was_refused_must_not_be_stored() {
    let (published, verdict) = verdict_on(Fault::KeepRefused, SETTLE).await;
    assert_eq!(published.answers, [(202, 1_200), (400, 200)].into());
    assert_eq!((verdict.refused_but_stored, verdict.lost), (400, 0), "{verdict}");
    assert!(!verdict.holds());
}

#[tokio::test]
async fn a_pack_is_stored_whole_or_not_at_all() {
    let (_, verdict) = verdict_on(Fault::Tear, NO_SETTLE).await;
    assert_eq!((verdict.torn_packs, verdict.unknown_but_stored, verdict.lost), (200, 200, 0), "{verdict}");
    assert!(!verdict.holds());
}

#[tokio::test]
async fn a_total_that_is_wrong_is_found() {
    let (_, verdict) = verdict_on(Fault::Miscount, NO_SETTLE).await;
    assert_eq!((verdict.total, verdict.stored, verdict.lost), (2_802, 2_800, 0), "{verdict}");
    assert!(!verdict.holds());
}

#[tokio::test]
async fn refusals_are_counted_and_are_no_fault() {
    let (published, verdict) = verdict_on(Fault::Refuse, SETTLE).await;
    assert_eq!(published.answers, [(202, 1_200), (503, 200)].into());
    assert!(verdict.holds(), "{verdict}");
    assert_eq!((verdict.acknowledged, verdict.stored, verdict.unknown_but_stored), (2_400, 2_400, 0));
}

#[tokio::test]
async fn what_was_not_answered_may_be_stored() {
    let (published, verdict) = verdict_on(Fault::Break, SETTLE).await;
    assert_eq!((published.packs_acknowledged, published.unanswered), (1_200, 200));
    assert!(verdict.holds(), "{verdict}");
    assert_eq!((verdict.acknowledged, verdict.stored, verdict.unknown_but_stored), (2_400, 2_800, 400));
}

#[tokio::test]
async fn what_is_stored_a_little_later_is_waited_for() {
    let (_, verdict) = verdict_on(Fault::Late, SETTLE).await;
    assert!(verdict.holds(), "{verdict}");
    let (_, verdict) = verdict_on(Fault::Late, NO_SETTLE).await;
    assert!(!verdict.holds() && verdict.lost > 0, "{verdict}");
}
