//! The audit log: a page of it, or the next events as they happen.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use boundkey_api::{Event, Page};
use boundkey_store::records::{EventRecord, Record};
use boundkey_store::{Entry, Revision, keys};
use serde::Deserialize;
use time::OffsetDateTime;

use super::known;
use super::listing::{PAGE, PAGE_MAX};
use crate::{Refusal, Service};

/// Digits of a correlation id that are enough to ask by.
const ID_LEAST: usize = 8;
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
    /// A correlation id, or how it begins.
    id: Option<String>,
    limit: Option<usize>,
    /// Seconds to wait for the first event if there is none yet.
    wait: Option<u64>,
}

impl EventsQuery {
    /// Refuses what no event could ever fit.
    fn check(&self) -> Result<(), Refusal> {
        if let Some(code) = &self.code {
            known("code", code, boundkey_api::EVENT_CODES)?;
        }
        match &self.id {
            Some(id)
                if id.len() < ID_LEAST || id.len() > 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                let id = boundkey_document::quoted(id);
                let detail = format!(
                    "id {id} is no correlation id; allowed: {ID_LEAST} to 32 hexadecimal digits, its beginning"
                );
                Err(Refusal::new(400, "malformed_request", detail))
            }
            _ => Ok(()),
        }
    }

    fn wants(&self, event: &Event) -> bool {
        let id = |asked: &String| {
            let asked = asked.to_ascii_lowercase();
            let first = event.first_correlation_id.as_deref().unwrap_or_default();
            event.correlation_id.starts_with(&asked) || first.starts_with(&asked)
        };
        self.token.as_ref().is_none_or(|token| event.token.as_ref() == Some(token))
            && self.code.as_ref().is_none_or(|code| *code == event.code)
            && self.id.as_ref().is_none_or(id)
    }
}

/// `GET /v1/events?after=CURSOR&wait=30`
pub(super) async fn all(
    State(service): State<Service>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<Page<Event>>, Refusal> {
    query.check()?;
    // Answered with time to spare before the request itself is given up.
    let longest = WAIT_MAX.min(service.config().limits.request_timeout * 5 / 6);
    let wait = Duration::from_secs(query.wait.unwrap_or(0)).min(longest);
    if wait.is_zero() {
        return Ok(Json(look(&service, &query, query.after.as_deref()).await?));
    }
    // The watch starts before the first look, so that nothing falls between look and wait.
    let before = service.store().revision().await?;
    let page = find(&service, &query).await?;
    if !page.items.is_empty() {
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
                    return Ok(Json(find(&service, &query).await?));
                }
            }
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => return Ok(Json(page)),
            () = tokio::time::sleep_until(deadline) => return Ok(Json(page)),
        }
        // It may have been an event that was not asked for.
        let page = find(&service, &query).await?;
        if !page.items.is_empty() {
            return Ok(Json(page));
        }
    }
}

/// The first page that has an event, or the last one.
async fn find(service: &Service, query: &EventsQuery) -> Result<Page<Event>, Refusal> {
    let mut after = query.after.clone();
    loop {
        let page = look(service, query, after.as_deref()).await?;
        if !page.items.is_empty() || page.next.is_none() {
            return Ok(page);
        }
        after = page.next;
        tokio::task::yield_now().await;
    }
}

/// How long after its time an event may be committed: a request's patience, and what replicas' clocks differ by.
const LATE: i128 = 120_000_000;

/// Events that are looked at for a page, at most; a filter may leave none of them.
const LOOKED_AT: usize = 10_000;

/// Where a reader stands: the last event in the order of times, and the revision up to which the log was read. Events are
/// ordered by when their requests began; one that commits late stands before others that were read already, and is known
/// by its revision.
///
/// The `next` of a page goes on with the log as it was for the first page (`KEY~READ~on`): a listing of many pages is of
/// one moment. The cursor of an event (`KEY~READ`) is for whoever has come to the end: it looks back for late ones.
struct Cursor {
    key: String,
    read: Revision,
    goes_on: bool,
}

const GOES_ON: &str = "~on";

impl Cursor {
    fn parse(text: &str) -> Self {
        let (text, goes_on) = match text.strip_suffix(GOES_ON) {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (key, read) = text.split_once('~').unwrap_or((text, ""));
        Self {
            key: format!("{}{key}", keys::EVENT),
            read: Revision(read.parse().unwrap_or(u64::MAX)),
            goes_on,
        }
    }

    fn text(key: &str, read: Revision) -> String {
        format!("{}~{}", key.strip_prefix(keys::EVENT).unwrap_or(key), read.0)
    }

    /// From where on there may be events that were not read.
    fn from(&self) -> String {
        if self.goes_on {
            return self.key.clone();
        }
        let digits = self.key[keys::EVENT.len()..].split('-').next().unwrap_or_default();
        keys::event((digits.parse::<i128>().unwrap_or(0) - LATE).max(0), "")
    }
}

async fn look(service: &Service, query: &EventsQuery, after: Option<&str>) -> Result<Page<Event>, Refusal> {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let now = service.now();
    let cursor = after.map(Cursor::parse);
    let read = match &cursor {
        Some(cursor) if cursor.goes_on => cursor.read,
        // What is committed from here on is for the next look.
        _ => service.store().revision().await?,
    };
    let since = query.since.map(|since| keys::event(since.unix_timestamp_nanos() / 1000, ""));
    let mut from = cursor.as_ref().map(Cursor::from).max(since);
    let (mut late, mut items, mut looked_at) = (Vec::new(), Vec::new(), 0);
    // Where the next page begins, if there is one.
    let mut next = None;
    while next.is_none() {
        let page = service.store().range(keys::EVENT, from.as_deref(), 1000, now).await?;
        looked_at += page.entries.len();
        for entry in page.entries.iter().filter(|entry| entry.revision <= read) {
            let known = cursor.as_ref().filter(|cursor| entry.key <= cursor.key);
            if known.is_some_and(|cursor| entry.revision <= cursor.read) {
                continue;
            }
            let event = shown(entry, read)?;
            let wanted = query.wants(&event);
            match known {
                _ if !wanted => {}
                Some(cursor) => late.push((
                    entry.revision,
                    Event { cursor: Cursor::text(&cursor.key, entry.revision), ..event },
                )),
                None => items.push(event),
            }
            if items.len() == limit {
                next = Some(entry.key.clone());
                break;
            }
        }
        // Only the first by revision are told of this time.
        if late.len() > 2 * PAGE_MAX {
            late.sort_by_key(|(revision, _)| *revision);
            late.truncate(limit);
        }
        from = page.next;
        let Some(last) = &from else { break };
        // Those that are late are found at one look: they are no more than were committed in two minutes.
        if looked_at >= LOOKED_AT && cursor.as_ref().is_none_or(|cursor| *last > cursor.key) {
            next = next.or_else(|| Some(last.clone()));
        }
    }
    let next = next.map(|key| Cursor::text(&key, read) + GOES_ON);
    // By revision, so that whoever stops among them goes on with the next.
    late.sort_by_key(|(revision, _)| *revision);
    let mut all: Vec<Event> = late.into_iter().map(|(_, event)| event).collect();
    if all.len() >= limit {
        all.truncate(limit);
        let next = all.last().map(|event| event.cursor.clone());
        return Ok(Page::new(all, next));
    }
    let room = limit - all.len();
    let next = match items.len() > room {
        true => items.get(room - 1).map(|event| event.cursor.clone() + GOES_ON),
        false => next,
    };
    items.truncate(room);
    all.extend(items);
    Ok(Page::new(all, next))
}

fn shown(entry: &Entry, read: Revision) -> Result<Event, Refusal> {
    let record = EventRecord::decode(&entry.value)?;
    Ok(Event {
        cursor: Cursor::text(&entry.key, read),
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
        first_correlation_id: record.counted.as_ref().map(|counted| counted.first_correlation_id.clone()),
        first_at: record.counted.as_ref().map(|counted| counted.first_at),
        last_at: record.counted.as_ref().map(|counted| counted.last_at),
    })
}
