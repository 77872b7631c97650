//! The service as axum routers.

mod answer;
mod context;

use axum::Router;

use crate::Service;
pub use context::PeerAddress;

pub(crate) fn public_router(service: &Service) -> Router {
    context::layered(public_routes(service), service, "public")
}

pub(crate) fn admin_router(service: &Service) -> Router {
    context::layered(public_routes(service).merge(crate::admin::router(service)), service, "admin:socket")
}

fn public_routes(_service: &Service) -> Router {
    Router::new()
}
