//! Nodes: the hosts that have joined. A view of the enrolments, written by nobody.

use axum::Json;
use axum::extract::State;
use boundkey_api::{Node, Page};
use boundkey_lifecycle::LifecycleState;
use boundkey_store::keys;
use boundkey_store::records::{InstanceEntry, LockIndex, Record};
use time::OffsetDateTime;

use super::listing::Listing;
use super::row::{self, Row};
use super::view;
use crate::{Refusal, Service};

/// `GET /v1/nodes`. Pages go by token, and by instance among the many clients of one: `after=TOKEN`, `after=TOKEN/ID`.
pub(super) async fn all(
    State(service): State<Service>,
    listing: Listing,
) -> Result<Json<Page<Node>>, Refusal> {
    let now = service.now();
    let mut walk =
        Walk { service: &service, listing: &listing, now, looked: 0, page: Page::new(Vec::new(), None) };
    let mut after = listing.after.as_deref();
    if let Some((token, instance)) = after.and_then(|after| after.split_once('/')) {
        let row = row::of_token(&service, token, now).await?;
        if let Some(row) = row.filter(|row| row.enrolment.shared) {
            walk.clients(&row, instance).await?;
        }
        after = Some(token);
    }
    if walk.page.next.is_none() && walk.room() == 0 {
        walk.page.next = after.map(str::to_owned);
    }
    if walk.page.next.is_none() {
        walk.tokens(after).await?;
    }
    Ok(Json(walk.page))
}

/// A page that is being filled.
struct Walk<'a> {
    service: &'a Service,
    listing: &'a Listing,
    now: OffsetDateTime,
    /// Tokens and instances.
    looked: usize,
    page: Page<Node>,
}

impl Walk<'_> {
    fn room(&self) -> usize {
        self.listing.limit().saturating_sub(self.looked)
    }

    fn push(&mut self, node: Node) {
        self.page.count(&node.state);
        if self.listing.wants(&node.state, &node.labels, Some(node.last_joined_at), self.now) {
            self.page.items.push(node);
        }
    }

    /// A lock on one of many stops that one alone, and is none of the token's.
    async fn push_of_many(&mut self, nodes: Vec<Node>, state: LifecycleState) -> Result<(), Refusal> {
        let of_hosts: Vec<String> = nodes.iter().map(|node| keys::lock_of("host", &node.host_id)).collect();
        let wanted: Vec<&str> = of_hosts.iter().map(String::as_str).collect();
        let found = self.service.store().get_many(&wanted, self.now).await?;
        for (mut node, entry) in nodes.into_iter().zip(found) {
            let index = entry.map(|entry| LockIndex::decode(&entry.value)).transpose()?.unwrap_or_default();
            if state.admits() && index.locks.iter().any(|lock| lock.expires.is_none_or(|end| end > self.now))
            {
                node.state = LifecycleState::Locked.as_str().to_owned();
            }
            self.push(node);
        }
        Ok(())
    }

    /// The hosts of the tokens behind this one.
    async fn tokens(&mut self, after: Option<&str>) -> Result<(), Refusal> {
        let rows = row::page(self.service, after, self.room(), self.now).await?;
        let last = rows.rows.len();
        for (row, number) in rows.rows.iter().zip(1..) {
            self.looked += 1;
            let token = &row.record.token;
            let state = row.view(self.service, self.now).state();
            let node = view::node(token, &row.enrolment, state);
            if row.enrolment.shared {
                self.push_of_many(node.into_iter().collect(), state).await?;
                self.clients(row, "").await?;
            } else if let Some(node) = node {
                self.push(node);
            }
            if self.page.next.is_none() && self.room() == 0 && number < last {
                self.page.next = Some(token.name.to_string());
            }
            if self.page.next.is_some() {
                return Ok(());
            }
        }
        self.page.next = rows.next;
        Ok(())
    }

    /// The many clients of a shared lineage, behind an instance.
    async fn clients(&mut self, row: &Row, after: &str) -> Result<(), Refusal> {
        let token = &row.record.token;
        let prefix = keys::instances(&row.record.uid.to_string());
        if self.room() == 0 {
            self.page.next = Some(format!("{}/{after}", token.name));
            return Ok(());
        }
        let store = self.service.store();
        let found = store.range(&prefix, Some(&format!("{prefix}{after}")), self.room(), self.now).await?;
        let state = row.view(self.service, self.now).state();
        // Whoever came first is in the enrolment.
        let first = row.enrolment.identity.as_ref().map(|identity| identity.id());
        let marks = self.service.marks(row.record.uid, token, true, self.now).await?;
        let mut nodes = Vec::with_capacity(found.entries.len());
        for entry in &found.entries {
            self.looked += 1;
            if marks.cover(entry.revision) {
                continue;
            }
            let node = view::shared_node(token, &InstanceEntry::decode(&entry.value)?, state);
            nodes.extend(node.filter(|node| first != Some(node.host_id.as_str())));
        }
        self.push_of_many(nodes, state).await?;
        let next = found.next.as_deref().and_then(|key| key.strip_prefix(&prefix));
        self.page.next = next.map(|id| format!("{}/{id}", token.name));
        Ok(())
    }
}
