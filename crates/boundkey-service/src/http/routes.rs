//! A router that knows what it answers, so that the served description can be held against it.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};

use crate::Service;

/// A router under construction, with the list of its routes.
pub(crate) struct Routes {
    router: Router<Service>,
    listed: Vec<(Method, &'static str)>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), listed: Vec::new() }
    }

    pub(crate) fn get<H: Handler<T, Service>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::GET, MethodFilter::GET, path, handler)
    }

    pub(crate) fn post<H: Handler<T, Service>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::POST, MethodFilter::POST, path, handler)
    }

    pub(crate) fn put<H: Handler<T, Service>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::PUT, MethodFilter::PUT, path, handler)
    }

    pub(crate) fn delete<H: Handler<T, Service>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::DELETE, MethodFilter::DELETE, path, handler)
    }

    fn on<H: Handler<T, Service>, T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        handler: H,
    ) -> Self {
        self.listed.push((method, path));
        Self { router: self.router.route(path, on(filter, handler)), ..self }
    }

    pub(crate) fn into_router(self) -> Router<Service> {
        self.router
    }

    #[cfg(test)]
    pub(crate) fn listed(&self) -> &[(Method, &'static str)] {
        &self.listed
    }
}
