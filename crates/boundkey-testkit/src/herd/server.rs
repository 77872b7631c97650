//! The server: its own admission over work that takes the time that was measured.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use boundkey_service::Limits;
use boundkey_service::admission::{Bounds, Gate, Shares, WrongProofs};

use super::Costs;
use super::machine::Mixed;

/// Everything that is bounded, as `boundkey_service` makes it.
pub(super) struct Server {
    pub(super) costs: Costs,
    pub(super) connections: Shares,
    pub(super) handshakes: Gate,
    pub(super) messages: Shares,
    pub(super) joins: Gate,
    pub(super) held: Shares,
    /// Who shares a row is the same in each run: by chance, a network in some thousands would share that of a hostile one.
    pub(super) wrong: WrongProofs<BuildHasherDefault<DefaultHasher>>,
    /// When the processors have done all that they were given.
    busy_until: Duration,
    /// When the store has.
    store_until: Duration,
    pub(super) most_connections: usize,
    pub(super) most_messages: usize,
    pub(super) most_waiting: usize,
    pub(super) most_running: usize,
}

impl Server {
    pub(super) fn new(limits: Limits, costs: Costs) -> Self {
        Self {
            connections: Shares::new(limits.connections),
            handshakes: Gate::new(Bounds {
                at_once: limits.concurrent_handshakes,
                queue: limits.connections,
                patience: limits.handshake_timeout,
            }),
            messages: Shares::new(limits.message_bytes),
            joins: Gate::new(Bounds {
                at_once: limits.concurrent_joins,
                queue: limits.waiting_joins,
                patience: limits.join_patience,
            }),
            held: Shares::new(limits.connections / 2),
            wrong: WrongProofs::with_hasher(limits.wrong_proofs, limits.table, BuildHasherDefault::default()),
            busy_until: Duration::ZERO,
            store_until: Duration::ZERO,
            most_connections: 0,
            most_messages: 0,
            most_waiting: 0,
            most_running: 0,
            costs,
        }
    }

    /// When work that costs this is done: after all that was begun before, give or take half.
    pub(super) fn work(&mut self, now: Duration, cost: Duration, dice: &Mixed) -> Duration {
        let cost = cost / self.costs.processors.max(1);
        self.busy_until = self.busy_until.max(now) + cost / 2 + dice.up_to(cost);
        self.busy_until
    }

    /// When a join's commit is durable.
    pub(super) fn commit(&mut self, now: Duration, dice: &Mixed) -> Duration {
        let cost = self.costs.store;
        self.store_until = self.store_until.max(now) + cost / 2 + dice.up_to(cost);
        self.store_until.max(now + self.costs.commit)
    }

    pub(super) fn note(&mut self) {
        self.most_connections = self.most_connections.max(self.connections.used());
        self.most_messages = self.most_messages.max(self.messages.used());
        self.most_waiting = self.most_waiting.max(self.joins.waiting());
        self.most_running = self.most_running.max(self.joins.running());
    }

    /// Memory by the same formula as the bound, with what is in use.
    pub(super) fn most_memory(&self) -> usize {
        self.most_connections * self.costs.connection_bytes + self.most_messages
    }
}
