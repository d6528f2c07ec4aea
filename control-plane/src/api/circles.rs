//! What the requests and answers of groups and orgs have in common.

use domain::UserId;
use serde::Serialize;
use serde_json::Value;
use service::ApiError;
use uuid::Uuid;

use crate::fields::Fields;
use crate::metadata::Metadata;
use crate::moment::Moment;
use crate::registry::circles::{Circle, NewCircle};
use crate::registry::entities::EntityUpdate;

#[derive(Debug, Serialize)]
pub(super) struct CircleView {
    id: Uuid,
    name: String,
    owner_id: UserId,
    description: String,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
    created_at: Moment,
    updated_at: Moment,
}

/// The group or org that a body describes.
pub(super) fn new(body: Value, owner: UserId) -> Result<NewCircle, ApiError> {
    let mut fields = Fields::one(body)?;
    let EntityUpdate { name, description, metadata, .. } = read(&mut fields)?;
    Ok(NewCircle {
        owner,
        name: name.ok_or_else(|| fields.wrong("name", "is missing"))?,
        description: description.unwrap_or_default(),
        metadata: metadata.unwrap_or_default(),
    })
}

/// What a body changes.
pub(super) fn update(body: Value) -> Result<EntityUpdate, ApiError> {
    read(&mut Fields::one(body)?)
}

fn read(fields: &mut Fields) -> Result<EntityUpdate, ApiError> {
    let name = fields.name()?;
    if name.as_ref().is_some_and(String::is_empty) {
        return Err(fields.wrong("name", "is empty"));
    }
    Ok(EntityUpdate {
        name,
        description: fields.description()?,
        metadata: fields.metadata()?,
        ..EntityUpdate::default()
    })
}

pub(super) fn shown(circle: Circle) -> CircleView {
    CircleView {
        id: circle.id,
        name: circle.name,
        owner_id: circle.owner,
        description: circle.description,
        metadata: circle.metadata,
        created_at: Moment(circle.created_at),
        updated_at: Moment(circle.updated_at),
    }
}
