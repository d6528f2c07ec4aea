//! A page of rows as JSON, in the shape of the API.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use domain::ChannelId;
use http::header;
use serde::Serialize;
use store::Messages;
use store::planner::{Page, TotalRelation};

/// Bytes of a page beside its rows, and somewhat more.
const PAGE_FIELDS_BYTES: usize = 2 << 10;

/// Renders a page. Absent fields are left out, but for `unit`, which is empty where a record has none.
pub(crate) fn render(channel: ChannelId, limit: usize, page: &Page) -> Response {
    let body = PageBody {
        offset: page.offset,
        limit,
        format: "messages",
        total: page.total,
        total_relation: match page.relation {
            TotalRelation::Exact => None,
            TotalRelation::AtLeast => Some("gte"),
        },
        messages: Messages::new(channel, &page.rows),
        next: page.next.as_deref(),
    };
    // Doubled as it grows, a large page would take twice as much as it needs.
    let mut json = Vec::with_capacity(PAGE_FIELDS_BYTES + page.bytes);
    serde_json::to_writer(&mut json, &body).expect("every field has a JSON form");
    json.shrink_to_fit();
    ([(header::CONTENT_TYPE, "application/json")], Body::from(json)).into_response()
}

#[derive(Serialize)]
struct PageBody<'a> {
    offset: u64,
    limit: usize,
    format: &'static str,
    total: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_relation: Option<&'static str>,
    messages: Messages<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a str>,
}
