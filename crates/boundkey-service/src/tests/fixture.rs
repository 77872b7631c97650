//! A service without a runtime, a clock that the test moves, and machines that join it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use boundkey_keys::{Entropy, MasterKey, PrivateKey, Secret, Signer, secret_proof_key, sha256};
use boundkey_lifecycle::{AttemptId, MachineFacts};
use boundkey_proto::{
    Answer, JoinAnswer, JoinResult, PROTOCOL_VERSION, Problem, Request, build_complete, read_answer,
    read_challenge,
};
use boundkey_store::records::{EnrolmentRecord, EventRecord, Record};
use boundkey_store::{MemoryStore, Store, keys};
use boundkey_token::{RequestedNames, Role, RoleSet};
use time::macros::datetime;

use crate::admin::apply_resources;
use crate::sweep::{Progress, Sweep};
use crate::{
    InPlace, Loaded, ManualClock, Parts, RequestContext, Service, ServiceConfig, Slot, StartError, join,
};

pub(super) const CLUSTER: &str = "example.com";

/// Everything on a memory store is ready at once; what is not would hang a simulation.
pub(super) fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future waits, and there is no runtime"),
    }
}

/// The same bytes in every run.
pub(super) struct Counted(AtomicU64);

impl Counted {
    pub(super) fn from(start: u64) -> Self {
        Self(AtomicU64::new(start))
    }
}

impl Entropy for Counted {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let block = sha256(&[b"test", &self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes()]);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

pub(super) struct Fixture {
    pub(super) service: Service,
    pub(super) store: Arc<MemoryStore>,
    pub(super) clock: Arc<ManualClock>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(ServiceConfig::new(CLUSTER))
    }

    pub(super) fn with(config: ServiceConfig) -> Self {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(ManualClock::new(datetime!(2026-05-01 12:00 UTC)));
        let service =
            start(store.clone(), clock.clone(), MasterKey::new(1, [7; 32]), config).expect("a new cluster");
        Self { service, store, clock }
    }

    pub(super) fn apply(&self, yaml: &str) {
        // Events are in the order of their times.
        self.clock.advance(time::Duration::milliseconds(1));
        let resources = boundkey_token::read_resources(yaml.as_bytes()).expect("good resources");
        now(apply_resources(&self.service, &self.service.own_context(), &resources, true)).expect("applied");
        self.clock.advance(time::Duration::milliseconds(1));
    }

    /// A token for hosts of role Node, and what more its spec has.
    pub(super) fn node_token(&self, name: &str, more: &str) {
        self.apply(&format!(
            "kind: token\nversion: v2\nmetadata:\n  name: {name}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n{more}"
        ));
    }

    pub(super) fn enrolment(&self, token: &str) -> EnrolmentRecord {
        let key = keys::enrolment(token);
        let loaded: Option<Loaded<EnrolmentRecord>> =
            now(self.service.load(&key, self.service.now())).expect("readable");
        loaded.expect("an enrolment").record
    }

    pub(super) fn generated_secret(&self, token: &str) -> Secret {
        let sealed = self.enrolment(token).enrolment.secret.generated.expect("an unused secret");
        self.service.open_secret(Slot::GeneratedSecret(token), &sealed).expect("opens")
    }

    pub(super) fn events(&self) -> Vec<EventRecord> {
        let page = now(self.store.range(keys::EVENT, None, 1000, self.service.now())).expect("events");
        page.entries.iter().map(|e| EventRecord::decode(&e.value).expect("an event")).collect()
    }

    pub(super) fn all_events(&self) -> Vec<EventRecord> {
        let page = now(self.store.range(keys::EVENT, None, usize::MAX, self.service.now())).expect("events");
        page.entries.iter().map(|e| EventRecord::decode(&e.value).expect("an event")).collect()
    }

    pub(super) fn count_events(&self) -> usize {
        usize::try_from(now(self.store.measure(keys::EVENT, self.service.now())).expect("a measure").entries)
            .expect("not that many")
    }

    pub(super) fn event_codes(&self) -> Vec<String> {
        self.events().into_iter().map(|event| event.code).collect()
    }

    /// Until everything that was revoked together is listed.
    pub(super) fn sweep(&self) {
        let mut sweep = Sweep::default();
        while now(sweep.step(&self.service, self.service.now())).expect("a page") != Progress::Nothing {}
    }

    pub(super) fn count(&self, prefix: &str) -> usize {
        now(self.store.range(prefix, None, 1000, self.service.now())).expect("a range").entries.len()
    }
}

pub(super) fn start(
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    master: MasterKey,
    config: ServiceConfig,
) -> Result<Service, StartError> {
    now(Service::start(Parts {
        store,
        master,
        config,
        clock,
        entropy: Arc::new(Counted::from(1)),
        stretch: Arc::new(InPlace),
    }))
}

/// A machine with its keys and what it has stored.
pub(super) struct Machine {
    pub(super) token: String,
    pub(super) roles: RoleSet,
    pub(super) bound: PrivateKey,
    pub(super) new: Option<PrivateKey>,
    pub(super) tls: PrivateKey,
    pub(super) ssh: Option<PrivateKey>,
    pub(super) state: Option<String>,
    pub(super) attempt: AttemptId,
    pub(super) secret: Option<Secret>,
    pub(super) names: RequestedNames,
    pub(super) source: Option<IpAddr>,
    entropy: Counted,
}

impl Machine {
    pub(super) fn new(token: &str, seed: u8, secret: Option<Secret>) -> Self {
        let entropy = Counted::from(u64::from(seed) << 32);
        let mut machine = Self {
            token: token.to_owned(),
            roles: RoleSet::new([Role::Node]),
            bound: PrivateKey::ed25519_from_seed(&[seed; 32]),
            new: None,
            tls: PrivateKey::ed25519_from_seed(&[seed ^ 0x55; 32]),
            ssh: Some(PrivateKey::ed25519_from_seed(&[seed ^ 0xaa; 32])),
            state: None,
            attempt: AttemptId([0; 16]),
            secret,
            names: RequestedNames::default(),
            source: Some(IpAddr::from([192, 0, 2, seed])),
            entropy,
        };
        machine.next_attempt();
        machine
    }

    pub(super) fn next_attempt(&mut self) {
        self.entropy.fill(&mut self.attempt.0);
    }

    pub(super) fn fresh_key(&self) -> PrivateKey {
        let mut seed = [0; 32];
        self.entropy.fill(&mut seed);
        PrivateKey::ed25519_from_seed(&seed)
    }

    /// A copy of the machine's disk, by somebody who makes an attempt of his own.
    pub(super) fn copy(&self) -> Self {
        let key = |key: &PrivateKey| PrivateKey::from_pkcs8_der(&key.to_pkcs8_der()).expect("its own form");
        let entropy = Counted::from(self.attempt.0.iter().map(|b| u64::from(*b)).sum::<u64>() << 40);
        let mut copy = Self {
            token: self.token.clone(),
            roles: self.roles.clone(),
            bound: key(&self.bound),
            new: self.new.as_ref().map(key),
            tls: key(&self.tls),
            ssh: self.ssh.as_ref().map(key),
            state: self.state.clone(),
            attempt: self.attempt,
            secret: None,
            names: self.names.clone(),
            source: Some(IpAddr::from([203, 0, 113, 9])),
            entropy,
        };
        copy.next_attempt();
        copy
    }

    pub(super) fn request(&self) -> Request {
        Request {
            version: PROTOCOL_VERSION,
            token: self.token.parse().expect("a name"),
            roles: self.roles.clone(),
            attempt: self.attempt,
            bound_key: self.bound.public_key().clone(),
            new_key: self.new.as_ref().map(|key| key.public_key().clone()),
            tls_key: self.tls.public_key().clone(),
            ssh_key: self.ssh.as_ref().map(|key| key.public_key().clone()),
            names: self.names.clone(),
            ttl_seconds: None,
            join_state: self.state.clone(),
            facts: MachineFacts {
                hostname: "node-1".to_owned(),
                roles: self.roles.clone(),
                ..MachineFacts::default()
            },
        }
    }

    /// The body that completes a challenge.
    pub(super) fn body(&self, challenge: &str) -> Vec<u8> {
        let view = read_challenge(challenge, Some(CLUSTER)).expect("our cluster's challenge");
        let key = self.secret.as_ref().map(|secret| secret_proof_key(secret, CLUSTER, &self.token));
        let new = self.new.as_ref().map(|key| key as &dyn Signer);
        let complete = build_complete(challenge, &view, &self.request(), &self.bound, new, key.as_deref())
            .expect("fits");
        serde_json::to_vec(&complete).expect("JSON")
    }

    pub(super) fn context(&self, fixture: &Fixture) -> RequestContext {
        RequestContext::new(fixture.service.entropy(), self.source, "public")
    }

    /// One message; nothing is stored.
    pub(super) fn send(&self, fixture: &Fixture, challenge: &str) -> Result<JoinAnswer, join::Refused> {
        let context = self.context(fixture);
        let answer =
            now(join::complete(&fixture.service, &self.body(challenge), &context, fixture.service.now()))?;
        // Over the wire and back, as a client reads it.
        let body = serde_json::to_vec(&answer).expect("JSON");
        match read_answer(200, &body).expect("understood") {
            Answer::Join(answer) => Ok(answer),
            Answer::Refused(problem) => panic!("a refusal with status 200: {problem:?}"),
        }
    }

    /// Begin and complete, `confirm` and rotation included, without storing the result.
    pub(super) fn try_join(&mut self, fixture: &Fixture) -> Result<JoinResult, Box<Problem>> {
        let mut challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
        for _ in 0..5 {
            match self.send(fixture, &challenge).map_err(|refused| refused.refusal.problem)? {
                JoinAnswer::Admitted(result) => return Ok(*result),
                JoinAnswer::RotationRequired {} => self.new = Some(self.fresh_key()),
                JoinAnswer::Confirm { challenge: fresh } => challenge = fresh,
            }
        }
        panic!("no end of confirm and rotation")
    }

    /// A whole join: the result is stored, the attempt ends.
    pub(super) fn join(&mut self, fixture: &Fixture) -> Result<JoinResult, Box<Problem>> {
        let result = self.try_join(fixture)?;
        self.store(&result);
        Ok(result)
    }

    pub(super) fn store(&mut self, result: &JoinResult) {
        if let Some(new) = self.new.take()
            && *new.public_key() == result.bound_key
        {
            self.bound = new;
        }
        self.state = Some(result.join_state.clone());
        self.secret = None;
        self.next_attempt();
    }
}
