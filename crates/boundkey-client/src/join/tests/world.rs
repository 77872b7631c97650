//! A real service over a memory store, a disk that may crash, and a wire that may lose or forge.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use boundkey_keys::{Entropy, MasterKey, PublicKey, Secret, sha256};
use boundkey_keystore::{AgentState, FileError, Keystore, KeystoreError, MemoryKeystore};
use boundkey_lifecycle::Enrolment;
use boundkey_proto::MachineFacts;
use boundkey_service::admin::apply_resources;
use boundkey_service::{InPlace, ManualClock, Parts, Service, ServiceConfig};
use boundkey_store::records::EnrolmentRecord;
use boundkey_store::{Batch, MemoryStore, keys};
use boundkey_token::{RequestedNames, Role, RoleSet};
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::clock::Clock;
use crate::config::{Credential, SecretSource};
use crate::join::{JoinError, JoinPlan, Joined, Joiner, SshWish};
use crate::transport::{Reply, Transport, TransportError};
use crate::trust::{Channel, Source};

pub(super) const START: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);
/// Of the generated form, so that nothing is stretched.
pub(super) const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
pub(super) const TOKEN: &str = "example-token";

/// Different bytes at each call, the same in each run.
#[derive(Default)]
pub(super) struct CountedEntropy(AtomicU64);

impl Entropy for CountedEntropy {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            chunk.copy_from_slice(&sha256(&[b"test", &count.to_be_bytes()])[..chunk.len()]);
        }
    }
}

/// The same clock for both sides, but the client's may be off.
pub(super) struct ClientClock {
    pub(super) clock: Arc<ManualClock>,
    pub(super) offset: time::Duration,
}

impl Clock for ClientClock {
    fn now(&self) -> OffsetDateTime {
        boundkey_service::Clock::now(&*self.clock) + self.offset
    }

    fn since_boot(&self) -> Duration {
        Duration::try_from(boundkey_service::Clock::now(&*self.clock) - START).unwrap_or_default()
    }
}

/// When the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    BeforeSave(usize),
    AfterSave(usize),
    /// The request never arrives.
    BeforeMessage(usize),
    /// The request arrives; its answer does not.
    AfterMessage(usize),
}

/// The agent's disk: it outlives the agent.
pub(super) struct Disk {
    pub(super) keystore: MemoryKeystore,
    saves: usize,
    crash: Option<Crash>,
}

impl Keystore for Disk {
    fn load(&mut self) -> Result<AgentState, KeystoreError> {
        self.keystore.load()
    }

    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError> {
        self.saves += 1;
        let dead = || KeystoreError::from(FileError::DiskFull { path: PathBuf::from("(crash)") });
        if self.crash == Some(Crash::BeforeSave(self.saves)) {
            return Err(dead());
        }
        self.keystore.save(state)?;
        if self.crash == Some(Crash::AfterSave(self.saves)) { Err(dead()) } else { Ok(()) }
    }
}

pub(super) type Forge = Box<dyn FnMut(&mut Value) + Send>;

/// The way to the server.
pub(super) struct Wire {
    service: Service,
    clock: Arc<ManualClock>,
    pub(super) channel: Option<Channel>,
    pub(super) sent: Vec<String>,
    pub(super) bodies: Vec<Vec<u8>>,
    crash: Option<Crash>,
    /// Changes what the server answers to `complete`.
    pub(super) forge: Option<Forge>,
    /// Answers instead of the server.
    pub(super) canned: HashMap<usize, Result<Reply, TransportError>>,
}

impl Wire {
    fn broken() -> TransportError {
        TransportError::Broken { server: "server:443".to_owned(), reason: "lost".to_owned() }
    }

    /// Another server answers from now on.
    pub(super) fn turn_to(&mut self, service: Service, channel: Channel) {
        (self.service, self.channel) = (service, Some(channel));
    }

    async fn serve(&mut self, path: &str, body: &[u8]) -> Reply {
        let now = boundkey_service::Clock::now(&*self.clock);
        let (status, mut value) = match path {
            "/v1/join/begin" => (200, json(&boundkey_service::join::begin(&self.service, now))),
            "/v1/join/complete" => {
                let context = self.service.own_context();
                match boundkey_service::join::complete(&self.service, body, &context, now).await {
                    Ok(answer) => (200, json(&answer)),
                    Err(refused) => (refused.refusal.problem.status, json(&refused.refusal.problem)),
                }
            }
            other => panic!("no such path: {other}"),
        };
        if let (Some(forge), "/v1/join/complete") = (&mut self.forge, path) {
            forge(&mut value);
        }
        Reply { status, retry_after: None, body: value.to_string().into_bytes() }
    }
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

impl Transport for Wire {
    async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Reply, TransportError> {
        self.sent.push(path.to_owned());
        self.bodies.push(body.clone());
        let number = self.sent.len();
        if self.crash == Some(Crash::BeforeMessage(number)) {
            return Err(Self::broken());
        }
        if let Some(canned) = self.canned.remove(&number) {
            return canned;
        }
        let reply = self.serve(path, &body).await;
        if self.crash == Some(Crash::AfterMessage(number)) { Err(Self::broken()) } else { Ok(reply) }
    }

    async fn get(&mut self, _path: &str, _limit: usize) -> Result<Reply, TransportError> {
        Err(Self::broken())
    }

    fn channel(&self) -> Option<Channel> {
        self.channel.clone()
    }

    fn disconnect(&mut self) {}
}

pub(super) struct World {
    pub(super) service: Service,
    pub(super) clock: Arc<ManualClock>,
    pub(super) client_clock: ClientClock,
    pub(super) disk: Disk,
    pub(super) wire: Wire,
    pub(super) plan: JoinPlan,
    pub(super) entropy: CountedEntropy,
}

impl World {
    /// A cluster with one token, and a machine that holds its secret.
    pub(super) async fn new() -> Self {
        Self::with_token(&format!(
            "kind: token\nversion: v2\nmetadata: {{name: {TOKEN}}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
             bound_keypair:\n    onboarding: {{registration_secret: {SECRET}}}\n"
        ))
        .await
    }

    pub(super) async fn with_token(yaml: &str) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let service = start_service("example.com", Arc::clone(&clock), 1).await;
        let resources = boundkey_token::read_resources(yaml.as_bytes()).unwrap();
        apply_resources(&service, &service.own_context(), &resources, false).await.unwrap();
        let wire = Wire {
            channel: Some(channel_of(&service)),
            service: service.clone(),
            clock: Arc::clone(&clock),
            sent: Vec::new(),
            bodies: Vec::new(),
            crash: None,
            forge: None,
            canned: HashMap::new(),
        };
        let roles = RoleSet::new([Role::Node]);
        let plan = JoinPlan {
            token: TOKEN.parse().unwrap(),
            credential: Credential::Secret(SecretSource::Given(Secret::new(SECRET.to_owned()))),
            facts: MachineFacts { roles: roles.clone(), ..MachineFacts::default() },
            roles,
            names: RequestedNames::default(),
            ttl: None,
            ssh: SshWish::Host,
            reuse_tls_key: false,
            machine: Some("machine".to_owned()),
            accept_machine: false,
        };
        Self {
            client_clock: ClientClock { clock: Arc::clone(&clock), offset: time::Duration::ZERO },
            service,
            clock,
            disk: Disk { keystore: MemoryKeystore::default(), saves: 0, crash: None },
            wire,
            plan,
            entropy: CountedEntropy::default(),
        }
    }

    pub(super) async fn join(&mut self) -> Result<Joined, JoinError> {
        self.wire.sent.clear();
        self.wire.bodies.clear();
        self.disk.saves = 0;
        let mut joiner = Joiner {
            keystore: &mut self.disk,
            transport: &mut self.wire,
            plan: &self.plan,
            clock: &self.client_clock,
            entropy: &self.entropy,
        };
        joiner.join().await
    }

    /// A join of a process that dies at that moment; true if it got so far.
    pub(super) async fn join_and_crash(&mut self, crash: Crash) -> bool {
        (self.disk.crash, self.wire.crash) = (Some(crash), Some(crash));
        let died = self.join().await.is_err();
        (self.disk.crash, self.wire.crash) = (None, None);
        died
    }

    pub(super) fn state(&mut self) -> AgentState {
        self.disk.keystore.load().unwrap()
    }

    pub(super) async fn enrolment(&self) -> Enrolment {
        self.record().await.enrolment
    }

    async fn record(&self) -> EnrolmentRecord {
        let loaded = self.service.load(&keys::enrolment(TOKEN), self.service.now()).await.unwrap();
        loaded.expect("the token has an enrolment").record
    }

    /// As an administrator's verb does.
    pub(super) async fn change(&self, change: impl FnOnce(&mut Enrolment)) {
        let mut record = self.record().await;
        change(&mut record.enrolment);
        let write = boundkey_service::put(keys::enrolment(TOKEN), &record);
        let batch = Batch { conditions: Vec::new(), writes: vec![write] };
        self.service.store().commit(batch, self.service.now()).await.unwrap();
    }

    pub(super) async fn is_locked(&self) -> bool {
        let key = keys::lock_of("token", TOKEN);
        self.service.store().get_many(&[&key], self.service.now()).await.unwrap().iter().any(Option::is_some)
    }
}

pub(super) async fn start_service(cluster: &str, clock: Arc<ManualClock>, master: u8) -> Service {
    Service::start(Parts {
        store: Arc::new(MemoryStore::new()),
        master: MasterKey::new(1, [master; 32]),
        config: ServiceConfig::new(cluster),
        clock,
        entropy: Arc::new(CountedEntropy::default()),
        stretch: Arc::new(InPlace),
    })
    .await
    .unwrap()
}

pub(super) fn channel_of(service: &Service) -> Channel {
    Channel {
        source: Source::Pin,
        root_key: Some(tls_key(service)),
        cluster: Some(service.cluster().to_owned()),
    }
}

pub(super) fn tls_key(service: &Service) -> PublicKey {
    let ca = service.authorities().x509(boundkey_lifecycle::CaKind::Tls).unwrap();
    ca.key().public_key().clone()
}
