//! Nodes: the hosts that have joined. A view of the enrolments, written by nobody.

use axum::Json;
use axum::extract::{Query, State};
use boundkey_api::{Node, Page};
use boundkey_store::keys;
use boundkey_store::records::{InstanceEntry, Record};

use super::plan::every;
use super::{Listing, row, view};
use crate::{Refusal, Service};

/// `GET /v1/nodes`; pages go by token.
pub(super) async fn all(
    State(service): State<Service>,
    Query(listing): Query<Listing>,
) -> Result<Json<Page<Node>>, Refusal> {
    let now = service.now();
    let page = listing.page(&service, keys::TOKEN).await?;
    let mut items = Vec::new();
    for row in row::of_page(&service, &page, now).await? {
        let token = &row.record.token;
        items.extend(view::node(token, &row.enrolment));
        if !row.enrolment.shared {
            continue;
        }
        let first = row.enrolment.identity.as_ref().map(|identity| identity.id().to_owned());
        for entry in every(&service, &keys::instances(&row.record.uid.to_string()), usize::MAX, now).await? {
            let instance = InstanceEntry::decode(&entry.value)?;
            if first.as_deref() != Some(instance.record.identity.id()) {
                items.extend(view::shared_node(token, &instance));
            }
        }
    }
    Ok(Json(Page { items, next: Listing::next(&page, keys::TOKEN) }))
}
