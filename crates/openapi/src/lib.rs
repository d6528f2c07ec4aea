//! What the API says of itself: an OpenAPI 3.1 document, made from the table that the routes are made from.
//!
//! A route can't be added without its description: [`Routes`] takes both, and gives a router and a [`Part`] of the document. What the
//! parts of all services say together is a [`Document`], which [`page`] serves, with a page to read it and to try it out.
//!
//! Knows no route but those of that page, and no service. It describes, and never checks: what a request may hold is decided by
//! its handler alone; tests hold the two together.

mod document;
mod operation;
pub mod page;
mod refusal;
mod routes;
pub mod schema;

pub use self::document::Document;
pub use self::operation::{
    Answer, Credential, Operation, header, path_id, path_text, plain, query, query_json,
};
pub use self::refusal::Refusal;
pub use self::routes::{Part, Routes};
