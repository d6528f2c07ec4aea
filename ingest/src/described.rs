//! What the document of the API says of publishing.

use domain::limits::{NAME_BYTES_MAX, SUBTOPIC_BYTES_MAX, UNIT_BYTES_MAX};
use openapi::schema::{AnyShape, integer, list, named, number, object, text, truth, word};
use openapi::{Answer, Credential, Operation, Refusal, header, path_id, path_text};
use serde_json::{Value, json};

pub(crate) const TAG: &str = "messages";

pub(crate) fn publish() -> Operation {
    operation("publish", "Publishes a SenML pack to a channel.").about(
        "Taken whole or refused whole. 202 means that it is kept. After a 429, a 503, or no answer, \
            send the same bytes again.",
    )
}

pub(crate) fn publish_with_slash() -> Operation {
    operation("publishWithSlash", "The same as without the slash.")
}

pub(crate) fn publish_to_subtopic() -> Operation {
    let subtopic = text("Levels, divided by `.` or `/`: `a/b` and `a.b` are the same.");
    operation("publishToSubtopic", "Publishes a SenML pack to a subtopic of a channel.")
        .takes(path_text("subtopic", subtopic.min_length(Some(1)).max_length(Some(SUBTOPIC_BYTES_MAX + 1))))
}

fn operation(id: &str, summary: &str) -> Operation {
    let encodings = ["identity", "gzip", "x-gzip", "zstd"];
    Operation::api(id, TAG, summary)
        .of(Credential::Thing)
        .takes(path_id("channel"))
        .takes(header("Content-Encoding", word("How the body is compressed.", encodings)))
        .body_of(&["application/senml+json", "application/json"], named("SenmlPack"), example())
        .answers(202, Answer::empty("Kept."))
        .refused([Refusal::Forbidden])
}

pub(crate) fn shapes() -> Vec<(&'static str, AnyShape)> {
    let unit = || text("As registered by IANA.").max_length(Some(UNIT_BYTES_MAX));
    let record = object(
        "A record of SenML (RFC 8428). One with a value or a sum is a measurement, \
        and its time is the base time plus its own.",
    )
    .perhaps("bn", text("Base name: goes before the names of this record and of those after it."))
    .perhaps("bt", number("Base time, in seconds since the epoch."))
    .perhaps("bu", unit())
    .perhaps("bv", number("Base value: is added to each number."))
    .perhaps("bs", number("Base sum: is added to each sum."))
    .perhaps("bver", integer("Version of SenML.").minimum(Some(1)).maximum(Some(26)))
    .perhaps("n", text("Name.").max_length(Some(NAME_BYTES_MAX)))
    .perhaps("u", unit())
    .perhaps("v", number("A number."))
    .perhaps("vs", text("A text."))
    .perhaps("vb", truth("True or false."))
    .perhaps("vd", text("Bytes, as base64url.").pattern(Some("^[A-Za-z0-9_-]*={0,2}$")))
    .perhaps("s", number("A sum, of the values so far."))
    .perhaps("t", number("Time, in seconds; below 2^28, relative to the reception."))
    .perhaps("ut", number("Seconds until the next record at the latest."))
    .open();
    let pack = list("At least one measurement.", named("SenmlRecord")).min_items(Some(1)).into();
    vec![("SenmlRecord", record), ("SenmlPack", pack)]
}

fn example() -> Value {
    json!([
        {"bn": "boiler:", "bt": 1_276_020_076.001, "bu": "A", "n": "voltage", "u": "V", "v": 120.1},
        {"n": "current", "t": -5, "v": 1.2},
    ])
}
