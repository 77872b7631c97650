//! The service as axum routers.

mod answer;
mod context;
mod in_time;
mod join;
mod openapi;
mod public;
mod routes;
mod unchanged;

use axum::Router;
use axum::extract::DefaultBodyLimit;

use crate::Service;
pub use context::PeerAddress;
pub(crate) use context::refuse;
pub(crate) use routes::Routes;

/// The largest body that a public route takes.
const PUBLIC_BODY: usize = boundkey_proto::MAX_BODY;

pub(crate) fn public_router(service: &Service) -> Router {
    context::layered(limited(service), service, "public")
}

pub(crate) fn admin_router(service: &Service) -> Router {
    context::layered(limited(service).merge(crate::admin::router(service)), service, "admin:socket")
}

fn limited(service: &Service) -> Router {
    let router = public_routes().into_router();
    router.layer(DefaultBodyLimit::max(PUBLIC_BODY)).with_state(service.clone())
}

/// What strangers may ask. Described in `openapi.json`, as all routes.
fn public_routes() -> Routes {
    Routes::new()
        .post("/v1/join/begin", join::begin)
        .post("/v1/join/complete", join::complete)
        .get("/v1/webapi/find", public::find)
        .get("/v1/ca", public::bundle)
        .get("/v1/ca/{kind}", public::authority)
        .get("/v1/crl", public::all_crls)
        .get("/v1/crl/{kind}", public::crl)
        .get("/v1/krl", public::krl)
        .get("/v1/openapi.json", openapi::document)
        .get("/healthz", public::health)
        .get("/readyz", public::ready)
        .get("/scripts/install.sh", public::install_script)
}
