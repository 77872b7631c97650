//! `GET /v1/status`: what this server is, and how its tokens stand.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use boundkey_api::{BeingListed, ServerStatus};
use boundkey_store::keys;
use boundkey_store::records::{Record, SweptRecord, VoidRecord};
use time::OffsetDateTime;

use super::listing::PAGE;
use super::row;
use crate::{Refusal, Service};

pub(super) async fn status(State(service): State<Service>) -> Result<Json<ServerStatus>, Refusal> {
    let now = service.now();
    let mut status = ServerStatus {
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster_name: service.cluster().to_owned(),
        started_at: service.started_at(),
        listen: service.config().listen.clone(),
        public_addrs: service.config().public_addrs.clone(),
        ca_pins: vec![service.authorities().tls.pin()],
        store: service.config().store_kind.clone(),
        tokens: 0,
        states: BTreeMap::new(),
        being_listed: being_listed(&service, now).await?,
    };
    let mut after: Option<String> = None;
    loop {
        let page = row::page(&service, after.as_deref(), PAGE, now).await?;
        for row in &page.rows {
            status.tokens += 1;
            *status.states.entry(row.view(&service, now).state().as_str().to_owned()).or_default() += 1;
        }
        after = page.next;
        if after.is_none() {
            return Ok(Json(status));
        }
    }
}

/// Marks that are told.
const TOLD: usize = 100;

async fn being_listed(service: &Service, now: OffsetDateTime) -> Result<Vec<BeingListed>, Refusal> {
    let marks = service.store().range(keys::VOID, None, TOLD, now).await?.entries;
    let swept: Vec<String> = marks.iter().map(|mark| keys::swept(&mark.key)).collect();
    let wanted: Vec<&str> = swept.iter().map(String::as_str).collect();
    let swept = service.store().get_many(&wanted, now).await?;
    let mut told = Vec::with_capacity(marks.len());
    for (entry, swept) in marks.iter().zip(swept) {
        let mark = VoidRecord::decode(&entry.value)?;
        let SweptRecord { machines, certificates } =
            swept.map(|entry| SweptRecord::decode(&entry.value)).transpose()?.unwrap_or_default();
        let uid = entry.key.strip_prefix(keys::VOID_TOKEN);
        let clients_left = match uid {
            Some(uid) => Some(service.store().measure(&keys::instances(uid), now).await?.entries),
            None => None,
        };
        told.push(BeingListed {
            kind: if uid.is_some() { "token" } else { "bot" }.to_owned(),
            name: mark.name,
            revoked_at: mark.at,
            machines,
            certificates,
            clients_left,
        });
    }
    Ok(told)
}
