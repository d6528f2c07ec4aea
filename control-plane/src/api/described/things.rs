//! Things, channels, the connections between them, and who has which key.

use openapi::schema::named;
use openapi::{Answer, Operation, Refusal, path_id};
use serde_json::{Value, json};

use super::shapes::{EXAMPLE_ID, EXAMPLE_KEY, OTHER_ID, named_page_example, ordered_page_example};
use super::{listed, of_user, shapes};

pub(in crate::api) fn create() -> Operation {
    of_user("createThings", "things", "Creates things: all of them, or none.")
        .about("Each gets a key. An id that the caller chose is never free again.")
        .body(named("NewThings"), json!([{"name": "boiler", "metadata": {"floor": -1}}]))
        .answers(
            201,
            Answer::json("Created.", named("Things"), json!({"things": [thing()]})).leads_to(
                "viewThing",
                "thing",
                "$response.body#/things/0/id",
            ),
        )
        .refused([Refusal::Conflict])
}

pub(in crate::api) fn list() -> Operation {
    listed(of_user("listThings", "things", "A page of the things that the caller may read."), "name")
        .answers(200, Answer::json("The page.", named("ThingsPage"), ordered_page_example("things", thing())))
}

pub(in crate::api) fn view() -> Operation {
    of_thing("viewThing", "A thing.")
        .answers(200, Answer::json("The thing.", named("Thing"), thing()))
        .refused([Refusal::Unknown])
}

pub(in crate::api) fn update() -> Operation {
    of_thing("updateThing", "Changes a thing's name, metadata, or both.")
        .body(named("ThingUpdate"), json!({"name": "boiler 2"}))
        .answers(200, Answer::empty("Changed."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn delete() -> Operation {
    of_thing("deleteThing", "Deletes a thing.")
        .about("Its keys and connections go with it, and soon after the answer its records.")
        .answers(204, Answer::empty("Deleted."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn replace_key() -> Operation {
    of_thing("replaceKey", "Gives a thing another key.")
        .about(
            "With an `overlap` the old ones go on to work so long, so that a device can be told \
            of the new one.",
        )
        .perhaps_body(named("KeyChange"), json!({"overlap": 3600}))
        .answers(200, Answer::json("The new key.", named("ThingKey"), json!({"key": EXAMPLE_KEY})))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn groups() -> Operation {
    let operation = of_thing("listGroupsOfThing", "The groups that a thing is in.");
    listed(operation, "name")
        .about("All of them for its owner; to others those that they may read.")
        .answers(
            200,
            Answer::json(
                "The page.",
                named("GroupsPage"),
                named_page_example("groups", shapes::circle_example("cellar")),
            ),
        )
        .refused([Refusal::Unknown])
}

pub(in crate::api) fn create_channels() -> Operation {
    of_user("createChannels", "channels", "Creates channels: all of them, or none.")
        .about("An id that the caller chose is never free again.")
        .body(named("NewChannels"), json!([{"name": "cellar", "retention": "90d"}]))
        .answers(
            201,
            Answer::json("Created.", named("Channels"), json!({"channels": [channel()]}))
                .located("`/channels/{channel}`, of a single one.")
                .leads_to("viewChannel", "channel", "$response.body#/channels/0/id"),
        )
        .refused([Refusal::Conflict])
}

pub(in crate::api) fn list_channels() -> Operation {
    listed(
        of_user("listChannels", "channels", "A page of the caller's channels; of all, for admins."),
        "name",
    )
    .answers(
        200,
        Answer::json("The page.", named("ChannelsPage"), ordered_page_example("channels", channel())),
    )
}

pub(in crate::api) fn view_channel() -> Operation {
    of_channel("viewChannel", "A channel.")
        .answers(200, Answer::json("The channel.", named("Channel"), channel()))
        .refused([Refusal::Unknown])
}

pub(in crate::api) fn update_channel() -> Operation {
    of_channel("updateChannel", "Changes a channel's name, metadata, retention, or some of them.")
        .about(
            "A shorter retention is in force when it is answered; a longer one is refused: what \
            has expired may be gone.",
        )
        .body(named("ChannelUpdate"), json!({"name": "cellar", "retention": "7d"}))
        .answers(200, Answer::empty("Changed."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn delete_channel() -> Operation {
    of_channel("deleteChannel", "Deletes a channel.")
        .about("Its connections go with it, and soon after the answer its records.")
        .answers(204, Answer::empty("Deleted."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn connect() -> Operation {
    of_user("connect", "connections", "Connects each of the things to each of the channels: all, or none.")
        .body(named("Connections"), json!({"channel_ids": [OTHER_ID], "thing_ids": [EXAMPLE_ID]}))
        .answers(200, Answer::empty("Connected."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn disconnect() -> Operation {
    of_user(
        "disconnect",
        "connections",
        "Disconnects each of the things from each of the channels: all, or none.",
    )
    .about("In force when it is answered.")
    .body(named("Connections"), json!({"channel_ids": [OTHER_ID], "thing_ids": [EXAMPLE_ID]}))
    .answers(200, Answer::empty("Disconnected."))
    .refused(NOT_ALLOWED)
}

pub(in crate::api) fn connect_one() -> Operation {
    of_user("connectOne", "connections", "Connects one thing to one channel.")
        .takes_all([path_id("channel"), path_id("thing")])
        .answers(
            200,
            Answer::empty("Connected.").with_header("Warning-Deprecated", "Says to use `POST /connect`."),
        )
        .refused(NOT_ALLOWED)
        .deprecated()
}

pub(in crate::api) fn disconnect_one() -> Operation {
    of_user("disconnectOne", "connections", "Disconnects one thing from one channel.")
        .about("In force when it is answered.")
        .takes_all([path_id("channel"), path_id("thing")])
        .answers(204, Answer::empty("Disconnected."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn identify() -> Operation {
    Operation::api("identify", "access", "The thing that has a key.")
        .body(named("Token"), json!({"token": EXAMPLE_KEY}))
        .answers(200, identity())
        .refused([Refusal::Unauthenticated])
}

pub(in crate::api) fn access_by_key() -> Operation {
    Operation::api("accessByKey", "access", "The thing that has a key, if it is connected to the channel.")
        .takes(path_id("channel"))
        .body(named("Token"), json!({"token": EXAMPLE_KEY}))
        .answers(200, identity())
        .refused([Refusal::Unauthenticated, Refusal::Forbidden, Refusal::Unknown])
}

pub(in crate::api) fn access_by_id() -> Operation {
    Operation::api("accessById", "access", "Whether a thing is connected to the channel.")
        .takes(path_id("channel"))
        .body(named("ThingId"), json!({"thing_id": EXAMPLE_ID}))
        .answers(200, Answer::empty("It is."))
        .refused([Refusal::Forbidden, Refusal::Unknown])
}

/// Why a change of what is there may be refused.
const NOT_ALLOWED: [Refusal; 2] = [Refusal::Forbidden, Refusal::Unknown];

fn of_thing(id: &str, summary: &str) -> Operation {
    of_user(id, "things", summary).takes(path_id("thing"))
}

fn of_channel(id: &str, summary: &str) -> Operation {
    of_user(id, "channels", summary).takes(path_id("channel"))
}

fn identity() -> Answer {
    Answer::json("The thing.", named("Identity"), json!({"id": EXAMPLE_ID}))
}

pub(super) fn thing() -> Value {
    json!({"id": EXAMPLE_ID, "name": "boiler", "key": EXAMPLE_KEY, "metadata": {"floor": -1}})
}

fn channel() -> Value {
    json!({"id": OTHER_ID, "name": "cellar", "retention": "90d"})
}
