use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundkey_ca::{LeafProfile, LeafRequest, inspect_leaf};
use boundkey_client::config::{Credential, SecretSource};
use boundkey_client::join::{JoinError, JoinPlan, Joiner, SshWish};
use boundkey_client::{Channel, Clock, Reply, Source, Transport, TransportError};
use boundkey_keys::{Entropy, Secret, sha256};
use boundkey_keystore::{AgentState, FileError, Keystore, KeystoreError, MemoryKeystore};
use boundkey_lifecycle::CaKind;
use boundkey_proto::{Complete, JoinAnswer, JoinResult, Request, sign_receipt};
use boundkey_service::join;
use boundkey_store::MemorySnapshot;
use boundkey_token::{Role, RoleSet};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::world::{SECRET, Site, home, poll, token};
use super::{Choices, say};
use crate::scene::{CLUSTER, key};

const TOKENS: [&str; 2] = ["web-1", "web-2"];

struct Sites {
    home: Site,
    /// Of the same name, with other CAs.
    stranger: Site,
}

thread_local! {
    static SITES: OnceCell<Sites> = const { OnceCell::new() };
}

fn sites() -> Sites {
    let onboarding = format!("registration_secret: {SECRET}");
    // What is asked here is what the client stores; the budget is another target's business.
    let yaml: String =
        TOKENS.iter().map(|name| token(name, &onboarding, "").replace("limit: 3", "limit: 1000")).collect();
    Sites { home: home(&yaml), stranger: Site::new(CLUSTER, 2, &yaml) }
}

/// The real client against a server that lies with valid parts: answers of other attempts, other machines and another
/// cluster of the same name, cut, mixed and played again, while the process dies between any two writes. Looks at every
/// write of the state.
pub fn client_ceremony(data: &[u8]) {
    SITES.with(|cell| {
        let sites = cell.get_or_init(sites);
        sites.home.reset();
        let mut choices = Choices::of_joins(data);
        let mut machines = [Machine::new(0), Machine::new(1)];
        let mut pool = Pool::default();
        let mut backups: Vec<MemorySnapshot> = Vec::new();
        while choices.more() {
            let n = choices.below(4) / 3;
            match choices.below(10) {
                0..=4 => machines[n].join(sites, &mut choices, &mut pool, true),
                5 => machines[n].join(sites, &mut choices, &mut pool, false),
                6 => {
                    let minutes = i64::from(choices.byte()).pow(2);
                    sites.home.clock.advance(time::Duration::minutes(minutes));
                }
                7 => {
                    let now = sites.home.now();
                    sites.home.change(TOKENS[n], |enrolment| enrolment.rotate_requested_at = Some(now));
                }
                8 => backups.push(sites.home.store.snapshot()),
                _ => {
                    if let Some(backup) = choices.one_of(&backups) {
                        sites.home.store.restore(backup);
                    }
                }
            }
        }
        for machine in &mut machines {
            machine.comes_back(sites, &mut pool);
        }
    });
}

/// What the liar has heard.
#[derive(Default)]
struct Pool {
    answers: Vec<Value>,
    challenges: Vec<String>,
    /// Leaves that the true cluster signed.
    genuine: HashSet<Vec<u8>>,
}

struct Machine {
    token: &'static str,
    plan: JoinPlan,
    disk: Disk,
    entropy: Numbered,
}

struct Numbered(u8, std::sync::atomic::AtomicU64);

impl Entropy for Numbered {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let count = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            chunk.copy_from_slice(&sha256(&[&[self.0], &count.to_be_bytes()])[..chunk.len()]);
        }
    }
}

struct Time(OffsetDateTime);

impl Clock for Time {
    fn now(&self) -> OffsetDateTime {
        self.0
    }

    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }
}

/// The agent's disk. It remembers every state that was written, for the judgement afterwards.
struct Disk {
    keystore: MemoryKeystore,
    written: Vec<AgentState>,
    saves: usize,
    /// Dies at this save: before it or after it.
    dies: Option<(usize, bool)>,
}

impl Keystore for Disk {
    fn load(&mut self) -> Result<AgentState, KeystoreError> {
        self.keystore.load()
    }

    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError> {
        let dead = || KeystoreError::from(FileError::DiskFull { path: PathBuf::from("(crash)") });
        self.saves += 1;
        if self.dies == Some((self.saves, false)) {
            return Err(dead());
        }
        self.keystore.save(state)?;
        self.written.push(self.keystore.load()?);
        if self.dies == Some((self.saves, true)) { Err(dead()) } else { Ok(()) }
    }
}

impl Machine {
    fn new(n: u8) -> Self {
        let token = TOKENS[usize::from(n)];
        let plan = JoinPlan {
            token: token.parse().expect("a name"),
            credential: Credential::Secret(SecretSource::Given(Secret::new(SECRET.to_owned()))),
            roles: RoleSet::new([Role::Node]),
            names: Default::default(),
            ttl: None,
            ssh: SshWish::Host,
            reuse_tls_key: n == 1,
            facts: Default::default(),
            machine: Some("machine".to_owned()),
            accept_machine: false,
        };
        let disk = Disk { keystore: MemoryKeystore::default(), written: Vec::new(), saves: 0, dies: None };
        Self { token, plan, disk, entropy: Numbered(n, Default::default()) }
    }

    fn join(&mut self, sites: &Sites, choices: &mut Choices<'_>, pool: &mut Pool, lies: bool) {
        let save = choices.below(8);
        self.disk.dies = (lies && save < 4).then(|| (save + 1, choices.flag()));
        let rest = std::mem::take(&mut choices.rest);
        let mut wire = Wire { sites, choices: Choices::new(rest), pool, lies, given: Vec::new() };
        let before = self.disk.load().expect("the state is read");
        let outcome = self.run(&mut wire);
        say(outcome.as_ref().err().map(ToString::to_string));
        choices.rest = wire.choices.rest;
        let given = std::mem::take(&mut wire.given);
        self.judge(before, &given, sites, pool);
    }

    fn run(&mut self, wire: &mut Wire<'_, '_>) -> Result<(), JoinError> {
        (self.disk.saves, self.disk.written) = (0, Vec::new());
        let clock = Time(wire.sites.home.now());
        let mut joiner = Joiner {
            keystore: &mut self.disk,
            transport: wire,
            plan: &self.plan,
            clock: &clock,
            entropy: &self.entropy,
        };
        poll(joiner.join()).map(drop)
    }

    /// Every write, against the one before it and the answers that were given.
    fn judge(&mut self, before: AgentState, given: &[JoinResult], sites: &Sites, pool: &Pool) {
        let bound_there = sites.home.enrolment(self.token).and_then(|found| found.enrolment.bound_public_key);
        let mut last = before;
        for next in std::mem::take(&mut self.disk.written) {
            let attempts = [&last, &next].map(|state| state.pending.as_ref().map(|pending| pending.attempt));
            if let [Some(ended), after] = attempts
                && after != Some(ended)
            {
                let bound = next.bound_key.as_ref().map(|key| key.public_key());
                let result = given.iter().find(|result| {
                    result.attempt.0 == ended
                        && Some(&result.join_state) == next.join_state.as_ref()
                        && Some(&result.bound_key) == bound
                });
                let result = result.expect("an attempt ended without a result of its own");
                match &result.certificates {
                    None => {
                        assert!(genuine_state(result, pool), "a result that nobody vouches for was stored")
                    }
                    Some(_) => authentic(&next, result, pool),
                }
            } else {
                assert_eq!(next.join_state, last.join_state, "a join state changed without a result");
            }
            if next.ca_bundle != last.ca_bundle {
                let own = serde_json::to_string(sites.home.service.authorities().bundle()).expect("JSON");
                assert_eq!(next.ca_bundle.as_ref(), Some(&own), "a foreign CA bundle was stored");
            }
            assert!(next.cluster.as_deref().is_none_or(|cluster| cluster == CLUSTER));
            if let Some(bound) = bound_there.as_ref().map(|key| key.thumbprint())
                && last.holds(bound)
            {
                assert!(next.holds(bound), "the key that the server has bound is lost");
            }
            last = next;
        }
    }

    /// No lies any more: the machine gets in by itself.
    fn comes_back(&mut self, sites: &Sites, pool: &mut Pool) {
        self.disk.dies = None;
        for _ in 0..2 {
            let mut wire = Wire { sites, choices: Choices::new(&[]), pool, lies: false, given: Vec::new() };
            let outcome = self.run(&mut wire);
            assert!(
                outcome.is_ok(),
                "{}: {}",
                self.token,
                outcome.err().map(|e| e.to_string()).unwrap_or_default()
            );
        }
    }
}

/// Was it said by the true server, be it in another answer?
fn genuine_state(result: &JoinResult, pool: &Pool) -> bool {
    let (state, bound) = (json!(result.join_state), json!(result.bound_key));
    let attempt = json!(result.attempt);
    pool.answers.iter().any(|answer| {
        answer["join_state"] == state && answer["bound_key"] == bound && answer["attempt"] == attempt
    })
}

/// What was stored as an identity is what the true cluster signed for these very keys, this state and this attempt.
fn authentic(next: &AgentState, result: &JoinResult, pool: &Pool) {
    let identity = next.identity.as_ref().expect("an identity");
    let leaf = identity.x509_chain.first().expect("a leaf");
    assert!(pool.genuine.contains(leaf), "a certificate of a foreign CA was stored");
    let view = inspect_leaf(leaf).expect("a leaf");
    assert_eq!(&view.public_key, identity.tls_key.public_key());
    assert_eq!(view.result_digest, Some(result.digest()));
    assert_eq!(view.spiffe_id, Some(format!("spiffe://{CLUSTER}/host/{}", identity.id)));
}

struct Wire<'s, 'd> {
    sites: &'s Sites,
    choices: Choices<'d>,
    pool: &'s mut Pool,
    lies: bool,
    /// Every admitted answer that reached the client.
    given: Vec<JoinResult>,
}

impl Transport for Wire<'_, '_> {
    async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Reply, TransportError> {
        self.answer(path, &body)
    }

    async fn get(&mut self, _path: &str, _limit: usize) -> Result<Reply, TransportError> {
        Err(broken())
    }

    fn channel(&self) -> Option<Channel> {
        let home = &self.sites.home;
        let cluster = Some(CLUSTER.to_owned());
        Some(Channel { source: Source::Pin, root_key: Some(home.tls_key()), cluster })
    }

    fn disconnect(&mut self) {}
}

fn broken() -> TransportError {
    TransportError::Broken { server: "server:443".to_owned(), reason: "lost".to_owned() }
}

impl Wire<'_, '_> {
    fn answer(&mut self, path: &str, body: &[u8]) -> Result<Reply, TransportError> {
        let (site, now) = (&self.sites.home, self.sites.home.now());
        let lie = if self.lies { self.choices.byte() } else { 0 };
        say((path, lie));
        if lie == 255 {
            return Err(broken());
        }
        if path == "/v1/join/begin" {
            let answer = match lie {
                200.. => join::begin(&self.sites.stranger.service, now),
                _ => join::begin(&site.service, now),
            };
            let mut answer = json!(answer);
            if let (150..200, Some(old)) = (lie, self.choices.one_of(&self.pool.challenges)) {
                answer["challenge"] = json!(old);
            }
            if let Some(challenge) = answer["challenge"].as_str().filter(|_| self.pool.challenges.len() < 16)
            {
                self.pool.challenges.push(challenge.to_owned());
            }
            return Ok(reply(200, &answer));
        }
        let answer = poll(join::complete(&site.service, body, &site.service.own_context(), now));
        let (status, mut value) = match &answer {
            Ok(answer) => (200, json!(answer)),
            Err(refused) => (refused.refusal.problem.status, json!(refused.refusal.problem)),
        };
        if let Ok(JoinAnswer::Admitted(result)) = &answer {
            let chain = result.certificates.iter().flat_map(|c| c.chain_der().unwrap_or_default());
            self.pool.genuine.extend(chain);
            self.pool.answers.push(value.clone());
        }
        if lie == 254 {
            return Err(broken());
        }
        let (status, value) = match lie {
            0..=99 => (status, value),
            _ => {
                let status = self.forge(status, &mut value, lie, body);
                (status, value)
            }
        };
        if let Ok(JoinAnswer::Admitted(result)) = serde_json::from_value::<JoinAnswer>(value.clone()) {
            self.given.push(*result);
        }
        Ok(reply(status, &value))
    }

    /// An answer put together from valid parts; its status.
    fn forge(&mut self, status: u16, value: &mut Value, lie: u8, body: &[u8]) -> u16 {
        let old = self.choices.one_of(&self.pool.answers).cloned().unwrap_or_default();
        let admitted = value["status"] == "admitted";
        match lie % 20 {
            0 => *value = json!({"status": "rotation_required"}),
            1 => {
                let fresh = join::begin(&self.sites.home.service, self.sites.home.now()).challenge;
                let challenge = match self.choices.one_of(&self.pool.challenges) {
                    Some(challenge) if lie > 200 => challenge.clone(),
                    _ => fresh,
                };
                *value = json!({"status": "confirm", "challenge": challenge});
            }
            2 | 3 => {
                const CODES: &[&str] =
                    &["denied", "join_state_invalid", "locked", "token_recreated", "clone_detected"];
                let code = self.choices.one_of(CODES).copied().unwrap_or("denied");
                *value = json!({"title": "no", "status": 403, "code": code, "detail": "no"});
                return 403;
            }
            4 => {
                *value = json!({"title": "no", "status": 503, "code": "overloaded", "detail": "no"});
                return 503;
            }
            5 => *value = old,
            6 => {
                let attempt = value["attempt"].clone();
                *value = old;
                value["attempt"] = attempt;
            }
            _ if !admitted => {}
            7..=12 => {
                const MEMBERS: &[&str] =
                    &["attempt", "join_state", "bound_key", "identity", "certificates", "ca_bundle"];
                let member = MEMBERS[usize::from(lie % 20 - 7)];
                value[member] = old[member].clone();
            }
            13 => {
                value.as_object_mut().expect("an object").remove("certificates");
                if lie > 120 && !old["receipt"].is_null() {
                    value["receipt"] = old["receipt"].clone();
                }
            }
            14 => self.foreign(value, body, lie > 200),
            15 => value["certificates"]["x509_chain"] = old["certificates"]["x509_chain"].clone(),
            16 => value["certificates"]["ssh"] = old["certificates"]["ssh"].clone(),
            17 => {
                let times = ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2030-01-01T12:00:00Z"];
                value["server_time"] = json!(times[self.choices.below(3)]);
                value["renew_in_seconds"] = json!(u64::MAX >> (self.choices.byte() % 64));
            }
            18 => self.offered_back(value, body),
            _ => {
                value["join_state"] = json!("e30.e30.AAAA");
                if lie > 180 {
                    value.as_object_mut().expect("an object").remove("certificates");
                }
            }
        }
        status
    }

    /// Everything fits, but a CA of another cluster of the same name signed it.
    fn foreign(&self, value: &mut Value, body: &[u8], with_bundle: bool) {
        let Some(request) = request_of(body) else { return };
        let Ok(result) = serde_json::from_value::<JoinResult>(value.clone()) else { return };
        let authorities = self.sites.stranger.service.authorities();
        let Some(ca) = authorities.x509(CaKind::Host) else { return };
        let now = self.sites.home.now();
        let leaf = ca.sign_leaf(&LeafRequest {
            profile: LeafProfile::Host,
            public_key: &request.tls_key,
            common_name: "web-1",
            dns_names: &["web-1".to_owned()],
            ip_addresses: &[],
            spiffe_id: Some(&format!("spiffe://{CLUSTER}/host/{}", result.identity.id())),
            roles: &["Node"],
            serial: [9; 20],
            not_before: now,
            not_after: now + time::Duration::DAY,
            result_digest: Some(result.digest()),
        });
        let Ok(leaf) = leaf else { return };
        value["certificates"] =
            json!({"x509_chain": [STANDARD.encode(leaf), STANDARD.encode(ca.certificate_der())]});
        if with_bundle {
            value["ca_bundle"] = json!(authorities.bundle());
        }
    }

    /// Another key that the client holds is called the bound one.
    fn offered_back(&mut self, value: &mut Value, body: &[u8]) {
        let Some(request) = request_of(body) else { return };
        value["bound_key"] = match self.choices.below(3) {
            0 => json!(request.new_key.unwrap_or(request.bound_key)),
            1 => json!(request.bound_key),
            _ => json!(key(99).public_key()),
        };
        if self.choices.flag() {
            value.as_object_mut().expect("an object").remove("certificates");
            self.foreign_receipt(value);
        }
    }

    /// It fits, but for who signed it.
    fn foreign_receipt(&mut self, value: &mut Value) {
        let Ok(result) = serde_json::from_value::<JoinResult>(value.clone()) else { return };
        let authorities = self.sites.stranger.service.authorities();
        let signer = if self.choices.flag() {
            authorities.tls.key()
        } else {
            self.sites.home.service.authorities().host.key()
        };
        if let Ok(receipt) = sign_receipt(signer, CLUSTER, result.digest()) {
            value["receipt"] = json!(receipt);
        }
    }
}

fn request_of(body: &[u8]) -> Option<Request> {
    let complete: Complete = serde_json::from_slice(body).ok()?;
    Request::decode(&complete.request).ok()
}

fn reply(status: u16, value: &Value) -> Reply {
    Reply { status, retry_after: None, body: value.to_string().into_bytes() }
}
