use axum::routing::{get, post};
use tower::ServiceExt as _;

use super::*;
use crate::ApiError;
use crate::server;

fn router(registry: &Registry) -> Router {
    let routes = Router::new()
        .route("/things/{thing}", get(async || "a thing"))
        .route("/publish", post(async || ApiError::unavailable("full")));
    let metrics = HttpMetrics::new(registry, Answerer::ControlPlane).with(Answerer::Ingest, &["/publish"]);
    observed(server::complete(routes), metrics)
}

async fn send(router: &Router, method: &str, path: &str, ids: &[&str]) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for id in ids {
        request = request.header(request_id::HEADER, HeaderValue::from_bytes(id.as_bytes()).unwrap());
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

fn id_of(answer: &Response) -> &str {
    answer.headers()[request_id::HEADER].to_str().unwrap()
}

#[tokio::test]
async fn requests_are_counted_by_service_route_method_and_status_class() {
    let registry = Registry::new();
    let router = router(&registry);
    for (method, path) in [
        ("GET", "/things/1"),
        ("GET", "/things/2?name=x"),
        ("HEAD", "/things/3"),
        ("DELETE", "/things/4"),
        ("BREW", "/things/5"),
        ("POST", "/publish"),
        ("GET", "/nowhere"),
        ("GET", "/else/where"),
    ] {
        send(&router, method, path, &[]).await;
    }
    let text = registry.render();
    let mut counted: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("http_requests_total")).collect();
    counted.sort_unstable();
    let things = "service=\"control_plane\",route=\"/things/{thing}\"";
    assert_eq!(
        counted,
        [
            format!("{{{things},method=\"DELETE\",status=\"4xx\"}} 1").as_str(),
            &format!("{{{things},method=\"GET\",status=\"2xx\"}} 2"),
            &format!("{{{things},method=\"HEAD\",status=\"2xx\"}} 1"),
            &format!("{{{things},method=\"other\",status=\"4xx\"}} 1"),
            "{service=\"ingest\",route=\"/publish\",method=\"POST\",status=\"5xx\"} 1",
            "{service=\"none\",route=\"none\",method=\"GET\",status=\"4xx\"} 2",
        ],
        "{text}"
    );
    let timed = format!("http_request_duration_seconds_count{{{things},method=\"GET\"}} 2");
    assert!(text.contains(&timed), "{text}");
    assert!(!text.contains("nowhere") && !text.contains("BREW"), "{text}");
}

#[tokio::test]
async fn a_clients_id_is_taken_over_if_it_is_short_and_visible() {
    let router = router(&Registry::new());
    let longest = "x".repeat(128);
    for id in ["a", "0b7e:42/{z}\"", &longest] {
        assert_eq!(id_of(&send(&router, "GET", "/things/1", &[id]).await), id);
        assert_eq!(id_of(&send(&router, "GET", "/nowhere", &[id]).await), id, "on refusals, too");
    }
    let too_long = "x".repeat(129);
    for ids in [&[][..], &[""], &["a b"], &["tab\there"], &["\u{e9}"], &[&too_long], &["a", "b"]] {
        let answer = send(&router, "GET", "/things/1", ids).await;
        let made = id_of(&answer);
        assert!(!ids.contains(&made) && made.len() > 16, "{ids:?} became {made}");
        assert_eq!(answer.headers().get_all(request_id::HEADER).iter().count(), 1);
    }
}

#[tokio::test]
async fn made_ids_are_different() {
    let router = router(&Registry::new());
    let first = send(&router, "GET", "/things/1", &[]).await;
    let second = send(&router, "GET", "/things/1", &[]).await;
    assert_ne!(id_of(&first), id_of(&second));
}

#[tokio::test]
async fn a_handler_and_the_tasks_it_carries_the_id_into_know_it() {
    async fn current() -> String {
        request_id::with_current(|id| id.unwrap_or("nothing").to_owned())
    }
    let routes = Router::new().route(
        "/who",
        get(async || {
            let carried = tokio::spawn(request_id::carry(current())).await.unwrap();
            format!("{} {carried} {}", current().await, tokio::spawn(current()).await.unwrap())
        }),
    );
    let router = observed(routes, HttpMetrics::new(&Registry::new(), Answerer::Operation));
    let body = send(&router, "GET", "/who", &["r-7"]).await.into_body();
    assert_eq!(axum::body::to_bytes(body, 100).await.unwrap(), "r-7 r-7 nothing");
}
