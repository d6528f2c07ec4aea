//! The document of the API, and the page that shows it: the same in every process, whatever its roles.

use axum::Router;
use openapi::Document;
use openapi::page::{self, Published};

use crate::operation::BUILD;

/// The routes.
pub(crate) fn router() -> Router {
    page::routes().router().with_state(Published::new(&document()))
}

/// What all services say of themselves. A new service is added here.
fn document() -> Document {
    let parts = [
        control_plane::described(),
        ingest::described(),
        reader::described(),
        service::health::described(),
        service::metrics::described(),
        page::routes().part(),
    ];
    Document::of(BUILD.version, parts)
}
