//! Policies: what admins grant, and take away. Nothing but what is predefined is accepted.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::{GroupId, ThingId, UserId};
use http::StatusCode;
use serde_json::{Value, json};
use service::ApiError;
use service::extract::ApiJson;

use super::empty;
use crate::ControlPlane;
use crate::access::Relation;
use crate::author::Author;
use crate::caller::PlatformAdmin;
use crate::entity::unknown_id;
use crate::fields::Fields;
use crate::registry::policies::{Granting, Policy, TakeError};

/// Policies that one request adds or takes away: each is a statement, and nobody else can write meanwhile.
const POLICIES_AT_ONCE_MAX: usize = 1_000;
/// The subject that stands for everyone, with an account or without.
const EVERYONE: &str = "*";

/// What a policy lets its subject do, or be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Read,
    Write,
    Delete,
    Member,
    Create,
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            "delete" => Some(Self::Delete),
            "member" => Some(Self::Member),
            "create" => Some(Self::Create),
            _ => None,
        }
    }

    const fn relation(self) -> Option<Relation> {
        match self {
            Self::Read => Some(Relation::Read),
            Self::Write => Some(Relation::Write),
            Self::Delete => Some(Relation::Delete),
            Self::Member | Self::Create => None,
        }
    }
}

/// What policies are on.
#[derive(Debug, Clone, Copy)]
enum Object {
    Thing(ThingId),
    Group(GroupId),
    /// Something that is no entity, of which there is one policy.
    Named(&'static str, Name, &'static str),
}

const NAMED: [Object; 3] = [
    Object::Named("users", Name::Member, "member"),
    Object::Named("authorities", Name::Member, "member"),
    Object::Named("user", Name::Create, "create"),
];

/// `POST /policies`: puts policies into force, all or none. Those that are already stay so.
pub(super) async fn add(
    State(app): State<ControlPlane>,
    by: Author,
    PlatformAdmin(_): PlatformAdmin,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let asked = Asked::read(body)?;
    let mut granting = app.registry().granting(&by).await?;
    let policies = asked.policies(&mut granting).await?;
    let users: Vec<UserId> = asked.users();
    if !users.is_empty() {
        let known = granting.users(&users).await?;
        if let Some(nobody) = users.iter().find(|user| !known.contains(user)) {
            return Err(unknown_id("user", "subjects", nobody.as_uuid()));
        }
    }
    granting.add(&policies).await?;
    Ok((StatusCode::CREATED, Json(json!({}))).into_response())
}

/// `PUT /policies`: takes policies away, all or none. Those that are not in force stay so.
pub(super) async fn take(
    State(app): State<ControlPlane>,
    by: Author,
    PlatformAdmin(_): PlatformAdmin,
    ApiJson(body): ApiJson<Value>,
) -> Result<Response, ApiError> {
    let asked = Asked::read(body)?;
    let mut granting = app.registry().granting(&by).await?;
    let policies = asked.policies(&mut granting).await?;
    granting.take(&policies).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The body of a request, as far as it can be understood by itself.
struct Asked {
    subjects: BTreeSet<Subject>,
    object: String,
    names: BTreeSet<Name>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Everyone,
    User(UserId),
}

impl Asked {
    fn read(body: Value) -> Result<Self, ApiError> {
        let mut fields = Fields::one(body)?;
        let names = fields.texts("policies")?.iter().map(|text| Name::parse(text)).collect::<Option<_>>();
        let names: BTreeSet<Name> = names.ok_or_else(|| {
            fields.wrong("policies", "holds something that is not one of read, write, delete, member, create")
        })?;
        let object = fields.required_text("object")?;
        let subject = |text: &String| match text.as_str() {
            EVERYONE => Some(Subject::Everyone),
            text => text.parse().ok().map(Subject::User),
        };
        let subjects = fields.texts("subjects")?.iter().map(subject).collect::<Option<_>>();
        let subjects: BTreeSet<Subject> =
            subjects.ok_or_else(|| fields.wrong("subjects", "holds something that is no UUID"))?;
        if subjects.len() * names.len() > POLICIES_AT_ONCE_MAX {
            let error = format!("more than {POLICIES_AT_ONCE_MAX} policies: send several requests");
            return Err(ApiError::malformed(error).code("too_many"));
        }
        let is_sign_up = object == "user" && names.iter().all(|name| *name == Name::Create);
        if subjects.contains(&Subject::Everyone) && !is_sign_up {
            return Err(fields.wrong("subjects", "holds *, which only create on user takes"));
        }
        Ok(Self { subjects, object, names })
    }

    fn users(&self) -> Vec<UserId> {
        let user = |subject: &Subject| match subject {
            Subject::Everyone => None,
            Subject::User(user) => Some(*user),
        };
        self.subjects.iter().filter_map(user).collect()
    }

    /// Each policy of each subject.
    async fn policies(&self, granting: &mut Granting) -> Result<Vec<Policy>, ApiError> {
        let object = self.object(granting).await?;
        let mut policies = Vec::new();
        for name in &self.names {
            for subject in &self.subjects {
                policies.push(policy(*subject, object, *name).ok_or_else(|| {
                    ApiError::malformed("policies holds one that is not predefined for the object")
                        .field("policies")
                })?);
            }
        }
        Ok(policies)
    }

    async fn object(&self, granting: &mut Granting) -> Result<Object, ApiError> {
        let named =
            NAMED.into_iter().find(|named| matches!(named, Object::Named(name, ..) if *name == self.object));
        if let Some(object) = named {
            return Ok(object);
        }
        let id: ThingId = self.object.parse().map_err(|_| {
            ApiError::malformed("object is not the id of a thing or a group, or users, authorities or user")
                .field("object")
        })?;
        if granting.has_thing(id.as_uuid()).await? {
            return Ok(Object::Thing(id));
        }
        if granting.has_group(id.as_uuid()).await? {
            return Ok(Object::Group(GroupId::from_uuid(id.as_uuid())));
        }
        Err(ApiError::not_found("no thing or group has the id in object").field("object"))
    }
}

/// The policy, if it is predefined.
fn policy(subject: Subject, object: Object, name: Name) -> Option<Policy> {
    match (subject, object) {
        (Subject::User(user), Object::Thing(thing)) => Some(Policy::Thing(user, thing, name.relation()?)),
        (Subject::User(user), Object::Group(group)) => {
            (name == Name::Member).then_some(Policy::Group(user, group))
        }
        (subject, Object::Named(object, only, relation)) => {
            let subject = match subject {
                Subject::Everyone => EVERYONE.to_owned(),
                Subject::User(user) => user.to_string(),
            };
            (name == only).then_some(Policy::Named { subject, object, relation })
        }
        (Subject::Everyone, Object::Thing(_) | Object::Group(_)) => None,
    }
}

impl From<TakeError> for ApiError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::GroupOwner => Self::conflict("a group's owner stays its member").field("subjects"),
            TakeError::LastAdmin => Self::conflict("nobody would be an admin any more").field("subjects"),
            TakeError::Registry(error) => error.into(),
        }
    }
}
