//! Proofs that are wrong are answered late, for each source network. Right ones are never delayed, and nothing is ever
//! refused by it: it is asked only once a proof has been found wrong. Tokens are not told apart: who is answered late for
//! one name and at once for another would know which of them exists.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;

use super::Source;

/// How long a row of wrong proofs is remembered.
const WINDOW: time::Duration = time::Duration::minutes(10);
/// The longest that an answer is held back.
const LONGEST: Duration = Duration::from_secs(8);
/// Of a network: so many wrong proofs are nobody's business, as long as there are no more right ones.
const HARMLESS: u32 = 20;
/// Counts are halved here, so that what a network does now weighs more than what it did.
const MANY: u32 = 1000;

/// A table of fixed size. Whoever falls into one place shares it: at worst a wrong proof is answered late for another's
/// sake, or a network's appointments are drawn by lot.
#[derive(Debug)]
pub struct WrongProofs<S = RandomState> {
    free: u32,
    hasher: S,
    networks: Mutex<Vec<Row>>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    wrong: u32,
    right: u32,
    last: OffsetDateTime,
}

impl Row {
    fn at(&mut self, now: OffsetDateTime) -> &mut Self {
        // A clock that was set back must not keep a row for years.
        if (now - self.last).abs() > WINDOW {
            (self.wrong, self.right) = (0, 0);
        }
        self.last = now;
        if self.wrong.max(self.right) >= MANY {
            (self.wrong, self.right) = (self.wrong / 2, self.right / 2);
        }
        self
    }
}

impl WrongProofs {
    /// `free` wrong proofs in a row are answered at once; a table of `places` rows. Nobody can tell who shares one.
    pub fn new(free: u32, places: usize) -> Self {
        Self::with_hasher(free, places, RandomState::new())
    }
}

impl<S: BuildHasher> WrongProofs<S> {
    /// The same, with places that this gives: for simulations, which have to take the same course again.
    pub fn with_hasher(free: u32, places: usize, hasher: S) -> Self {
        let empty = Row { wrong: 0, right: 0, last: OffsetDateTime::UNIX_EPOCH };
        Self { free, hasher, networks: Mutex::new(vec![empty; places.max(1)]) }
    }

    /// Counts a wrong proof; how long its answer is to be held back: 1, 2, 4, 8 s after the free ones.
    pub fn wrong(&self, source: Source, now: OffsetDateTime) -> Duration {
        let wrong = self.row(source, |row| {
            let row = row.at(now);
            row.wrong += 1;
            row.wrong
        });
        match wrong.checked_sub(self.free + 1) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1 << over.min(3)).min(LONGEST),
        }
    }

    /// Counts a right one.
    pub fn right(&self, source: Source, now: OffsetDateTime) {
        self.row(source, |row| row.at(now).right += 1);
    }

    /// False for a network that lately got more proofs wrong than right.
    pub fn trusts(&self, source: Source, now: OffsetDateTime) -> bool {
        self.row(source, |row| (now - row.last).abs() > WINDOW || row.wrong <= HARMLESS.max(row.right))
    }

    fn row<T>(&self, source: Source, at: impl FnOnce(&mut Row) -> T) -> T {
        let hash = self.hasher.hash_one(source.network());
        let mut rows = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let place = usize::try_from(hash % rows.len() as u64).unwrap_or(0);
        at(&mut rows[place])
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-05-01 12:00 UTC);

    fn address(network: u8) -> Source {
        Source::of(Some(IpAddr::from([192, 0, network, 1])))
    }

    #[test]
    fn a_network_is_trusted_again_when_right_proofs_outnumber_its_wrong_ones() {
        let limiter = WrongProofs::new(5, 4096);
        for _ in 0..30 {
            limiter.wrong(address(1), NOW);
        }
        assert!(!limiter.trusts(address(1), NOW));
        assert!(limiter.trusts(address(2), NOW), "others are not concerned");
        for _ in 0..30 {
            limiter.right(address(1), NOW);
        }
        assert!(limiter.trusts(address(1), NOW));
    }

    #[test]
    fn what_a_network_did_is_forgotten_after_ten_minutes() {
        let limiter = WrongProofs::new(5, 4096);
        for _ in 0..3000 {
            limiter.wrong(address(1), NOW);
        }
        assert!(!limiter.trusts(address(1), NOW));
        assert!(limiter.trusts(address(1), NOW + time::Duration::minutes(11)));
        assert_eq!(limiter.wrong(address(1), NOW + time::Duration::minutes(11)), Duration::ZERO);
    }
}
