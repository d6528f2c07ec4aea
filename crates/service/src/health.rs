//! Whether this process lives, is ready for requests, and which build it is.
//!
//! `/livez` says that the process runs; `/readyz` that it takes requests and that what they need works: not before everything
//! is open, and no longer once it is told to stop. `/health` answers the same in the shape of Mainflux. A reason that these
//! answers give is a fixed text: anyone may ask.

mod described;

use std::fmt;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use futures::future::join_all;
use http::{StatusCode, header};
use openapi::{Part, Routes};
use serde_json::json;

use crate::ApiError;

/// The routes of [`router`].
pub const ROUTES: &[&str] = &["/health", "/livez", "/readyz", "/version"];

/// What operations of this kind are called in the document.
pub(crate) const TAG: &str = "operation";

const HEALTH_JSON: &str = "application/health+json";

/// How long one check may take. Whoever asks gives up about then.
const CHECK_TIME_MAX: Duration = Duration::from_secs(1);

/// Which build this is.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// Version of the program.
    pub version: &'static str,
    /// Commit that it was built from, or `unknown`.
    pub commit: &'static str,
    /// Time of that commit, so that equal sources give equal programs; or `unknown`.
    pub time: &'static str,
}

/// Whether the process takes requests. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicU8>);

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const STOPPING: u8 = 2;

impl Readiness {
    /// From now on the process takes requests, or no longer.
    pub fn set(&self, ready: bool) {
        let (from, to) = if ready { (STARTING, SERVING) } else { (SERVING, STOPPING) };
        let _ = self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }

    fn check(&self) -> Outcome {
        match self.0.load(Ordering::Acquire) {
            STARTING => Err("starting"),
            SERVING => Ok(()),
            _ => Err("stopping"),
        }
    }
}

/// What a check found: all well, or what is wrong.
pub type Outcome = Result<(), &'static str>;

/// A check: asked anew each time.
type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// Everything that has to work for this process to be ready.
#[derive(Clone)]
pub struct Health {
    build: Build,
    readiness: Readiness,
    checks: Vec<(&'static str, Check)>,
}

impl Health {
    /// Of a build that takes requests as long as `readiness` says so.
    pub fn new(build: Build, readiness: Readiness) -> Self {
        Self { build, readiness, checks: Vec::new() }
    }

    /// Has this checked, too, under a name of one word.
    #[must_use]
    pub fn with<F>(mut self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.checks.push((name, Arc::new(move || Box::pin(check()))));
        self
    }

    /// The outcome of every check, in the order they were added.
    async fn check(&self) -> Vec<(&'static str, Outcome)> {
        let serving = ("serving", self.readiness.check());
        let others = self.checks.iter().map(async |(name, check)| {
            let outcome = tokio::time::timeout(CHECK_TIME_MAX, check()).await;
            (*name, outcome.unwrap_or(Err("does not answer")))
        });
        std::iter::once(serving).chain(join_all(others).await).collect()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("build", &self.build).finish_non_exhaustive()
    }
}

/// The routes.
pub fn router(health: Health) -> Router {
    routes().router().with_state(Arc::new(health))
}

/// What they are described as.
pub fn described() -> Part {
    routes().part()
}

fn routes() -> Routes<Arc<Health>> {
    Routes::default()
        .tag(TAG, "How a process is watched, and what describes its API.")
        .schemas(described::shapes())
        .get("/health", mainflux, described::health())
        .get("/livez", async || "ok\n", described::lives())
        .get("/readyz", readyz, described::ready())
        .get("/version", version, described::version())
}

async fn readyz(State(health): State<Arc<Health>>, RawQuery(query): RawQuery) -> Response {
    let outcomes = health.check().await;
    let problems = problems(&outcomes);
    let is_verbose =
        query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    match (is_verbose, problems.is_empty()) {
        (false, true) => "ok\n".into_response(),
        (false, false) => {
            ApiError::unavailable(format!("not ready: {}", problems.join(", "))).into_response()
        }
        (true, _) => verbose(&outcomes).into_response(),
    }
}

fn problems(outcomes: &[(&str, Outcome)]) -> Vec<String> {
    let problem =
        |(name, outcome): &(&str, Outcome)| outcome.err().map(|problem| format!("{name} ({problem})"));
    outcomes.iter().filter_map(problem).collect()
}

/// A line for each check, as Kubernetes prints its own.
fn verbose(outcomes: &[(&str, Outcome)]) -> (StatusCode, String) {
    let mut lines = String::new();
    let mut status = StatusCode::OK;
    for (name, outcome) in outcomes {
        let written = match outcome {
            Ok(()) => writeln!(lines, "[+]{name} ok"),
            Err(problem) => {
                status = StatusCode::SERVICE_UNAVAILABLE;
                writeln!(lines, "[-]{name} failed: {problem}")
            }
        };
        written.expect("a String takes everything");
    }
    lines.push_str(if status == StatusCode::OK { "readyz check passed\n" } else { "readyz check failed\n" });
    (status, lines)
}

async fn mainflux(State(health): State<Arc<Health>>) -> Response {
    let is_ready = problems(&health.check().await).is_empty();
    let (status, word) =
        if is_ready { (StatusCode::OK, "pass") } else { (StatusCode::SERVICE_UNAVAILABLE, "fail") };
    let body = json!({
        "status": word,
        "version": health.build.version,
        "commit": health.build.commit,
        "description": "thalweg service",
        "build_time": health.build.time,
    });
    (status, [(header::CONTENT_TYPE, HEALTH_JSON)], body.to_string()).into_response()
}

async fn version(State(health): State<Arc<Health>>) -> Response {
    let Build { version, commit, time } = health.build;
    let body = json!({"name": "thalweg", "version": version, "commit": commit, "build_time": time});
    Json(body).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(router: &Router, path: &str) -> (u16, String) {
        let answer = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    const BUILD: Build = Build { version: "1.2.3", commit: "abc", time: "2026-01-02T03:04:05Z" };

    #[tokio::test]
    async fn readiness_is_that_of_every_check() {
        let (readiness, full) = (Readiness::default(), Arc::new(AtomicBool::new(false)));
        let is_full = Arc::clone(&full);
        let health = Health::new(BUILD, readiness.clone()).with("log", move || {
            let is_full = is_full.load(Ordering::SeqCst);
            async move { if is_full { Err("full") } else { Ok(()) } }
        });
        let router = router(health);
        let (status, text) = ask(&router, "/readyz").await;
        assert_eq!((status, text.contains("not ready: serving (starting)")), (503, true), "{text}");
        readiness.set(true);
        assert_eq!(ask(&router, "/readyz").await, (200, "ok\n".to_owned()));
        let all_well = "[+]serving ok\n[+]log ok\nreadyz check passed\n".to_owned();
        assert_eq!(ask(&router, "/readyz?verbose").await, (200, all_well));
        full.store(true, Ordering::SeqCst);
        readiness.set(false);
        let ill = "[-]serving failed: stopping\n[-]log failed: full\nreadyz check failed\n".to_owned();
        assert_eq!(ask(&router, "/readyz?verbose=1").await, (503, ill));
        assert_eq!(ask(&router, "/health").await.0, 503);
        assert_eq!(ask(&router, "/livez").await.0, 200);
        readiness.set(true);
        assert_eq!(ask(&router, "/readyz").await.0, 503, "a process that stops does not come back");
    }

    #[tokio::test]
    async fn a_check_that_does_not_answer_has_failed() {
        let readiness = Readiness::default();
        readiness.set(true);
        let router = router(Health::new(BUILD, readiness).with("store", std::future::pending));
        let (status, text) = ask(&router, "/readyz?verbose").await;
        assert_eq!((status, text.contains("[-]store failed: does not answer")), (503, true), "{text}");
    }

    #[tokio::test]
    async fn health_has_the_shape_of_mainflux() {
        let readiness = Readiness::default();
        readiness.set(true);
        let (status, text) = ask(&router(Health::new(BUILD, readiness)), "/health").await;
        let wanted = json!({
            "status": "pass", "version": "1.2.3", "commit": "abc", "description": "thalweg service",
            "build_time": "2026-01-02T03:04:05Z",
        });
        assert_eq!((status, serde_json::from_str::<serde_json::Value>(&text).unwrap()), (200, wanted));
    }
}
