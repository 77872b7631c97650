//! The replicas: real services on one store, started anew after each crash.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use boundkey_client::{Channel, Source};
use boundkey_lifecycle::CaKind;
use boundkey_service::{AutoLockRevokes, InPlace, MasterKey, Parts, Service, ServiceConfig};
use boundkey_store::{MemorySnapshot, MemoryStore};

use super::clock::SimClock;
use super::edges::Connected;
use super::hub::Hub;
use super::rng::{Rng, SimEntropy};

pub(super) const CLUSTER: &str = "example.com";

pub(super) struct Server {
    pub(super) clock: Arc<SimClock>,
    /// None: it is down.
    pub(super) service: Option<Service>,
    entropy: Arc<SimEntropy>,
    config: ServiceConfig,
}

/// Everything on a memory store is ready at once while the hub is quiet.
pub(super) fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future waits, and there is no runtime"),
    }
}

/// The one cluster that all worlds begin with: its CA keys come from the system's randomness and are made once.
fn founded() -> &'static (MemorySnapshot, Channel) {
    static FOUNDED: OnceLock<(MemorySnapshot, Channel)> = OnceLock::new();
    FOUNDED.get_or_init(|| {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(SimClock::new(Arc::default()));
        let service = at_once(Service::start(Parts {
            store: Arc::clone(&store) as Arc<dyn boundkey_store::Store>,
            master: master(1),
            config: ServiceConfig::new(CLUSTER),
            clock,
            entropy: Arc::new(SimEntropy::new(0, 0)),
            stretch: Arc::new(InPlace),
        }))
        .expect("a new cluster on an empty store");
        let tls = service.authorities().x509(CaKind::Tls).expect("every cluster has a tls CA");
        let channel = Channel {
            source: Source::Pin,
            root_key: Some(tls.key().public_key().clone()),
            cluster: Some(CLUSTER.to_owned()),
        };
        (store.snapshot(), channel)
    })
}

/// The keyring after so many keys: the last one is in force.
fn master(keys: u32) -> MasterKey {
    (2..=keys).fold(MasterKey::new(1, [7; 32]), |ring, id| {
        ring.rotated(id, [u8::try_from(id).unwrap_or(0) + 100; 32]).expect("each id is a new one")
    })
}

/// A store that holds the cluster and nothing else.
pub(super) fn new_store() -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    store.restore(&founded().0);
    Arc::new(store)
}

/// What authenticates a connection to any replica.
pub(super) fn channel() -> Channel {
    founded().1.clone()
}

/// What all replicas of a world are configured with.
pub(super) fn config(seed: u64) -> ServiceConfig {
    let mut rng = Rng::of(seed, &[0xc0]);
    let mut config = ServiceConfig::new(CLUSTER);
    config.auto_lock_revokes = match rng.below(4) {
        0 => AutoLockRevokes::None,
        1 => AutoLockRevokes::All,
        _ => AutoLockRevokes::Bots,
    };
    config
}

impl Server {
    pub(super) fn new(seed: u64, index: usize, clock: Arc<SimClock>) -> Self {
        let entropy = Arc::new(SimEntropy::new(seed, 0x5e00 + index as u64));
        Self { clock, service: None, entropy, config: config(seed) }
    }

    pub(super) fn start(&mut self, store: &Arc<MemoryStore>, hub: &Hub, master_keys: u32) {
        hub.lock().quiet = true;
        let started = at_once(Service::start(Parts {
            store: Arc::new(Connected { store: Arc::clone(store), hub: hub.clone() }),
            master: master(master_keys),
            config: self.config.clone(),
            clock: Arc::clone(&self.clock) as Arc<dyn boundkey_service::Clock>,
            entropy: Arc::clone(&self.entropy) as Arc<dyn boundkey_keys::Entropy>,
            stretch: Arc::new(InPlace),
        }));
        hub.lock().quiet = false;
        self.service = Some(started.expect("the store holds this cluster"));
    }
}
