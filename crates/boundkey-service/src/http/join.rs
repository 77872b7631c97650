//! `POST /v1/join/*`: bodies in, answers out; the work is in `crate::join`.

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use boundkey_proto::BeginAnswer;
use hyper::body::Body as _;

use super::PUBLIC_BODY;
use crate::admission::{Held, Source};
use crate::{Refusal, RequestContext, Service, join};

pub(super) async fn begin(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    body: Body,
) -> Result<Json<BeginAnswer>, Refusal> {
    let _room = room(&service, &body, &context)?;
    let body = read(body).await?;
    boundkey_proto::receive_begin(&body).map_err(|error| Refusal::from_proto(&error))?;
    Ok(Json(join::begin(&service, service.now())))
}

pub(super) async fn complete(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    body: Body,
) -> Response {
    let room = match room(&service, &body, &context) {
        Ok(room) => room,
        Err(refusal) => return refusal.into_response(),
    };
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    let came = service.clock().monotonic();
    match join::complete(&service, &body, &context, service.now()).await {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => {
            drop((body, room));
            if refused.blur {
                let took = service.clock().monotonic().saturating_sub(came);
                tokio::time::sleep(join::until_next_step(took)).await;
            }
            if !refused.hold.is_zero() {
                service.joins().hold(Source::of(context.source), refused.hold).await;
            }
            refused.refusal.into_response()
        }
    }
}

/// Room for a body, before a byte of it is read.
fn room(service: &Service, body: &Body, context: &RequestContext) -> Result<Held, Refusal> {
    let most = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    join::make_room(service, most.unwrap_or(PUBLIC_BODY).min(PUBLIC_BODY), context)
}

/// The whole body, within its limit.
async fn read(body: Body) -> Result<Bytes, Refusal> {
    to_bytes(body, PUBLIC_BODY).await.map_err(|error| {
        use std::error::Error as _;
        let too_large = error.source().is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>());
        if too_large {
            Refusal::new(413, "body_too_large", "the body is larger than 65536 bytes")
        } else {
            Refusal::new(400, "malformed_request", "the body did not arrive whole").because(error)
        }
    })
}
