//! Refusals that are counted instead of committed: no attempt of a stranger costs a sync, and none of a holder who is
//! refused again and again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use boundkey_lifecycle::{Confirm, ConfirmReason, Denial, EventCode, Uid};
use boundkey_store::Batch;
use boundkey_store::records::Counted;
use time::OffsetDateTime;

use super::Joining;
use super::ledger::{By, Ledger, Refused, Row, Whose};
use super::tally::{Network, Seen};
use crate::{Entry, Events, Refusal, RequestContext, Service};

/// Rows written in one commit.
const PER_COMMIT: usize = 500;
/// So many `confirm` in a row, and no join between them, raise `clone_suspected`.
const SUSPICIOUS: u32 = 3;

pub(super) struct Refusals {
    subjects: usize,
    ledger: Mutex<Ledger>,
    confirms: Mutex<HashMap<Uid, u32>>,
}

impl Refusals {
    pub(super) fn new(subjects: usize) -> Self {
        let subjects = subjects.max(1);
        Self { subjects, ledger: Mutex::new(Ledger::new(subjects / 2)), confirms: Mutex::default() }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
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
        let by = if denial.proven { By::Known } else { By::Strangers };
        let notes = denial.event.notes.iter().map(ToString::to_string).collect();
        self.count(by, denial.event.code.as_str(), notes);
    }

    /// A new client of a token that has as many as it may.
    pub(super) fn count_full(&self) {
        self.count(By::Known, "denied_too_many_clients", Vec::new());
    }

    pub(super) fn count_confirm(&self, confirm: &Confirm) {
        let refusals = &self.service.joins().refusals;
        if confirm.reason == ConfirmReason::CloneSuspected && refusals.suspicious(self.snapshot.uid) {
            let token = self.received.request.token.as_str();
            tracing::warn!(correlation_id = %self.context.correlation, token, "clone suspected");
            self.count(By::Known, EventCode::CloneSuspected.as_str(), Vec::new());
        }
    }

    fn count(&self, by: By, code: &'static str, notes: Vec<String>) {
        let whose = match &self.snapshot.token {
            Some(_) => Whose::Token(self.received.request.token.to_string()),
            None => Whose::Unknown,
        };
        self.service.joins().refusals.ledger().count(Refused {
            by,
            whose,
            code,
            network: Network::of(self.context.source),
            seen: Seen { correlation: self.context.correlation.clone(), at: self.now },
            notes,
        });
    }
}

/// As after a restart.
#[cfg(test)]
pub(crate) fn forget_refusals(service: &Service) {
    let refusals = &service.joins().refusals;
    *refusals.ledger() = Ledger::new(refusals.subjects / 2);
}

/// Writes the counted refusals that are due; how many rows. To be called every second or so.
///
/// # Errors
/// The store does not answer; what was counted is kept for the next time.
pub async fn flush_refusals(service: &Service, now: OffsetDateTime) -> Result<usize, Refusal> {
    let due = service.joins().refusals.ledger().due(now);
    write(service, due, now).await
}

/// Writes all counted refusals, due or not; how many rows. To be called once, at the end.
///
/// # Errors
/// The store does not answer; what was counted is lost with the service.
pub async fn flush_all_refusals(service: &Service, now: OffsetDateTime) -> Result<usize, Refusal> {
    let rest = service.joins().refusals.ledger().rest(now);
    write(service, rest, now).await
}

async fn write(service: &Service, mut rows: Vec<Row>, now: OffsetDateTime) -> Result<usize, Refusal> {
    let written = rows.len();
    while !rows.is_empty() {
        let mut batch = Batch::default();
        let part = rows.len().min(PER_COMMIT);
        for row in &rows[..part] {
            batch.writes.extend(event(row, now));
        }
        if let Err(error) = service.store().commit(batch, now).await {
            service.joins().refusals.ledger().put_back(rows);
            return Err(error.into());
        }
        rows.drain(..part);
    }
    Ok(written)
}

fn event(row: &Row, now: OffsetDateTime) -> Vec<boundkey_store::Write> {
    let Row { tally, code, .. } = row;
    let context = RequestContext {
        correlation: tally.last.correlation.clone(),
        source: None,
        actor: "join".to_owned(),
    };
    let mut events = Events::new(now, &context).seen_from(&tally.source());
    events.push(Entry {
        code: (*code).to_owned(),
        token: match &row.whose {
            Whose::Token(token) => Some(token.clone()),
            Whose::Unknown | Whose::Everybody => None,
        },
        detail: tally.to_string(),
        notes: tally.notes.iter().cloned().collect(),
        count: tally.count,
        counted: Some(Counted {
            first_correlation_id: tally.first.correlation.clone(),
            first_at: tally.first.at,
            last_at: tally.last.at,
        }),
        ..Entry::default()
    });
    events.into_writes()
}
