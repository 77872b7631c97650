//! Refusals where nothing was proven: counted per token, source network and code, written at most once a minute
//! each and never by the request itself, so that strangers can neither make the log grow nor cost a sync.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use boundkey_lifecycle::{Confirm, ConfirmReason, Denial, EventCode, Uid};
use boundkey_store::Batch;
use boundkey_store::records::Counted;
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

/// Networks that are told apart for a token and code; further ones are counted together.
const NETWORKS: usize = 32;

/// Where unknown tokens are counted together, and everybody once the table is full.
const UNKNOWN: &str = "";
/// Where networks are counted together.
const VARIOUS: &str = "various networks";

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Subject {
    token: String,
    code: &'static str,
}

#[derive(Debug, Clone)]
struct Row {
    count: u64,
    /// The first since the row was last written.
    first: Option<Seen>,
    last: Seen,
    written: Option<OffsetDateTime>,
}

/// One refusal.
#[derive(Debug, Clone)]
struct Seen {
    correlation: String,
    at: OffsetDateTime,
}

/// What is to be written: a row as it was, and where it stands.
struct Due {
    subject: Subject,
    network: String,
    row: Row,
}

pub(super) struct Refusals {
    subjects: usize,
    rows: Mutex<HashMap<Subject, HashMap<String, Row>>>,
    confirms: Mutex<HashMap<Uid, u32>>,
}

impl Refusals {
    pub(super) fn new(subjects: usize) -> Self {
        Self { subjects: subjects.max(1), rows: Mutex::default(), confirms: Mutex::default() }
    }

    fn count(&self, token: &str, context: &RequestContext, code: &'static str, now: OffsetDateTime) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut subject = Subject { token: token.to_owned(), code };
        if rows.len() >= self.subjects && !rows.contains_key(&subject) {
            subject.token = UNKNOWN.to_owned();
        }
        let networks = rows.entry(subject).or_default();
        let mut network = network(context.source);
        if networks.len() >= NETWORKS && !networks.contains_key(&network) {
            network = VARIOUS.to_owned();
        }
        let seen = Seen { correlation: context.correlation.clone(), at: now };
        let empty = Row { count: 0, first: None, last: seen.clone(), written: None };
        let row = networks.entry(network).or_insert(empty);
        row.count = row.count.saturating_add(1);
        row.first.get_or_insert_with(|| seen.clone());
        row.last = seen;
    }

    /// Takes what is due: rows with news that were not written in the last minute.
    fn due(&self, now: OffsetDateTime) -> Vec<Due> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        for (subject, networks) in rows.iter_mut() {
            networks.retain(|_, row| row.count > 0 || (now - row.last.at).abs() < FORGOTTEN);
            for (network, row) in networks {
                let rests = row.written.is_some_and(|written| (now - written).abs() < EVERY);
                if row.count > 0 && !rests && due.len() < PER_COMMIT {
                    due.push(Due { subject: subject.clone(), network: network.clone(), row: row.clone() });
                    row.count = 0;
                    row.first = None;
                    row.written = Some(now);
                }
            }
        }
        rows.retain(|_, networks| !networks.is_empty());
        due.sort_by(|a, b| (&a.subject, &a.network).cmp(&(&b.subject, &b.network)));
        due
    }

    /// Puts back what could not be written.
    fn put_back(&self, due: Vec<Due>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for Due { subject, network, row } in due {
            if let Some(present) = rows.get_mut(&subject).and_then(|networks| networks.get_mut(&network)) {
                present.count = present.count.saturating_add(row.count);
                present.first = row.first.or(present.first.take());
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
        if confirms.len() >= self.subjects && !confirms.contains_key(&uid) {
            confirms.clear();
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
    for Due { subject, network, row } in &due {
        let context = RequestContext {
            correlation: row.last.correlation.clone(),
            source: None,
            actor: "join".to_owned(),
        };
        let first = row.first.as_ref().unwrap_or(&row.last);
        let mut events = Events::new(now, &context).seen_from(network);
        events.push(Entry {
            code: subject.code.to_owned(),
            token: (subject.token != UNKNOWN).then(|| subject.token.clone()),
            detail: format!("{} from {network}", counted(row.count)),
            count: row.count,
            counted: Some(Counted {
                first_correlation_id: first.correlation.clone(),
                first_at: first.at,
                last_at: row.last.at,
            }),
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
