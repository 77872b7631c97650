//! A queue in which networks take turns, and the addresses of a network among themselves.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;

use super::Source;

/// Turns among keys; a key is listed once while it has something.
#[derive(Debug)]
struct Turns<K, Q> {
    order: VecDeque<K>,
    queues: HashMap<K, Q>,
}

impl<K, Q> Default for Turns<K, Q> {
    fn default() -> Self {
        Self { order: VecDeque::new(), queues: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash, Q: Default> Turns<K, Q> {
    fn queue(&mut self, key: K) -> &mut Q {
        if !self.queues.contains_key(&key) {
            self.order.push_back(key);
        }
        self.queues.entry(key).or_default()
    }

    /// The first in turn from which `take` gets something; its key goes to the end, or away once it is `empty`.
    fn next<T>(
        &mut self,
        mut take: impl FnMut(K, &mut Q) -> Option<T>,
        empty: impl Fn(&Q) -> bool,
    ) -> Option<T> {
        for at in 0..self.order.len() {
            let key = self.order[at];
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            if let Some(item) = take(key, queue) {
                self.order.remove(at);
                if empty(&self.queues[&key]) {
                    self.queues.remove(&key);
                } else {
                    self.order.push_back(key);
                }
                return Some(item);
            }
        }
        None
    }

    fn forget(&mut self, key: K) {
        self.queues.remove(&key);
        self.order.retain(|present| *present != key);
    }
}

type Hosts<T> = Turns<IpAddr, VecDeque<T>>;

/// First come, first served within an address; addresses in turn within a network; networks in turn.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    networks: Turns<IpAddr, Hosts<T>>,
    length: usize,
}

impl<T: Copy + Eq> FairQueue<T> {
    pub(super) fn new() -> Self {
        Self { networks: Turns::default(), length: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many networks wait, and how many addresses of one.
    pub(super) fn turns(&self, source: Source) -> (usize, usize) {
        let hosts = self.networks.queues.get(&source.network).map_or(0, |hosts| hosts.queues.len());
        (self.networks.queues.len(), hosts)
    }

    pub(super) fn push(&mut self, source: Source, item: T) {
        self.networks.queue(source.network).queue(source.host).push_back(item);
        self.length += 1;
    }

    /// The first in turn whose source is fit to run; `worth` says which networks are worth a look at all.
    pub(super) fn pop(
        &mut self,
        worth: impl Fn(IpAddr) -> bool,
        fit: impl Fn(Source) -> bool,
    ) -> Option<(Source, T)> {
        let popped = self.networks.next(
            |network, hosts| {
                if !worth(network) {
                    return None;
                }
                hosts.next(
                    |host, queue| {
                        let source = Source { network, host };
                        if fit(source) { queue.pop_front().map(|item| (source, item)) } else { None }
                    },
                    VecDeque::is_empty,
                )
            },
            |hosts| hosts.queues.is_empty(),
        );
        self.length -= usize::from(popped.is_some());
        popped
    }

    /// Takes somebody out who no longer waits; false if he does not stand here.
    pub(super) fn remove(&mut self, source: Source, item: T) -> bool {
        let Some(hosts) = self.networks.queues.get_mut(&source.network) else { return false };
        let Some(queue) = hosts.queues.get_mut(&source.host) else { return false };
        let Some(at) = queue.iter().position(|present| *present == item) else { return false };
        queue.remove(at);
        self.length -= 1;
        if queue.is_empty() {
            hosts.forget(source.host);
        }
        if hosts.queues.is_empty() {
            self.networks.forget(source.network);
        }
        true
    }
}

#[cfg(test)]
mod tests {
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
        let order: Vec<i32> =
            std::iter::from_fn(|| queue.pop(|_| true, |_| true).map(|(_, item)| item)).collect();
        assert_eq!(order, [0, 20, 10, 21, 1, 2, 3]);
        assert_eq!(queue.len(), 0);
        assert!(queue.networks.order.is_empty() && queue.networks.queues.is_empty());
    }

    #[test]
    fn who_may_not_run_yet_is_passed_over_and_keeps_his_place() {
        let mut queue = FairQueue::new();
        queue.push(source(1, 1), 1);
        queue.push(source(2, 1), 2);
        assert_eq!(queue.pop(|_| true, |s| s.network != source(1, 1).network).map(|(_, item)| item), Some(2));
        assert_eq!(queue.pop(|_| false, |_| true), None);
        assert_eq!(queue.pop(|_| true, |_| true).map(|(_, item)| item), Some(1));
    }

    #[test]
    fn who_gives_up_is_taken_out_once() {
        let mut queue = FairQueue::new();
        queue.push(source(1, 1), 1);
        queue.push(source(1, 1), 2);
        assert!(queue.remove(source(1, 1), 1));
        assert!(!queue.remove(source(1, 1), 1));
        assert!(queue.remove(source(1, 1), 2));
        assert_eq!((queue.len(), queue.pop(|_| true, |_| true)), (0, None));
        assert!(queue.networks.order.is_empty());
    }
}
