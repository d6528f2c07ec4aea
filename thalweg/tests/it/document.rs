//! The document of the API, as a client reads it: what it says of an operation, and whether an answer is as it says.

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use serde_json::Value;

/// What the document is called among the schemas; nothing is ever fetched.
const NAME: &str = "thalweg:openapi.json";

pub(crate) struct Document {
    pub(crate) text: Value,
}

/// One operation.
pub(crate) struct Operation<'a> {
    pub(crate) path: &'a str,
    pub(crate) method: &'a str,
    pub(crate) said: &'a Value,
}

impl Document {
    /// Of a running server.
    pub(crate) async fn of(base: &str) -> Self {
        let answer = reqwest::get(format!("{base}/openapi.json")).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        Self { text: answer.json().await.unwrap() }
    }

    /// Every operation, in the document's order.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.text["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap();
            methods.iter().map(move |(method, said)| Operation { path, method, said })
        })
    }

    /// An answer is one that the document knows: its status, its type, and its body.
    pub(crate) fn holds(&self, method: &str, path: &str, status: u16, content_type: &str, body: &str) {
        let what = format!("{method} {path}: {status} {content_type} {body}");
        let known = self.operations().filter(|known| known.method.eq_ignore_ascii_case(method));
        let known = known
            .filter(|known| matches(known.path, path))
            .min_by_key(|known| known.path.matches('{').count());
        let known = known.unwrap_or_else(|| panic!("no operation is {what}"));
        let said = self.resolved(&known.said["responses"][status.to_string()]);
        assert!(said.is_object(), "not a status of its operation: {what}");
        let Some(types) = said["content"].as_object() else {
            assert_eq!(body, "", "has no body by the document: {what}");
            return;
        };
        let media_type = content_type.split(';').next().unwrap();
        let content = types.get(media_type).unwrap_or_else(|| panic!("not a type of its operation: {what}"));
        if media_type.ends_with("json") {
            let body: Value = serde_json::from_str(body).unwrap();
            self.valid(&content["schema"], &body, &what);
        }
    }

    /// A value is of a shape.
    pub(crate) fn valid(&self, shape: &Value, value: &Value, what: &str) {
        if let Err(problem) = self.validated(shape, value) {
            panic!("{what}\n{problem}");
        }
    }

    pub(crate) fn validated(&self, shape: &Value, value: &Value) -> Result<(), String> {
        let (schemas, index) = self.compiled(shape);
        schemas.validate(value, index).map_err(|error| format!("{error:#}"))
    }

    fn compiled(&self, shape: &Value) -> (Schemas, SchemaIndex) {
        let mut text = self.text.clone();
        text["x-asked"] = shape.clone();
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        compiler.add_resource(NAME, text).unwrap();
        let index = compiler.compile(&format!("{NAME}#/x-asked"), &mut schemas).unwrap();
        (schemas, index)
    }

    /// What a reference stands for.
    pub(crate) fn resolved<'a>(&'a self, said: &'a Value) -> &'a Value {
        match said["$ref"].as_str() {
            Some(reference) => self.text.pointer(reference.trim_start_matches('#')).unwrap(),
            None => said,
        }
    }
}

/// Whether a path is one of a template's. Its last parameter may hold slashes.
fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut parts) = (template.split('/'), path.split('?').next().unwrap().split('/'));
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return true,
            (Some("{subtopic}"), Some(_)) => return true,
            (Some(wanted), Some(part)) if wanted == part || (wanted.starts_with('{') && !part.is_empty()) => {
            }
            _ => return false,
        }
    }
}
