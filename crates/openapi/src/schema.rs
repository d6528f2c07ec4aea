//! Shapes of bodies and parameters, in few words.
//!
//! What a request may hold is described as widely as its handler takes it: whatever a shape forbids is refused. What it allows may be
//! refused all the same, where JSON Schema has no word for the reason. What an answer holds is described exactly.

use serde_json::Value;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, KnownFormat, Object, SchemaFormat, SchemaType,
};
pub use utoipa::openapi::{ArrayBuilder, ObjectBuilder};
use utoipa::openapi::{Ref, RefOr, Schema, Type};

/// Any shape, or the name of one.
pub type AnyShape = RefOr<Schema>;

/// A shape of the document, by its name.
pub fn named(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

/// A text.
pub fn text(description: &str) -> ObjectBuilder {
    let description = Some(description).filter(|description| !description.is_empty());
    ObjectBuilder::new().schema_type(Type::String).description(description)
}

/// A text that is one of a few words.
pub fn word<const N: usize>(description: &str, words: [&str; N]) -> ObjectBuilder {
    text(description).enum_values(Some(words))
}

/// An id: a UUID in its hyphenated form.
pub fn uuid(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::Custom("uuid".to_owned())))
}

/// A time of the API: RFC 3339 in UTC.
pub fn moment(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

/// A whole number.
pub fn integer(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).description(Some(description))
}

/// A number.
pub fn number(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Number).description(Some(description))
}

/// True or false.
pub fn truth(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean).description(Some(description))
}

/// Nothing but `null`, which is the same as not being there.
pub fn absent(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Null).description(Some(description))
}

/// Any JSON object.
pub fn any_object(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(description))
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
}

/// An array.
pub fn list(description: &str, of: impl Into<RefOr<Schema>>) -> ArrayBuilder {
    ArrayBuilder::new().items(of.into()).description(Some(description))
}

/// One of several shapes.
pub fn either<const N: usize>(shapes: [RefOr<Schema>; N]) -> RefOr<Schema> {
    shapes.into_iter().fold(AnyOfBuilder::new(), |any, shape| any.item(shape)).into()
}

/// The same, or `null`, which in a body is the same as not being there.
pub fn or_null(shape: ObjectBuilder) -> ObjectBuilder {
    let mut shape: Object = shape.build();
    shape.schema_type = match shape.schema_type {
        SchemaType::Type(one) => SchemaType::from_iter([one, Type::Null]),
        other => other,
    };
    if let Some(values) = &mut shape.enum_values {
        values.push(Value::Null);
    }
    shape.into()
}

/// An object with these fields.
pub fn object(description: &str) -> Shape {
    Shape(ObjectBuilder::new().schema_type(Type::Object).description(Some(description)))
}

/// An object that gets its fields one by one.
pub struct Shape(ObjectBuilder);

impl Shape {
    /// A field that is always there.
    #[must_use]
    pub fn with(self, name: &str, shape: impl Into<RefOr<Schema>>) -> Self {
        Self(self.0.property(name, shape).required(name))
    }

    /// A field that may be missing.
    #[must_use]
    pub fn perhaps(self, name: &str, shape: impl Into<RefOr<Schema>>) -> Self {
        Self(self.0.property(name, shape))
    }

    /// Nothing else is in it: an answer.
    pub fn closed(self) -> RefOr<Schema> {
        self.0.additional_properties(Some(AdditionalProperties::FreeForm(false))).into()
    }

    /// Other fields are ignored: a body.
    pub fn open(self) -> RefOr<Schema> {
        self.0.into()
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shape(..)")
    }
}
