//! A bounded supply that no source can use up: what somebody may hold depends on what is left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use super::Source;

/// Nobody holds more than so many times what is left free.
const TIMES_FREE: usize = 4;
/// A sixteenth is kept for networks that hold nothing.
const RESERVE: usize = 16;

/// Dynamic thresholds: a network may hold four times what is free, a network or an address in it four times what is free to
/// the network around it, and the last sixteenth is for networks that hold nothing. One address alone gets five sevenths of
/// everything; whoever comes after any number of greedy networks finds room until as many others have come as the reserve
/// has units. Taking and giving back are O(1), and rows exist only for who holds something.
#[derive(Debug)]
pub struct Shares {
    limit: usize,
    used: usize,
    held: HashMap<IpNet, usize>,
}

impl Shares {
    /// A supply of `limit` units, at least one.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), used: 0, held: HashMap::new() }
    }

    /// Whether `weight` units would be given to this source now.
    pub fn allows(&self, source: Source, weight: usize) -> bool {
        self.room(source.levels(), source.network(), weight)
    }

    /// Whether any address of a network would be given a unit.
    pub(super) fn allows_in(&self, network: IpNet) -> bool {
        let source = Source::of(Some(network.addr()));
        let around = source.levels().take_while(|level| level.prefix_len() <= network.prefix_len());
        self.room(around, source.network(), 1)
    }

    fn room(&self, levels: impl Iterator<Item = IpNet>, widest: IpNet, weight: usize) -> bool {
        let free = self.limit.saturating_sub(self.used);
        if self.held(widest) == 0 && weight <= free.min((self.limit / RESERVE).max(1)) {
            return true;
        }
        let free = free.saturating_sub(self.limit / RESERVE);
        let mut left = free;
        weight <= free
            && levels.into_iter().all(|network| {
                let (most, held) = (left.saturating_mul(TIMES_FREE), self.held(network));
                left = most.saturating_sub(held);
                weight <= left
            })
    }

    /// Takes `weight` units, if they are given.
    pub fn take(&mut self, source: Source, weight: usize) -> bool {
        if !self.allows(source, weight) {
            return false;
        }
        self.used += weight;
        for network in source.levels() {
            *self.held.entry(network).or_default() += weight;
        }
        true
    }

    /// Gives back what was taken.
    pub fn give(&mut self, source: Source, weight: usize) {
        self.used = self.used.saturating_sub(weight);
        for network in source.levels() {
            if let Some(row) = self.held.get_mut(&network) {
                *row = row.saturating_sub(weight);
                if *row == 0 {
                    self.held.remove(&network);
                }
            }
        }
    }

    /// What a network holds, or an address.
    pub(crate) fn held(&self, network: IpNet) -> usize {
        self.held.get(&network).copied().unwrap_or(0)
    }

    /// What is held by all together.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Whether nothing is left for anybody.
    pub(crate) fn is_used_up(&self) -> bool {
        self.used >= self.limit
    }
}

/// [`Shares`] for many tasks; what was taken comes back when it is dropped.
#[derive(Debug, Clone)]
pub struct SharedShares(Arc<Mutex<Shares>>);

impl SharedShares {
    /// As [`Shares::new`].
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Shares::new(limit))))
    }

    /// Takes `weight` units; None if there is no room for this source.
    pub fn take(&self, source: Source, weight: usize) -> Option<Held> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take(source, weight);
        taken.then(|| Held { shares: self.clone(), source, weight })
    }
}

/// A share that is given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    shares: SharedShares,
    source: Source,
    weight: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shares.0.lock().unwrap_or_else(PoisonError::into_inner).give(self.source, self.weight);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(network: u8, host: u8) -> Source {
        Source::of(Some(IpAddr::from([10, 0, network, host])))
    }

    #[test]
    fn one_source_alone_gets_most_of_it_and_never_all() {
        let mut shares = Shares::new(2100);
        while shares.take(source(1, 1), 1) {}
        assert_eq!(shares.used(), 1501);
    }

    #[test]
    fn whoever_comes_after_greedy_networks_still_finds_room() {
        let mut shares = Shares::new(10_000);
        for network in 0..20 {
            for host in 0..=255 {
                while shares.take(source(network, host), 1) {}
            }
        }
        for network in 30..=255 {
            assert!(shares.take(source(network, 1), 1), "{} are used", shares.used());
        }
        assert!(!shares.take(source(30, 1), 1), "one each, of the reserve");
    }

    #[test]
    fn an_address_finds_room_beside_a_greedy_neighbour() {
        let mut shares = Shares::new(1000);
        while shares.take(source(1, 1), 1) {}
        assert!(shares.take(source(1, 2), 1));
    }

    #[test]
    fn a_supply_of_one_serves_anybody() {
        let mut shares = Shares::new(1);
        assert!(shares.take(source(1, 1), 1));
        assert!(!shares.take(source(2, 1), 1));
        shares.give(source(1, 1), 1);
        assert!(shares.take(source(2, 1), 1));
    }

    #[test]
    fn what_is_dropped_comes_back_and_leaves_no_rows() {
        let shares = SharedShares::new(64);
        let held: Vec<Held> = (0..40).map(|n| shares.take(source(n, 1), 1).unwrap()).collect();
        drop(held);
        let inner = shares.0.lock().unwrap();
        assert_eq!((inner.used, inner.held.len()), (0, 0));
    }

    /// A customer with a /48 has 65,536 networks of size /64, and is one customer all the same.
    #[test]
    fn a_customer_with_thousands_of_networks_is_one_customer() {
        let of = |customer: u16, network: u16, host: u16| {
            Source::of(Some(IpAddr::from([0x2001, 0xdb8, customer, network, 0, 0, 0, host])))
        };
        let mut shares = Shares::new(10_000);
        for network in 0..u16::MAX {
            shares.take(of(1, network, 1), 1);
        }
        assert!(shares.used() < 7600, "{}", shares.used());
        for host in 0..8 {
            assert!(shares.take(of(2, 1, host), 1), "another customer finds room");
        }
        // Within it, the networks are fair to each other.
        let mut shares = Shares::new(10_000);
        for network in 0..256 {
            while shares.take(of(1, network, 1), 1) {}
        }
        assert!(shares.take(of(1, 0x8000, 1), 1), "a /56 beside a greedy one");
        assert!(shares.take(of(2, 0, 1), 1), "a /48 beside a greedy one");
    }
}
