//! A table of routes, each with what it does.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::{RefOr, Schema};

use crate::operation::Operation;

/// Routes that wait for their state, with their descriptions.
#[derive(Debug)]
pub struct Routes<S> {
    router: Router<S>,
    part: Part,
}

/// What one service says of itself.
#[derive(Debug, Default)]
pub struct Part {
    pub(crate) operations: Vec<(String, HttpMethod, Operation)>,
    pub(crate) tags: Vec<(&'static str, &'static str)>,
    pub(crate) schemas: Vec<(&'static str, RefOr<Schema>)>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self { router: Router::new(), part: Part::default() }
    }
}

macro_rules! methods {
    ($($method:ident $variant:ident),*) => {$(
        /// A route of this method. A path may have several, each once.
        #[must_use]
        pub fn $method<H, T>(self, path: &str, handler: H, operation: Operation) -> Self
        where
            H: Handler<T, S>,
            T: 'static,
        {
            self.on(path, HttpMethod::$variant, $method(handler), operation)
        }
    )*};
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    methods!(get Get, post Post, put Put, patch Patch, delete Delete);

    fn on(mut self, path: &str, method: HttpMethod, route: MethodRouter<S>, operation: Operation) -> Self {
        self.router = self.router.route(path, route);
        // The rest of a path is one parameter to OpenAPI, which knows no other kind.
        self.part.operations.push((path.replace("{*", "{"), method, operation));
        self
    }

    /// What the operations with this tag are about.
    #[must_use]
    pub fn tag(mut self, name: &'static str, description: &'static str) -> Self {
        self.part.tags.push((name, description));
        self
    }

    /// The shapes that descriptions name.
    #[must_use]
    pub fn schemas(mut self, schemas: impl IntoIterator<Item = (&'static str, RefOr<Schema>)>) -> Self {
        self.part.schemas.extend(schemas);
        self
    }

    /// Changes the router, not what it is described as: for layers and fallbacks.
    #[must_use]
    pub fn map(mut self, change: impl FnOnce(Router<S>) -> Router<S>) -> Self {
        self.router = change(self.router);
        self
    }

    /// Both tables as one.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.part.operations.extend(other.part.operations);
        self.part.tags.extend(other.part.tags);
        self.part.schemas.extend(other.part.schemas);
        self
    }

    /// The router.
    pub fn router(self) -> Router<S> {
        self.router
    }

    /// The descriptions.
    pub fn part(self) -> Part {
        self.part
    }
}
