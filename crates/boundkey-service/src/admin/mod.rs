//! Administration: tokens, bots, locks, nodes, events. Reached over the Unix socket.

use axum::Router;

use crate::Service;

/// The routes of administration, without layers: the caller has put a `RequestContext` into every request.
pub fn router(_service: &Service) -> Router {
    Router::new()
}
