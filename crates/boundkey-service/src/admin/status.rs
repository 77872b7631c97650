//! `GET /v1/status`: what this server is, and how its tokens stand.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use boundkey_api::ServerStatus;

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
