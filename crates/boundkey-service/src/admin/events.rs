//! The audit log: a page of it, or the next events as they happen.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use boundkey_api::{Event, Page};
use boundkey_store::records::{EventRecord, Record};
use boundkey_store::{Entry, keys};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::{Refusal, Service};

/// The longest that a request waits for events.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EventsQuery {
    after: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    since: Option<OffsetDateTime>,
    token: Option<String>,
    code: Option<String>,
    limit: Option<usize>,
    /// Seconds to wait for the first event if there is none yet.
    wait: Option<u64>,
}

/// `GET /v1/events?after=CURSOR&wait=30`
pub(super) async fn all(
    State(service): State<Service>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Page<Event>>, Refusal> {
    // The watch starts before the first look, so that nothing falls between look and wait.
    let before = service.store().revision().await?;
    let page = look(&service, &query).await?;
    // Answered with time to spare before the request itself is given up.
    let longest = WAIT_MAX.min(service.config().limits.request_timeout * 5 / 6);
    let wait = Duration::from_secs(query.wait.unwrap_or(0)).min(longest);
    if !page.items.is_empty() || wait.is_zero() {
        return Ok(Json(page));
    }
    let mut watch = service.store().watch(keys::EVENT, before).await?;
    let mut stopping = service.stopping();
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        tokio::select! {
            changes = watch.next() => {
                // A watch that is over: the client asks again.
                if changes.is_err() {
                    return Ok(Json(look(&service, &query).await?));
                }
            }
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => return Ok(Json(page)),
            () = tokio::time::sleep_until(deadline) => return Ok(Json(page)),
        }
        // It may have been an event that was not asked for.
        let page = look(&service, &query).await?;
        if !page.items.is_empty() {
            return Ok(Json(page));
        }
    }
}

async fn look(service: &Service, query: &EventsQuery) -> Result<Page<Event>, Refusal> {
    let limit = query.limit.unwrap_or(super::PAGE).clamp(1, super::PAGE_MAX);
    let now = service.now();
    let since = query.since.map(|since| keys::event(since.unix_timestamp_nanos() / 1000, ""));
    let mut after = query.after.as_ref().map(|cursor| format!("{}{cursor}", keys::EVENT)).max(since);
    let mut items = Vec::new();
    loop {
        let page = service.store().range(keys::EVENT, after.as_deref(), 1000, now).await?;
        for entry in &page.entries {
            let event = shown(entry)?;
            let wanted = query.token.as_ref().is_none_or(|token| event.token.as_ref() == Some(token))
                && query.code.as_ref().is_none_or(|code| *code == event.code);
            if wanted {
                items.push(event);
            }
            if items.len() == limit {
                let next = items.last().map(|event| event.cursor.clone());
                return Ok(Page { items, next });
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(Page { items, next: None });
        }
    }
}

fn shown(entry: &Entry) -> Result<Event, Refusal> {
    let record = EventRecord::decode(&entry.value)?;
    Ok(Event {
        cursor: entry.key.strip_prefix(keys::EVENT).unwrap_or(&entry.key).to_owned(),
        at: record.at,
        code: record.code,
        token: record.token,
        identity: record.identity,
        source: record.source,
        actor: record.actor,
        correlation_id: record.correlation_id,
        detail: record.detail,
        notes: record.notes,
        count: record.count,
    })
}
