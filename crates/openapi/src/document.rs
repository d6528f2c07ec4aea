//! The whole document, put together out of what each service says of itself.

use std::collections::BTreeSet;

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Components, InfoBuilder, License, OpenApi, OpenApiBuilder, Paths, Server};

use crate::refusal::{self, Refusal};
use crate::routes::Part;

/// The document of everything that Thalweg answers.
#[derive(Debug, Clone)]
pub struct Document(OpenApi);

const ABOUT: &str = "\
Things publish [SenML](https://www.rfc-editor.org/rfc/rfc8428) to channels; every record that was accepted is \
kept, and read back as time series. The requests and answers are those of Mainflux.

Every refusal has the shape `Refusal`. Every answer has an `X-Request-Id`, which log lines repeat. What answers \
`GET` answers `HEAD`, too. A request that is no HTTP, or whose head has more than 32 KiB, is answered 400, 414 \
or 431 with an empty body. Of a JSON field that is there twice the last one counts, a field that is `null` is \
not there, and fields that are not described are ignored.";

impl Document {
    /// Puts the parts together.
    ///
    /// # Panics
    /// Where two operations have one id, or two shapes one name: that is a slip in the tables, which any test finds.
    pub fn of(version: &str, parts: impl IntoIterator<Item = Part>) -> Self {
        let mut paths = Paths::new();
        let mut components = common();
        let mut tags = Vec::new();
        let mut ids = BTreeSet::new();
        for part in parts {
            for (path, method, operation) in part.operations {
                let operation = operation.build();
                assert!(ids.insert(operation.operation_id.clone()), "{path} has an operation id twice");
                paths.add_path_operation(path, vec![method], operation);
            }
            for (name, shape) in part.schemas {
                let before = components.schemas.insert(name.to_owned(), shape);
                assert!(before.is_none(), "two shapes are called {name}");
            }
            tags.extend(
                part.tags
                    .into_iter()
                    .map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build()),
            );
        }
        let mut license = License::new("Apache-2.0");
        license.identifier = Some("Apache-2.0".to_owned());
        let info = InfoBuilder::new()
            .title("Thalweg")
            .version(version)
            .description(Some(ABOUT))
            .license(Some(license))
            .build();
        let document = OpenApiBuilder::new()
            .info(info)
            .servers(Some([Server::new("/")]))
            .paths(paths)
            .components(Some(components))
            .tags(Some(tags))
            .build();
        Self(document)
    }

    /// Its text.
    pub fn json(&self) -> String {
        self.0.to_json().expect("a document has no map with keys that are no texts")
    }
}

/// What all parts refer to.
fn common() -> Components {
    let mut components = Components::new();
    for refusal in Refusal::ALL {
        components.responses.insert(refusal.name().to_owned(), refusal.response().into());
    }
    components.schemas.insert(refusal::SCHEMA.to_owned(), refusal::schema());
    let user = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("A user's token, of `POST /tokens`, or an API key, of `POST /keys`."))
        .build();
    components.add_security_scheme("user", SecurityScheme::Http(user));
    let thing = ApiKeyValue::with_description(
        "Authorization",
        "`Thing <key>`: the word, a space, and the thing's key.",
    );
    components.add_security_scheme("thing", SecurityScheme::ApiKey(ApiKey::Header(thing)));
    let basic = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some("The thing's key as password. The user name is not looked at."))
        .build();
    components.add_security_scheme("thing_basic", SecurityScheme::Http(basic));
    components
}
