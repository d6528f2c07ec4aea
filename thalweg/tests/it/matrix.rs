//! Every operation of the API, asked for by everyone: who gets which answer, and that no refusal changes anything.
//!
//! The operations are those of the document, so that a new one has no answer here until somebody has said who may do it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::document::Document;
use crate::harness::{ADMIN_EMAIL, ADMIN_PASSWORD, PASSWORD, Server, User, eventually};

/// Callers whose credential proves nothing to an operation that takes a user's token.
const NOBODIES: [&str; 6] = ["no token", "forged", "expired", "alg none", "revoked key", "thing key"];
/// And users, by what ties them to the thing, the channel, the group and the org that are asked for. The owner owns all of them.
const USERS: [&str; 7] = ["other", "member", "viewer", "editor", "org admin", "owner", "admin"];

/// Somebody who is put into an org, and after that no stranger.
const NEWCOMER: &str = "newcomer";

/// What each of [`USERS`] is answered; [`NOBODIES`] are answered 401. In the order of the document's tags.
const ANSWERS: [(&str, [u16; 7]); 58] = [
    //                      other member viewer editor org-admin owner admin
    ("listUsers", [200, 200, 200, 200, 200, 200, 200]),
    ("updateUser", [200, 200, 200, 200, 200, 200, 200]),
    ("viewUser", [404, 200, 200, 200, 200, 200, 200]),
    ("deleteUser", [403, 403, 403, 403, 403, 403, 404]),
    ("changePassword", [403, 403, 403, 403, 403, 403, 403]),
    ("createThings", [201, 201, 201, 201, 201, 201, 201]),
    ("listThings", [200, 200, 200, 200, 200, 200, 200]),
    ("viewThing", [404, 200, 200, 200, 200, 200, 200]),
    ("updateThing", [404, 200, 403, 200, 200, 200, 200]),
    ("deleteThing", [404, 204, 403, 403, 403, 204, 204]),
    ("replaceKey", [404, 200, 403, 200, 200, 200, 200]),
    ("listGroupsOfThing", [404, 200, 200, 200, 200, 200, 200]),
    ("createChannels", [201, 201, 201, 201, 201, 201, 201]),
    ("listChannels", [200, 200, 200, 200, 200, 200, 200]),
    ("viewChannel", [404, 404, 404, 404, 404, 200, 200]),
    ("updateChannel", [404, 404, 404, 404, 404, 200, 200]),
    ("deleteChannel", [404, 404, 404, 404, 404, 204, 204]),
    ("connect", [404, 404, 404, 404, 404, 200, 200]),
    ("disconnect", [404, 404, 404, 404, 404, 200, 200]),
    ("connectOne", [404, 404, 404, 404, 404, 200, 200]),
    ("disconnectOne", [404, 404, 404, 404, 404, 204, 204]),
    ("createGroup", [201, 201, 201, 201, 201, 201, 201]),
    ("listGroups", [200, 200, 200, 200, 200, 200, 200]),
    ("viewGroup", [404, 200, 200, 200, 200, 200, 200]),
    ("updateGroup", [404, 403, 403, 403, 403, 200, 200]),
    ("deleteGroup", [404, 403, 403, 403, 403, 204, 204]),
    ("listGroupMembers", [404, 200, 200, 200, 200, 200, 200]),
    ("assignToGroup", [404, 403, 403, 403, 403, 200, 200]),
    ("unassignFromGroup", [404, 403, 403, 403, 403, 204, 204]),
    ("createOrg", [201, 201, 201, 201, 201, 201, 201]),
    ("listOrgs", [200, 200, 200, 200, 200, 200, 200]),
    ("viewOrg", [404, 404, 200, 200, 200, 200, 200]),
    ("updateOrg", [404, 404, 403, 403, 200, 200, 200]),
    ("deleteOrg", [404, 404, 403, 403, 403, 204, 204]),
    ("listOrgMembers", [404, 404, 200, 200, 200, 200, 200]),
    ("assignToOrg", [404, 404, 403, 403, 200, 200, 200]),
    ("updateOrgMembers", [404, 404, 403, 403, 200, 200, 200]),
    ("unassignFromOrg", [404, 404, 403, 403, 204, 204, 204]),
    ("listGroupsOfOrg", [404, 404, 200, 200, 200, 200, 200]),
    ("assignGroupsToOrg", [404, 404, 403, 404, 404, 200, 200]),
    ("unassignGroupsFromOrg", [404, 404, 403, 204, 204, 204, 204]),
    ("listOrgsOfUser", [404, 200, 200, 200, 200, 200, 200]),
    ("addPolicies", [403, 403, 403, 403, 403, 403, 201]),
    ("takePolicies", [403, 403, 403, 403, 403, 403, 204]),
    ("listKeys", [200, 200, 200, 200, 200, 200, 200]),
    ("viewKey", [404, 404, 404, 404, 404, 200, 200]),
    ("revokeKey", [404, 404, 404, 404, 404, 204, 204]),
    ("createWebhooks", [404, 403, 403, 403, 403, 201, 201]),
    ("listWebhooks", [404, 403, 403, 403, 403, 200, 200]),
    ("viewWebhook", [404, 403, 403, 403, 403, 200, 200]),
    ("updateWebhook", [404, 403, 403, 403, 403, 200, 200]),
    ("deleteWebhook", [404, 403, 403, 403, 403, 204, 204]),
    ("enableWebhook", [404, 403, 403, 403, 403, 200, 200]),
    ("disableWebhook", [404, 403, 403, 403, 403, 200, 200]),
    ("rotateWebhookSecret", [404, 403, 403, 403, 403, 200, 200]),
    ("testWebhook", [404, 403, 403, 403, 403, 200, 200]),
    ("listDeliveries", [404, 403, 403, 403, 403, 200, 200]),
    ("replayDeliveries", [404, 403, 403, 403, 403, 200, 200]),
];
/// The operations that take other credentials, or of which one answer would be another caller's: they are asked for below.
const APART: [&str; 8] = [
    "publish",
    "publishWithSlash",
    "publishToSubtopic",
    "readMessages",
    "createUser",
    "createToken",
    "issueKey",
    "listAudit",
];

/// Who asks.
struct Callers<'a> {
    by_name: BTreeMap<&'static str, User<'a>>,
    ids: BTreeMap<&'static str, (String, String)>,
    nobodies: [String; 6],
}

/// What is asked for.
struct Shop {
    thing: String,
    key: String,
    channel: String,
    /// Another thing, group and channel of the owner, in nothing.
    spare_thing: String,
    spare_group: String,
    spare_channel: String,
    group: String,
    org: String,
    api_key: String,
    webhook: String,
}

async fn text(request: RequestBuilder, status: u16) -> (String, Value) {
    let answer = request.send().await.unwrap();
    let location = answer.headers().get("location").map(|path| path.to_str().unwrap().to_owned());
    assert_eq!(answer.status(), status, "{}", answer.url());
    let id = location.and_then(|path| path.rsplit_once('/').map(|(_, id)| id.to_owned()));
    let body = answer.bytes().await.unwrap();
    (id.unwrap_or_default(), serde_json::from_slice(&body).unwrap_or_default())
}

impl<'a> Callers<'a> {
    async fn of(server: &'a Server) -> Self {
        let (mut by_name, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for name in USERS.into_iter().chain([NEWCOMER]) {
            let user = match name {
                "admin" => server.login(ADMIN_EMAIL, ADMIN_PASSWORD).await,
                _ => server.user().await,
            };
            let (_, page) = text(user.request(Method::GET, "/users?limit=1"), 200).await;
            let of = |field: &str| page["Users"][0][field].as_str().unwrap().to_owned();
            ids.insert(name, (of("id"), of("email")));
            by_name.insert(name, user);
        }
        let mut callers = Self { by_name, ids, nobodies: Default::default() };
        callers.nobodies = callers.proofs_of_nothing().await;
        callers
    }

    /// In the order of [`NOBODIES`]; the last is set with a thing.
    async fn proofs_of_nothing(&self) -> [String; 6] {
        let owner = &self.by_name["owner"];
        let token = &owner.token;
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = head.split_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("Bearer {head}.{other}{}", &signature[1..]);
        let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        header["alg"] = json!("none");
        let unsigned = format!("Bearer {}.{claims}.", URL_SAFE_NO_PAD.encode(header.to_string()));
        let issue = owner.request(Method::POST, "/keys").json(&json!({"type": 2, "duration": 1}));
        let expired = text(issue, 201).await.1["value"].as_str().unwrap().to_owned();
        let issue = owner.request(Method::POST, "/keys").json(&json!({"type": 2}));
        let (_, issued) = text(issue, 201).await;
        let revoke = format!("/keys/{}", issued["id"].as_str().unwrap());
        text(owner.request(Method::DELETE, &revoke), 204).await;
        let revoked = format!("Bearer {}", issued["value"].as_str().unwrap());
        let asked = owner.request(Method::GET, "/keys").build().unwrap().url().clone();
        eventually(async || {
            let answer = owner.http.get(asked.clone()).bearer_auth(&expired).send().await.unwrap();
            if answer.status() == 401 { Ok(()) } else { Err("it has not expired".to_owned()) }
        })
        .await;
        [String::new(), forged, format!("Bearer {expired}"), unsigned, revoked, String::new()]
    }

    async fn shop(&self) -> Shop {
        let owner = &self.by_name["owner"];
        let create = async |what: &str| {
            let made =
                owner.request(Method::POST, &format!("/{what}")).json(&json!([{"name": "a"}, {"name": "b"}]));
            let made = text(made, 201).await.1[what].clone();
            [0, 1].map(|index| made[index].clone())
        };
        let ([thing, spare_thing], [channel, spare_channel]) =
            (create("things").await, create("channels").await);
        let of = |entity: &Value, field: &str| entity[field].as_str().unwrap().to_owned();
        let circle = async |path: &str| {
            text(owner.request(Method::POST, path).json(&json!({"name": "c"})), 201).await.0
        };
        let (group, spare_group, org) =
            (circle("/groups").await, circle("/groups").await, circle("/orgs").await);
        let (_, issued) = text(owner.request(Method::POST, "/keys").json(&json!({"type": 2})), 201).await;
        let webhooks = format!("/webhooks/{}", of(&thing, "id"));
        let webhook = json!({"name": "w", "format": "json", "url": "https://a.example/"});
        text(owner.request(Method::POST, &webhooks).json(&webhook), 201).await;
        let (_, made) = text(owner.request(Method::GET, &webhooks), 200).await;
        let shop = Shop {
            thing: of(&thing, "id"),
            key: of(&thing, "key"),
            channel: of(&channel, "id"),
            spare_thing: of(&spare_thing, "id"),
            spare_group,
            spare_channel: of(&spare_channel, "id"),
            group,
            org,
            api_key: of(&issued, "id"),
            webhook: of(&made["webhooks"][0], "id"),
        };
        owner.connect(&shop.channel, &shop.thing).await;
        let members = json!({"members": [shop.thing, self.ids["member"].0]});
        text(owner.request(Method::POST, &format!("/groups/{}/members", shop.group)).json(&members), 200)
            .await;
        let role = |name: &str, role: &str| json!({"email": self.ids[name].1, "role": role});
        let members = json!({"members": [role("viewer", "viewer"), role("editor", "editor"), role("org admin", "admin")]});
        text(owner.request(Method::POST, &format!("/orgs/{}/members", shop.org)).json(&members), 200).await;
        let groups = json!({"group_ids": [shop.group]});
        text(owner.request(Method::POST, &format!("/orgs/{}/groups", shop.org)).json(&groups), 200).await;
        shop
    }

    /// All that can be seen of it, and the newest change of anything.
    async fn seen(&self, shop: &Shop) -> Vec<Value> {
        let (owner, admin) = (&self.by_name["owner"], &self.by_name["admin"]);
        let mut seen = vec![text(admin.request(Method::GET, "/audit?limit=1"), 200).await.1];
        for path in [
            format!("/things/{}", shop.thing),
            format!("/channels/{}", shop.channel),
            format!("/groups/{}", shop.group),
            format!("/groups/{}/members", shop.group),
            format!("/groups/{}/members?type=users", shop.group),
            format!("/orgs/{}", shop.org),
            format!("/orgs/{}/members", shop.org),
            format!("/orgs/{}/groups", shop.org),
            format!("/keys/{}", shop.api_key),
            format!("/webhooks/{}/{}", shop.thing, shop.webhook),
        ] {
            seen.push(text(owner.request(Method::GET, &path), 200).await.1);
        }
        seen
    }

    /// The credential of a caller.
    fn credential(&self, name: &str) -> String {
        let nobody = NOBODIES.iter().position(|nobody| *nobody == name);
        nobody.map_or_else(
            || format!("Bearer {}", self.by_name[name].token),
            |nobody| self.nobodies[nobody].clone(),
        )
    }

    /// The path and the body of a request that is good but for who sends it. Where somebody may do something with what is its
    /// own, it asks for it with what is the owner's.
    fn request(&self, operation: &str, path: &str, shop: &Shop) -> (String, Value) {
        let other = &self.ids["other"];
        let path = path
            .replace("{thing}", &shop.thing)
            .replace("{channel}", &shop.channel)
            .replace("{group}", &shop.group)
            .replace("{org}", &shop.org)
            .replace("{webhook}", &shop.webhook)
            .replace("{key}", &shop.api_key);
        let nobody = uuid::Uuid::new_v4().to_string();
        let user = if operation == "deleteUser" { &nobody } else { &self.ids["owner"].0 };
        let path = path.replace("{user}", user);
        let policy = json!({"subjects": [other.0], "object": shop.thing, "policies": ["read"]});
        let spare = json!({"thing_ids": [shop.thing], "channel_ids": [shop.spare_channel]});
        let member = |role: &str, email: &str| json!({"members": [{"email": email, "role": role}]});
        let body = match operation {
            "updateUser" => json!({"metadata": {}}),
            "changePassword" => json!({"old_password": "not the password", "password": PASSWORD}),
            "createThings" | "createChannels" => json!([{"name": "new"}]),
            "updateThing" | "updateChannel" | "updateGroup" | "updateOrg" | "createGroup" | "createOrg" => {
                json!({"name": "new"})
            }
            "updateWebhook" => json!({"name": "new"}),
            "createWebhooks" => json!([{"name": "new", "format": "senml", "url": "https://b.example/"}]),
            "connect" => spare,
            "disconnect" => json!({"thing_ids": [shop.thing], "channel_ids": [shop.channel]}),
            "assignToGroup" => json!({"members": [shop.spare_thing]}),
            "unassignFromGroup" => json!({"members": [shop.thing]}),
            "assignToOrg" => member("viewer", &self.ids[NEWCOMER].1),
            "updateOrgMembers" => member("editor", &self.ids["viewer"].1),
            "unassignFromOrg" => json!({"member_ids": [self.ids["viewer"].0]}),
            "assignGroupsToOrg" => json!({"group_ids": [shop.spare_group]}),
            "unassignGroupsFromOrg" => json!({"group_ids": [shop.group]}),
            "addPolicies" | "takePolicies" => policy,
            _ => Value::Null,
        };
        (path, body)
    }

    async fn send(&self, method: &str, path: &str, credential: &str, body: &Value) -> StatusCode {
        let admin = &self.by_name["admin"];
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        // The address of the server, without the token.
        let url = admin.request(method.clone(), path).build().unwrap().url().clone();
        let mut request = admin.http.request(method, url);
        if !credential.is_empty() {
            request = request.header("Authorization", credential);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        request.send().await.unwrap().status()
    }
}

#[tokio::test]
async fn everyone_is_answered_by_what_it_may_do_and_no_refusal_changes_anything() {
    let server = Server::start();
    let document = Document::of(&server.base).await;
    let mut callers = Callers::of(&server).await;
    let mut answers: BTreeMap<&str, [u16; 7]> = ANSWERS.into_iter().collect();
    let (mut shop, mut cells, mut wrong) = (callers.shop().await, 0, Vec::new());
    for operation in document.operations() {
        let name = operation.said["operationId"].as_str().unwrap();
        let is_open = operation.said["security"].as_array().is_none_or(Vec::is_empty);
        if is_open || APART.contains(&name) {
            assert!(!is_open || !answers.contains_key(name), "{name} takes a credential by the table");
            continue;
        }
        let wanted = answers.remove(name).unwrap_or_else(|| panic!("who may do {name} is not said"));
        callers.nobodies[5] = format!("Thing {}", shop.key);
        let nobodies = NOBODIES.into_iter().map(|nobody| (nobody, 401));
        for (caller, wanted) in nobodies.chain(USERS.into_iter().zip(wanted)) {
            let (path, body) = callers.request(name, operation.path, &shop);
            let before = if wanted >= 400 { callers.seen(&shop).await } else { Vec::new() };
            let status = callers.send(operation.method, &path, &callers.credential(caller), &body).await;
            cells += 1;
            if status != wanted {
                wrong.push(format!("{name} by {caller}: {} and not {wanted}", status.as_u16()));
            } else if wanted >= 400 {
                assert_eq!(
                    callers.seen(&shop).await,
                    before,
                    "{name} by {caller} was refused, and changed something"
                );
            }
            if status.is_success() && operation.method != "get" {
                shop = callers.shop().await;
                callers.nobodies[5] = format!("Thing {}", shop.key);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cells} cells: {wrong:#?}", wrong.len());
    assert!(answers.is_empty(), "no operations: {answers:?}");
    println!("{cells} cells");
}

/// What takes a thing's key, or is somebody's by what it says and not by who asks.
#[tokio::test]
async fn things_publish_and_read_where_they_are_connected_and_users_read_what_they_own() {
    let server = Server::start();
    let mut callers = Callers::of(&server).await;
    let shop = callers.shop().await;
    let owner = &callers.by_name["owner"];
    let (other_thing, other_key) = owner.thing().await;
    assert_ne!(other_thing, shop.thing);
    callers.nobodies[5] = format!("Thing {other_key}");
    let publish = format!("/http/channels/{}/messages", shop.channel);
    let read = format!("/channels/{}/messages", shop.channel);
    let pack = json!([{"n": "a", "v": 1}]);
    let before = callers.seen(&shop).await;
    for nobody in NOBODIES {
        let wanted = if nobody == "thing key" { 403 } else { 401 };
        let credential = callers.credential(nobody);
        for path in [publish.clone(), format!("{publish}/"), format!("{publish}/a/b")] {
            assert_eq!(callers.send("post", &path, &credential, &pack).await, wanted, "{nobody} publishes");
        }
        assert_eq!(callers.send("get", &read, &credential, &Value::Null).await, wanted, "{nobody} reads");
        assert_eq!(callers.send("get", "/audit", &credential, &Value::Null).await, 401, "{nobody} audits");
        let issue = json!({"type": 2});
        assert_eq!(callers.send("post", "/keys", &credential, &issue).await, 401, "{nobody} issues a key");
    }
    let org = format!("/audit?org={}", shop.org);
    for (user, [reads, audits, audits_org]) in USERS.into_iter().zip([
        [404, 403, 404],
        [404, 403, 404],
        [404, 403, 403],
        [404, 403, 403],
        [404, 403, 200],
        [200, 403, 200],
        [200, 200, 200],
    ]) {
        let credential = callers.credential(user);
        assert_eq!(callers.send("post", &publish, &credential, &pack).await, 401, "{user} publishes");
        assert_eq!(callers.send("get", &read, &credential, &Value::Null).await, reads, "{user} reads");
        assert_eq!(callers.send("get", "/audit", &credential, &Value::Null).await, audits, "{user} audits");
        assert_eq!(
            callers.send("get", &org, &credential, &Value::Null).await,
            audits_org,
            "{user} audits the org"
        );
    }
    assert_eq!(callers.seen(&shop).await, before, "what was refused changed nothing");
    let own = format!("Thing {}", shop.key);
    assert_eq!(callers.send("post", &publish, &own, &pack).await, 202);
    assert_eq!(callers.send("get", &read, &own, &Value::Null).await, 200);
}
