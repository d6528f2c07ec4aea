//! Users, logins and passwords.

use openapi::schema::named;
use openapi::{Answer, Credential, Operation, Refusal, path_id};
use serde_json::json;

use super::shapes::{EXAMPLE_EMAIL, EXAMPLE_ID, EXAMPLE_TOKEN, page_example};
use super::{listed_users, of_user};

pub(in crate::api) fn create() -> Operation {
    Operation::api("createUser", "users", "Makes an account.")
        .about("Open to everyone, until an admin takes away the policy `create` on `user` for `*`.")
        .of(Credential::PerhapsUser)
        .body(named("NewUser"), json!({"email": EXAMPLE_EMAIL, "password": "correct horse 9"}))
        .answers(201, Answer::empty("Made.").located("`/users/{user}`"))
        .refused([Refusal::Forbidden, Refusal::Conflict])
}

pub(in crate::api) fn list() -> Operation {
    listed_users(of_user("listUsers", "users", "A page of users."))
        .about("Admins see all, others themselves and those who share an org or a group with them.")
        .answers(200, Answer::json("The page.", named("UsersPage"), page_example("Users", example())))
}

pub(in crate::api) fn update() -> Operation {
    of_user("updateUser", "users", "Replaces the caller's metadata.")
        .body(named("UserUpdate"), json!({"metadata": {"team": "cold chain"}}))
        .answers(200, Answer::empty("Replaced."))
}

pub(in crate::api) fn view() -> Operation {
    of_user("viewUser", "users", "A user.")
        .takes(path_id("user"))
        .answers(200, Answer::json("The user.", named("User"), example()))
        .refused([Refusal::Unknown])
}

pub(in crate::api) fn delete() -> Operation {
    of_user("deleteUser", "users", "Deletes an account, for admins.")
        .about(
            "Its keys, memberships and policies go with it. What it owned is from then on the \
            admin's who deletes it.",
        )
        .takes(path_id("user"))
        .answers(204, Answer::empty("Deleted."))
        .refused([Refusal::Forbidden, Refusal::Unknown, Refusal::Conflict])
}

pub(in crate::api) fn log_in() -> Operation {
    Operation::api("createToken", "users", "Logs in.")
        .body(named("Login"), json!({"email": EXAMPLE_EMAIL, "password": "correct horse 9"}))
        .answers(201, Answer::json("Logged in.", named("LoginToken"), json!({"token": EXAMPLE_TOKEN})))
        .refused([Refusal::Unauthenticated])
}

pub(in crate::api) fn change_password() -> Operation {
    of_user("changePassword", "users", "Replaces the caller's password.")
        .about("Ends the login tokens that were issued before it. API keys stay in force.")
        .body(
            named("PasswordChange"),
            json!({"old_password": "correct horse 9", "password": "battery staple 7"}),
        )
        .answers(201, Answer::json("Replaced.", named("Note"), json!({"msg": ""})))
        .refused([Refusal::Forbidden, Refusal::Unknown, Refusal::Conflict])
}

fn example() -> serde_json::Value {
    json!({"id": EXAMPLE_ID, "email": EXAMPLE_EMAIL})
}
