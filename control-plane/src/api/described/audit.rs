//! The audit.

use openapi::schema::{AnyShape, integer, list, moment, named, number, object, text, uuid};
use openapi::{Answer, Operation, Refusal, query};
use serde_json::json;

use super::super::audit::{NEXT_DIGITS_MAX, REQUEST_CHARS_MAX};
use super::of_user;
use super::shapes::{EXAMPLE_ID, EXAMPLE_TIME, OTHER_ID};
use crate::api::page::{PAGE_DEFAULT, PAGE_MAX};
use crate::registry::audit::Deed;

/// The times that can be kept: 64 bits of nanoseconds.
const SECONDS_MAX: f64 = 9_223_372_036.0;

pub(in crate::api) fn list_entries() -> Operation {
    let limit = integer("Entries on the page.").minimum(Some(1)).maximum(Some(PAGE_MAX));
    let seconds = |what| number(what).minimum(Some(-SECONDS_MAX)).maximum(Some(SECONDS_MAX));
    let example = json!({
        "limit": 10,
        "entries": [{
            "at": EXAMPLE_TIME, "user": OTHER_ID, "request": "9f0c-1", "action": "thing.delete", "entity": EXAMPLE_ID,
        }],
        "next": "41",
    });
    of_user("listAudit", "audit", "Who did what, newest first.")
        .about("All of it for admins; with `org` what concerns the org, for its admins and its owner.")
        .takes_all([
            query("user", uuid("Who did it.")),
            query("entity", uuid("What it was done to, or with.")),
            query("org", uuid("An org that shared what it was done to.")),
            query(
                "action",
                text("What was done.").enum_values(Some(Deed::ALL.iter().map(|deed| deed.name()))),
            ),
            query(
                "request",
                text("By which request.").pattern(Some(format!("^[!-~]{{1,{REQUEST_CHARS_MAX}}}$"))),
            ),
            query("from", seconds("Seconds since the epoch; the first that are asked for.")),
            query("to", seconds("Seconds since the epoch; the first that are not asked for any more.")),
            query("limit", limit.default(Some(PAGE_DEFAULT.into()))),
            query(
                "next",
                text("Where the page before said to go on.")
                    .pattern(Some(format!("^[0-9]{{1,{NEXT_DIGITS_MAX}}}$"))),
            ),
        ])
        .answers(200, Answer::json("The page.", named("AuditPage"), example))
        .refused([Refusal::Malformed, Refusal::Forbidden, Refusal::Unknown])
}

pub(super) fn shapes() -> Vec<(&'static str, AnyShape)> {
    let entry = object("What somebody did.")
        .with("at", moment("When."))
        .perhaps("user", uuid("Who; nobody, of a sign-up."))
        .perhaps("key", uuid("The API key that was used, if one was."))
        .perhaps("request", text("The `X-Request-Id` of the request."))
        .with("action", text("What was done."))
        .perhaps("entity", uuid("To what."))
        .perhaps("other", uuid("The other entity that has to do with it."))
        .perhaps("detail", text("A role, a relation, or which fields were changed."));
    let page = object("A page of the audit.")
        .with("limit", integer("Entries on a page.").minimum(Some(1)))
        .with("entries", list("Newest first.", named("AuditEntry")))
        .perhaps("next", text("Where the next page begins, if there is one."));
    vec![("AuditEntry", entry.closed()), ("AuditPage", page.closed())]
}
