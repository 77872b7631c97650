//! Administration: tokens, bots, locks, nodes, events. Reached over the Unix socket.
//!
//! Every change is one conditional commit that carries its audit events; every listing is a page of a range.

mod apply;
mod apply_token;
mod bots;
mod cut_off;
mod events;
mod listing;
mod locks;
mod nodes;
mod plan;
mod revoke;
mod row;
mod status;
mod tokens;
mod verbs;
mod view;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, Query, State};
use boundkey_api::{Applied, ApplyAnswer, ApplyRequest, MAX_CHOSEN_SECRETS, VerbAnswer, VerbRequest};
use boundkey_proto::ProblemViolation;
use boundkey_token::{Resource, ResourceError, Violation, check_resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::Routes;
use crate::{Refusal, RequestContext, Service};
use listing::Listing;
use plan::carry_out;

/// Bytes of an administration request's body: thousands of tokens in one file.
pub const MAX_ADMIN_BODY: usize = 8 * 1024 * 1024;
/// Names looked through for the nearest one.
const NAMES_SEARCHED: usize = 10_000;

/// The routes of administration, without layers: the caller has put a `RequestContext` into every request.
pub fn router(service: &Service) -> Router {
    let router = routes().into_router();
    router.layer(DefaultBodyLimit::max(MAX_ADMIN_BODY)).with_state(service.clone())
}

/// Described in `openapi.json`, as all routes.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .post("/v1/apply", apply_all)
        .get("/v1/tokens", tokens::all)
        .get("/v1/tokens/{name}", tokens::one)
        .put("/v1/tokens/{name}", tokens::put)
        .delete("/v1/tokens/{name}", tokens::remove)
        .post("/v1/tokens/{name}/explain", verbs::explain)
        .post("/v1/tokens/{name}/{verb}", verbs::verb)
        .get("/v1/bots", bots::all)
        .get("/v1/bots/{name}", bots::one)
        .put("/v1/bots/{name}", bots::put)
        .delete("/v1/bots/{name}", bots::remove)
        .get("/v1/locks", locks::all)
        .post("/v1/locks", locks::set)
        .get("/v1/locks/{id}", locks::one)
        .delete("/v1/locks/{id}", locks::remove)
        .get("/v1/nodes", nodes::all)
        .get("/v1/events", events::all)
        .get("/v1/status", status::status)
}

/// Applies resources, all or nothing, as `POST /v1/apply?confirm=true` does: for `start --apply FILE` and embedders.
///
/// # Errors
/// What exists (unless `update`), what was read at another revision, a used secret, or the store.
pub async fn apply_resources(
    service: &Service,
    context: &RequestContext,
    resources: &[Resource],
    update: bool,
) -> Result<Vec<Applied>, Refusal> {
    let confirm = cut_off::Confirm::Anybody;
    carry_out(service, context, &apply::Apply { resources, update, confirm }).await
}

/// What `POST /v1/tokens/NAME/VERB?confirm=true` does (`grant-recovery`, `rotate`, `resync`, `revoke`, `reset`), for embedders and
/// simulations. The answer of `reset` holds the new secret.
///
/// # Errors
/// No such verb or token, a count of 0, or the store.
pub async fn carry_out_verb(
    service: &Service,
    context: &RequestContext,
    token: &str,
    verb: &str,
    request: &VerbRequest,
) -> Result<VerbAnswer, Refusal> {
    verbs::carry(service, context, token, verb, request, &verbs::VerbQuery::confirmed()).await
}

/// What `DELETE /v1/locks/ID` does, for embedders and simulations.
///
/// # Errors
/// No such lock, or the store.
pub async fn remove_lock(service: &Service, context: &RequestContext, id: &str) -> Result<(), Refusal> {
    carry_out(service, context, &locks::RemoveLock { id, dry_run: false }).await
}

/// What `DELETE /v1/tokens/NAME?confirm=true` does, for embedders and simulations: a bound token's machine is cut off when its
/// certificates expire; with `revoke`, at once.
///
/// # Errors
/// No such token, or the store.
pub async fn remove_token(
    service: &Service,
    context: &RequestContext,
    name: &str,
    revoke: bool,
) -> Result<(), Refusal> {
    carry_out(service, context, &tokens::RemoveToken::confirmed(name, revoke)).await.map(drop)
}

async fn apply_all(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Query(query): Query<tokens::PutQuery>,
    bytes: Bytes,
) -> Result<Json<ApplyAnswer>, Refusal> {
    let request: ApplyRequest = body(&bytes)?;
    let mut resources = Vec::with_capacity(request.resources.len());
    let mut faults = Vec::new();
    for (index, value) in request.resources.iter().enumerate() {
        match checked(value) {
            Ok(resource) => resources.push(resource),
            Err(violations) => faults.extend(
                violations
                    .into_iter()
                    .map(|v| ProblemViolation { path: format!("resources[{index}].{}", v.path), ..v }),
            ),
        }
    }
    if !faults.is_empty() {
        return Err(invalid(faults));
    }
    let chosen =
        |resource: &&Resource| matches!(resource, Resource::Token(token) if token.has_chosen_secret());
    let chosen = resources.iter().filter(chosen).count();
    if chosen > MAX_CHOSEN_SECRETS {
        let detail = format!(
            "{chosen} registration secrets of people's own making; allowed: {MAX_CHOSEN_SECRETS} in one request. Send them in \
             parts, or leave them out and have them generated; nothing was changed"
        );
        return Err(Refusal::new(422, "too_many_chosen_secrets", detail));
    }
    let operation = apply::Apply { resources: &resources, update: request.force, confirm: query.confirm };
    let applied = carry_out(&service, &context, &operation).await?;
    Ok(Json(ApplyAnswer { applied }))
}

/// `KIND/NAME does not exist`, with the nearest name that does.
async fn missing(service: &Service, kind: &str, name: &str) -> Refusal {
    let (prefix, lists) = match kind {
        "token" => (boundkey_store::keys::TOKEN, "`tokens ls` lists those that do"),
        "bot" => (boundkey_store::keys::BOT, "`bots ls` lists those that do"),
        _ => (boundkey_store::keys::LOCK, "`get locks` lists those that do"),
    };
    let hint = match listing::names(service, prefix, NAMES_SEARCHED).await {
        Ok(names) => boundkey_document::nearest(name, names.iter().map(String::as_str))
            .map(|nearest| format!(" (did you mean {kind}/{nearest}?)"))
            .unwrap_or_default(),
        Err(_) => String::new(),
    };
    Refusal::new(404, "not_found", format!("{kind}/{name} does not exist{hint}; {lists}"))
}

/// One resource as JSON, checked.
fn checked(value: &Value) -> Result<Resource, Vec<ProblemViolation>> {
    check_resource(&boundkey_document::Document::from_json_value(value))
        .map_err(|violations| violations.into_iter().map(shown).collect())
}

/// One resource from a request's body, checked.
fn resource(bytes: &Bytes) -> Result<Resource, Refusal> {
    boundkey_token::read_resource_json(bytes).map_err(|error| match error {
        ResourceError::Syntax(error) => Refusal::new(400, "malformed_request", error.to_string()),
        ResourceError::Violations(violations) => invalid(violations.into_iter().map(shown).collect()),
    })
}

fn shown(violation: Violation) -> ProblemViolation {
    ProblemViolation { path: violation.path, found: violation.found, allowed: violation.allowed }
}

fn invalid(violations: Vec<ProblemViolation>) -> Refusal {
    let count = violations.len();
    let detail =
        format!("{count} field{} cannot be accepted; nothing was changed", if count == 1 { "" } else { "s" });
    Refusal::new(422, "invalid_resource", detail).violations(violations)
}

/// A request's body as JSON; an empty one reads as `{}`.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Refusal> {
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(text).map_err(|error| {
        Refusal::new(400, "malformed_request", format!("the body is not what this path takes: {error}"))
    })
}

/// `1 token`, `2 tokens`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Refuses a word that is none of those known, with the nearest one.
fn known(what: &str, asked: &str, words: &[&str]) -> Result<(), Refusal> {
    if words.contains(&asked) {
        return Ok(());
    }
    let hint = boundkey_document::nearest(asked, words.iter().copied());
    let hint = hint.map(|nearest| format!(" (did you mean `{nearest}`?)")).unwrap_or_default();
    let asked = boundkey_document::quoted(asked);
    let detail = format!("{what} {asked} is not known{hint}; allowed: {}", words.join(", "));
    Err(Refusal::new(400, "malformed_request", detail))
}
