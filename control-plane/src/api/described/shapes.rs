//! The shapes of the bodies of requests and answers.

use domain::limits::BULK_MAX;
use openapi::schema::{
    AnyShape, ArrayBuilder, ObjectBuilder, Shape, absent, any_object, either, integer, list, moment, named,
    object, or_null, text, uuid, word,
};
use serde_json::{Value, json};

use super::NO_CONTROL_CHARACTERS;
use crate::email::{EMAIL_BYTES_MAX, LOCAL_PART_BYTES_MAX};
use crate::fields::{DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX};
use crate::password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};

use super::super::keys::DURATION_SECONDS_MAX;
use super::super::things::OVERLAP_SECONDS_MAX;

/// What an update of an entity changes.
const AS_NAMED: &str = "What it names is changed, the rest stays.";

pub(super) const EXAMPLE_ID: &str = "2f1a4f0e-6a52-4b1c-9f5e-0f7c0a3f1d11";
pub(super) const OTHER_ID: &str = "9d0b6c37-3c0c-4c7e-8d3a-5a0f9b7f4e22";
pub(super) const EXAMPLE_EMAIL: &str = "me@example.com";
pub(super) const EXAMPLE_TIME: &str = "2026-03-10T16:58:09.579Z";
/// Words of an example, and no token.
pub(super) const EXAMPLE_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ…";
pub(super) const EXAMPLE_KEY: &str = "tk_0123456789abcdefghijklmnopqrstuv";

/// Everything that has a name in the document.
pub(in crate::api) fn all() -> Vec<(&'static str, AnyShape)> {
    [
        users(),
        things(),
        channels(),
        connections(),
        circles(),
        members(),
        policies(),
        keys(),
        super::audit::shapes(),
        super::webhooks::shapes(),
    ]
    .concat()
}

type Named = Vec<(&'static str, AnyShape)>;

fn users() -> Named {
    let made = object("An account.").with("email", email()).with("password", password());
    let login = object("Who logs in.")
        .with("email", text("As it was given to the account, in any case."))
        .with("password", text("The account's password."));
    let password_change = object("The password that is, and the one that shall be.")
        .with("old_password", text("The account's password."))
        .with("password", password());
    let update = object("What replaces the account's metadata.").perhaps("metadata", metadata());
    let user = object("An account.").with("id", uuid("Its id.")).with("email", text("As it was given."));
    let token = object("Proves who asks, for some hours.")
        .with("token", text("To be sent as `Authorization: Bearer <token>`."));
    vec![
        ("NewUser", made.perhaps("metadata", metadata()).open()),
        ("Login", login.open()),
        ("UserUpdate", update.open()),
        ("PasswordChange", password_change.open()),
        ("User", user.perhaps("metadata", shown_metadata()).closed()),
        ("UsersPage", page("A page of users.").with("Users", all_of("User")).closed()),
        ("LoginToken", token.closed()),
        ("Note", object("Said of a change.").with("msg", text("Nothing, where all is well.")).closed()),
    ]
}

fn things() -> Named {
    let made = object("A thing. Its key is made by the server.")
        .perhaps("id", new_id())
        .perhaps("name", or_null(name()))
        .perhaps("metadata", metadata())
        .perhaps("key", absent("Made by the server."));
    let update = object(AS_NAMED).perhaps("name", or_null(name())).perhaps("metadata", metadata());
    let overlap = integer("For so many seconds the old keys go on to work.");
    let overlap = overlap.minimum(Some(0)).maximum(Some(OVERLAP_SECONDS_MAX));
    let key_change = object("How the old keys end.").perhaps("overlap", or_null(overlap));
    let thing = object("A thing.")
        .with("id", uuid("Its id."))
        .with("name", text("May be empty."))
        .perhaps("key", text("Only to those who may write the thing."))
        .perhaps("metadata", shown_metadata());
    let in_order = list("In the order of the request.", named("Thing"));
    vec![
        ("NewThing", made.open()),
        ("NewThings", one_or_many("NewThing")),
        ("ThingUpdate", update.open()),
        ("KeyChange", key_change.open()),
        ("Thing", thing.closed()),
        ("Things", object("Things.").with("things", in_order).closed()),
        ("ThingsPage", ordered_page("A page of things.").with("things", all_of("Thing")).closed()),
        ("ThingKey", object("A thing's new key.").with("key", text("The key.")).closed()),
    ]
}

fn channels() -> Named {
    let made = object("A channel.")
        .perhaps("id", new_id())
        .perhaps("name", or_null(name()))
        .perhaps("metadata", metadata())
        .perhaps("bucket_width", or_null(bucket_width()))
        .perhaps("retention", or_null(retention()));
    let update = object(AS_NAMED)
        .perhaps("name", or_null(name()))
        .perhaps("metadata", metadata())
        .perhaps("bucket_width", or_null(bucket_width().description(Some("Can't be changed."))))
        .perhaps("retention", or_null(retention().description(Some("Can only become shorter."))));
    let channel = object("A channel.")
        .with("id", uuid("Its id."))
        .with("name", text("May be empty."))
        .perhaps("metadata", shown_metadata())
        .perhaps("bucket_width", bucket_width())
        .perhaps("retention", retention());
    let in_order = list("In the order of the request.", named("Channel"));
    let page = ordered_page("A page of channels.").with("channels", all_of("Channel"));
    vec![
        ("NewChannel", made.open()),
        ("NewChannels", one_or_many("NewChannel")),
        ("ChannelUpdate", update.open()),
        ("Channel", channel.closed()),
        ("Channels", object("Channels.").with("channels", in_order).closed()),
        ("ChannelsPage", page.closed()),
    ]
}

fn connections() -> Named {
    let connections = object("Each of the things, with each of the channels: at most 10,000 at once.")
        .with("channel_ids", ids("The channels."))
        .with("thing_ids", ids("The things."));
    vec![
        ("Connections", connections.open()),
        ("Token", object("A thing's key.").with("token", text("The key.")).open()),
        ("ThingId", object("A thing.").with("thing_id", uuid("Its id.")).open()),
        ("Identity", object("A thing.").with("id", uuid("Its id.")).closed()),
    ]
}

fn circles() -> Named {
    let made = object("A group or an org.")
        .with("name", circle_name())
        .perhaps("description", or_null(description()))
        .perhaps("metadata", metadata());
    let update = object(AS_NAMED)
        .perhaps("name", or_null(circle_name()))
        .perhaps("description", or_null(description()))
        .perhaps("metadata", metadata());
    let circle = object("A group or an org.")
        .with("id", uuid("Its id."))
        .with("name", text("Its name."))
        .with("owner_id", uuid("The user whose it is."))
        .with("description", text("May be empty."))
        .perhaps("metadata", shown_metadata())
        .with("created_at", moment("When it was made."))
        .with("updated_at", moment("When it was changed last."));
    vec![
        ("NewCircle", made.open()),
        ("CircleUpdate", update.open()),
        ("Circle", circle.closed()),
        ("GroupsPage", named_page("A page of groups.").with("groups", all_of("Circle")).closed()),
        ("OrgsPage", named_page("A page of orgs.").with("orgs", all_of("Circle")).closed()),
    ]
}

fn members() -> Named {
    let kind = or_null(word("What they are; without it, the ids decide.", ["things", "users"]));
    let of_group = object("Things or users.").with("members", ids("Their ids.")).perhaps("type", kind);
    let role = word("The role `owner` can't be assigned.", ["viewer", "editor", "admin"]);
    let staffed = object("A user, and what it becomes.").with("email", email()).with("role", role).open();
    let staffed =
        list("Each user once.", staffed).min_items(Some(1)).max_items(Some(BULK_MAX)).unique_items(true);
    let role = word("What it is there.", ["viewer", "editor", "admin", "owner"]);
    let of_org = object("A member of an org.")
        .with("id", uuid("Its id."))
        .with("email", text("Its email."))
        .with("role", role);
    let user = object("A user.").with("id", uuid("Its id.")).with("email", text("Its email.")).closed();
    let of_one_kind = list("Of one kind.", either([named("Thing"), user]));
    vec![
        ("GroupMembers", of_group.open()),
        ("OrgMembers", object("Users and their roles.").with("members", staffed).open()),
        ("MemberIds", object("Users.").with("member_ids", ids("Their ids.")).open()),
        ("GroupIds", object("Groups.").with("group_ids", ids("Their ids.")).open()),
        ("GroupMembersPage", named_page("A page of members.").with("members", of_one_kind).closed()),
        ("OrgMember", of_org.closed()),
        ("OrgMembersPage", named_page("A page of members.").with("members", all_of("OrgMember")).closed()),
    ]
}

fn policies() -> Named {
    let everyone = word("Everyone, for `create` on `user`.", ["*"]);
    let subjects = list("Users.", either([uuid("Id of a user.").into(), everyone.into()]));
    let on = "The id of a thing (`read`, `write`, `delete`) or of a group (`member`), or `authorities`, \
        `users` (`member`) or `user` (`create`).";
    let policy = word("A policy.", ["read", "write", "delete", "member", "create"]);
    let policies = list("What is granted or taken.", policy);
    let asked = object("Each policy, for each subject: at most 1,000 at once.")
        .with("subjects", subjects.min_items(Some(1)).max_items(Some(BULK_MAX)))
        .with("object", text(on))
        .with("policies", policies.min_items(Some(1)).max_items(Some(BULK_MAX)));
    vec![("Policies", asked.open()), ("Nothing", object("Nothing to say.").closed())]
}

fn keys() -> Named {
    let duration = integer("Seconds that it lives; without it, or 0: until it is revoked.");
    let duration = duration.minimum(Some(0)).maximum(Some(DURATION_SECONDS_MAX));
    let kind = || integer("2: an API key.").minimum(Some(2)).maximum(Some(2));
    let issued = object("A new API key.")
        .with("id", uuid("Its id."))
        .with("value", text("The token. It is shown this once."))
        .with("issued_at", moment("When it was issued."))
        .perhaps("expires_at", moment("When it ends, if it does."));
    let key = object("An API key that is in force.")
        .with("id", uuid("Its id."))
        .with("issuer_id", uuid("The user whose it is."))
        .with("subject", text("The user's email."))
        .with("type", kind())
        .with("issued_at", moment("When it was issued."))
        .perhaps("expires_at", moment("When it ends, if it does."));
    let made = object("An API key.").with("type", kind()).perhaps("duration", or_null(duration));
    vec![
        ("NewKey", made.open()),
        ("IssuedKey", issued.closed()),
        ("ApiKey", key.closed()),
        ("ApiKeysPage", page("A page of API keys.").with("keys", all_of("ApiKey")).closed()),
    ]
}

/// What every page says of itself.
fn page(description: &str) -> Shape {
    let counted = |text| integer(text).minimum(Some(0));
    object(description)
        .with("total", counted("Entities that match, on all pages."))
        .with("offset", counted("Entities that were skipped."))
        .with("limit", counted("Entities on a page."))
}

fn ordered_page(description: &str) -> Shape {
    let asked = || text("As it was asked for.");
    page(description).with("order", asked()).with("direction", asked())
}

fn named_page(description: &str) -> Shape {
    page(description).with("name", text("The filter, as it was asked for."))
}

fn all_of(name: &str) -> ArrayBuilder {
    list("In the order that was asked for.", named(name))
}

fn metadata() -> ObjectBuilder {
    or_null(any_object("The owner's own: kept and searched, never interpreted. Up to 16 KiB."))
}

fn shown_metadata() -> ObjectBuilder {
    any_object("Left out where there is none.")
}

fn one_or_many(name: &str) -> AnyShape {
    let many =
        list("All of them are made, or none.", named(name)).min_items(Some(1)).max_items(Some(BULK_MAX));
    either([many.into(), named(name)])
}

fn ids(description: &str) -> ArrayBuilder {
    list(description, uuid("")).min_items(Some(1)).max_items(Some(BULK_MAX))
}

fn email() -> ObjectBuilder {
    let pattern = format!("^[^@\\s<>,;]{{1,{LOCAL_PART_BYTES_MAX}}}@[^@\\s<>,;.]+(\\.[^@\\s<>,;.]+)+$");
    text("An address, such as name@example.com.").max_length(Some(EMAIL_BYTES_MAX)).pattern(Some(pattern))
}

fn password() -> ObjectBuilder {
    text("A new password.").min_length(Some(PASSWORD_CHARS_MIN)).max_length(Some(PASSWORD_BYTES_MAX))
}

fn name() -> ObjectBuilder {
    text("Up to 1,024 bytes.").max_length(Some(NAME_BYTES_MAX)).pattern(Some(NO_CONTROL_CHARACTERS))
}

fn circle_name() -> ObjectBuilder {
    name().min_length(Some(1))
}

fn description() -> ObjectBuilder {
    text("Up to 4 KiB.").max_length(Some(DESCRIPTION_BYTES_MAX)).pattern(Some("^[^\\u0000]*$"))
}

/// A UUID of version 4, of the variant that has versions.
fn new_id() -> ObjectBuilder {
    let hex = "[0-9a-fA-F]";
    let pattern = format!("^{hex}{{8}}-{hex}{{4}}-4{hex}{{3}}-[89abAB]{hex}{{3}}-{hex}{{12}}$");
    or_null(text("A UUID of version 4; without it the server makes one.").pattern(Some(pattern)))
}

fn bucket_width() -> ObjectBuilder {
    word("How much record time a bucket of the store holds; `1h` if not said.", ["5m", "1h", "1d"])
}

fn retention() -> ObjectBuilder {
    word(
        "How long records are kept, by their own time; `forever` if not said.",
        ["7d", "90d", "400d", "forever"],
    )
}

pub(super) fn circle_example(name: &str) -> Value {
    json!({
        "id": EXAMPLE_ID, "name": name, "owner_id": OTHER_ID, "description": "", "created_at": EXAMPLE_TIME,
        "updated_at": EXAMPLE_TIME,
    })
}

/// A page with one entity on it.
pub(super) fn page_example(list: &str, entity: Value) -> Value {
    json!({"total": 1, "offset": 0, "limit": 10, list: [entity]})
}

/// The same, of what has a name.
pub(super) fn named_page_example(list: &str, entity: Value) -> Value {
    json!({"limit": 10, "offset": 0, "total": 1, "name": "", list: [entity]})
}

/// The same, of what can be ordered.
pub(super) fn ordered_page_example(list: &str, entity: Value) -> Value {
    json!({"total": 1, "offset": 0, "limit": 10, "order": "", "direction": "", list: [entity]})
}
