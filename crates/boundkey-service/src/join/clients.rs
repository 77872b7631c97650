//! How many clients a shared token has on record, so that one that leaked cannot fill the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use boundkey_lifecycle::Uid;
use boundkey_store::keys;
use time::OffsetDateTime;

use crate::{Refusal, Service};

/// A token that is full is measured again after this long at the earliest.
const AGAIN: time::Duration = time::Duration::minutes(1);
/// New clients are counted by each server for itself. After this part of the limit the store is asked what others, and the
/// sweep, have made of it.
const PART: u64 = 10;

/// Counted in memory: seeded from the store, raised with each new client. May be lost at any time.
pub(crate) struct Clients {
    limit: u64,
    tokens: usize,
    counts: Mutex<HashMap<Uid, Arc<tokio::sync::Mutex<Count>>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    records: u64,
    /// Of these, since the store was measured.
    joined: u64,
    measured_at: Option<OffsetDateTime>,
}

impl Clients {
    /// `tokens`: so many are remembered.
    pub(super) fn new(limit: usize, tokens: usize) -> Self {
        Self { limit: (limit as u64).max(1), tokens: tokens.max(1), counts: Mutex::default() }
    }

    /// Makes room for a new client. How many there are, if there is none.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn admit(
        &self,
        service: &Service,
        uid: Uid,
        now: OffsetDateTime,
    ) -> Result<Result<(), u64>, Refusal> {
        let count = self.count_of(uid);
        // Whoever comes while it is measured waits for the same answer.
        let mut count = count.lock().await;
        let part = count.joined >= (self.limit / PART).max(1);
        let full = count.records >= self.limit;
        let rested = count.measured_at.is_none_or(|at| (now - at).abs() >= AGAIN);
        if count.measured_at.is_none() || (full && rested) || (part && !full) {
            *count = Count::measure(service, uid, now).await?;
        }
        if count.records >= self.limit {
            return Ok(Err(count.records));
        }
        count.records += 1;
        count.joined += 1;
        Ok(Ok(()))
    }

    /// The client that room was made for did not join after all.
    pub(super) fn give_back(&self, uid: Uid) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        // Where it is measured at the moment, the store knows better.
        if let Some(mut count) = counts.get(&uid).and_then(|count| count.try_lock().ok()) {
            count.records = count.records.saturating_sub(1);
            count.joined = count.joined.saturating_sub(1);
        }
    }

    /// As the store has it now.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn measure(
        &self,
        service: &Service,
        uid: Uid,
        now: OffsetDateTime,
    ) -> Result<u64, Refusal> {
        let count = self.count_of(uid);
        let mut count = count.lock().await;
        *count = Count::measure(service, uid, now).await?;
        Ok(count.records)
    }

    /// As far as it is known without asking the store.
    pub(crate) fn known(&self, uid: Uid) -> Option<u64> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&uid)?.try_lock().ok()?;
        count.measured_at.map(|_| count.records)
    }

    /// The bound that is configured.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Somebody else has removed records: everything is measured anew.
    pub(crate) fn forget_all(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn count_of(&self, uid: Uid) -> Arc<tokio::sync::Mutex<Count>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= self.tokens && !counts.contains_key(&uid) {
            counts.clear();
        }
        Arc::clone(counts.entry(uid).or_default())
    }
}

impl Count {
    async fn measure(service: &Service, uid: Uid, now: OffsetDateTime) -> Result<Self, Refusal> {
        let records = service.store().measure(&keys::instances(&uid.to_string()), now).await?.entries;
        Ok(Self { records, joined: 0, measured_at: Some(now) })
    }
}
