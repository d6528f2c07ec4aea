//! What the document of the API says of each operation, beside the table of routes.
//!
//! Handlers read bodies by hand, field by field, so this repeats in the words of OpenAPI what they do; it decides nothing. Limits
//! are the handlers' own constants. Tests hold the rest to what the server does: each answer of the end-to-end tests is
//! validated against the document, and `make schema-test` sends what it allows and what it forbids.

pub(super) mod audit;
pub(super) mod circles;
pub(super) mod keys;
pub(super) mod shapes;
pub(super) mod things;
pub(super) mod users;
pub(super) mod webhooks;

use openapi::schema::{any_object, integer, text, word};
use openapi::{Credential, Operation, Refusal, query, query_json};

use super::page::{PAGE_DEFAULT, PAGE_MAX};
use crate::fields::NAME_BYTES_MAX;

/// What the operations are about, in the order of the reference.
pub(super) const TAGS: [(&str, &str); 11] = [
    ("users", "Accounts, logins and passwords."),
    ("things", "What publishes: devices, gateways, programs."),
    ("channels", "What things publish to and users read."),
    ("connections", "Which things may publish to and read which channels."),
    (
        "access",
        "Whose key it is, and what it opens: for services beside the pipeline, in a network that is trusted.",
    ),
    ("groups", "Things and users in groups."),
    ("orgs", "Orgs: members in roles, and groups."),
    ("policies", "What admins grant and take away."),
    ("keys", "API keys: tokens for programs."),
    ("webhooks", "Where what things publish is delivered to."),
    ("audit", "Who did what."),
];

/// What `dir` says.
const DIR: &str = "Which way; `asc` if not said.";
const NO_CONTROL_CHARACTERS: &str = "^[^\\u0000-\\u001F\\u007F-\\u009F]*$";

/// An operation of a user.
fn of_user(id: &str, tag: &str, summary: &str) -> Operation {
    Operation::api(id, tag, summary).of(Credential::User)
}

/// What a list takes whose entities are called by this field.
fn listed(operation: Operation, name_field: &str) -> Operation {
    let by = "By what; without it, or empty: by creation.";
    let order = match name_field {
        "name" => word(by, ["name", "id", ""]),
        // Users have no name but their email.
        _ => word(by, [name_field, "name", "id", ""]),
    };
    let part = format!("A part of the {name_field}, in any case; empty, there is no filter.");
    paged(operation)
        .takes(query(
            name_field,
            text(&part).max_length(Some(NAME_BYTES_MAX)).pattern(Some(NO_CONTROL_CHARACTERS)),
        ))
        .takes(query_json(
            "metadata",
            "What the metadata of an entity has to contain, as `@>` of PostgreSQL has it: at most 32 values.",
            any_object("A part of the metadata."),
        ))
        .takes(query("order", order))
        .takes(query("dir", word(DIR, ["asc", "desc", ""])))
}

/// What a list of users takes: they are called by their email, which `name` means, too.
fn listed_users(operation: Operation) -> Operation {
    let name = text("The same as `email`, in place of it.");
    listed(operation, "email")
        .takes(query("name", name.max_length(Some(NAME_BYTES_MAX)).pattern(Some(NO_CONTROL_CHARACTERS))))
}

/// What every list takes.
fn paged(operation: Operation) -> Operation {
    let limit = integer("Entities on the page.").minimum(Some(1)).maximum(Some(PAGE_MAX));
    operation
        .takes(query("limit", limit.default(Some(PAGE_DEFAULT.into()))))
        .takes(query(
            "offset",
            integer("Entities to skip.").minimum(Some(0)).maximum(Some(i64::MAX)).default(Some(0.into())),
        ))
        .refused([Refusal::Malformed])
}
