//! A bounded supply that no source can use up: what somebody may hold depends on what is left.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::Source;

/// Nobody holds more than so many times what is left free.
const TIMES_FREE: usize = 4;
/// A sixteenth is kept for networks that hold nothing.
const RESERVE: usize = 16;

/// Dynamic thresholds: a network may hold four times what is free, an address four times what is free to its network,
/// and the last sixteenth is for networks that hold nothing. One address alone gets five sevenths of everything; whoever
/// comes after any number of greedy networks finds room until as many others have come as the reserve has units.
/// Taking and giving back are O(1), and rows exist only for who holds something.
#[derive(Debug)]
pub struct Shares {
    limit: usize,
    used: usize,
    networks: HashMap<IpAddr, usize>,
    hosts: HashMap<IpAddr, usize>,
}

impl Shares {
    /// A supply of `limit` units, at least one.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), used: 0, networks: HashMap::new(), hosts: HashMap::new() }
    }

    /// Whether `weight` units would be given to this source now.
    pub fn allows(&self, source: Source, weight: usize) -> bool {
        let free = self.limit.saturating_sub(self.used);
        let of_network = held(&self.networks, source.network);
        if of_network == 0 && weight <= free.min((self.limit / RESERVE).max(1)) {
            return true;
        }
        let free = free.saturating_sub(self.limit / RESERVE);
        let network_limit = free.saturating_mul(TIMES_FREE);
        let host_limit = network_limit.saturating_sub(of_network).saturating_mul(TIMES_FREE);
        weight <= free
            && of_network.saturating_add(weight) <= network_limit
            && held(&self.hosts, source.host).saturating_add(weight) <= host_limit
    }

    /// Whether any address of a network would be given a unit.
    pub(super) fn allows_network(&self, network: IpAddr) -> bool {
        let free = self.limit.saturating_sub(self.used);
        let of_network = held(&self.networks, network);
        let threshold = free.saturating_sub(self.limit / RESERVE).saturating_mul(TIMES_FREE);
        free > 0 && (of_network == 0 || of_network < threshold)
    }

    /// Takes `weight` units, if they are given.
    pub fn take(&mut self, source: Source, weight: usize) -> bool {
        if !self.allows(source, weight) {
            return false;
        }
        self.used += weight;
        *self.networks.entry(source.network).or_default() += weight;
        *self.hosts.entry(source.host).or_default() += weight;
        true
    }

    /// Gives back what was taken.
    pub fn give(&mut self, source: Source, weight: usize) {
        self.used = self.used.saturating_sub(weight);
        give(&mut self.networks, source.network, weight);
        give(&mut self.hosts, source.host, weight);
    }

    /// What the network and the address of a source hold.
    pub(super) fn of(&self, source: Source) -> (usize, usize) {
        (held(&self.networks, source.network), held(&self.hosts, source.host))
    }

    /// What is held by all together.
    pub fn used(&self) -> usize {
        self.used
    }
}

fn held(rows: &HashMap<IpAddr, usize>, key: IpAddr) -> usize {
    rows.get(&key).copied().unwrap_or(0)
}

fn give(rows: &mut HashMap<IpAddr, usize>, key: IpAddr, weight: usize) {
    if let Some(row) = rows.get_mut(&key) {
        *row = row.saturating_sub(weight);
        if *row == 0 {
            rows.remove(&key);
        }
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
        assert_eq!((inner.used, inner.networks.len(), inner.hosts.len()), (0, 0, 0));
    }
}
