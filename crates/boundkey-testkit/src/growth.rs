//! A SQLite store that has grown: how long joins wait while old events and expired rows go, and while very many clients of
//! a leaked static key are thrown out.

use std::collections::VecDeque;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use boundkey_api::VerbRequest;
use boundkey_keys::{MasterKey, PrivateKey};
use boundkey_lifecycle::{
    CaKind, Enrolment, Hash32, Identity, InstanceRecord, IssuedCertificate, LastAttempt, MachineFacts, Trail,
    Uid,
};
use boundkey_proto::JoinKindName;
use boundkey_service::admin::{apply_resources, carry_out_verb};
use boundkey_service::revocation::put_instance;
use boundkey_service::{
    OnBlockingThreads, Parts, Retention, Service, ServiceConfig, SystemClock, SystemEntropy, read_resources,
    sweep,
};
use boundkey_store::records::{
    EnrolmentRecord, EventRecord, InstanceEntry, Record as _, RevokedRecord, TokenRecord,
};
use boundkey_store::{Batch, Store as _, Write, keys};
use boundkey_store_sqlite::SqliteStore;
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::direct::{CLUSTER, Direct};

/// Rows in one commit, while the store is filled.
const PER_COMMIT: usize = 2000;
/// The token that many share.
const MANY: &str = "many";
/// Between two joins of one client, so that the machine is not busy with joins alone.
const PAUSE: Duration = Duration::from_millis(10);

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    /// Events that are older than they are kept.
    pub events: usize,
    /// Rows that expired two days ago: half of them revocations, half of them clients of a shared token.
    pub expired: usize,
    /// Clients of a shared token, which are revoked together.
    pub revoked: usize,
    /// Machines, which renew in turn.
    pub machines: usize,
    /// Joins under way at a time.
    pub clients: usize,
    /// How long joins are watched before and after.
    pub watched: Duration,
}

/// Joins of a while, and what went meanwhile.
#[derive(Debug, Clone)]
pub struct Phase {
    /// What went on.
    pub title: &'static str,
    /// How long.
    pub wall: Duration,
    /// From message to result, each, the shortest first.
    pub joins: Vec<Duration>,
    /// Rows that were dropped.
    pub dropped: u64,
    /// Bytes of the store's file and its log, at the end.
    pub file: u64,
}

impl Growth {
    /// Fills a store in a directory of its own, and watches joins while it is swept.
    ///
    /// # Panics
    /// If a join is refused, or the store fails.
    pub async fn run(self) -> Vec<Phase> {
        let mut site = Site::new(self).await;
        site.fill().await;
        let watched = self.watched;
        let nothing = || async {
            tokio::time::sleep(watched).await;
            0
        };
        site.phase("before", nothing()).await;
        let store = Arc::clone(&site.store);
        site.phase("while expired rows go", purge(store)).await;
        let service = site.service.clone();
        site.phase("while old events go", retain(service)).await;
        let service = site.service.clone();
        site.phase("while many are revoked", reset(service)).await;
        // Something else that goes through many rows gets a line here.
        site.phase("after", nothing()).await;
        site.phases
    }
}

async fn purge(store: Arc<SqliteStore>) -> u64 {
    let ended = SystemTime::now() - time::Duration::DAY;
    store.purge_expired(ended).await.expect("the store writes") as u64
}

/// As the server does it, once it has run for an hour.
async fn retain(service: Service) -> u64 {
    let (mut retention, start) = (Retention::default(), Instant::now());
    let mut dropped = 0;
    for hours in 0..2 {
        let instant = start + Duration::from_secs(3600) * hours;
        dropped += retention.look(&service, instant).await.expect("the store answers").by_age;
    }
    dropped
}

/// The verb, and what comes behind it until every certificate is listed.
async fn reset(service: Service) -> u64 {
    let store = service.store();
    let left = async || store.measure("instance/", service.now()).await.expect("the store reads").entries;
    let before = left().await;
    let sweep = tokio::spawn(sweep::run(service.clone()));
    let (context, request) = (service.own_context(), VerbRequest::default());
    carry_out_verb(&service, &context, MANY, "reset", &request).await.expect("a reset");
    while store.measure(keys::VOID, service.now()).await.expect("the store reads").entries > 0 {
        tokio::time::sleep(PAUSE).await;
    }
    sweep.abort();
    before - left().await
}

/// The wall clock.
struct SystemTime;

impl SystemTime {
    fn now() -> OffsetDateTime {
        boundkey_service::Clock::now(&SystemClock)
    }
}

struct Site {
    growth: Growth,
    store: Arc<SqliteStore>,
    service: Service,
    machines: Arc<Mutex<VecDeque<Direct>>>,
    phases: Vec<Phase>,
    path: PathBuf,
    _dir: TempDir,
}

impl Site {
    async fn new(growth: Growth) -> Self {
        let dir = tempfile::Builder::new().prefix("boundkey-growth-").tempdir().expect("a directory");
        let path = dir.path().join("store.sqlite");
        let store = Arc::new(SqliteStore::open(&path).expect("a new store"));
        let service = Service::start(Parts {
            store: Arc::<SqliteStore>::clone(&store),
            master: MasterKey::new(1, [7; 32]),
            config: ServiceConfig::new(CLUSTER),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy::new()),
            stretch: Arc::new(OnBlockingThreads::new(1)),
        })
        .await
        .expect("a new cluster");
        let mut machines = VecDeque::new();
        for number in 0..growth.machines {
            let mut machine = Direct::new(format!("machine-{number}"), service.entropy());
            let secret = machine.secret(service.entropy());
            let resources = read_resources(machine.resource(&secret).as_bytes()).expect("a good token");
            apply_resources(&service, &service.own_context(), &resources, false).await.expect("applied");
            let result = machine.join(&service, service.entropy(), Some(&secret)).await;
            assert_eq!(result.kind, JoinKindName::Registered);
            machines.push_back(machine);
        }
        let machines = Arc::new(Mutex::new(machines));
        Self { growth, store, service, machines, phases: Vec::new(), path, _dir: dir }
    }

    async fn fill(&self) {
        let now = SystemTime::now();
        let numbers = |count: usize| (0..count).collect::<Vec<_>>();
        for part in numbers(self.growth.events).chunks(PER_COMMIT) {
            self.put(part.iter().map(|number| old_event(*number, now)).collect()).await;
        }
        for part in numbers(self.growth.expired).chunks(PER_COMMIT) {
            self.put(part.iter().map(|number| self.expired(*number, now)).collect()).await;
        }
        let uid = self.share(now).await;
        for part in numbers(self.growth.revoked).chunks(PER_COMMIT) {
            let client = |number: &usize| put_instance(uid, &client(*number, now));
            self.put(part.iter().map(client).collect()).await;
        }
    }

    /// A token that many clients share.
    async fn share(&self, now: OffsetDateTime) -> Uid {
        let key = PrivateKey::ed25519_from_seed(&[5; 32]).public_key().clone();
        let yaml = format!(
            "kind: token\nversion: v2\nmetadata: {{name: {MANY}}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
             bound_keypair:\n    onboarding: {{initial_public_key: \"{}\"}}\n    recovery: {{mode: insecure}}\n",
            key.to_openssh()
        );
        let resources = read_resources(yaml.as_bytes()).expect("a good token");
        let service = &self.service;
        apply_resources(service, &service.own_context(), &resources, false).await.expect("applied");
        let token = service.load::<TokenRecord>(&keys::token(MANY), now).await.expect("the store reads");
        let uid = token.expect("it was applied").record.uid;
        let enrolment = Enrolment { bound_public_key: Some(key), shared: true, ..Enrolment::default() };
        self.put(vec![Write::record(keys::enrolment(MANY), &EnrolmentRecord { uid, enrolment })]).await;
        uid
    }

    async fn put(&self, writes: Vec<Write>) {
        let batch = Batch { conditions: Vec::new(), writes };
        self.store.commit(batch, SystemTime::now()).await.expect("the store writes");
    }

    fn expired(&self, number: usize, now: OffsetDateTime) -> Write {
        let mut id = [0; 16];
        self.service.entropy().fill(&mut id);
        let id = format!("{:032x}", u128::from_be_bytes(id));
        let expires = now - time::Duration::days(2) + time::Duration::milliseconds(number as i64);
        let (key, value) = if number.is_multiple_of(2) {
            let record = RevokedRecord { revoked_at: now, expires_at: expires };
            (keys::revoked("x509", expires.unix_timestamp(), &id), record.encode())
        } else {
            (keys::instance("0123456789abcdef", &id), vec![b'.'; 800])
        };
        Write::PutUntil { key, value, expires }
    }

    /// Lets machines join until the work is done.
    async fn phase(&mut self, title: &'static str, work: impl Future<Output = u64>) {
        let (done, started) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let clients: Vec<_> = (0..self.growth.clients)
            .map(|_| {
                tokio::spawn(join_until(self.service.clone(), Arc::clone(&self.machines), Arc::clone(&done)))
            })
            .collect();
        let dropped = work.await;
        let wall = started.elapsed();
        done.store(true, Ordering::Relaxed);
        let mut joins = Vec::new();
        for client in clients {
            joins.extend(client.await.expect("a client ends"));
        }
        joins.sort_unstable();
        let file = bytes(&self.path) + bytes(&self.path.with_extension("sqlite-wal"));
        self.phases.push(Phase { title, wall, joins, dropped, file });
    }
}

/// With a certificate of each kind.
fn client(number: usize, now: OffsetDateTime) -> InstanceEntry {
    let identity = Identity::Host(format!("{number:08x}-0000-8000-8000-000000000000"));
    let expires_at = now + time::Duration::DAY;
    let issued = [(CaKind::Host, format!("5{number:039x}")), (CaKind::SshHost, format!("{number:016x}"))];
    let issued = issued.map(|(ca, serial)| IssuedCertificate { ca, serial, expires_at });
    let last_attempt = LastAttempt {
        attempt: Hash32([1; 32]),
        presented: None,
        identity: identity.clone(),
        issued_at: now,
        certified: Hash32([2; 32]),
        granted: Hash32([3; 32]),
    };
    let record = InstanceRecord {
        identity,
        last_attempt,
        certificates_expire_at: expires_at,
        revoked: false,
        issued: issued.into(),
        last_joined_at: now,
        facts: MachineFacts { hostname: format!("runner-{number}"), ..MachineFacts::default() },
        passed: Trail::default(),
    };
    InstanceEntry { token: MANY.to_owned(), record }
}

fn old_event(number: usize, now: OffsetDateTime) -> Write {
    let at = now - time::Duration::days(200) + time::Duration::milliseconds(number as i64);
    let id = format!("{:032x}", (number as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let event = EventRecord {
        at,
        code: "renewed".to_owned(),
        token: Some(format!("machine-{}", number % 10_000)),
        identity: Some("00000000-0000-4000-8000-000000000000".to_owned()),
        source: Some("192.0.2.17".to_owned()),
        correlation_id: id.clone(),
        detail: "joined as 00000000-0000-4000-8000-000000000000, sequence 17, certificates until 2026-01-01T00:00:00Z"
            .to_owned(),
        actor: "join".to_owned(),
        notes: Vec::new(),
        count: 0,
        counted: None,
    };
    Write::Put {
        key: keys::event(at.unix_timestamp_nanos() / 1000, &format!("{id}-000")),
        value: event.encode(),
    }
}

async fn join_until(
    service: Service,
    machines: Arc<Mutex<VecDeque<Direct>>>,
    done: Arc<AtomicBool>,
) -> Vec<Duration> {
    let queue = || machines.lock().unwrap_or_else(PoisonError::into_inner);
    let mut took = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let Some(mut machine) = queue().pop_front() else { break };
        let began = Instant::now();
        machine.join(&service, service.entropy(), None).await;
        took.push(began.elapsed());
        queue().push_back(machine);
        tokio::time::sleep(PAUSE).await;
    }
    took
}

fn bytes(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn twenty_thousand_old_rows_go_while_machines_join() {
        let (events, expired, revoked) = (20_000, 20_000, 10_000);
        let watched = Duration::from_millis(200);
        let phases = Growth { events, expired, revoked, machines: 20, clients: 2, watched }.run().await;
        let dropped: Vec<u64> = phases.iter().map(|phase| phase.dropped).collect();
        assert_eq!(dropped, [0, expired as u64, events as u64, revoked as u64, 0]);
        for phase in &phases {
            assert!(phase.joins.len() >= 5, "{}: {} joins", phase.title, phase.joins.len());
            let longest = *phase.joins.last().unwrap();
            assert!(longest < Duration::from_secs(10), "{}: a join waits {longest:?}", phase.title);
        }
    }
}
