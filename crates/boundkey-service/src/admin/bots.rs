//! Bots: list, get, put, remove.

use async_trait::async_trait;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use boundkey_api::{Applied, Page, Removed};
use boundkey_store::keys;
use boundkey_store::records::{BotRecord, Record};
use boundkey_token::{LockTarget, Resource};
use serde::Deserialize;
use serde_json::Value;

use super::apply::Apply;
use super::cut_off::{self, Confirm, Watched};
use super::locks::Reach;
use super::plan::{Operation, Plan, carry_out};
use super::tokens::PutQuery;
use super::{Listing, counted, missing, resource, view};
use crate::{Entry, Refusal, RequestContext, Service};

/// `GET /v1/bots`
pub(super) async fn all(
    State(service): State<Service>,
    listing: Listing,
) -> Result<Json<Page<Value>>, Refusal> {
    let page = listing.page(&service, keys::BOT).await?;
    let mut items = Vec::with_capacity(page.entries.len());
    for entry in &page.entries {
        items.push(view::bot(&BotRecord::decode(&entry.value)?, Some(entry.revision)));
    }
    Ok(Json(Page::new(items, Listing::next(&page, keys::BOT))))
}

/// `GET /v1/bots/NAME`
pub(super) async fn one(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let loaded = service.load::<BotRecord>(&keys::bot(&name), service.now()).await?;
    let Some(loaded) = loaded else { return Err(missing(&service, "bot", &name).await) };
    Ok(Json(view::bot(&loaded.record, Some(loaded.revision))))
}

/// `PUT /v1/bots/NAME`
pub(super) async fn put(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Path(name): Path<String>,
    Query(query): Query<PutQuery>,
    bytes: Bytes,
) -> Result<Json<Applied>, Refusal> {
    let resource = resource(&bytes)?;
    let Resource::Bot(bot) = &resource else {
        return Err(Refusal::new(422, "invalid_resource", "this path takes a resource of kind bot"));
    };
    if bot.name.as_str() != name {
        let detail = format!("metadata.name is {}, the path names {name}; they must be the same", bot.name);
        return Err(Refusal::new(422, "invalid_resource", detail));
    }
    let resources = [resource];
    let operation = Apply { resources: &resources, update: true, confirm: query.confirm };
    let mut applied = carry_out(&service, &context, &operation).await?;
    applied.pop().map(Json).ok_or_else(|| Refusal::internal("applying one resource answered none"))
}

/// `?confirm=` and `?dry_run=` of a removal.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RemoveQuery {
    confirm: Confirm,
    /// Answer what would be answered, and change nothing.
    pub(super) dry_run: bool,
}

struct RemoveBot<'a> {
    name: &'a str,
    query: RemoveQuery,
}

#[async_trait]
impl Operation for RemoveBot<'_> {
    type Answer = Removed;

    async fn plan(&self, plan: &mut Plan<'_>) -> Result<Removed, Refusal> {
        plan.dry_run = self.query.dry_run;
        let (name, key) = (self.name, keys::bot(self.name));
        if plan.get::<BotRecord>(&key).await?.is_none() {
            return Err(missing(plan.service, "bot", name).await);
        }
        let target = LockTarget::Bot(name.to_owned());
        let reach = Reach::of(plan, std::slice::from_ref(&target)).await?;
        let tokens = reach.tokens(&target);
        let watched = Watched::new(tokens);
        plan.delete(&key);
        let hits = watched.hits(plan).await?;
        cut_off::require(&self.query.confirm, &format!("bots rm {name}"), &hits)?;
        plan.event(Entry {
            code: "bot_removed".to_owned(),
            identity: Some(name.to_owned()),
            detail: format!("bot {name} was removed; its tokens' joins are denied from now on"),
            ..Entry::default()
        });
        let mut message = format!("bot/{name} removed");
        if !tokens.is_empty() {
            let tokens = counted(tokens.len(), "token");
            message.push_str(&format!("; joins with its {tokens} are refused until `bots add {name}`"));
        }
        Ok(Removed { removed: format!("bot/{name}"), message })
    }
}

/// `DELETE /v1/bots/NAME`
pub(super) async fn remove(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Result<Json<Removed>, Refusal> {
    Ok(Json(carry_out(&service, &context, &RemoveBot { name: &name, query }).await?))
}
