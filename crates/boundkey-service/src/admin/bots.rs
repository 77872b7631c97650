//! Bots: list, get, put, remove.

use async_trait::async_trait;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use boundkey_api::{Applied, Page};
use boundkey_store::keys;
use boundkey_store::records::{BotRecord, Record};
use boundkey_token::Resource;
use serde_json::Value;

use super::apply::Apply;
use super::plan::{Operation, Plan, carry_out};
use super::{Listing, resource, view};
use crate::{Entry, Refusal, RequestContext, Service};

/// `GET /v1/bots`
pub(super) async fn all(
    State(service): State<Service>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Value>>, Refusal> {
    let page = listing.page(&service, keys::BOT).await?;
    let mut items = Vec::with_capacity(page.entries.len());
    for entry in &page.entries {
        items.push(view::bot(&BotRecord::decode(&entry.value)?, Some(entry.revision)));
    }
    Ok(Json(Page { items, next: Listing::next(&page, keys::BOT) }))
}

/// `GET /v1/bots/NAME`
pub(super) async fn one(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let loaded = service.load::<BotRecord>(&keys::bot(&name), service.now()).await?;
    let loaded = loaded.ok_or_else(|| missing(&name))?;
    Ok(Json(view::bot(&loaded.record, Some(loaded.revision))))
}

fn missing(name: &str) -> Refusal {
    Refusal::new(404, "not_found", format!("bot/{name} does not exist; `bots ls` lists those that do"))
}

/// `PUT /v1/bots/NAME`
pub(super) async fn put(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Path(name): Path<String>,
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
    let mut applied = carry_out(&service, &context, &Apply { resources: &resources, update: true }).await?;
    applied.pop().map(Json).ok_or_else(|| Refusal::internal("applying one resource answered none"))
}

struct RemoveBot<'a>(&'a str);

#[async_trait]
impl Operation for RemoveBot<'_> {
    type Answer = Value;

    async fn plan(&self, plan: &mut Plan<'_>) -> Result<Value, Refusal> {
        let key = keys::bot(self.0);
        plan.get::<BotRecord>(&key).await?.ok_or_else(|| missing(self.0))?;
        plan.delete(&key);
        plan.event(Entry {
            code: "bot_removed".to_owned(),
            identity: Some(self.0.to_owned()),
            detail: format!("bot {} was removed; its tokens' joins are denied from now on", self.0),
            ..Entry::default()
        });
        Ok(serde_json::json!({ "removed": format!("bot/{}", self.0) }))
    }
}

/// `DELETE /v1/bots/NAME`
pub(super) async fn remove(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    Ok(Json(carry_out(&service, &context, &RemoveBot(&name)).await?))
}
