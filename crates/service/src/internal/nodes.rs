//! Several control planes: whom to ask next, and whom to leave alone for a while.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::Uri;
use http::uri::{PathAndQuery, Scheme};

/// How long one that failed is left alone, doubled with each failure in a row up to [`SHUN_MAX`].
const SHUN_MIN: Duration = Duration::from_secs(1);
/// The longest time that one is left alone. Looking whether it is back may cost one batch its answer's time limit.
const SHUN_MAX: Duration = Duration::from_secs(30);

/// Where an internal listener is: `http://host:port`, or with a path in front of its routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Uri);

/// The text is no base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// It can't be read, or has no host.
    #[error("is not a URL like http://control-plane:8081")]
    Unreadable,
    /// The internal listener speaks plain HTTP.
    #[error("has to begin with http://; the internal listener has no TLS of its own")]
    NotHttp,
}

impl FromStr for BaseUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| BadUrl::Unreadable)?;
        let is_bare = uri.query().is_none() && uri.host().is_some_and(|host| !host.is_empty());
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP && is_bare => Ok(Self(uri)),
            Some(scheme) if *scheme == Scheme::HTTPS => Err(BadUrl::NotHttp),
            _ => Err(BadUrl::Unreadable),
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

impl BaseUrl {
    /// The URL of a route.
    pub(super) fn with(&self, route: &str) -> Uri {
        let mut parts = self.0.clone().into_parts();
        let path = format!("{}{route}", self.0.path().trim_end_matches('/'));
        parts.path_and_query = Some(PathAndQuery::try_from(path).expect("both parts of the path are paths"));
        Uri::from_parts(parts).expect("a URL with another path is a URL")
    }
}

/// The control planes of one installation. All moments are those of a clock that nobody sets.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    /// Whose turn it is: load is spread over those that answer.
    next: AtomicUsize,
}

#[derive(Debug)]
struct Node {
    url: BaseUrl,
    failures: AtomicU32,
    shunned_until_nanos: AtomicU64,
}

impl Nodes {
    /// `first` chooses whom to begin with: another one for each process.
    pub(super) fn new(urls: Vec<BaseUrl>, first: usize) -> Self {
        let node = |url| Node { url, failures: AtomicU32::new(0), shunned_until_nanos: AtomicU64::new(0) };
        Self { nodes: urls.into_iter().map(node).collect(), next: AtomicUsize::new(first) }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn url(&self, node: usize) -> &BaseUrl {
        &self.nodes[node].url
    }

    /// Everyone, in the order in which to ask: those that are shunned last. One whose time is over is tried by one caller, who
    /// may wait `trial` for it; the others find it shunned meanwhile.
    pub(super) fn in_order(&self, now: Duration, trial: Duration) -> Vec<usize> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let all = (0..self.len()).map(|i| first.wrapping_add(i) % self.len());
        let (mut good, shunned): (Vec<_>, Vec<_>) =
            all.partition(|&node| self.nodes[node].is_to_be_tried(now, trial));
        good.extend(shunned);
        good
    }

    /// Returns whether it had failed before.
    pub(super) fn answered(&self, node: usize) -> bool {
        let failures = &self.nodes[node].failures;
        failures.load(Ordering::Relaxed) > 0 && failures.swap(0, Ordering::Relaxed) > 0
    }

    /// Returns whether it had answered before.
    pub(super) fn failed(&self, node: usize, now: Duration) -> bool {
        let node = &self.nodes[node];
        let failures = node.failures.fetch_add(1, Ordering::Relaxed);
        let shunned = (SHUN_MIN * 2_u32.pow(failures.min(10))).min(SHUN_MAX);
        node.shunned_until_nanos.store(nanos(now + shunned), Ordering::Relaxed);
        failures == 0
    }
}

impl Node {
    fn is_to_be_tried(&self, now: Duration, trial: Duration) -> bool {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let until = self.shunned_until_nanos.load(Ordering::Relaxed);
        let trial = nanos(now + trial);
        until <= nanos(now)
            && self
                .shunned_until_nanos
                .compare_exchange(until, trial, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_base_url_is_http_and_may_have_a_path() {
        let with = |text: &str| text.parse::<BaseUrl>().map(|base| base.with("/grants").to_string());
        for (text, url) in [
            ("http://control-plane:8081", "http://control-plane:8081/grants"),
            ("http://127.0.0.1:8081/", "http://127.0.0.1:8081/grants"),
            ("http://[::1]:8081", "http://[::1]:8081/grants"),
            ("http://mesh/thalweg/internal/", "http://mesh/thalweg/internal/grants"),
        ] {
            assert_eq!(with(text).as_deref(), Ok(url));
        }
        assert_eq!(with("https://control-plane:8081"), Err(BadUrl::NotHttp));
        for text in ["", "control-plane:8081", "/grants", "ftp://x", "http://", "http://x?a=b"] {
            assert_eq!(with(text), Err(BadUrl::Unreadable), "{text}");
        }
        assert_eq!("http://x:1/".parse::<BaseUrl>().unwrap().to_string(), "http://x:1");
    }

    fn three() -> Nodes {
        Nodes::new(["http://a", "http://b", "http://c"].map(|url| url.parse().unwrap()).to_vec(), 0)
    }

    #[test]
    fn load_is_spread_and_one_that_fails_comes_last_until_its_time_is_over() {
        let nodes = three();
        let order = |now| nodes.in_order(now * SECOND, 2 * SECOND);
        assert_eq!([order(0), order(0), order(0)], [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
        assert!(nodes.failed(0, 10 * SECOND));
        assert_eq!([order(10), order(10), order(10)], [[1, 2, 0], [1, 2, 0], [2, 1, 0]]);
        // Its time is over: one tries it, the next leave it alone while that one waits.
        assert_eq!([order(11), order(11), order(12)], [[0, 1, 2], [1, 2, 0], [2, 1, 0]]);
        assert!(!nodes.failed(0, 13 * SECOND));
        assert_eq!([order(14), order(14), order(15)], [[1, 2, 0], [1, 2, 0], [2, 0, 1]]);
        assert_eq!([nodes.answered(0), nodes.answered(0), nodes.answered(1)], [true, false, false]);
        assert_eq!([order(15), order(15)], [[0, 1, 2], [1, 2, 0]]);
    }

    #[test]
    fn nobody_is_left_alone_for_ever() {
        let nodes = three();
        for _ in 0..100 {
            nodes.failed(1, SECOND);
        }
        let tried = |now| (0..3).any(|_| nodes.in_order(now * SECOND, SECOND)[..2].contains(&1));
        assert!(!tried(30) && tried(31));
    }
}
