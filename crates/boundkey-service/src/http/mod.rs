//! The service as axum routers.

mod answer;
mod context;
mod join;
mod public;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::Service;
pub use context::PeerAddress;

/// The largest body that a public route takes.
const PUBLIC_BODY: usize = boundkey_proto::MAX_BODY;

pub(crate) fn public_router(service: &Service) -> Router {
    context::layered(public_routes(service), service, "public")
}

pub(crate) fn admin_router(service: &Service) -> Router {
    context::layered(public_routes(service).merge(crate::admin::router(service)), service, "admin:socket")
}

fn public_routes(service: &Service) -> Router {
    Router::new()
        .route("/v1/join/begin", post(join::begin))
        .route("/v1/join/complete", post(join::complete))
        .route("/v1/webapi/find", get(public::find))
        .route("/v1/ca", get(public::bundle))
        .route("/v1/ca/{kind}", get(public::authority))
        .route("/v1/crl", get(public::all_crls))
        .route("/v1/crl/{kind}", get(public::crl))
        .route("/v1/krl", get(public::krl))
        .route("/healthz", get(public::health))
        .route("/readyz", get(public::ready))
        .route("/scripts/install.sh", get(public::install_script))
        .layer(DefaultBodyLimit::max(PUBLIC_BODY))
        .with_state(service.clone())
}
