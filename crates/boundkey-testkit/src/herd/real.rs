//! Machines whose joins are real: messages made by the client's half of the protocol, answered by the server's join loop.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use boundkey_keys::{Entropy, MasterKey};
use boundkey_proto::JoinKindName;
use boundkey_service::admin::apply_resources;
use boundkey_service::{InPlace, ManualClock, Parts, Service, ServiceConfig, read_resources};
use boundkey_store::MemoryStore;
use time::OffsetDateTime;

use super::machine::Mixed;
use crate::direct::{CLUSTER, Direct};

/// A service on a memory store, and machines that are registered with it.
pub struct Real {
    service: Service,
    clock: Arc<ManualClock>,
    start: OffsetDateTime,
    machines: Vec<Direct>,
    dice: Arc<Mixed>,
    joined: usize,
}

/// Where the service's randomness comes from: the seed.
struct Shared(Arc<Mixed>);

impl Entropy for Shared {
    fn fill(&self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

impl Real {
    /// A cluster with so many registered machines.
    ///
    /// # Panics
    /// If one of them is refused.
    pub fn register(machines: usize, seed: u64) -> Self {
        let start = OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
        let clock = Arc::new(ManualClock::new(start));
        let dice = Arc::new(Mixed::new(seed ^ 0x5eed));
        let service = now(Service::start(Parts {
            store: Arc::new(MemoryStore::new()),
            master: MasterKey::new(1, [7; 32]),
            config: ServiceConfig::new(CLUSTER),
            clock: Arc::<ManualClock>::clone(&clock),
            entropy: Arc::new(Shared(Arc::clone(&dice))),
            stretch: Arc::new(InPlace),
        }))
        .expect("a new cluster");
        let mut real = Self { service, clock, start, machines: Vec::new(), dice, joined: 0 };
        for number in 0..machines {
            let machine = real.first_join(number);
            real.machines.push(machine);
        }
        real
    }

    fn first_join(&self, number: usize) -> Direct {
        let mut machine = Direct::new(format!("machine-{number}"), &*self.dice);
        let secret = machine.secret(&*self.dice);
        let resources = read_resources(machine.resource(&secret).as_bytes()).expect("a good token");
        now(apply_resources(&self.service, &self.service.own_context(), &resources, false)).expect("applied");
        let result = now(machine.join(&self.service, &*self.dice, Some(&secret)));
        assert_eq!(result.kind, JoinKindName::Registered);
        machine
    }

    /// A machine of the herd renews, if it is one of these.
    ///
    /// # Panics
    /// If it is refused, or has to recover.
    pub fn renew(&mut self, number: usize, at: Duration) {
        if number >= self.machines.len() {
            return;
        }
        self.clock.set(self.start + time::Duration::hours(16) + at);
        let result = now(self.machines[number].join(&self.service, &*self.dice, None));
        assert_eq!(result.kind, JoinKindName::Renewed, "machine {number}");
        self.joined += 1;
    }

    /// How many renewed.
    pub fn joined(&self) -> usize {
        self.joined
    }
}

/// A memory store is ready at once.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a memory store makes nobody wait"),
    }
}
