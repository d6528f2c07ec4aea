//! The ledger against a server that can be told to do wrong: each fault must be found, and named rightly.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "../../fixture/faulty.rs"]
mod faulty;

mod command;
mod faults;
mod kills;
mod publishing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use faulty::{Fault, Faulty};
use thalweg_bench::api::Login;
use thalweg_bench::ledger::{Ledger, Load, Pace, Plan, PublishReport, Verdict};
use tokio_util::sync::CancellationToken;

/// Enough for anything that will come; what never comes is waited for so long.
const SETTLE: Duration = Duration::from_secs(20);
/// For faults that waiting does not mend.
const NO_SETTLE: Duration = Duration::ZERO;

fn login() -> Login {
    Login { email: "admin@example.com".to_owned(), password: "12345678".to_owned() }
}

fn load(packs: u64) -> Load {
    Load { connections: 4, pace: Pace::Closed, packs: Some(packs), duration: None, resend: false }
}

fn plan() -> Plan {
    Plan { run: 7, channels: 2, things: 3, records_per_pack: 2 }
}

/// Serves, with a fault, on a free port until the test ends.
async fn serve_with(fault: Fault) -> SocketAddr {
    serve(&faulty(fault)).await
}

fn faulty(fault: Fault) -> Arc<Faulty> {
    Faulty::new(fault, None).unwrap()
}

/// Serves on a free port until the test ends.
async fn serve(server: &Arc<Faulty>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn ledger_at(address: SocketAddr) -> Arc<Ledger> {
    Arc::new(Ledger::set_up(address, &login(), plan(), None).await.unwrap())
}

/// Publishes 1,400 packs to a server with a fault, and reads back.
async fn verdict_on(fault: Fault, settle: Duration) -> (PublishReport, Verdict) {
    let ledger = ledger_at(serve_with(fault).await).await;
    let published = ledger.publish(&load(1_400), CancellationToken::new()).await.unwrap();
    (published, ledger.verify(settle).await.unwrap())
}
