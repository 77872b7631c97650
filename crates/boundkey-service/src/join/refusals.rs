//! Refusals where nothing was proven: counted per token, source network and code, written at most once a minute
//! each and never by the request itself, so that strangers can neither make the log grow nor cost a sync.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use boundkey_lifecycle::{Confirm, ConfirmReason, Denial, EventCode, Uid};
use boundkey_store::Batch;
use ipnet::IpNet;
use time::OffsetDateTime;

use super::Joining;
use crate::{Entry, Events, Refusal, RequestContext, Service};

/// Each row is written at most this often.
const EVERY: time::Duration = time::Duration::minutes(1);
/// A row without news is forgotten after this long.
const FORGOTTEN: time::Duration = time::Duration::minutes(10);
/// Rows written in one commit.
const PER_COMMIT: usize = 500;
/// So many `confirm` in a row, and no join between them, raise `clone_suspected`.
const SUSPICIOUS: u32 = 3;

/// Where unknown tokens are counted together, and everybody once the table is full.
const UNKNOWN: &str = "";

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    token: String,
    network: String,
    code: &'static str,
}

#[derive(Debug, Clone)]
struct Row {
    count: u64,
    correlation: String,
    seen: OffsetDateTime,
    written: Option<OffsetDateTime>,
}

pub(super) struct Refusals {
    places: usize,
    rows: Mutex<HashMap<Place, Row>>,
    confirms: Mutex<HashMap<Uid, u32>>,
}

impl Refusals {
    pub(super) fn new(places: usize) -> Self {
        Self { places: places.max(1), rows: Mutex::default(), confirms: Mutex::default() }
    }

    fn count(&self, token: &str, context: &RequestContext, code: &'static str, now: OffsetDateTime) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = Place { token: token.to_owned(), network: network(context.source), code };
        if rows.len() >= self.places && !rows.contains_key(&place) {
            place = Place { token: UNKNOWN.to_owned(), network: "various".to_owned(), code };
        }
        let row = rows.entry(place).or_insert_with(|| Row {
            count: 0,
            correlation: String::new(),
            seen: now,
            written: None,
        });
        row.count = row.count.saturating_add(1);
        row.seen = now;
        row.correlation.clone_from(&context.correlation);
    }

    /// Takes what is due: rows with news that were not written in the last minute.
    fn due(&self, now: OffsetDateTime) -> Vec<(Place, Row)> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.retain(|_, row| row.count > 0 || (now - row.seen).abs() < FORGOTTEN);
        let mut due = Vec::new();
        for (place, row) in rows.iter_mut() {
            let rests = row.written.is_some_and(|written| (now - written).abs() < EVERY);
            if row.count > 0 && !rests && due.len() < PER_COMMIT {
                due.push((place.clone(), row.clone()));
                row.count = 0;
                row.written = Some(now);
            }
        }
        due.sort_by(|(a, _), (b, _)| (&a.token, &a.network, a.code).cmp(&(&b.token, &b.network, b.code)));
        due
    }

    /// Puts back what could not be written.
    fn put_back(&self, due: Vec<(Place, Row)>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, row) in due {
            if let Some(present) = rows.get_mut(&place) {
                present.count = present.count.saturating_add(row.count);
                present.written = row.written;
            }
        }
    }

    pub(super) fn forget_confirms(&self, uid: Uid) {
        self.confirms.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }

    /// True at the third in a row.
    fn suspicious(&self, uid: Uid) -> bool {
        let mut confirms = self.confirms.lock().unwrap_or_else(PoisonError::into_inner);
        if confirms.len() >= self.places && !confirms.contains_key(&uid) {
            return false;
        }
        let count = confirms.entry(uid).or_default();
        *count = count.saturating_add(1);
        *count == SUSPICIOUS
    }
}

impl Joining<'_> {
    pub(super) fn count_refusal(&self, denial: &Denial) {
        // Strangers may invent as many names as they like: those share one place.
        let token =
            if self.snapshot.token.is_some() { self.received.request.token.as_str() } else { UNKNOWN };
        self.service.joins().refusals.count(token, self.context, denial.event.code.as_str(), self.now);
    }

    pub(super) fn count_confirm(&self, confirm: &Confirm) {
        let refusals = &self.service.joins().refusals;
        if confirm.reason == ConfirmReason::CloneSuspected && refusals.suspicious(self.snapshot.uid) {
            let token = self.received.request.token.as_str();
            tracing::warn!(correlation_id = %self.context.correlation, token, "clone suspected");
            refusals.count(token, self.context, EventCode::CloneSuspected.as_str(), self.now);
        }
    }
}

/// Writes the counted refusals that are due. To be called every second or so, and once at the end.
///
/// # Errors
/// The store does not answer; what was counted is kept for the next time.
pub async fn flush_refusals(service: &Service, now: OffsetDateTime) -> Result<usize, Refusal> {
    let refusals = &service.joins().refusals;
    let due = refusals.due(now);
    if due.is_empty() {
        return Ok(0);
    }
    let mut batch = Batch::default();
    for (place, row) in &due {
        let context =
            RequestContext { correlation: row.correlation.clone(), source: None, actor: "join".to_owned() };
        let mut events = Events::new(now, &context).seen_from(&place.network);
        events.push(Entry {
            code: place.code.to_owned(),
            token: (place.token != UNKNOWN).then(|| place.token.clone()),
            detail: format!("{} from {}: {}", place.code, place.network, counted(row.count)),
            count: row.count,
            ..Entry::default()
        });
        batch.writes.extend(events.into_writes());
    }
    let written = due.len();
    match service.store().commit(batch, now).await {
        Ok(_) => Ok(written),
        Err(error) => {
            refusals.put_back(due);
            Err(error.into())
        }
    }
}

fn counted(times: u64) -> String {
    if times == 1 { "once".to_owned() } else { format!("{times} times") }
}

/// The /24 or /64 of an address: who changes addresses within it is the same stranger.
pub(super) fn network(source: Option<IpAddr>) -> String {
    let Some(address) = source.map(|address| address.to_canonical()) else { return "local".to_owned() };
    let prefix = if address.is_ipv4() { 24 } else { 64 };
    IpNet::new(address, prefix).map_or_else(|_| address.to_string(), |net| net.trunc().to_string())
}
