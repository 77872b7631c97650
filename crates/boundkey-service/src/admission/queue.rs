//! A queue in which networks take turns, and the addresses of a network among themselves.

use std::collections::{HashMap, VecDeque};

use ipnet::IpNet;

use super::Source;

/// First come, first served within an address; addresses in turn within a network; networks in turn, at each of the sizes
/// that a source is counted by.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    /// All, a network, or an address: who waits here, and below.
    length: usize,
    /// Of an address.
    items: VecDeque<(Source, T)>,
    /// Of all and of networks, in turn; listed once while something waits there.
    order: VecDeque<IpNet>,
    below: HashMap<IpNet, FairQueue<T>>,
}

impl<T: Copy + Eq> FairQueue<T> {
    pub(super) fn new() -> Self {
        Self { length: 0, items: VecDeque::new(), order: VecDeque::new(), below: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many of those who wait have their turn before a newcomer, at most.
    pub(super) fn before(&self, source: Source) -> usize {
        self.turns(&mut source.levels())
    }

    fn turns(&self, path: &mut dyn Iterator<Item = IpNet>) -> usize {
        let Some(key) = path.next() else { return self.length };
        let rounds = self.below.get(&key).map_or(0, |below| below.turns(path));
        self.length.min(self.order.len() * (rounds + 1))
    }

    pub(super) fn push(&mut self, source: Source, item: T) {
        self.push_at(&mut source.levels(), source, item);
    }

    fn push_at(&mut self, path: &mut dyn Iterator<Item = IpNet>, source: Source, item: T) {
        self.length += 1;
        let Some(key) = path.next() else { return self.items.push_back((source, item)) };
        let below = self.below.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            Self::new()
        });
        below.push_at(path, source, item);
    }

    /// The first in turn whose networks and address are all `fit` to run.
    pub(super) fn pop(&mut self, fit: &dyn Fn(IpNet) -> bool) -> Option<(Source, T)> {
        let popped = match self.items.pop_front() {
            None => (0..self.order.len()).find_map(|at| self.pop_at(at, fit)),
            found => found,
        };
        self.length -= usize::from(popped.is_some());
        popped
    }

    /// Whoever had the turn goes to the end, or away if nobody is left there.
    fn pop_at(&mut self, at: usize, fit: &dyn Fn(IpNet) -> bool) -> Option<(Source, T)> {
        let key = self.order[at];
        let below = self.below.get_mut(&key).filter(|_| fit(key))?;
        let popped = below.pop(fit)?;
        self.order.remove(at);
        if below.length == 0 {
            self.below.remove(&key);
        } else {
            self.order.push_back(key);
        }
        Some(popped)
    }

    /// Takes somebody out who no longer waits; false if he does not stand here.
    pub(super) fn remove(&mut self, source: Source, item: T) -> bool {
        self.remove_at(&mut source.levels(), item)
    }

    fn remove_at(&mut self, path: &mut dyn Iterator<Item = IpNet>, item: T) -> bool {
        let removed = match path.next() {
            None => match self.items.iter().position(|(_, present)| *present == item) {
                Some(at) => self.items.remove(at).is_some(),
                None => false,
            },
            Some(key) => {
                let Some(below) = self.below.get_mut(&key) else { return false };
                let removed = below.remove_at(path, item);
                if below.length == 0 {
                    self.below.remove(&key);
                    self.order.retain(|present| *present != key);
                }
                removed
            }
        };
        self.length -= usize::from(removed);
        removed
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
    fn networks_take_turns_and_so_do_the_addresses_of_one() {
        let mut queue = FairQueue::new();
        for item in 0..4 {
            queue.push(source(1, 1), item);
        }
        queue.push(source(1, 2), 10);
        queue.push(source(2, 1), 20);
        queue.push(source(2, 1), 21);
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop(&|_| true).map(|(_, item)| item)).collect();
        assert_eq!(order, [0, 20, 10, 21, 1, 2, 3]);
        assert_eq!(queue.len(), 0);
        assert!(queue.order.is_empty() && queue.below.is_empty());
    }

    #[test]
    fn who_may_not_run_yet_is_passed_over_and_keeps_his_place() {
        let mut queue = FairQueue::new();
        queue.push(source(1, 1), 1);
        queue.push(source(2, 1), 2);
        assert_eq!(queue.pop(&|network| network != source(1, 1).network()).map(|(_, item)| item), Some(2));
        assert_eq!(queue.pop(&|_| false), None);
        assert_eq!(queue.pop(&|_| true).map(|(_, item)| item), Some(1));
    }

    #[test]
    fn who_gives_up_is_taken_out_once() {
        let mut queue = FairQueue::new();
        queue.push(source(1, 1), 1);
        queue.push(source(1, 1), 2);
        assert!(queue.remove(source(1, 1), 1));
        assert!(!queue.remove(source(1, 1), 1));
        assert!(queue.remove(source(1, 1), 2));
        assert_eq!((queue.len(), queue.pop(&|_| true)), (0, None));
        assert!(queue.order.is_empty());
    }

    #[test]
    fn networks_of_every_size_take_turns() {
        let of = |customer: u16, network: u16| {
            Source::of(Some(IpAddr::from([0x2001, 0xdb8, customer, network, 0, 0, 0, 1])))
        };
        let mut queue = FairQueue::new();
        for network in 0..100 {
            queue.push(of(1, network * 0x100), network);
        }
        queue.push(of(2, 1), 200);
        assert_eq!(queue.before(of(3, 0)), 2, "customers take turns, however many networks they have");
        assert_eq!(queue.pop(&|_| true).map(|(_, item)| item), Some(0));
        assert_eq!(queue.pop(&|_| true).map(|(_, item)| item), Some(200));
        assert!(queue.remove(of(1, 0x100), 1));
        assert_eq!((queue.len(), queue.before(of(2, 1))), (98, 1));
    }
}
