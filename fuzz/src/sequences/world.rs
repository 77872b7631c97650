//! A real service over a store in memory, brought back to its first moment for each input.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use boundkey_keys::{Entropy, MasterKey, PublicKey, sha256};
use boundkey_lifecycle::{CaKind, Enrolment};
use boundkey_service::admin::apply_resources;
use boundkey_service::{InPlace, ManualClock, Parts, Service, ServiceConfig, join};
use boundkey_store::records::EnrolmentRecord;
use boundkey_store::{Batch, MemorySnapshot, MemoryStore, Store as _, keys};
use time::OffsetDateTime;

use crate::scene::{CLUSTER, NOW};

/// Of the generated form, so that nothing is stretched.
pub(super) const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Everything on a store in memory is ready at once.
pub(super) fn poll<F: Future>(future: F) -> F::Output {
    match pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future waits, and there is no runtime"),
    }
}

/// Different bytes at each call, the same in each run.
#[derive(Default)]
pub(super) struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            chunk.copy_from_slice(&sha256(&[b"fuzz", &count.to_be_bytes()])[..chunk.len()]);
        }
    }
}

pub(super) struct Site {
    pub(super) service: Service,
    pub(super) store: Arc<MemoryStore>,
    pub(super) clock: Arc<ManualClock>,
    entropy: Arc<Counted>,
    first: MemorySnapshot,
}

impl Site {
    /// A cluster with these tokens.
    pub(super) fn new(cluster: &str, master: u8, yaml: &str) -> Self {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(ManualClock::new(NOW));
        let entropy = Arc::new(Counted::default());
        let service = poll(Service::start(Parts {
            store: store.clone(),
            master: MasterKey::new(1, [master; 32]),
            config: ServiceConfig::new(cluster),
            clock: clock.clone(),
            entropy: entropy.clone(),
            stretch: Arc::new(InPlace),
        }))
        .expect("a new cluster");
        let resources = boundkey_token::read_resources(yaml.as_bytes()).expect("good resources");
        poll(apply_resources(&service, &service.own_context(), &resources, false)).expect("applied");
        let first = store.snapshot();
        Self { service, store, clock, entropy, first }
    }

    /// As it was at first.
    pub(super) fn reset(&self) {
        // What the service counted of another world is told there: the same ids come again.
        self.write_counted();
        self.store.restore(&self.first);
        self.clock.set(NOW);
        self.entropy.0.store(1 << 32, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.service.now()
    }

    /// Writes the rows of counted refusals; how many.
    pub(super) fn write_counted(&self) -> usize {
        poll(join::flush_all_refusals(&self.service, self.now())).expect("the store answers")
    }

    /// Every record but those of the audit log, and how many of these there are.
    pub(super) fn records(&self) -> (BTreeMap<String, Vec<u8>>, usize) {
        let range = poll(self.store.range("", None, usize::MAX, self.now())).expect("a range");
        let count = range.entries.len();
        let records: BTreeMap<_, _> = range
            .entries
            .into_iter()
            .filter(|entry| !entry.key.starts_with(keys::EVENT))
            .map(|entry| (entry.key, entry.value))
            .collect();
        let events = count - records.len();
        (records, events)
    }

    pub(super) fn enrolment(&self, token: &str) -> Option<EnrolmentRecord> {
        let key = keys::enrolment(token);
        poll(self.service.load::<EnrolmentRecord>(&key, self.now()))
            .expect("readable")
            .map(|found| found.record)
    }

    /// As an administrator's verb does.
    pub(super) fn change(&self, token: &str, change: impl FnOnce(&mut Enrolment)) {
        let Some(mut record) = self.enrolment(token) else { return };
        change(&mut record.enrolment);
        let write = boundkey_service::put(keys::enrolment(token), &record);
        let batch = Batch { conditions: Vec::new(), writes: vec![write] };
        poll(self.store.commit(batch, self.now())).expect("committed");
    }

    /// The key of the CA that signs bundles and the server's certificate.
    pub(super) fn tls_key(&self) -> PublicKey {
        self.service.authorities().x509(CaKind::Tls).expect("a CA").key().public_key().clone()
    }
}

/// A token that registers by [`SECRET`].
pub(super) fn token(name: &str, onboarding: &str, more: &str) -> String {
    format!(
        "kind: token\nversion: v2\nmetadata: {{name: {name}}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
         bound_keypair:\n    onboarding: {{{onboarding}}}\n    recovery: {{limit: 3, mode: standard}}\n{more}---\n"
    )
}

/// The cluster under test with these tokens.
pub(super) fn home(yaml: &str) -> Site {
    Site::new(CLUSTER, 7, yaml)
}
