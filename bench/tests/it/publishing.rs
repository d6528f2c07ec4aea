//! How the load is made: pace, sending again, another address, another process.

use thalweg_bench::ledger::{Ledger, Load, Pace};
use tokio_util::sync::CancellationToken;

use crate::faulty::Fault;
use crate::{SETTLE, faulty, ledger_at, load, login, plan, serve, serve_with};

#[tokio::test]
async fn a_careful_thing_sends_again_and_adds_no_rows() {
    for fault in [Fault::Refuse, Fault::Break] {
        let ledger = ledger_at(serve_with(fault).await).await;
        let load = Load { resend: true, ..load(600) };
        let published = ledger.publish(&load, CancellationToken::new()).await.unwrap();
        assert_eq!(published.packs_acknowledged, 600, "{published:?}");
        assert!(published.resent >= 100, "{published:?}");
        let verdict = ledger.verify(SETTLE).await.unwrap();
        assert!(verdict.holds() && verdict.stored == 1_200, "{verdict}");
    }
}

#[tokio::test]
async fn publishing_follows_a_server_that_moves() {
    let server = faulty(Fault::None);
    let (first, second) = (serve(&server).await, serve(&server).await);
    let ledger = ledger_at(first).await;
    let stop = CancellationToken::new();
    let load = Load { packs: None, ..load(0) };
    let publishing = tokio::spawn({
        let (ledger, stop) = (ledger.clone(), stop.clone());
        async move { ledger.publish(&load, stop).await }
    });
    let mut acknowledged = ledger.acknowledged();
    acknowledged.wait_for(|packs| *packs >= 50).await.unwrap();
    // Nothing listens at the discard port: every pack waits until the server is somewhere again.
    ledger.retarget(([127, 0, 0, 1], 9).into());
    ledger.retarget(second);
    let now = *acknowledged.borrow();
    acknowledged.wait_for(|packs| *packs >= now + 50).await.unwrap();
    stop.cancel();
    let published = publishing.await.unwrap().unwrap();
    assert!(published.packs_acknowledged >= 100 && published.unanswered == 0, "{published:?}");
    let verdict = ledger.verify(SETTLE).await.unwrap();
    assert!(verdict.holds(), "{verdict}");
}

#[tokio::test]
async fn an_open_loop_charges_a_stall_to_every_pack_that_was_due() {
    let ledger = ledger_at(serve_with(Fault::Stall).await).await;
    // All fifty packs are due within the first 50 ms, and the only connection is busy for 400.
    let open = Load { connections: 1, pace: Pace::Open(1_000.0), ..load(50) };
    let published = ledger.publish(&open, CancellationToken::new()).await.unwrap();
    assert_eq!(published.packs_acknowledged, 50);
    assert!(published.latency.p50 >= 300.0, "{published:?}");
}

#[tokio::test]
async fn another_process_can_verify_and_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("ledger");
    let address = serve_with(Fault::None).await;
    let first = Ledger::set_up(address, &login(), plan(), Some(&state)).await.unwrap();
    let first = std::sync::Arc::new(first);
    first.publish(&load(100), CancellationToken::new()).await.unwrap();
    drop(first);

    let second = std::sync::Arc::new(Ledger::open(address, &state).unwrap());
    let verdict = second.verify(SETTLE).await.unwrap();
    assert!(verdict.holds() && verdict.acknowledged == 200, "{verdict}");
    second.publish(&load(100), CancellationToken::new()).await.unwrap();
    drop(second);

    let verdict = Ledger::open(address, &state).unwrap().verify(SETTLE).await.unwrap();
    assert!(verdict.holds() && verdict.acknowledged == 400 && verdict.stored == 400, "{verdict}");
}
