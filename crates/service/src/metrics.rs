//! `GET /metrics`, and what the parts of this crate measure.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use instruments::{Counter, Family, Gauge, Histogram, Registry, declare, label};
use openapi::{Answer, Operation, Part, Routes, plain};
use tokio_util::sync::CancellationToken;

use crate::health::TAG;

/// The route of [`router`].
pub const ROUTES: &[&str] = &["/metrics"];

/// How often samples of histograms are counted. They take 16 bytes each until then: at 50,000 requests a second less
/// than a megabyte for each histogram.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The route.
pub fn router(registry: Registry) -> Router {
    routes().router().with_state(registry)
}

/// What it is described as.
pub fn described() -> Part {
    routes().part()
}

fn routes() -> Routes<Registry> {
    let text = "# HELP thalweg_build_info The build that runs; always 1.\n";
    let answer = Answer::of("text/plain", "They.", plain("A line for each value."), text.into());
    let operation = Operation::new("metrics", TAG, "The metrics of this process, for Prometheus.");
    Routes::default().get(ROUTES[0], scrape, operation.answers(200, answer))
}

async fn scrape(State(registry): State<Registry>) -> impl IntoResponse {
    // Counting open file descriptors asks the system, and takes longer the more there are.
    let text = tokio::task::spawn_blocking(move || registry.render()).await;
    let text = text.expect("a registry can always be rendered");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// Keeps the registry's memory small until `shutdown`, whether or not anybody scrapes.
pub async fn upkeep(registry: Registry, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(UPKEEP_INTERVAL) => registry.upkeep(),
        }
    }
}

declare! {
    /// Connections of one listener.
    pub struct ConnectionMetrics: "http_connections" {
        /// Connections that are open.
        pub open: Gauge,
        /// Connections that were accepted.
        pub accepted_total: Counter,
        /// Connections that could not be accepted, for want of file descriptors or memory.
        pub accept_errors_total: Counter,
    }
}

impl ConnectionMetrics {
    /// Counts a connection as open until what it returns is dropped.
    pub(crate) fn opened(&self) -> Open {
        self.accepted_total.increment(1);
        self.open.increment(1.0);
        Open(self.open.clone())
    }
}

/// A connection that is counted.
pub(crate) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

label! {
    /// Where a look-up of access was answered.
    pub enum Lookup: "result" {
        /// A cached grant.
        Granted = "hit",
        /// A cached refusal.
        Refused = "hit_refusal",
        /// The authority, because nothing was cached or a change made it invalid.
        Missed = "miss",
        /// The authority, because the change feed is stale and nothing that is cached is believed.
        Stale = "stale",
        /// Nowhere: the authority could not be asked.
        Failed = "error",
    }
}

label! {
    /// What the access cache holds.
    pub enum Cached: "kind" {
        /// Things that may publish.
        Grants = "grant",
        /// Unknown keys, and things that are not connected.
        Refusals = "refusal",
    }
}

declare! {
    /// The access cache.
    pub struct AccessMetrics: "access_cache" {
        /// Look-ups of whether a thing may publish to a channel.
        pub lookups_total: Family<Lookup, Counter>,
        /// Entries in the cache.
        pub entries: Family<Cached, Gauge>,
    }
}

label! {
    /// Why everything that was cached is asked for again.
    pub enum Loss: "reason" {
        /// A newer build published something that this one does not know.
        UnknownVersion = "unknown_version",
        /// Something is on the feed that is no change.
        Malformed = "malformed",
        /// Changes were deleted before they were read, or the feed was made anew.
        Deleted = "deleted",
    }
}

declare! {
    /// The change feed, where it is followed.
    pub struct FeedMetrics: "change_feed" {
        /// Changes of access that were applied to what this process caches.
        pub applied_total: Counter,
        /// Times that changes could not be read, and everything cached is asked for again.
        pub losses_total: Family<Loss, Counter>,
        /// Changes that are on the feed and not applied, when its end was last asked.
        pub lag_changes: Gauge,
        /// Time since everything on the feed was applied, for certain; 0 in one process.
        pub unconfirmed_seconds: Gauge,
        /// Whether the feed can't be confirmed, and nothing is answered from the access cache: 0 or 1.
        pub stale: Gauge,
    }
}

label! {
    /// How a request to a control plane ended.
    pub enum Exchange: "outcome" {
        /// With an answer.
        Answered = "answered",
        /// It had too much to do (503).
        Busy = "busy",
        /// It did not accept the credential (401).
        Refused = "refused",
        /// It could not be reached, did not answer in time, or answered something else.
        Failed = "failed",
    }
}

label! {
    /// Why a question was not answered.
    pub enum Unanswered: "reason" {
        /// Too many waited.
        Full = "full",
        /// It took too long.
        Late = "late",
        /// No control plane answered.
        Nobody = "nobody",
        /// The answer could not be understood.
        NotUnderstood = "not_understood",
    }
}

declare! {
    /// What a node asks the control plane.
    pub struct RemoteAuthorityMetrics: "authority" {
        /// Requests to a control plane's internal listener.
        pub requests_total: Family<Exchange, Counter>,
        /// Time from sending such a request to its answer, or to giving it up.
        pub request_seconds: Histogram,
        /// Questions about things that went together in a request.
        pub request_questions: Histogram,
        /// Questions about things that wait to be sent.
        pub questions_waiting: Gauge,
        /// Questions that were not answered.
        pub unanswered_total: Family<Unanswered, Counter>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an embedded server shows has its test there; it never asks another process.
    #[test]
    fn what_only_a_cluster_shows_is_documented_as_it_is() {
        let registry = Registry::new();
        RemoteAuthorityMetrics::register(&registry).request_seconds.record(0.0);
        let text = registry.render();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
        let documented = std::fs::read_to_string(file).unwrap();
        let section =
            documented.split_once("### Only in a cluster").unwrap().1.split("\n### ").next().unwrap();
        let mut rows = 0;
        for (name, help) in text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')) {
            let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap();
            let label =
                text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{"))?.split_once('='));
            let label = label.map(|(label, _)| format!("`{label}`")).unwrap_or_default();
            let row = format!("| `{name}` | {kind} | {label} | {help} |");
            assert!(section.lines().any(|line| line == row), "docs/operating.md has to say: {row}");
            rows += 1;
        }
        assert_eq!(section.lines().filter(|line| line.starts_with("| `")).count(), rows, "and nothing more");
    }
}
