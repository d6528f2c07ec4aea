//! What the document of the API says of reading.

use domain::limits::{PAGE_RECORDS_DEFAULT, PAGE_RECORDS_MAX};
use openapi::schema::{AnyShape, integer, list, named, number, object, text, truth, uuid, word};
use openapi::{Answer, Credential, Operation, Refusal, path_id, query};
use serde_json::{Value, json};

/// The last whole second that a time can be in, before and after the epoch.
const SECONDS_MAX: i64 = 9_223_372_036;

pub(crate) fn read_messages() -> Operation {
    let limit = integer("Records on the page.").minimum(Some(1)).maximum(Some(PAGE_RECORDS_MAX));
    let offset = integer("Records to skip; any depth costs the same without filters.");
    let seconds = |what: &str| number(what).minimum(Some(-SECONDS_MAX)).maximum(Some(SECONDS_MAX));
    let base64url = text("Bytes that are equal, as base64url.").pattern(Some("^[A-Za-z0-9_-]*={0,2}$"));
    Operation::api("readMessages", "messages", "A page of a channel's records.")
        .about(
            "To a connected thing, or to a user who may read the channel; newest first. A \
            parameter that is not one of these is refused, and so is a page of more than 32 MiB: ask for \
            fewer records.",
        )
        .of(Credential::UserOrThing)
        .takes(path_id("channel"))
        .takes_all([
            query("limit", limit.default(Some(PAGE_RECORDS_DEFAULT.into()))),
            query("offset", offset.minimum(Some(0)).maximum(Some(i64::MAX))),
            query(
                "next",
                text(
                    "The cursor of the page before, in place of `offset`; repeat the \
                other parameters.",
                ),
            ),
            query("dir", word("By time, which way; `desc` if not said.", ["desc", "asc", ""])),
            query("from", seconds("Seconds since the epoch; the first that are asked for.")),
            query("to", seconds("Seconds since the epoch; the first that are not asked for any more.")),
            query("subtopic", text("Equal, with its dots.")),
            query("publisher", uuid("Id of the thing.")),
            query("protocol", text("Equal.")),
            query("name", text("Equal; empty, there is no filter.")),
            query("v", number("What a number is compared with.")),
            query("comparator", word("How; `eq` if not said.", ["eq", "lt", "le", "gt", "ge"])),
            query("vs", text("A text that is equal.")),
            query("vb", truth("True or false.")),
            query("vd", base64url),
            query("format", word("The only one.", ["messages"])),
        ])
        .answers(200, Answer::json("The page.", named("MessagesPage"), example()))
        .refused([Refusal::Malformed, Refusal::Forbidden, Refusal::Unknown])
}

pub(crate) fn shapes() -> Vec<(&'static str, AnyShape)> {
    let counted = |what| integer(what).minimum(Some(0));
    let record = object("A record. It has one value, or a sum, or both.")
        .with("channel_name", uuid("The channel's id; called so by Mainflux."))
        .with("publisher", uuid("Id of the thing that published it."))
        .with("protocol", text("What it was published by."))
        .perhaps("subtopic", text("With its dots, where there is one."))
        .with("name", text("Base name and name."))
        .with("unit", text("Empty where there is none."))
        .with("time", number("Seconds since the epoch."))
        .perhaps("value", number("Where it is a number."))
        .perhaps("string_value", text("Where it is a text."))
        .perhaps("bool_value", truth("Where it is true or false."))
        .perhaps("data_value", text("Where it is bytes: base64url."))
        .perhaps("sum", number("Where it has one."))
        .perhaps("update_time", number("Where it has one, in seconds."));
    let page = object("A page of records.")
        .with("offset", counted("Records that were skipped."))
        .with("limit", counted("Records on a page."))
        .with("format", word("", ["messages"]))
        .with("total", counted("Records that match, on all pages."))
        .perhaps(
            "total_relation",
            word("There may be more than `total`: too many had to be examined.", ["gte"]),
        )
        .with("messages", list("In the order that was asked for.", named("Message")))
        .perhaps("next", text("Where the next page begins, if there is one."));
    vec![("Message", record.closed()), ("MessagesPage", page.closed())]
}

fn example() -> Value {
    json!({
        "offset": 0, "limit": 10, "format": "messages", "total": 1,
        "messages": [{
            "channel_name": "9d0b6c37-3c0c-4c7e-8d3a-5a0f9b7f4e22",
            "publisher": "2f1a4f0e-6a52-4b1c-9f5e-0f7c0a3f1d11",
            "protocol": "http", "name": "boiler:voltage", "unit": "V",
            "time": 1_276_020_076.001, "value": 120.1,
        }],
    })
}
