//! Tokens: list, get, put, remove.

use async_trait::async_trait;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use boundkey_api::{Applied, Page, Removed};
use boundkey_store::keys;
use boundkey_store::records::TokenRecord;
use boundkey_token::Resource;
use serde::Deserialize;

use super::apply::{Apply, stale};
use super::cut_off::{self, Confirm, Watched};
use super::plan::{Operation, Plan, carry_out, token_keys};
use super::{Listing, apply_token, locks, missing, resource, row, view};
use crate::revocation::Settled;
use crate::{Entry, Refusal, RequestContext, Service, revocation};

/// `GET /v1/tokens`: whole resources, or with `view=summary` the rows of `tokens ls`.
pub(super) async fn all(State(service): State<Service>, listing: Listing) -> Result<Response, Refusal> {
    let now = service.now();
    let rows = row::page(&service, listing.after.as_deref(), listing.limit(), now).await?;
    let wanted = |row: &row::Row, state: &str| {
        listing.wants(state, &row.record.token.labels, row.enrolment.last_joined_at, now)
    };
    if listing.view.is_some() {
        let mut page = Page::new(Vec::with_capacity(rows.rows.len()), rows.next);
        for row in &rows.rows {
            let summary = view::summary(&row.view(&service, now));
            page.count(&summary.state);
            if wanted(row, &summary.state) {
                page.items.push(summary);
            }
        }
        return Ok(Json(page).into_response());
    }
    let mut page = Page::new(Vec::with_capacity(rows.rows.len()), rows.next);
    for row in &rows.rows {
        let state = row.view(&service, now).state().as_str();
        page.count(state);
        if wanted(row, state) {
            let secrets = listing.secrets;
            page.items.push(view::token(&service, &row.record, &row.enrolment, row.revision, secrets)?);
        }
    }
    Ok(Json(page).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct GetQuery {
    secrets: bool,
}

/// `GET /v1/tokens/NAME`
pub(super) async fn one(
    State(service): State<Service>,
    Path(name): Path<String>,
    Query(query): Query<GetQuery>,
) -> Result<Response, Refusal> {
    let Some(row) = row::of_token(&service, &name, service.now()).await? else {
        return Err(missing(&service, "token", &name).await);
    };
    let value = view::token(&service, &row.record, &row.enrolment, row.revision, query.secrets)?;
    let tag = row.revision.unwrap_or_default().0;
    Ok(([(header::ETAG, format!("\"{tag}\""))], Json(value)).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PutQuery {
    pub(super) confirm: Confirm,
}

/// `PUT /v1/tokens/NAME`; `If-None-Match: *` creates only, `If-Match` updates what was read only.
pub(super) async fn put(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Path(name): Path<String>,
    Query(query): Query<PutQuery>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Applied>, Refusal> {
    let Resource::Token(mut token) = resource(&bytes)? else {
        return Err(Refusal::new(422, "invalid_resource", "this path takes a resource of kind token"));
    };
    if token.name.as_str() != name {
        let detail = format!("metadata.name is {}, the path names {name}; they must be the same", token.name);
        return Err(Refusal::new(422, "invalid_resource", detail));
    }
    let create_only = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == b"*");
    if let Some(tag) = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()) {
        if service.load::<TokenRecord>(&keys::token(&name), service.now()).await?.is_none() {
            return Err(stale("token", &name));
        }
        // `*`: whatever it is at, as long as it exists.
        token.revision = Some(tag.trim_matches('"').to_owned()).filter(|tag| tag != "*");
    }
    let resources = [Resource::Token(token)];
    let operation = Apply { resources: &resources, update: !create_only, confirm: query.confirm };
    let mut applied = carry_out(&service, &context, &operation).await?;
    applied.pop().map(Json).ok_or_else(|| Refusal::internal("applying one resource answered none"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RemoveQuery {
    confirm: Confirm,
    /// Revoke its certificates too; else its machine is cut off when they expire.
    revoke: bool,
    /// Answer what would be answered, and change nothing.
    dry_run: bool,
}

pub(super) struct RemoveToken<'a> {
    name: &'a str,
    query: RemoveQuery,
}

impl<'a> RemoveToken<'a> {
    /// Bound or not.
    pub(super) fn confirmed(name: &'a str, revoke: bool) -> Self {
        Self { name, query: RemoveQuery { confirm: Confirm::Anybody, revoke, dry_run: false } }
    }
}

#[async_trait]
impl Operation for RemoveToken<'_> {
    type Answer = Removed;

    async fn plan(&self, plan: &mut Plan<'_>) -> Result<Removed, Refusal> {
        plan.dry_run = self.query.dry_run;
        let (token_key, enrolment_key) = token_keys(self.name);
        plan.load(&[&token_key, &enrolment_key]).await?;
        let Some(record) = plan.get::<TokenRecord>(&token_key).await? else {
            return Err(missing(plan.service, "token", self.name).await);
        };
        let names = [self.name.to_owned()];
        let watched = Watched::new(&names);
        let Settled { enrolment, unlisted } = plan.enrolment(&record).await?.unwrap_or_default();
        apply_token::remember_used_secret(plan, self.name, &enrolment)?;
        plan.list(&unlisted);
        let is_one_of_many = revocation::is_one_of_many(&record.token, &enrolment);
        if self.query.revoke {
            plan.revoke(&enrolment.issued);
            if is_one_of_many || plan.has_clients(record.uid).await? {
                plan.void_clients(record.uid, self.name);
            }
        } else if is_one_of_many
            // Else the records of its clients expire with their certificates: nothing finds them any more.
            && let Some(mark) = plan.marks(record.uid, &record.token, true).await?.passed_on(self.name)
        {
            plan.put(keys::void_token(&record.uid.to_string()), &mark);
        }
        locks::remove_automatic(plan, self.name).await?;
        plan.delete(token_key);
        plan.delete(enrolment_key);
        let what = format!("rm token/{}{}", self.name, if self.query.revoke { " --revoke" } else { "" });
        let hits = watched.hits(plan).await?;
        cut_off::require(&self.query.confirm, &what, &hits)?;
        plan.event(Entry {
            code: "token_removed".to_owned(),
            token: Some(self.name.to_owned()),
            identity: enrolment.identity.as_ref().map(|identity| identity.id().to_owned()),
            detail: format!("token {} was removed", self.name),
            notes: match self.query.revoke {
                true => vec!["certificates_revoked".to_owned()],
                false => Vec::new(),
            },
            ..Entry::default()
        });
        let removed = format!("token/{}", self.name);
        let message = format!("{removed} removed{}{}", cut_off::outcome(&hits), plan.listing());
        Ok(Removed { removed, message })
    }
}

/// `DELETE /v1/tokens/NAME`
pub(super) async fn remove(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Result<Json<Removed>, Refusal> {
    Ok(Json(carry_out(&service, &context, &RemoveToken { name: &name, query }).await?))
}
