//! Wrong secrets are answered late, for each token and source network. Right ones are never delayed, and nothing is
//! ever refused by it.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use super::refusals::network;

/// How long a row of wrong secrets is remembered.
const WINDOW: time::Duration = time::Duration::minutes(10);
/// The longest that an answer is held back.
const LONGEST: Duration = Duration::from_secs(8);

/// A table of fixed size. (token, network) pairs that fall into one place share it: at worst a wrong secret is
/// answered late for another's sake.
pub(super) struct Limiter {
    free: u32,
    hasher: RandomState,
    rows: Mutex<Vec<Row>>,
}

#[derive(Clone, Copy)]
struct Row {
    wrong: u32,
    last: OffsetDateTime,
}

impl Limiter {
    pub(super) fn new(free: u32, places: usize) -> Self {
        let empty = Row { wrong: 0, last: OffsetDateTime::UNIX_EPOCH };
        Self { free, hasher: RandomState::new(), rows: Mutex::new(vec![empty; places.max(1)]) }
    }

    /// Counts a wrong secret; how long its answer is to be held back: 1, 2, 4, 8 s after the free ones.
    pub(super) fn wrong(&self, token: &str, source: Option<IpAddr>, now: OffsetDateTime) -> Duration {
        let hash = self.hasher.hash_one((token, network(source)));
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(hash % rows.len() as u64).unwrap_or(0);
        let row = &mut rows[place];
        // A clock that was set back must not keep a row for years.
        if (now - row.last).abs() > WINDOW {
            row.wrong = 0;
        }
        row.wrong = row.wrong.saturating_add(1);
        row.last = now;
        match row.wrong.checked_sub(self.free + 1) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1 << over.min(3)).min(LONGEST),
        }
    }
}
