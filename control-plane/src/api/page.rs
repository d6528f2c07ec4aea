//! The parameters of a list, and what its page says of itself.

use serde::{Deserialize, Serialize};
use service::ApiError;
use tokio::sync::SemaphorePermit;

use super::groups::{NO_KIND, member_kind};
use crate::ControlPlane;
use crate::fields::NAME_BYTES_MAX;
use crate::metadata::Metadata;
use crate::registry::groups::MemberKind;
use crate::registry::listing::{ListQuery, Order};

/// Entities on one page. A client that pages through 100,000 needs 100 requests.
pub(super) const PAGE_MAX: i64 = 1_000;
/// Entities on one page where the request does not say.
pub(super) const PAGE_DEFAULT: i64 = 10;

/// The parameters as they came.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListParams {
    offset: Option<String>,
    limit: Option<String>,
    name: Option<String>,
    /// Of a list of users: the same as `name`, which they have no other.
    email: Option<String>,
    metadata: Option<String>,
    order: Option<String>,
    dir: Option<String>,
    /// Of a list of a group's members: what they are.
    r#type: Option<String>,
}

/// The fields of a page beside its entities.
#[derive(Debug, Serialize)]
pub(super) struct PageFields {
    total: i64,
    offset: i64,
    limit: i64,
    order: String,
    direction: String,
}

/// The fields of a page of orgs, groups or members beside them.
#[derive(Debug, Serialize)]
pub(super) struct NamedPageFields {
    limit: i64,
    offset: i64,
    total: i64,
    name: String,
}

impl ListParams {
    /// Which entities to list, in which order.
    pub(super) fn query(&self) -> Result<ListQuery, ApiError> {
        self.by(Some("name"), name_part("name", self.name.as_deref())?)
    }

    /// Which users to list, in which order.
    pub(super) fn users_query(&self) -> Result<ListQuery, ApiError> {
        let email = name_part("email", self.email.as_deref())?;
        let name = name_part("name", self.name.as_deref())?;
        if email.is_some() && name.is_some() {
            return Err(wrong("name", "is the email here: send one of them"));
        }
        self.by(Some("email"), email.or(name))
    }

    /// Which keys to list, in which order. They have no name.
    pub(super) fn keys_query(&self) -> Result<ListQuery, ApiError> {
        self.by(None, None)
    }

    /// Out of range is refused, not clamped: a client that asked for 5,000 must not believe it got them.
    fn by(&self, name_field: Option<&'static str>, name: Option<String>) -> Result<ListQuery, ApiError> {
        let metadata = self.metadata.as_deref().map_or(Ok(Metadata::default()), Metadata::from_query);
        Ok(ListQuery {
            offset: number(self.offset.as_deref(), "offset", 0, 0, i64::MAX)?,
            limit: limit(self.limit.as_deref())?,
            name,
            metadata: metadata.map_err(|error| wrong("metadata", &error.to_string()))?,
            order: match self.order.as_deref().unwrap_or_default() {
                "" => Order::Creation,
                "id" => Order::Id,
                order if name_field.is_some_and(|field| order == field) => Order::Name,
                "name" if name_field.is_some() => Order::Name,
                _ => {
                    let orders = name_field.map_or("id".to_owned(), |field| format!("one of {field}, id"));
                    return Err(wrong("order", &format!("is not {orders}")));
                }
            },
            descending: match self.dir.as_deref().unwrap_or_default() {
                "" | "asc" => false,
                "desc" => true,
                _ => return Err(wrong("dir", "is not one of asc, desc")),
            },
        })
    }

    /// Which members of a group to list, if it is said.
    pub(super) fn member_kind(&self) -> Result<Option<MemberKind>, ApiError> {
        let Some(text) = self.r#type.as_deref() else { return Ok(None) };
        member_kind(text).map(Some).ok_or_else(|| wrong("type", NO_KIND))
    }

    /// What a page of orgs, groups or members says of itself.
    pub(super) fn named_page(&self, query: &ListQuery, total: i64) -> NamedPageFields {
        let name = query.name.clone().unwrap_or_default();
        NamedPageFields { limit: query.limit, offset: query.offset, total, name }
    }

    /// What the page says of itself.
    pub(super) fn page(&self, query: &ListQuery, total: i64) -> PageFields {
        PageFields {
            total,
            offset: query.offset,
            limit: query.limit,
            order: self.order.clone().unwrap_or_default(),
            direction: self.dir.clone().unwrap_or_default(),
        }
    }
}

impl ControlPlane {
    /// Waits until this list may run: those that read metadata take turns.
    pub(super) async fn place_for_list(&self, query: &ListQuery) -> Option<SemaphorePermit<'_>> {
        if query.metadata.is_empty() {
            return None;
        }
        Some(self.metadata_lists().acquire().await.expect("the semaphore is never closed"))
    }
}

/// A part of a name. What no name can hold is refused: the engine would end a text at a NUL, and takes no longer patterns.
fn name_part(field: &str, text: Option<&str>) -> Result<Option<String>, ApiError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) if text.len() > NAME_BYTES_MAX => {
            Err(wrong(field, &format!("is longer than {NAME_BYTES_MAX} bytes")))
        }
        Some(text) if text.contains(char::is_control) => Err(wrong(field, "has a control character")),
        Some(text) => Ok(Some(text.to_owned())),
    }
}

/// How many are on a page.
pub(super) fn limit(text: Option<&str>) -> Result<i64, ApiError> {
    number(text, "limit", PAGE_DEFAULT, 1, PAGE_MAX)
}

/// A number within bounds. Out of range is refused, not clamped.
pub(super) fn number(
    text: Option<&str>,
    field: &str,
    default: i64,
    min: i64,
    max: i64,
) -> Result<i64, ApiError> {
    let Some(text) = text else { return Ok(default) };
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ if max == i64::MAX => Err(wrong(field, &format!("is not a whole number from {min}"))),
        _ => Err(wrong(field, &format!("is not a whole number from {min} to {max}"))),
    }
}

pub(super) fn wrong(field: &str, problem: &str) -> ApiError {
    ApiError::malformed(format!("{field} {problem}")).field(field)
}
