//! API keys.

use openapi::schema::{named, word};
use openapi::{Answer, Operation, Refusal, path_id, query};
use serde_json::{Value, json};

use super::shapes::{EXAMPLE_EMAIL, EXAMPLE_ID, EXAMPLE_TIME, EXAMPLE_TOKEN, OTHER_ID, page_example};
use super::{DIR, of_user, paged};

pub(in crate::api) fn issue() -> Operation {
    let issued = json!({"id": EXAMPLE_ID, "value": EXAMPLE_TOKEN, "issued_at": EXAMPLE_TIME});
    of_user("issueKey", "keys", "Issues an API key, which is shown this once.")
        .about("It is good for what its user may do. An API key can't issue keys.")
        .body(named("NewKey"), json!({"type": 2, "duration": 86400}))
        .answers(
            201,
            Answer::json("Issued.", named("IssuedKey"), issued).leads_to(
                "viewKey",
                "key",
                "$response.body#/id",
            ),
        )
        .refused([Refusal::Forbidden, Refusal::Unknown, Refusal::Conflict])
}

pub(in crate::api) fn list() -> Operation {
    paged(of_user("listKeys", "keys", "A page of the caller's keys that are in force."))
        .takes(query("order", word("By what; without it, or empty: by issue.", ["id", ""])))
        .takes(query("dir", word(DIR, ["asc", "desc", ""])))
        .answers(200, Answer::json("The page.", named("ApiKeysPage"), page_example("keys", example())))
}

pub(in crate::api) fn view() -> Operation {
    of_user("viewKey", "keys", "One of the caller's keys that are in force; of anyone's, for admins.")
        .takes(path_id("key"))
        .answers(200, Answer::json("The key.", named("ApiKey"), example()))
        .refused([Refusal::Unknown])
}

pub(in crate::api) fn revoke() -> Operation {
    of_user("revokeKey", "keys", "Revokes a key.")
        .about("In force when it is answered.")
        .takes(path_id("key"))
        .answers(204, Answer::empty("Revoked."))
        .refused([Refusal::Unknown])
}

fn example() -> Value {
    json!({
        "id": EXAMPLE_ID, "issuer_id": OTHER_ID, "subject": EXAMPLE_EMAIL, "type": 2,
        "issued_at": EXAMPLE_TIME,
    })
}
