//! The outermost layer of both routers: correlation id, log line, one form for every refusal.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use super::answer::{Refused, problem_response};
use super::in_time::within;
use crate::context::CORRELATION_HEADER;
use crate::spate::Kind;
use crate::{Refusal, RequestContext, Service};

/// The peer's address, put into a request's extensions by whoever accepted the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

/// Where every 403 is a denial.
const JOIN: &str = "/v1/join/complete";

#[derive(Clone)]
struct Layer {
    service: Service,
    actor: &'static str,
}

/// Adds the layer, and problems for what no route answers.
pub(super) fn layered(router: Router, service: &Service, actor: &'static str) -> Router {
    router
        .fallback(|| async { Refusal::new(404, "not_found", "no such path; see /v1/openapi.json") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(
                405,
                "method_not_allowed",
                "this path does not take this method; see /v1/openapi.json",
            )
        })
        .layer(CatchPanicLayer::new())
        .layer(from_fn_with_state(Layer { service: service.clone(), actor }, around))
}

async fn around(State(layer): State<Layer>, mut request: Request, next: Next) -> Response {
    let source = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
    let context = RequestContext::new(layer.service.entropy(), source, layer.actor);
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().map(|p| p.as_str().to_owned());
    request.extensions_mut().insert(context.clone());
    let limits = layer.service.config().limits;
    let (request, body) = within(limits.read_timeout, request);
    let response = match tokio::time::timeout(limits.request_timeout, next.run(request)).await {
        Ok(response) if body.is_late() && !response.status().is_success() => late().into_response(),
        Ok(response) => response,
        Err(_) => Refusal::unavailable("the request took too long").into_response(),
    };
    finish(&layer.service, response, &context, &method, path.as_deref().unwrap_or(NO_ROUTE))
}

/// Where a request leads that no route answers.
const NO_ROUTE: &str = "(no route)";

fn late() -> Refusal {
    Refusal::new(408, "request_timeout", "the body took too long to arrive")
}

/// The answer to a request that goes to no route at all.
pub(crate) fn refuse(
    service: &Service,
    source: Option<IpAddr>,
    method: &Method,
    refusal: Refusal,
) -> Response {
    let context = RequestContext::new(service.entropy(), source, "public");
    finish(service, refusal.into_response(), &context, method, NO_ROUTE)
}

fn finish(
    service: &Service,
    response: Response,
    context: &RequestContext,
    method: &Method,
    route: &str,
) -> Response {
    let status = response.status();
    let refused = response.extensions().get::<Refused>().cloned();
    let mut response = match &refused {
        Some(Refused(refusal)) => {
            let mut problem = refusal.problem.clone();
            problem.correlation_id = Some(context.correlation.clone());
            problem_response(&problem)
        }
        // An extractor of axum's own refused: the same form as everywhere.
        None if is_bare_refusal(&response) => bare(status, context),
        None => response,
    };
    log(service, context, method, route, status, refused.as_ref().map(|r| &r.0));
    let value = HeaderValue::from_str(&context.correlation).expect("hexadecimal digits are a header value");
    response.headers_mut().insert(HeaderName::from_static(CORRELATION_HEADER), value);
    response
}

fn is_bare_refusal(response: &Response) -> bool {
    let status = response.status();
    let kind = response.headers().get(axum::http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    (status.is_client_error() || status.is_server_error())
        && !kind.is_some_and(|kind| kind.starts_with("application/problem+json"))
}

fn bare(status: StatusCode, context: &RequestContext) -> Response {
    let (code, detail) = match status.as_u16() {
        413 => ("body_too_large", "the body is larger than this path takes"),
        415 => ("unsupported_media_type", "send JSON with `content-type: application/json`"),
        500.. => {
            ("internal", "the server cannot answer this; its log has the cause under the correlation id")
        }
        _ => {
            ("malformed_request", "the request is not of the form that this path takes; see /v1/openapi.json")
        }
    };
    let mut refusal = Refusal::new(status.as_u16(), code, detail);
    refusal.problem.correlation_id = Some(context.correlation.clone());
    refusal.into_response()
}

fn log(
    service: &Service,
    context: &RequestContext,
    method: &Method,
    route: &str,
    status: StatusCode,
    refusal: Option<&Refusal>,
) {
    let status = status.as_u16();
    let id = context.correlation.as_str();
    let source = context.source.map(tracing::field::display);
    let is_joins = status == 403 && route == JOIN;
    let kind = if status >= 500 { Kind::Failed } else { Kind::Refused };
    let strangers = refusal.is_some() && context.source.is_some() && !is_joins;
    if strangers && !service.may_log(kind) {
        return;
    }
    match refusal {
        Some(refusal) if status >= 500 => tracing::error!(
            correlation_id = id, source, %method, route, status, code = refusal.problem.code,
            cause = refusal.cause.as_deref(), "request failed"
        ),
        // The join itself has said so, with more than this layer knows.
        Some(refusal) if is_joins => tracing::debug!(
            correlation_id = id, source, %method, route, status, code = refusal.problem.code, "request refused"
        ),
        Some(refusal) => tracing::info!(
            correlation_id = id, source, %method, route, status, code = refusal.problem.code,
            cause = refusal.cause.as_deref(), "request refused"
        ),
        None => tracing::debug!(correlation_id = id, source, %method, route, status, "request"),
    }
}
