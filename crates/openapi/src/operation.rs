//! What one method of a path does, takes and answers.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{Operation as Described, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, ContentBuilder, Deprecated, Ref, RefOr, Required, Schema};

use crate::refusal::{OF_A_BODY, OF_THE_API, Refusal, described};
use crate::schema::{text, uuid};

const JSON: &str = "application/json";

/// What a caller shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// A user's token: of a login, or an API key.
    User,
    /// A thing's key.
    Thing,
    /// Either of them.
    UserOrThing,
    /// None is needed; a user's token may be.
    PerhapsUser,
}

/// The description of an operation.
#[derive(Debug, Clone)]
pub struct Operation {
    described: Described,
    refusals: BTreeSet<Refusal>,
}

impl Operation {
    /// Of what is no part of the API: it takes no credential, and is counted by no limit.
    pub fn new(id: &str, tag: &str, summary: &str) -> Self {
        let mut described = Described::new();
        described.operation_id = Some(id.to_owned());
        described.tags = Some(vec![tag.to_owned()]);
        described.summary = Some(summary.to_owned());
        Self { described, refusals: BTreeSet::new() }
    }

    /// Of the API: what every such operation may be refused for comes with it.
    pub fn api(id: &str, tag: &str, summary: &str) -> Self {
        Self::new(id, tag, summary).refused(OF_THE_API)
    }

    /// What a summary does not say.
    #[must_use]
    pub fn about(mut self, text: impl Into<String>) -> Self {
        self.described.description = Some(text.into());
        self
    }

    /// What the caller has to show.
    #[must_use]
    pub fn of(mut self, credential: Credential) -> Self {
        let schemes: &[&str] = match credential {
            Credential::User | Credential::PerhapsUser => &["user"],
            Credential::Thing => &["thing", "thing_basic"],
            Credential::UserOrThing => &["user", "thing", "thing_basic"],
        };
        let needed = |scheme: &&str| SecurityRequirement::new::<_, [&str; 0], &str>(*scheme, []);
        let nothing = (credential == Credential::PerhapsUser).then(SecurityRequirement::default);
        self.described.security = Some(nothing.into_iter().chain(schemes.iter().map(needed)).collect());
        self.refused([Refusal::Unauthenticated])
    }

    /// A parameter.
    #[must_use]
    pub fn takes(self, parameter: Parameter) -> Self {
        self.takes_all([parameter])
    }

    /// Parameters.
    #[must_use]
    pub fn takes_all(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        let all = self.described.parameters.get_or_insert_default();
        all.extend(parameters.into_iter().map(RefOr::T));
        self
    }

    /// A JSON body, and what it may be refused for.
    #[must_use]
    pub fn body(self, shape: impl Into<RefOr<Schema>>, example: Value) -> Self {
        self.any_body(&[JSON], shape, example, Required::True)
    }

    /// A JSON body that may be left out.
    #[must_use]
    pub fn perhaps_body(self, shape: impl Into<RefOr<Schema>>, example: Value) -> Self {
        self.any_body(&[JSON], shape, example, Required::False)
    }

    /// A body of any of these types, which all look the same.
    #[must_use]
    pub fn body_of(self, types: &[&str], shape: impl Into<RefOr<Schema>>, example: Value) -> Self {
        self.any_body(types, shape, example, Required::True)
    }

    fn any_body(
        mut self,
        types: &[&str],
        shape: impl Into<RefOr<Schema>>,
        example: Value,
        required: Required,
    ) -> Self {
        let content = content(shape.into(), Some(example));
        let body = RequestBodyBuilder::new().required(Some(required));
        let body = types.iter().fold(body, |body, of| body.content(*of, content.clone()));
        self.described.request_body = Some(RefOr::T(body.build()));
        self.refused(OF_A_BODY)
    }

    /// A success.
    #[must_use]
    pub fn answers(mut self, status: u16, answer: Answer) -> Self {
        self.described.responses.responses.insert(status.to_string(), RefOr::T(answer.0.build()));
        self
    }

    /// Why it may be refused, besides what comes with its credential and its body.
    #[must_use]
    pub fn refused(mut self, refusals: impl IntoIterator<Item = Refusal>) -> Self {
        self.refusals.extend(refusals);
        self
    }

    /// There is a better one.
    #[must_use]
    pub fn deprecated(mut self) -> Self {
        self.described.deprecated = Some(Deprecated::True);
        self
    }

    pub(crate) fn build(self) -> Described {
        let Self { mut described, refusals } = self;
        for refusal in refusals {
            let named = RefOr::Ref(Ref::from_response_name(refusal.name()));
            described.responses.responses.insert(refusal.status().to_string(), named);
        }
        described
    }
}

/// The description of a success.
pub struct Answer(ResponseBuilder);

impl Answer {
    /// Without a body.
    pub fn empty(description: &str) -> Self {
        Self(ResponseBuilder::new().description(description))
    }

    /// With a JSON body.
    pub fn json(description: &str, shape: impl Into<RefOr<Schema>>, example: Value) -> Self {
        Self::of(JSON, description, shape, example)
    }

    /// With a body of another type.
    pub fn of(of: &str, description: &str, shape: impl Into<RefOr<Schema>>, example: Value) -> Self {
        Self::empty(description).or(of, shape, Some(example))
    }

    /// Or with a body of this type.
    #[must_use]
    pub fn or(self, of: &str, shape: impl Into<RefOr<Schema>>, example: Option<Value>) -> Self {
        Self(self.0.content(of, content(shape.into(), example)))
    }

    /// `Location` says where what was made is.
    #[must_use]
    pub fn located(self, description: &str) -> Self {
        self.with_header("Location", description)
    }

    /// A header.
    #[must_use]
    pub fn with_header(self, name: &str, description: &str) -> Self {
        Self(self.0.header(name, described(description)))
    }

    /// What can be done with it next: an operation whose parameter is in this answer.
    #[must_use]
    pub fn leads_to(self, operation: &str, parameter: &str, expression: &str) -> Self {
        let link = LinkBuilder::new().operation_id(operation).parameter(parameter, expression);
        Self(self.0.link(operation, link.build()))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer(..)")
    }
}

fn content(shape: RefOr<Schema>, example: Option<Value>) -> Content {
    ContentBuilder::new().schema(Some(shape)).example(example).build()
}

/// The id in a path.
pub fn path_id(name: &str) -> Parameter {
    path(name, uuid(&format!("Id of the {name}.")).into())
}

/// Another part of a path.
pub fn path_text(name: &str, shape: impl Into<RefOr<Schema>>) -> Parameter {
    path(name, shape.into())
}

fn path(name: &str, shape: RefOr<Schema>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(shape))
        .build()
}

/// A query parameter, which may be left out.
pub fn query(name: &str, shape: impl Into<RefOr<Schema>>) -> Parameter {
    optional(ParameterIn::Query, name).schema(Some(shape)).build()
}

/// A query parameter that holds JSON.
pub fn query_json(name: &str, description: &str, shape: impl Into<RefOr<Schema>>) -> Parameter {
    let content: Content = ContentBuilder::new().schema(Some(shape)).build();
    optional(ParameterIn::Query, name).description(Some(description)).content(JSON, content).build()
}

/// A header of the request, which may be left out.
pub fn header(name: &str, shape: impl Into<RefOr<Schema>>) -> Parameter {
    optional(ParameterIn::Header, name).schema(Some(shape)).build()
}

fn optional(place: ParameterIn, name: &str) -> ParameterBuilder {
    ParameterBuilder::new().name(name).parameter_in(place).required(Required::False)
}

/// Plain text.
pub fn plain(description: &str) -> RefOr<Schema> {
    text(description).into()
}
