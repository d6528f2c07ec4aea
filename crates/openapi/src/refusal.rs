//! The refusals that operations have in common. Each is described once.

use serde_json::{Value, json};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{ContentBuilder, Header, HeaderBuilder, RefOr, Response, Schema};

use crate::schema::{integer, named, object, text};

/// Why an operation may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// 400
    Malformed,
    /// 401
    Unauthenticated,
    /// 403
    Forbidden,
    /// 404
    Unknown,
    /// 408
    Late,
    /// 409
    Conflict,
    /// 413
    TooLarge,
    /// 415
    UnsupportedMediaType,
    /// 429
    TooMany,
    /// 500
    Failed,
    /// 503
    Unavailable,
}

/// What a body may be refused for.
pub(crate) const OF_A_BODY: [Refusal; 4] =
    [Refusal::Malformed, Refusal::Late, Refusal::TooLarge, Refusal::UnsupportedMediaType];
/// What every operation of the API may be refused for.
pub(crate) const OF_THE_API: [Refusal; 3] = [Refusal::TooMany, Refusal::Failed, Refusal::Unavailable];

impl Refusal {
    pub(crate) const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Unknown,
        Self::Late,
        Self::Conflict,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::TooMany,
        Self::Failed,
        Self::Unavailable,
    ];

    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::Unknown => 404,
            Self::Late => 408,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::TooMany => 429,
            Self::Failed => 500,
            Self::Unavailable => 503,
        }
    }

    /// Its name among the document's responses.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "Malformed",
            Self::Unauthenticated => "Unauthenticated",
            Self::Forbidden => "Forbidden",
            Self::Unknown => "Unknown",
            Self::Late => "Late",
            Self::Conflict => "Conflict",
            Self::TooLarge => "TooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::TooMany => "TooMany",
            Self::Failed => "Failed",
            Self::Unavailable => "Unavailable",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Malformed => "The request can't be understood: `field` and `record` say where.",
            Self::Unauthenticated => "No credential, or none that is valid (any more).",
            Self::Forbidden => "Known, but not allowed.",
            Self::Unknown => "There is none, or none that the caller may know of.",
            Self::Late => "The body did not come in time.",
            Self::Conflict => "Taken, or in the way of what is there.",
            Self::TooLarge => "The body is larger than this takes.",
            Self::UnsupportedMediaType => "A content type or encoding that this does not read.",
            Self::TooMany => "Too many requests: come again after `Retry-After`.",
            Self::Failed => "The server's fault.",
            Self::Unavailable => {
                "Not now. Nothing is wrong with the request: send it again after `Retry-After`."
            }
        }
    }

    fn example(self) -> Value {
        match self {
            Self::Malformed => {
                json!({"error": "name of record 3 is not a string", "record": 3, "field": "name"})
            }
            Self::Unauthenticated => json!({"error": "the token is not valid, or no longer"}),
            Self::Forbidden => json!({"error": "you may not do this with the thing"}),
            Self::Unknown => json!({"error": "no such thing"}),
            Self::Late => json!({"error": "the body did not come in time"}),
            Self::Conflict => json!({
                "error": "id of record 0 is taken, now or by an entity that was deleted",
                "code": "id_taken", "record": 0, "field": "id",
            }),
            Self::TooLarge => {
                json!({"error": "the body is larger than this endpoint takes", "code": "too_large"})
            }
            Self::UnsupportedMediaType => json!({
                "error": "send the body as Content-Type: application/json",
                "code": "unsupported_media_type",
            }),
            Self::TooMany => {
                json!({"error": "too many requests of this address", "code": "too_many_requests"})
            }
            Self::Failed => json!({"error": "internal error"}),
            Self::Unavailable => json!({"error": "the registry can't be asked now"}),
        }
    }

    pub(crate) fn response(self) -> Response {
        let content = ContentBuilder::new().schema(Some(named(SCHEMA))).example(Some(self.example())).build();
        let mut response =
            ResponseBuilder::new().description(self.description()).content("application/json", content);
        for (name, description) in self.headers() {
            response = response.header(*name, described(description));
        }
        response.build()
    }

    const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Unauthenticated => &[("WWW-Authenticate", "The schemes that are known.")],
            Self::TooMany => &[
                ("Retry-After", "Seconds to wait."),
                ("RateLimit-Limit", "Requests of the limit's burst, where a limit is set."),
                ("RateLimit-Remaining", "Requests that are left of it."),
                ("RateLimit-Reset", "Seconds until all of them are there again."),
                ("RateLimit-Policy", "The limit, as burst and window in seconds."),
            ],
            Self::Unavailable => &[("Retry-After", "Seconds to wait.")],
            _ => &[],
        }
    }
}

pub(crate) fn described(description: &str) -> Header {
    HeaderBuilder::new().schema(Some(text(""))).description(Some(description)).build()
}

/// The name of the shape of all refusals.
pub(crate) const SCHEMA: &str = "Refusal";

/// The one shape of all refusals.
pub(crate) fn schema() -> RefOr<Schema> {
    object("Why a request is refused.")
        .with("error", text("What is wrong, for people."))
        .perhaps("code", text("The kind of refusal, for programs: `malformed`, `too_many`, `id_taken`, …"))
        .perhaps(
            "record",
            integer("The record of the pack, or the entity of the array, from 0.").minimum(Some(0)),
        )
        .perhaps("field", text("The field or parameter that is wrong."))
        .closed()
}
