//! Groups, orgs, and policies.

use openapi::schema::{named, word};
use openapi::{Answer, Operation, Refusal, path_id, query};
use serde_json::json;

use super::shapes::{EXAMPLE_EMAIL, EXAMPLE_ID, OTHER_ID, circle_example, named_page_example};
use super::{listed, listed_users, of_user, things};

const NOT_ALLOWED: [Refusal; 2] = [Refusal::Forbidden, Refusal::Unknown];
const IN_THE_WAY: [Refusal; 3] = [Refusal::Forbidden, Refusal::Unknown, Refusal::Conflict];

pub(in crate::api) fn create_group() -> Operation {
    of_user("createGroup", "groups", "Makes a group.")
        .body(named("NewCircle"), json!({"name": "cellar", "description": "What is below ground."}))
        .answers(201, Answer::empty("Made.").located("`/groups/{group}`"))
}

pub(in crate::api) fn list_groups() -> Operation {
    listed(
        of_user("listGroups", "groups", "A page of the groups that the caller is in; of all, for admins."),
        "name",
    )
    .answers(200, groups_page())
}

pub(in crate::api) fn view_group() -> Operation {
    of_group("viewGroup", "A group.")
        .answers(200, Answer::json("The group.", named("Circle"), circle_example("cellar")))
        .refused([Refusal::Unknown])
}

pub(in crate::api) fn update_group() -> Operation {
    of_group("updateGroup", "Changes a group's name, description, metadata, or some of them.")
        .body(named("CircleUpdate"), json!({"description": "What is below ground."}))
        .answers(200, Answer::empty("Changed."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn delete_group() -> Operation {
    of_group("deleteGroup", "Deletes a group, not what is in it.")
        .answers(204, Answer::empty("Deleted."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn group_members() -> Operation {
    let operation = of_group("listGroupMembers", "The things in a group, or with `type=users` the users.");
    listed(operation, "name")
        .takes(query("type", word("What to list; `things` if not said.", ["things", "users"])))
        .answers(
            200,
            Answer::json(
                "The page.",
                named("GroupMembersPage"),
                named_page_example("members", things::thing()),
            ),
        )
        .refused([Refusal::Unknown])
}

pub(in crate::api) fn assign_to_group() -> Operation {
    of_group("assignToGroup", "Puts things and users in a group: all, or none.")
        .about("Takes ownership of the group, and write access to the things.")
        .body(named("GroupMembers"), json!({"members": [EXAMPLE_ID], "type": "things"}))
        .answers(200, Answer::empty("They are members."))
        .refused(IN_THE_WAY)
}

pub(in crate::api) fn unassign_from_group() -> Operation {
    of_group("unassignFromGroup", "Takes things and users out of a group.")
        .about("What is not in it stays so. Who owns a thing may take it out of any group.")
        .body(named("GroupMembers"), json!({"members": [EXAMPLE_ID], "type": "things"}))
        .answers(204, Answer::empty("They are no members."))
        .refused(IN_THE_WAY)
}

pub(in crate::api) fn create_org() -> Operation {
    of_user("createOrg", "orgs", "Makes an org.")
        .body(named("NewCircle"), json!({"name": "north"}))
        .answers(201, Answer::empty("Made.").located("`/orgs/{org}`"))
}

pub(in crate::api) fn list_orgs() -> Operation {
    listed(
        of_user("listOrgs", "orgs", "A page of the orgs that the caller is a member of; of all, for admins."),
        "name",
    )
    .answers(200, orgs_page())
}

pub(in crate::api) fn view_org() -> Operation {
    of_org("viewOrg", "An org.")
        .answers(200, Answer::json("The org.", named("Circle"), circle_example("north")))
        .refused([Refusal::Unknown])
}

pub(in crate::api) fn update_org() -> Operation {
    of_org("updateOrg", "Changes an org's name, description, metadata, or some of them.")
        .body(named("CircleUpdate"), json!({"name": "north-west"}))
        .answers(200, Answer::empty("Changed."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn delete_org() -> Operation {
    of_org("deleteOrg", "Deletes an org, not what is in it.")
        .answers(204, Answer::empty("Deleted."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn org_members() -> Operation {
    let member = json!({"id": OTHER_ID, "email": EXAMPLE_EMAIL, "role": "viewer"});
    listed_users(of_org("listOrgMembers", "The members of an org."))
        .answers(
            200,
            Answer::json("The page.", named("OrgMembersPage"), named_page_example("members", member)),
        )
        .refused([Refusal::Unknown])
}

pub(in crate::api) fn assign_to_org() -> Operation {
    of_org("assignToOrg", "Makes users members of an org: all, or none.")
        .body(named("OrgMembers"), json!({"members": [{"email": EXAMPLE_EMAIL, "role": "viewer"}]}))
        .answers(200, Answer::empty("They are members."))
        .refused(IN_THE_WAY)
}

pub(in crate::api) fn update_org_members() -> Operation {
    of_org("updateOrgMembers", "Gives members other roles: all, or none.")
        .body(named("OrgMembers"), json!({"members": [{"email": EXAMPLE_EMAIL, "role": "editor"}]}))
        .answers(200, Answer::empty("They have them."))
        .refused(IN_THE_WAY)
}

pub(in crate::api) fn unassign_from_org() -> Operation {
    of_org("unassignFromOrg", "Ends memberships.")
        .about("Who is no member stays so.")
        .body(named("MemberIds"), json!({"member_ids": [OTHER_ID]}))
        .answers(204, Answer::empty("They are no members."))
        .refused(IN_THE_WAY)
}

pub(in crate::api) fn groups_of_org() -> Operation {
    listed(of_org("listGroupsOfOrg", "The groups of an org."), "name")
        .answers(200, groups_page())
        .refused([Refusal::Unknown])
}

pub(in crate::api) fn assign_groups() -> Operation {
    of_org("assignGroupsToOrg", "Puts groups in an org: all, or none.")
        .about("Takes the role of an editor, and ownership of the groups.")
        .body(named("GroupIds"), json!({"group_ids": [EXAMPLE_ID]}))
        .answers(200, Answer::empty("They are in it."))
        .refused(IN_THE_WAY)
}

pub(in crate::api) fn unassign_groups() -> Operation {
    of_org("unassignGroupsFromOrg", "Takes groups out of an org.")
        .about("What is not in it stays so. Who owns a group may take it out of any org.")
        .body(named("GroupIds"), json!({"group_ids": [EXAMPLE_ID]}))
        .answers(204, Answer::empty("They are not in it."))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn orgs_of_user() -> Operation {
    let operation = of_user(
        "listOrgsOfUser",
        "orgs",
        "The orgs that a user is a member of, as far as the caller sees them.",
    );
    listed(operation.takes(path_id("user")), "name").answers(200, orgs_page()).refused([Refusal::Unknown])
}

pub(in crate::api) fn add_policies() -> Operation {
    of_user("addPolicies", "policies", "Puts policies into force, for admins: all, or none.")
        .about("Those that are already stay so. Nothing but what is predefined is accepted.")
        .body(named("Policies"), json!({"subjects": [OTHER_ID], "object": EXAMPLE_ID, "policies": ["read"]}))
        .answers(201, Answer::json("In force.", named("Nothing"), json!({})))
        .refused(NOT_ALLOWED)
}

pub(in crate::api) fn take_policies() -> Operation {
    of_user("takePolicies", "policies", "Takes policies away, for admins: all, or none.")
        .about("Those that are not in force stay so.")
        .body(named("Policies"), json!({"subjects": [OTHER_ID], "object": EXAMPLE_ID, "policies": ["read"]}))
        .answers(204, Answer::empty("Not in force any more."))
        .refused(IN_THE_WAY)
}

fn of_group(id: &str, summary: &str) -> Operation {
    of_user(id, "groups", summary).takes(path_id("group"))
}

fn of_org(id: &str, summary: &str) -> Operation {
    of_user(id, "orgs", summary).takes(path_id("org"))
}

fn groups_page() -> Answer {
    Answer::json("The page.", named("GroupsPage"), named_page_example("groups", circle_example("cellar")))
}

fn orgs_page() -> Answer {
    Answer::json("The page.", named("OrgsPage"), named_page_example("orgs", circle_example("north")))
}
