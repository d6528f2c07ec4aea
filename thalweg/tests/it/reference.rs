//! The sample requests of Mainflux's API reference, as it prints them and in its order, against a fresh server.
//!
//! Of each sample the table quotes the request, and of the answer the status, the headers but for `Server`, `Date`,
//! `Content-Length` and `Connection`, and the body, so that a reader can hold it beside the document. A placeholder in
//! angle brackets that is known is filled in; one in an answer that is not known yet matches anything, and is known from
//! then on. Each answer is held against the document of the API, too. Where our answer differs from the printed one, a comment says so and `docs/api.md` says why.

use std::collections::HashMap;

use reqwest::{Method, Response};
use serde_json::Value;
use uuid::Uuid;

use crate::curl::replay;
use crate::document::Document;
use crate::harness::{ADMIN_EMAIL, ADMIN_PASSWORD, Server, eventually};

type Headers = &'static [(&'static str, &'static str)];

struct Sample {
    title: &'static str,
    request: &'static str,
    status: u16,
    /// Those that many samples print.
    headers: Headers,
    /// Those that only this one prints.
    own_headers: Headers,
    body: &'static str,
}

const ON_USERS: Headers = &[
    ("Content-Type", "application/json"),
    ("Strict-Transport-Security", "max-age=63072000; includeSubdomains"),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "*"),
    ("Access-Control-Allow-Headers", "*"),
];
const ON_ENTITIES: Headers =
    &[("Content-Type", "application/json"), ("Access-Control-Expose-Headers", "Location")];
const JSON: Headers = &[("Content-Type", "application/json")];

const USERS: &[Sample] = &[
    Sample {
        title: "Create User",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" http://localhost/users -d '{"email":"<user_email>", "password":"<user_password>"}'"#,
        status: 201,
        headers: ON_USERS,
        own_headers: &[("Location", "/users/<user_id>")],
        body: "",
    },
    Sample {
        title: "Create Token",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" http://localhost/tokens -d '{"email":"<user_email>",
"password":"<user_password>"}'"#,
        status: 201,
        headers: ON_USERS,
        own_headers: &[],
        body: r#"{"token":"<user_token>"}"#,
    },
    Sample {
        title: "Get User",
        request: r#"curl -s -S -i -X GET -H "Authorization: Bearer <user_token>" http://localhost/users/<user_id>"#,
        status: 200,
        headers: ON_USERS,
        own_headers: &[],
        body: r#"{"id":"<user_id>","email":"<user_email>"}"#,
    },
    // The printed answer is an admin's: others see only themselves.
    Sample {
        title: "Get All Users",
        request: r#"curl -s -S -i -X GET -H "Authorization: Bearer <admin_token>" http://localhost/users"#,
        status: 200,
        headers: ON_USERS,
        own_headers: &[],
        body: r#"{"total":2,"offset":0,"limit":10,"Users":[{"id":"<admin_id>","email":"<admin_email>"},{"id":"<user_id>","email":"<user_email>"}]}"#,
    },
    Sample {
        title: "Update User",
        request: r#"curl -s -S -i -X PUT -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/users -d
'{"metadata":{"foo":"bar"}}'"#,
        status: 200,
        headers: ON_USERS,
        own_headers: &[],
        body: "",
    },
    // The body is not printed; its length is, and fits this one with a line end.
    Sample {
        title: "Change Password",
        request: r#"curl -s -S -i -X PATCH -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/password -d '{"old_password":"<old_password>", "password":"<new_password>"}'"#,
        status: 201,
        headers: ON_USERS,
        own_headers: &[],
        body: r#"{"msg":""}"#,
    },
];

const THINGS: &[Sample] = &[
    Sample {
        title: "Create Thing with External ID",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/things -d '[{"id": "<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxxx>","name": "<thing_name>"}]'"#,
        status: 201,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"things":[{"id":"<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxxx>","name":"thing_name","key":"<thing_key>"}]}"#,
    },
    Sample {
        title: "Create Things",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/things -d '[{"name": "<thing_name_1>"}, {"name": "<thing_name_2>"}]'"#,
        status: 201,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"things":[{"id":"<thing_id_1>","name":"thing_name_1","key":"<thing_key_1>"},{"id":"<thing_id_2>","name":"thing_name_2","key":"<thing_key_2>"}]}"#,
    },
    // No answer is printed: it is that of the sample before.
    Sample {
        title: "Create Things with external ID",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/things -d '[{"id": "<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx1>","name": "<thing_name_1>"}, {"id": "<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx2>","name": "<thing_name_2>"}]'"#,
        status: 201,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"things":[{"id":"<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx1>","name":"thing_name_1","key":"<thing_key_3>"},{"id":"<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx2>","name":"thing_name_2","key":"<thing_key_4>"}]}"#,
    },
    Sample {
        title: "Get Thing",
        request: r#"curl -s -S -i -X GET -H "Authorization: Bearer <user_token>" http://localhost/things/<thing_id>"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"id":"<thing_id>","name":"thing_name","key":"<thing_key>"}"#,
    },
    // Printed with the first three only; by now there are two more.
    Sample {
        title: "Get All Things",
        request: r#"curl -s -S -i -X GET -H "Authorization: Bearer <user_token>" http://localhost/things"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"total":5,"offset":0,"limit":10,"order":"","direction":"","things":[{"id":"<thing_id>","name":"thing_name","key":"<thing_key>"},{"id":"<thing_id_1>","name":"thing_name_1","key":"<thing_key_1>"},{"id":"<thing_id_2>","name":"thing_name_2","key":"<thing_key_2>"},{"id":"<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx1>","name":"thing_name_1","key":"<thing_key_3>"},{"id":"<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx2>","name":"thing_name_2","key":"<thing_key_4>"}]}"#,
    },
    Sample {
        title: "Update Thing",
        request: r#"curl -s -S -i -X PUT -H "Content-Type: application/json" -H  "Authorization: Bearer <user_token>" http://localhost/things/<thing_id> -d '{"name": "<thing_name>"}'"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
    Sample {
        title: "Delete Thing",
        request: r#"curl -s -S -i -X DELETE -H "Content-Type: application/json" -H  "Authorization: Bearer <user_token>" http://localhost/things/<thing_id>"#,
        status: 204,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
];

const CHANNELS: &[Sample] = &[
    // Printed without a body: ours names the channel as well.
    Sample {
        title: "Create Channel with external ID",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/channels -d '[{"id": "<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxxx>","name": "<channel_name>"}]'"#,
        status: 201,
        headers: ON_ENTITIES,
        own_headers: &[("Location", "/channels/<channel_id>")],
        body: r#"{"channels":[{"id":"<channel_id>","name":"channel_name"}]}"#,
    },
    Sample {
        title: "Create Channels",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/channels -d '[{"name": "<channel_name_1>"}, {"name": "<channel_name_2>"}]'"#,
        status: 201,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"channels":[{"id":"<channel_id_1>","name":"channel_name_1"},{"id":"<channel_id_2>","name":"channel_name_2"}]}"#,
    },
    Sample {
        title: "Create Channels with external ID",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/channels -d '[{"id": "<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx1>","name": "<channel_name_1>"}, {"id": "<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx2>","name": "<channel_name_2>"}]'"#,
        status: 201,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"channels":[{"id":"<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx1>","name":"channel_name_1"},{"id":"<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx2>","name":"channel_name_2"}]}"#,
    },
    Sample {
        title: "Get Channel",
        request: r#"curl -s -S -i -X GET -H "Authorization: Bearer <user_token>" http://localhost/channels/<channel_id>"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"id":"<channel_id>","name":"channel_name"}"#,
    },
    // Printed with the first three only; by now there are two more.
    Sample {
        title: "Get Channels",
        request: r#"curl -s -S -i -X GET -H "Authorization: Bearer <user_token>" http://localhost/channels"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"total":5,"offset":0,"limit":10,"order":"","direction":"","channels":[{"id":"<channel_id>","name":"channel_name"},{"id":"<channel_id_1>","name":"channel_name_1"},{"id":"<channel_id_2>","name":"channel_name_2"},{"id":"<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx1>","name":"channel_name_1"},{"id":"<xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx2>","name":"channel_name_2"}]}"#,
    },
    Sample {
        title: "Update Channel",
        request: r#"curl -s -S -i -X PUT -H "Content-Type: application/json" -H  "Authorization: Bearer <user_token>" http://localhost/channels/<channel_id> -d '{"name": "<channel_name>"}'"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
    Sample {
        title: "Delete Channel",
        request: r#"curl -s -S -i -X DELETE -H "Content-Type: application/json" -H  "Authorization: Bearer <user_token>" http://localhost/channels/<channel_id>"#,
        status: 204,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
];

const CONNECT: Sample = Sample {
    title: "Connect",
    request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/connect -d '{"channel_ids": ["<channel_id>"], "thing_ids": ["<thing_id>"]}'"#,
    status: 200,
    headers: ON_ENTITIES,
    own_headers: &[],
    body: "",
};

const CONNECTIONS: &[Sample] = &[
    CONNECT,
    Sample {
        title: "Connect thing to channel",
        request: r#"curl -s -S -i -X PUT -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/channels/<channel_id>/things/<thing_id>"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[(
            "Warning-Deprecated",
            "This endpoint will be depreciated in v1.0.0. It will be replaced with the bulk endpoint found at /connect.",
        )],
        body: "",
    },
    Sample {
        title: "Disconnect",
        request: r#"curl -s -S -i -X PUT -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost:<service_port>/disconnect -d '{"thing_ids": ["<thing_id_1>", "<thing_id_2>"], "channel_ids": ["<channel_id_1>", "<channel_id_2>"]}'"#,
        status: 200,
        headers: JSON,
        own_headers: &[],
        body: "",
    },
    Sample {
        title: "Disconnect thing from the channel",
        request: r#"curl -s -S -i -X DELETE -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/channels/<channel_id>/things/<thing_id>"#,
        status: 204,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
];

const ACCESS: &[Sample] = &[
    Sample {
        title: "Access by Key",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" http://localhost/identify/channels/<channel_id>/access-by-key -d '{"token": "<thing_key>"}'"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"id":"<thing_id>"}"#,
    },
    Sample {
        title: "Access by ID",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" http://localhost/identify/channels/<channel_id>/access-by-id -d '{"thing_id": "<thing_id>"}'"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
    Sample {
        title: "Identify",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" http://localhost/identify -d '{"token": "<thing_key>"}'"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"id":"<thing_id>"}"#,
    },
    Sample {
        title: "Send Messages",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Thing <thing_key>" http://localhost/http/channels/<channel_id>/messages -d '[{"bn":"some-base-name:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1}, {"n":"current","t":-5,"v":1.2}, {"n":"current","t":-4,"v":1.3}]'"#,
        status: 202,
        headers: &[],
        own_headers: &[],
        body: "",
    },
];

/// Printed with a limit of 10, which is not what was asked for.
const READ: Sample = Sample {
    title: "Read Messages",
    request: r#"curl -s -S -i -H "Authorization: Thing <thing_key>" http://localhost:<service_port>/channels/<channel_id>/messages?offset=0&limit=5"#,
    status: 200,
    headers: JSON,
    own_headers: &[],
    body: r#"{"offset":0,"limit":5,"format":"messages","total":3,"messages":[{"channel_name":"<channel_id>","publisher":"<thing_id>","protocol":"http","name":"some-base-name:voltage","unit":"V","time":1276020076.001,"value":120.1},{"channel_name":"<channel_id>","publisher":"<thing_id>","protocol":"http","name":"some-base-name:current","unit":"A","time":1276020072.001,"value":1.3},{"channel_name":"<channel_id>","publisher":"<thing_id>","protocol":"http","name":"some-base-name:current","unit":"A","time":1276020071.001,"value":1.2}]}"#,
};

const CREATE_ORG: Sample = Sample {
    title: "Create org",
    request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs -d '{"name": "<org_name>", "description": "<org_description>", "metadata": {}}'"#,
    status: 201,
    headers: JSON,
    own_headers: &[("Location", "/orgs/<org_id>")],
    body: "",
};

const CREATE_GROUP: Sample = Sample {
    title: "Create group",
    request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/groups -d '{"name": "<group_name>", "description": "<group_description>", "metadata": {}}'"#,
    status: 201,
    headers: ON_ENTITIES,
    own_headers: &[("Location", "/groups/<group_id>")],
    body: "",
};

const ORGS: &[Sample] = &[
    CREATE_ORG,
    Sample {
        title: "View org",
        request: r#"curl -s -S -i -X GET -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs/<org_id>"#,
        status: 200,
        headers: JSON,
        own_headers: &[],
        body: r#"{"id":"<org_id>","name":"org_name","owner_id":"<user_id>","description":"org_description","created_at":"<org_made>","updated_at":"<org_made>"}"#,
    },
    Sample {
        title: "Update org",
        request: r#"curl -s -S -i -X PUT -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs/<org_id> -d '{"name": "<org_name>", "description": "<org_desc>", "metadata":{}}'"#,
        status: 200,
        headers: JSON,
        own_headers: &[],
        body: "",
    },
    Sample {
        title: "Delete org",
        request: r#"curl -s -S -i -X DELETE -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs/<org_id>"#,
        status: 204,
        headers: JSON,
        own_headers: &[],
        body: "",
    },
];

/// With two orgs of which the reference does not say how they came.
const IN_ORGS: &[Sample] = &[
    // Printed with metadata, which these have not, and without descriptions.
    Sample {
        title: "List orgs",
        request: r#"curl -s -S -i -X GET -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs"#,
        status: 200,
        headers: JSON,
        own_headers: &[],
        body: r#"{"limit":10,"offset":0,"total":2,"name":"","orgs":[{"id":"<org_id_1>","name":"org_name","owner_id":"<user_id>","description":"org_description","created_at":"<org_made_1>","updated_at":"<org_made_1>"},{"id":"<org_id>","name":"org_name","owner_id":"<user_id>","description":"org_description","created_at":"<org_made_2>","updated_at":"<org_made_2>"}]}"#,
    },
    ASSIGN_MEMBERS,
    Sample {
        title: "Unassign members",
        request: r#"curl -s -S -i -X DELETE -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs/<org_id>/members -d '{"member_ids":["<member_id>"]}'"#,
        status: 204,
        headers: JSON,
        own_headers: &[],
        body: "",
    },
    ASSIGN_MEMBERS,
    Sample {
        title: "Update members",
        request: r#"curl -s -S -i -X PUT -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs/<org_id>/members -d '{"members":[{"email": "<member_email>","role": "<other_role>"}]}'"#,
        status: 200,
        headers: JSON,
        own_headers: &[],
        body: "",
    },
    Sample {
        title: "List members",
        request: r#"curl -s -S -i -X GET -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs/<org_id>/members"#,
        status: 200,
        headers: JSON,
        own_headers: &[],
        body: r#"{"limit":10,"offset":0,"total":2,"name":"","members":[{"id":"<user_id>","email":"<user_email>","role":"owner"},{"id":"<member_id>","email":"<member_email>","role":"admin"}]}"#,
    },
    ASSIGN_GROUPS,
    Sample {
        title: "Unassign groups",
        request: r#"curl -s -S -i -X DELETE -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs/<org_id>/groups -d '{"group_ids":["<group_id>", "<group_id_1>"]}'"#,
        status: 204,
        headers: JSON,
        own_headers: &[],
        body: "",
    },
    ASSIGN_GROUPS,
    // Printed without times, in another order of the fields: a group has one shape here.
    Sample {
        title: "List groups",
        request: r#"curl -s -S -i -X GET -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs/<org_id>/groups"#,
        status: 200,
        headers: JSON,
        own_headers: &[],
        body: r#"{"limit":10,"offset":0,"total":2,"name":"","groups":[{"id":"<group_id_1>","name":"group_name","owner_id":"<user_id>","description":"group_description","created_at":"<group_made_1>","updated_at":"<group_made_1>"},{"id":"<group_id>","name":"group_name","owner_id":"<user_id>","description":"group_description","created_at":"<group_made>","updated_at":"<group_made>"}]}"#,
    },
    // Printed with times of the year 1.
    Sample {
        title: "List memberships",
        request: r#"curl -s -S -i -X GET -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/members/<user_id>/orgs"#,
        status: 200,
        headers: JSON,
        own_headers: &[],
        body: r#"{"limit":10,"offset":0,"total":2,"name":"","orgs":[{"id":"<org_id_1>","name":"org_name","owner_id":"<user_id>","description":"org_description","created_at":"<org_made_1>","updated_at":"<org_made_1>"},{"id":"<org_id>","name":"org_name","owner_id":"<user_id>","description":"org_description","created_at":"<org_made_2>","updated_at":"<org_made_2>"}]}"#,
    },
];

const ASSIGN_MEMBERS: Sample = Sample {
    title: "Assign members",
    request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs/<org_id>/members -d '{"members":[{"email": "<member_email>","role": "<user_role>"}]}'"#,
    status: 200,
    headers: JSON,
    own_headers: &[],
    body: "",
};

const ASSIGN_GROUPS: Sample = Sample {
    title: "Assign groups",
    request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/orgs/<org_id>/groups -d '{"group_ids":["<group_id>", "<group_id_1>"]}'"#,
    status: 200,
    headers: JSON,
    own_headers: &[],
    body: "",
};

/// Members are listed when there are some.
const GROUPS: &[Sample] = &[
    Sample {
        title: "Assign",
        request: r#"curl -s -S -i -X POST -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/groups/<group_id>/members -d '{"members":["<thing_id_1>", "<thing_id_2>", "<member_id>"]}'"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
    // Printed with a total of 0 and empty metadata.
    Sample {
        title: "Members",
        request: r#"curl -s -S -i -X GET -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/groups/<group_id>/members"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"limit":10,"offset":0,"total":2,"name":"","members":[{"id":"<thing_id_1>","name":"thing_name_1","key":"<thing_key_1>"},{"id":"<thing_id_2>","name":"thing_name_2","key":"<thing_key_2>"}]}"#,
    },
    // In the reference this comes behind the next one, which leaves nothing to list.
    Sample {
        title: "List memberships",
        request: r#"curl -s -S -i -X GET -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/things/<thing_id_1>/groups"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"limit":10,"offset":0,"total":1,"name":"","groups":[{"id":"<group_id>","name":"group_name","owner_id":"<user_id>","description":"group_description","created_at":"<group_made>","updated_at":"<group_made>"}]}"#,
    },
    Sample {
        title: "Unassign",
        request: r#"curl -s -S -i -X DELETE -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/groups/<group_id>/members -d '{"members":["<member_id>", "<thing_id_1>", "<thing_id_2>"]}'"#,
        status: 204,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
    Sample {
        title: "Get group",
        request: r#"curl -s -S -i -X GET -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/groups/<group_id>"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"id":"<group_id>","name":"group_name","owner_id":"<user_id>","description":"group_description","created_at":"<group_made>","updated_at":"<group_made>"}"#,
    },
    Sample {
        title: "Get groups",
        request: r#"curl -s -S -i -X GET -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/groups"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"limit":10,"offset":0,"total":2,"name":"","groups":[{"id":"<group_id_1>","name":"group_name","owner_id":"<user_id>","description":"group_description","created_at":"<group_made_1>","updated_at":"<group_made_1>"},{"id":"<group_id>","name":"group_name","owner_id":"<user_id>","description":"group_description","created_at":"<group_made>","updated_at":"<group_made>"}]}"#,
    },
    Sample {
        title: "Update group",
        request: r#"curl -s -S -i -X PUT -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/groups/<group_id> -d '{"name": "<group_name>"}'"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
    Sample {
        title: "Delete group",
        request: r#"curl -s -S -i -X DELETE -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" http://localhost/groups/<group_id>"#,
        status: 204,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
];

const POLICIES: &[Sample] = &[
    Sample {
        title: "Add policies",
        request: r#"curl -isSX POST http://localhost/policies -d '{"subjects": ["<member_id>"], "object": "<thing_id_1>", "policies": ["read", "write"]}' -H "Authorization: Bearer <admin_token>" -H 'Content-Type: application/json'"#,
        status: 201,
        headers: JSON,
        own_headers: &[],
        body: r#"{}"#,
    },
    Sample {
        title: "Delete policies",
        request: r#"curl -isSX PUT http://localhost/policies -d '{"subjects": ["<member_id>"], "object": "<thing_id_1>", "policies": ["read", "write"]}' -H "Authorization: Bearer <admin_token>" -H 'Content-Type: application/json'"#,
        status: 204,
        headers: JSON,
        own_headers: &[],
        body: "",
    },
];

const KEYS: &[Sample] = &[
    Sample {
        title: "Issue API Key",
        request: r#"curl -isSX POST  http://localhost/keys -H "Content-Type: application/json" -H "Authorization: Bearer <user_token>" -d '{"type":2, "duration":10000}'"#,
        status: 201,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"id":"<key_id>","value":"<key_value>","issued_at":"<key_issued>","expires_at":"<key_expires>"}"#,
    },
    Sample {
        title: "Get API key details",
        request: r#"curl -isSX GET  http://localhost/keys/<key_id> -H 'Content-Type: application/json' -H 'Authorization: Bearer <user_token>'"#,
        status: 200,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: r#"{"id":"<key_id>","issuer_id":"<user_id>","subject":"<user_email>","type":2,"issued_at":"<key_issued>","expires_at":"<key_expires>"}"#,
    },
    Sample {
        title: "Revoke API key identified by the given ID",
        request: r#"curl -isSX DELETE  http://localhost/keys/<key_id> -H 'Content-Type: application/json' -H 'Authorization: Bearer <user_token>'"#,
        status: 204,
        headers: ON_ENTITIES,
        own_headers: &[],
        body: "",
    },
];

#[tokio::test]
async fn every_sample_of_the_reference_answers_as_printed() {
    let server = Server::start();
    let mut reader = Reader::new(&server.base, Document::of(&server.base).await);
    reader.know("admin_email", ADMIN_EMAIL);
    let admin = server.login(ADMIN_EMAIL, ADMIN_PASSWORD).await.token;
    reader.know("admin_token", &admin);
    for (name, value) in [
        ("user_email", "test@email.com"),
        ("user_password", "12345678"),
        ("old_password", "12345678"),
        ("new_password", "another one"),
    ] {
        reader.know(name, value);
    }
    reader.all(USERS).await;

    // A password change ends the tokens issued before it.
    reader.know("user_password", "another one");
    reader.forget("user_token");
    reader.send(&USERS[1]).await;
    reader.external_ids();
    let id = reader.known["xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxxx"].clone();
    reader.know("thing_id", &id);
    reader.all(THINGS).await;
    reader.external_ids();
    let id = reader.known["xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxxx"].clone();
    reader.know("channel_id", &id);
    reader.all(CHANNELS).await;

    // What the reference goes on with was deleted in it.
    for (name, other) in
        [("thing_id", "thing_id_1"), ("thing_key", "thing_key_1"), ("channel_id", "channel_id_1")]
    {
        let other = reader.known[other].clone();
        reader.know(name, &other);
    }
    reader.all(CONNECTIONS).await;
    reader.send(&CONNECT).await;
    reader.all(ACCESS).await;
    let key = reader.known["thing_key"].clone();
    eventually(async || {
        let url = format!("{}/channels/{}/messages", server.base, reader.known["channel_id"]);
        let request = reqwest::Client::new().get(url).header("Authorization", format!("Thing {key}"));
        let page = request.send().await.unwrap().text().await.unwrap();
        page.contains("\"total\":3,").then_some(()).ok_or(page)
    })
    .await;
    reader.send(&READ).await;

    let member = server.user().await;
    let page = member.request(Method::GET, "/users").send().await.unwrap().json::<Value>().await.unwrap();
    for (name, value) in [
        ("member_id", page["Users"][0]["id"].as_str().unwrap()),
        ("member_email", page["Users"][0]["email"].as_str().unwrap()),
        ("user_role", "viewer"),
        ("other_role", "admin"),
        ("org_desc", "another description"),
    ] {
        reader.know(name, value);
    }
    reader.all(ORGS).await;
    reader.forget("org_id");
    for (sample, id) in [(&CREATE_ORG, "org_id"), (&CREATE_GROUP, "group_id")] {
        for _ in 0..2 {
            if let Some(first) = reader.known.remove(id) {
                reader.know(&format!("{id}_1"), &first);
            }
            reader.send(sample).await;
        }
    }
    reader.all(IN_ORGS).await;
    reader.all(GROUPS).await;
    reader.all(POLICIES).await;
    reader.all(KEYS).await;
}

/// Somebody who types the samples, and knows what the answers told.
struct Reader {
    base: String,
    document: Document,
    known: HashMap<String, String>,
}

impl Reader {
    fn new(base: &str, document: Document) -> Self {
        let mut reader = Self { base: base.to_owned(), document, known: HashMap::new() };
        for name in [
            "thing_name",
            "thing_name_1",
            "thing_name_2",
            "channel_name",
            "channel_name_1",
            "channel_name_2",
            "org_name",
            "org_description",
            "group_name",
            "group_description",
        ] {
            reader.know(name, name);
        }
        reader
    }

    fn know(&mut self, name: &str, value: &str) {
        self.known.insert(name.to_owned(), value.to_owned());
    }

    fn forget(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// New ids, where the reference prints a row of x.
    fn external_ids(&mut self) {
        for name in [
            "xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxxx",
            "xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx1",
            "xxxxxxxx-xxxx-xxxx-xxxxxxxxxxxxxxx2",
        ] {
            self.know(name, &Uuid::new_v4().to_string());
        }
    }

    async fn all(&mut self, samples: &[Sample]) {
        for sample in samples {
            self.send(sample).await;
        }
    }

    async fn send(&mut self, sample: &Sample) {
        let request = sample
            .request
            .replace("http://localhost:<service_port>", &self.base)
            .replace("http://localhost", &self.base);
        let answer = replay(&self.filled_in(&request)).await;
        self.compare(sample, answer).await;
    }

    async fn compare(&mut self, sample: &Sample, answer: Response) {
        let path = answer.url().path().to_owned();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.text().await.unwrap();
        assert_eq!(status, sample.status, "{}: {body}", sample.title);
        for (name, value) in sample.headers.iter().chain(sample.own_headers) {
            let is =
                headers.get(*name).unwrap_or_else(|| panic!("{}: no {name} in {headers:?}", sample.title));
            self.learn(sample.title, value, is.to_str().unwrap());
        }
        self.learn(sample.title, sample.body, body.trim_end());
        let content_type = headers.get("content-type").map_or("", |value| value.to_str().unwrap());
        // `-X` may come with other short options: `-isSX`.
        let method =
            sample.request.split_once("X ").map_or("GET", |(_, rest)| rest.split(' ').next().unwrap());
        self.document.holds(method, &path, status.as_u16(), content_type, &body);
    }

    fn filled_in(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (name, value) in &self.known {
            filled = filled.replace(&format!("<{name}>"), value);
        }
        assert!(!filled.contains('<'), "a placeholder is not known in {filled}");
        filled
    }

    /// The answer is the printed one, and tells what its placeholders stand for.
    fn learn(&mut self, title: &str, printed: &str, answer: &str) {
        let (mut rest, mut unread) = (printed, answer);
        while let Some((before, placeholder)) = rest.split_once('<') {
            let (name, after) = placeholder.split_once('>').unwrap();
            unread =
                unread.strip_prefix(before).unwrap_or_else(|| panic!("{title}: {answer}\nprinted {printed}"));
            let value = unread.split('"').next().unwrap();
            let known = self.known.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            assert_eq!(known, value, "{title}: <{name}> in {answer}");
            (rest, unread) = (after, &unread[value.len()..]);
        }
        assert_eq!(unread, rest, "{title}: {answer}\nprinted {printed}");
    }
}
