//! Webhooks.

use openapi::schema::{
    AnyShape, either, integer, list, moment, named, number, object, text, truth, uuid, word,
};
use openapi::{Answer, Operation, Refusal, path_id, query};
use serde_json::{Value, json};

use super::of_user;
use super::shapes::{EXAMPLE_ID, EXAMPLE_TIME, OTHER_ID};
use crate::api::page::{PAGE_DEFAULT, PAGE_MAX};
use crate::api::webhooks::URL_BYTES_MAX;
use crate::fields::NAME_BYTES_MAX;
use crate::registry::webhooks::WEBHOOKS_PER_THING_MAX;

/// Words of an example, and no secret.
const EXAMPLE_SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3A=";

const NOT_ALLOWED: [Refusal; 2] = [Refusal::Forbidden, Refusal::Unknown];

pub(in crate::api) fn create() -> Operation {
    of_thing("createWebhooks", "Has what a thing publishes delivered: makes all the webhooks, or none.")
        .body(
            named("NewWebhooks"),
            json!([{"name": "alarm", "format": "json", "url": "https://example.com/hook"}]),
        )
        .answers(201, Answer::empty("Created."))
        .refused(NOT_ALLOWED)
        .refused([Refusal::Conflict])
}

pub(in crate::api) fn list_all() -> Operation {
    of_thing("listWebhooks", "The webhooks of a thing.")
        .answers(200, Answer::json("All of them.", named("Webhooks"), json!({"webhooks": [listed()]})))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn view() -> Operation {
    of_webhook("viewWebhook", "A webhook, and how it stands.")
        .answers(200, Answer::json("The webhook.", named("Webhook"), shown()))
}

pub(in crate::api) fn update() -> Operation {
    of_webhook("updateWebhook", "Changes a webhook's name, format or URL.")
        .body(named("WebhookUpdate"), json!({"url": "https://example.com/other"}))
        .answers(200, Answer::empty("Changed."))
}

pub(in crate::api) fn delete() -> Operation {
    of_webhook("deleteWebhook", "Deletes a webhook, and what waits for it.")
        .answers(204, Answer::empty("Deleted."))
}

pub(in crate::api) fn enable() -> Operation {
    of_webhook("enableWebhook", "Has what is received from now on delivered again.")
        .answers(200, Answer::empty("Enabled."))
}

pub(in crate::api) fn disable() -> Operation {
    of_webhook("disableWebhook", "Has nothing delivered any more.").answers(200, Answer::empty("Disabled."))
}

pub(in crate::api) fn rotate() -> Operation {
    let rotated = json!({"secret": EXAMPLE_SECRET, "old_secret_until": EXAMPLE_TIME});
    of_webhook("rotateWebhookSecret", "Gives a webhook another secret; each before it signs for another day.")
        .perhaps_body(named("WebhookSecretChange"), json!({"secret": EXAMPLE_SECRET}))
        .refused([Refusal::Conflict])
        .answers(200, Answer::json("The new secret.", named("WebhookSecret"), rotated))
}

pub(in crate::api) fn test() -> Operation {
    let tried = json!({"delivered": true, "outcome": "delivered", "status": 200, "latency_seconds": 0.02, "excerpt": ""});
    of_webhook("testWebhook", "Delivers one made-up record now.")
        .answers(200, Answer::json("What came of it.", named("WebhookTest"), tried))
}

pub(in crate::api) fn deliveries() -> Operation {
    let page = json!({"total": 1, "offset": 0, "limit": 10, "attempts": [{
        "delivery": OTHER_ID, "at": EXAMPLE_TIME, "outcome": "delivered", "status": 200, "latency_seconds": 0.02,
        "records": 3, "bytes": 312,
    }]});
    let limit = integer("On the page.").minimum(Some(1)).maximum(Some(PAGE_MAX));
    let offset = integer("To skip.").minimum(Some(0)).maximum(Some(i64::MAX)).default(Some(0.into()));
    of_webhook("listDeliveries", "The last tries, the newest first; or deliveries that are kept.")
        .takes(query(
            "state",
            word("Which kept ones; without it, or empty: tries.", ["pending", "expired", ""]),
        ))
        .takes(query("limit", limit.default(Some(PAGE_DEFAULT.into()))))
        .takes(query("offset", offset))
        .answers(200, Answer::json("The page.", named("DeliveriesPage"), page))
        .refused([Refusal::Malformed])
}

pub(in crate::api) fn replay() -> Operation {
    of_webhook("replayDeliveries", "Has deliveries that were given up tried again.")
        .perhaps_body(named("Replay"), json!({"delivery": OTHER_ID}))
        .answers(200, Answer::json("How many.", named("Replayed"), json!({"replayed": 1})))
}

fn of_thing(id: &str, summary: &str) -> Operation {
    of_user(id, "webhooks", summary).takes(path_id("thing"))
}

fn of_webhook(id: &str, summary: &str) -> Operation {
    of_thing(id, summary).takes(path_id("webhook")).refused(NOT_ALLOWED)
}

fn listed() -> Value {
    json!({
        "thing_id": EXAMPLE_ID, "name": "alarm", "format": "json", "url": "https://example.com/hook", "id": OTHER_ID,
        "secret": EXAMPLE_SECRET,
    })
}

fn shown() -> Value {
    json!({
        "thing_id": EXAMPLE_ID, "name": "alarm", "format": "json", "url": "https://example.com/hook", "id": OTHER_ID,
        "secret": EXAMPLE_SECRET, "enabled": true, "status": "ok", "created_at": EXAMPLE_TIME,
        "counters": {"attempts": 0, "delivered": 0, "failed": 0, "pending": 0, "expired": 0, "replayable": 0, "dropped": 0},
    })
}

pub(super) fn shapes() -> Vec<(&'static str, AnyShape)> {
    let format = || word("What a delivery looks like.", ["senml", "json"]);
    let name = || text("What it is called.").min_length(Some(1)).max_length(Some(NAME_BYTES_MAX));
    let url = || text("Where to deliver.").max_length(Some(URL_BYTES_MAX));
    let secret = || text("What deliveries are signed with: `whsec_` and 24 to 64 bytes in base64.");
    let count = |what| integer(what).minimum(Some(0));
    let new = object("A webhook.").with("name", name()).with("format", format()).with("url", url());
    let many = list("All of them are made, or none.", named("NewWebhook"))
        .min_items(Some(1))
        .max_items(Some(WEBHOOKS_PER_THING_MAX as usize));
    let of_list = || {
        object("A webhook.")
            .with("thing_id", uuid("Whose records it gets."))
            .with("name", text("What it is called."))
            .with("format", format())
            .with("url", text("Where it leads."))
            .with("id", uuid("Its id."))
            .with("secret", text("What deliveries are signed with."))
    };
    let counters = object("How deliveries went.")
        .with("attempts", count("Tries."))
        .with("delivered", count("Tries that succeeded."))
        .with("failed", count("Tries that failed."))
        .with("pending", count("Deliveries that wait for another try."))
        .with("expired", count("Deliveries that were given up."))
        .with("replayable", count("Those of them that can be replayed."))
        .with("dropped", count("Those that were deleted, because there were too many."))
        .perhaps("last_delivered_at", moment("When a try last succeeded."))
        .perhaps("last_failed_at", moment("When one last failed."));
    let webhook = of_list()
        .with("enabled", truth("Whether anything is delivered."))
        .with("status", word("How it stands.", ["ok", "failing", "disabled"]))
        .perhaps("disabled_reason", word("Why.", ["by_owner", "gone", "failing"]))
        .perhaps("disabled_at", moment("Since when."))
        .perhaps("failing_since", moment("Since when every try fails."))
        .perhaps("next_try", moment("When what waits is tried."))
        .perhaps("old_secret_until", moment("Until when the secret before signs, too."))
        .with("created_at", moment("When it was made."))
        .with("counters", named("WebhookCounters"));
    let tried = || {
        object("What came of a try.")
            .with("outcome", text("How it ended."))
            .with("latency_seconds", number("How long it took."))
    };
    let attempt = tried()
        .with("delivery", uuid("Which delivery: its `webhook-id`."))
        .with("at", moment("When."))
        .perhaps("status", count("What the endpoint answered."))
        .with("records", count("Its records."))
        .with("bytes", count("Its size."))
        .perhaps("next_try", moment("When it is tried again."))
        .perhaps("excerpt", text("The beginning of the answer."));
    let kept = object("A delivery that is kept.")
        .with("id", uuid("Its `webhook-id`."))
        .with("records", count("Its records."))
        .with("bytes", count("Its size."))
        .with("attempts", count("Tries so far."))
        .with("created_at", moment("Since when it is kept."))
        .perhaps("next_try", moment("When it is tried again, if it has a time of its own."))
        .with("expires_at", moment("When it is given up, or deleted."));
    let page = object("A page of tries, or of kept deliveries.")
        .with("total", count("How many there are."))
        .with("offset", count("How many were skipped."))
        .with("limit", count("How many were asked for."))
        .perhaps("attempts", list("Tries.", named("Attempt")))
        .perhaps("deliveries", list("Kept deliveries.", named("KeptDelivery")));
    let test = tried()
        .with("delivered", truth("Whether it was taken."))
        .with("status", openapi::schema::or_null(count("What the endpoint answered.")))
        .with("excerpt", text("The beginning of the answer, or why there is none."));
    let update = object("What it names is changed, the rest stays.")
        .perhaps("name", name())
        .perhaps("format", format())
        .perhaps("url", url());
    vec![
        ("NewWebhook", new.perhaps("secret", secret()).open()),
        ("NewWebhooks", either([many.into(), named("NewWebhook")])),
        ("WebhookUpdate", update.open()),
        ("WebhookInList", of_list().closed()),
        (
            "Webhooks",
            object("Webhooks.").with("webhooks", list("All of them.", named("WebhookInList"))).closed(),
        ),
        ("WebhookCounters", counters.closed()),
        ("Webhook", webhook.closed()),
        ("WebhookSecretChange", object("The secret to use.").perhaps("secret", secret()).open()),
        (
            "WebhookSecret",
            object("A new secret.")
                .with("secret", secret())
                .with("old_secret_until", moment("Until when the one that it replaces signs, too."))
                .closed(),
        ),
        ("WebhookTest", test.closed()),
        ("Attempt", attempt.closed()),
        ("KeptDelivery", kept.closed()),
        ("DeliveriesPage", page.closed()),
        ("Replay", object("What to replay.").perhaps("delivery", uuid("That one; without it, all.")).open()),
        ("Replayed", object("What is tried again.").with("replayed", count("How many deliveries.")).closed()),
    ]
}
