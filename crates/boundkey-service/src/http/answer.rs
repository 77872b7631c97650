//! Refusals as `application/problem+json`.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use boundkey_proto::Problem;

use crate::Refusal;

/// Left in a response's extensions, so that the outer layer can log the cause and fill in the correlation id.
#[derive(Debug, Clone)]
pub(super) struct Refused(pub(super) Refusal);

impl IntoResponse for Refusal {
    fn into_response(self) -> axum::response::Response {
        let mut response = problem_response(&self.problem);
        response.extensions_mut().insert(Refused(self));
        response
    }
}

pub(super) fn problem_response(problem: &Problem) -> axum::response::Response {
    let body = serde_json::to_vec(problem).expect("a problem is texts and numbers");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
