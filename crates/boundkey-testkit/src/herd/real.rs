//! Machines whose joins are real: messages made by the client's half of the protocol, answered by the server's join loop.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use boundkey_keys::{Entropy, MasterKey, PrivateKey, Secret, secret_proof_key};
use boundkey_proto::{
    AttemptId, JoinAnswer, JoinKindName, JoinResult, MachineFacts, PROTOCOL_VERSION, Request, build_complete,
    read_challenge,
};
use boundkey_service::admin::apply_resources;
use boundkey_service::{
    InPlace, ManualClock, Parts, RequestContext, Service, ServiceConfig, join, read_resources,
};
use boundkey_store::MemoryStore;
use boundkey_token::{RequestedNames, Role, RoleSet};
use time::OffsetDateTime;

use super::machine::Mixed;

const CLUSTER: &str = "example.com";

/// A service on a memory store, and machines that are registered with it.
pub struct Real {
    service: Service,
    clock: Arc<ManualClock>,
    start: OffsetDateTime,
    machines: Vec<Registered>,
    dice: Arc<Mixed>,
    joined: usize,
}

struct Registered {
    token: String,
    key: PrivateKey,
    tls: PrivateKey,
    state: String,
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

    fn first_join(&self, number: usize) -> Registered {
        let mut secret = [0; 32];
        self.dice.fill(&mut secret);
        let secret = Secret::generated(secret);
        let token = format!("machine-{number}");
        let yaml = format!(
            "kind: token\nversion: v2\nmetadata: {{name: {token}}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
             bound_keypair: {{onboarding: {{registration_secret: {}}}}}\n",
            secret.expose()
        );
        let resources = read_resources(yaml.as_bytes()).expect("a good token");
        now(apply_resources(&self.service, &self.service.own_context(), &resources, false)).expect("applied");
        let mut seed = [0; 32];
        self.dice.fill(&mut seed);
        let key = PrivateKey::ed25519_from_seed(&seed);
        self.dice.fill(&mut seed);
        let tls = PrivateKey::ed25519_from_seed(&seed);
        let mut machine = Registered { token, key, tls, state: String::new() };
        let result = self.join(&machine, Some(&secret));
        assert_eq!(result.kind, JoinKindName::Registered);
        machine.state = result.join_state;
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
        let result = self.join(&self.machines[number], None);
        assert_eq!(result.kind, JoinKindName::Renewed, "machine {number}");
        self.machines[number].state = result.join_state;
        self.joined += 1;
    }

    /// How many renewed.
    pub fn joined(&self) -> usize {
        self.joined
    }

    fn join(&self, machine: &Registered, secret: Option<&Secret>) -> JoinResult {
        let challenge = join::begin(&self.service, self.service.now()).challenge;
        let view = read_challenge(&challenge, Some(CLUSTER)).expect("our cluster's challenge");
        let mut attempt = [0; 16];
        self.dice.fill(&mut attempt);
        let request = Request {
            version: PROTOCOL_VERSION,
            token: machine.token.parse().expect("a name"),
            roles: RoleSet::new([Role::Node]),
            attempt: AttemptId(attempt),
            bound_key: machine.key.public_key().clone(),
            new_key: None,
            tls_key: machine.tls.public_key().clone(),
            ssh_key: None,
            names: RequestedNames::default(),
            ttl_seconds: None,
            join_state: (!machine.state.is_empty()).then(|| machine.state.clone()),
            facts: MachineFacts::default(),
        };
        let proof_key = secret.map(|secret| secret_proof_key(secret, CLUSTER, &machine.token));
        let complete = build_complete(&challenge, &view, &request, &machine.key, None, proof_key.as_deref())
            .expect("a message that fits");
        let body = serde_json::to_vec(&complete).expect("JSON");
        let context = RequestContext::new(self.service.entropy(), None, "join");
        match now(join::complete(&self.service, &body, &context, self.service.now())) {
            Ok(JoinAnswer::Admitted(result)) => *result,
            other => panic!("{} is not admitted: {other:?}", machine.token),
        }
    }
}

/// A memory store is ready at once.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a memory store makes nobody wait"),
    }
}
