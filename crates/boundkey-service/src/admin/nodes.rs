//! Nodes: the hosts that have joined. A view of the enrolments, written by nobody.

use axum::Json;
use axum::extract::{Query, State};
use boundkey_api::{Node, Page};
use boundkey_lifecycle::LifecycleState;
use boundkey_store::keys;
use boundkey_store::records::{InstanceEntry, LockIndex, Record};
use time::OffsetDateTime;

use super::plan::every;
use super::row::Row;
use super::{Listing, row, view};
use crate::{Refusal, Service};

/// `GET /v1/nodes`; pages go by token. `state=` filters.
pub(super) async fn all(
    State(service): State<Service>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Node>>, Refusal> {
    listing.check_state()?;
    let now = service.now();
    let page = listing.page(&service, keys::TOKEN).await?;
    let mut items = Vec::new();
    for row in row::of_page(&service, &page, now).await? {
        let mut nodes = of_row(&service, &row, now).await?;
        nodes.retain(|node| listing.state.as_ref().is_none_or(|state| *state == node.state));
        items.extend(nodes);
    }
    Ok(Json(Page { items, next: Listing::next(&page, keys::TOKEN) }))
}

async fn of_row(service: &Service, row: &Row, now: OffsetDateTime) -> Result<Vec<Node>, Refusal> {
    let token = &row.record.token;
    let state = row.view(service, now).state();
    let mut nodes: Vec<Node> = view::node(token, &row.enrolment, state).into_iter().collect();
    if !row.enrolment.shared {
        return Ok(nodes);
    }
    for entry in every(service, &keys::instances(&row.record.uid.to_string()), usize::MAX, now).await? {
        let instance = InstanceEntry::decode(&entry.value)?;
        let node = view::shared_node(token, &instance, state);
        nodes.extend(node.filter(|node| nodes.iter().all(|known| known.host_id != node.host_id)));
    }
    // A lock on one of many stops that one alone, and is none of the token's.
    let of_hosts: Vec<String> = nodes.iter().map(|node| keys::lock_of("host", &node.host_id)).collect();
    let read: Vec<&str> = of_hosts.iter().map(String::as_str).collect();
    for (node, entry) in nodes.iter_mut().zip(service.store().get_many(&read, now).await?) {
        let index = entry.map(|entry| LockIndex::decode(&entry.value)).transpose()?.unwrap_or_default();
        if state.admits() && index.locks.iter().any(|lock| lock.expires.is_none_or(|end| end > now)) {
            node.state = LifecycleState::Locked.as_str().to_owned();
        }
    }
    Ok(nodes)
}
