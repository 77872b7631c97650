//! A scene: one token, its server, and whoever holds its keys. The clock is driven by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use boundkey_keys::{ProvenKey, PublicKey, Thumbprint};
use boundkey_lifecycle::*;
use boundkey_token::*;
use time::OffsetDateTime;

pub(crate) const UID: Uid = Uid([7; 16]);
pub(crate) const LIFETIME: Duration = Duration::from_secs(24 * 3600);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// 2026-01-01.
pub(crate) fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap()
}

/// The key of this number.
pub(crate) fn key(n: u32) -> PublicKey {
    let mut raw = [0; 32];
    raw[..4].copy_from_slice(&n.to_be_bytes());
    PublicKey::from_ed25519(raw)
}

pub(crate) fn thumb(n: u32) -> Thumbprint {
    key(n).thumbprint()
}

pub(crate) fn attempt(n: u32) -> AttemptId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    AttemptId(id)
}

pub(crate) fn hash(n: u32) -> Hash32 {
    let mut h = [0; 32];
    h[..4].copy_from_slice(&n.to_be_bytes());
    Hash32(h)
}

pub(crate) fn token(roles: &[Role]) -> Token {
    let is_bot = roles.contains(&Role::Bot);
    Token {
        name: "web-1".parse().unwrap(),
        labels: BTreeMap::new(),
        expires: None,
        revision: None,
        spec: TokenSpec {
            roles: RoleSet::new(roles.iter().copied()),
            join_method: JoinMethod::BoundKeypair,
            bot_name: is_bot.then(|| "deploy".parse().unwrap()),
            bound_keypair: BoundKeypairSpec::default(),
            certificates: CertificateNames::default(),
        },
    }
}

pub(crate) fn bot() -> Bot {
    Bot {
        name: "deploy".parse().unwrap(),
        labels: BTreeMap::new(),
        expires: None,
        revision: None,
        logins: Vec::new(),
        admin_role: None,
        token_prefix: None,
    }
}

/// What a request proves and says. Numbers stand for keys, secrets and attempts.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) current: Option<u32>,
    pub(crate) new: Option<u32>,
    pub(crate) secret: Option<u32>,
    pub(crate) state: StateEvidence,
    pub(crate) attempt: u32,
    pub(crate) position: Option<Position>,
    pub(crate) certified: u32,
    pub(crate) roles: RoleSet,
    pub(crate) names: RequestedNames,
}

impl Message {
    pub(crate) fn new(current: u32, attempt: u32) -> Self {
        Self {
            current: Some(current),
            new: None,
            secret: None,
            state: StateEvidence::None,
            attempt,
            position: None,
            certified: 1,
            roles: RoleSet::new([Role::Node]),
            names: RequestedNames::default(),
        }
    }
    pub(crate) fn with_new(mut self, new: u32) -> Self {
        self.new = Some(new);
        self
    }
    pub(crate) fn with_secret(mut self, secret: u32) -> Self {
        self.secret = Some(secret);
        self
    }
    pub(crate) fn live(mut self, server: &Server) -> Self {
        self.position = Some(server.enrolment.position(server.uid));
        self
    }
}

/// A server: what it stores, its clock, and the log of what it admitted (part of its store, so restored with it).
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) uid: Uid,
    pub(crate) token: Option<Token>,
    pub(crate) enrolment: Enrolment,
    pub(crate) instances: BTreeMap<String, InstanceRecord>,
    pub(crate) locks: Vec<LockInForce>,
    pub(crate) bot: Option<Bot>,
    pub(crate) now: OffsetDateTime,
    pub(crate) policy: Policy,
    pub(crate) lifetime: Duration,
    /// The registration secret in force.
    pub(crate) secret: u32,
    /// Attempts that advanced the lineage.
    pub(crate) advanced: Vec<u32>,
    /// Registrations since the last reset.
    pub(crate) registrations: u32,
}

pub(crate) const AUTO_LOCK: &str = "auto-token";

impl Server {
    /// What people are shown; there has to be a token.
    pub(crate) fn view(&self) -> View<'_> {
        View {
            token: self.token.as_ref().unwrap(),
            bot: self.bot.as_ref(),
            enrolment: &self.enrolment,
            locks: &self.locks,
            clients: None,
            policy: &self.policy,
            now: self.now,
        }
    }

    pub(crate) fn new(roles: &[Role]) -> Self {
        Self {
            uid: UID,
            token: Some(token(roles)),
            enrolment: Enrolment {
                secret: SecretRecord { generated: Some(Sealed(vec![1])), ..SecretRecord::default() },
                ..Enrolment::default()
            },
            instances: BTreeMap::new(),
            locks: Vec::new(),
            bot: roles.contains(&Role::Bot).then(bot),
            now: start(),
            policy: Policy::default(),
            lifetime: LIFETIME,
            secret: 1000,
            advanced: Vec::new(),
            registrations: 0,
        }
    }
    /// A host's token with this recovery limit and mode.
    pub(crate) fn host(mode: RecoveryMode, limit: u32) -> Self {
        let mut server = Self::new(&[Role::Node]);
        server.spec().recovery = Recovery { limit, mode };
        server
    }
    pub(crate) fn preregistered(key_number: u32) -> Self {
        let mut server = Self::host(RecoveryMode::Standard, 1);
        server.spec().onboarding.initial_public_key = Some(key(key_number));
        server.enrolment.secret.generated = None;
        server
    }
    pub(crate) fn spec(&mut self) -> &mut BoundKeypairSpec {
        &mut self.token.as_mut().unwrap().spec.bound_keypair
    }
    pub(crate) fn mode(&mut self, mode: RecoveryMode) {
        self.spec().recovery.mode = mode;
    }
    pub(crate) fn later(&mut self, by: Duration) {
        self.now += by;
    }
    pub(crate) fn earlier(&mut self, by: Duration) {
        self.now -= by;
    }
    pub(crate) fn is_locked(&self) -> bool {
        self.locks.iter().any(|l| l.id == AUTO_LOCK)
    }
    pub(crate) fn lock_by_hand(&mut self) {
        self.locks.push(LockInForce {
            id: "hand".to_owned(),
            origin: LockOrigin::ByHand,
            public_message: None,
            message: Some("under repair".to_owned()),
            expires: None,
        });
    }
    /// A restored backup keeps running on the machine's own clock.
    pub(crate) fn restore(&mut self, backup: &Server) {
        let now = self.now;
        *self = backup.clone();
        self.now = now;
    }

    pub(crate) fn fresh(&self, attempt: u32) -> Identity {
        let is_bot = self.token.as_ref().is_some_and(|t| t.spec.roles.is_bot());
        let id = format!("id-{}-{attempt}", self.enrolment.generation);
        if is_bot { Identity::BotInstance(id) } else { Identity::Host(id) }
    }

    pub(crate) fn evidence(&self, m: &Message) -> Evidence {
        let prove = |n: Option<u32>| n.map(|n| ProvenKey::assumed(key(n)));
        Evidence {
            proven: Proven { current: prove(m.current), new: prove(m.new) },
            secret: match m.secret {
                None => SecretEvidence::NotPresented,
                Some(s) if s != self.secret => SecretEvidence::Wrong,
                Some(_) if self.enrolment.secret.used => SecretEvidence::ProvenAlreadyUsed,
                Some(_) => SecretEvidence::Proven,
            },
            join_state: m.state.clone(),
            attempt: attempt(m.attempt),
            position: m.position,
            roles: m.roles.clone(),
            names: m.names.clone(),
            certified: hash(m.certified),
            facts: MachineFacts::default(),
        }
    }

    /// The verdict, without its consequences.
    pub(crate) fn verdict(&self, m: &Message) -> Verdict {
        self.verdict_on(&self.evidence(m), m.attempt)
    }

    /// The verdict on facts that no message of a scene would make.
    pub(crate) fn verdict_on(&self, evidence: &Evidence, attempt: u32) -> Verdict {
        let fresh = self.fresh(attempt);
        let of = instance_of(self.uid, &self.enrolment, &evidence.proven, &evidence.join_state, &fresh);
        decide(&Input {
            cluster: "example.com",
            token: self.token.as_ref().map(|t| (self.uid, t)),
            enrolment: &self.enrolment,
            instance: self.instances.get(of.id()),
            bot: self.bot.as_ref(),
            evidence,
            locks: &self.locks,
            fresh: &fresh,
            lifetime: self.lifetime,
            policy: &self.policy,
            now: self.now,
        })
    }

    /// The verdict, committed as the service does it.
    pub(crate) fn handle(&mut self, m: &Message) -> Verdict {
        let mut verdict = self.verdict(m);
        match &mut verdict {
            Verdict::Admit(a) => {
                a.record_issued([IssuedCertificate {
                    ca: CaKind::Host,
                    serial: format!("{}-{}", m.attempt, self.advanced.len()),
                    expires_at: a.certificates_expire_at,
                }]);
                if a.kind == JoinKind::Register {
                    self.registrations += 1;
                }
                match &a.write {
                    Write::Enrolment(next) => {
                        self.advanced.push(m.attempt);
                        self.enrolment = next.clone();
                    }
                    Write::Instance(record) => {
                        self.instances.insert(record.identity.id().to_owned(), record.clone());
                    }
                }
                if a.revoke_other_instances {
                    let keep = a.identity.id().to_owned();
                    for (_, record) in self.instances.iter_mut().filter(|(id, _)| **id != keep) {
                        record.issued.clear();
                    }
                }
                self.locks.retain(|l| !a.remove_locks.contains(&l.id));
            }
            Verdict::Deny(d) => {
                if let Some(lock) = &d.lock {
                    self.locks.retain(|l| l.id != AUTO_LOCK);
                    self.locks.push(LockInForce {
                        id: AUTO_LOCK.to_owned(),
                        origin: LockOrigin::Automatic(lock.position.clone()),
                        public_message: None,
                        message: Some(lock.message.clone()),
                        expires: None,
                    });
                }
            }
            Verdict::Retry(_) | Verdict::RotationRequired(_) | Verdict::Confirm(_) => {}
        }
        verdict
    }

    pub(crate) fn verb(&mut self, verb: Verb) -> VerbOutcome {
        if matches!(verb, Verb::Reset { .. }) {
            self.secret += 1;
            self.registrations = 0;
        }
        let outcome = apply_verb(self.token.as_ref().unwrap(), &self.enrolment, verb, self.now);
        if let Some(next) = &outcome.next {
            self.enrolment = next.clone();
        }
        if outcome.remove_automatic_lock {
            self.locks.retain(|l| l.id != AUTO_LOCK);
        }
        if outcome.revoke_all_instances {
            self.instances.clear();
        }
        outcome
    }
    pub(crate) fn resync(&mut self) {
        self.verb(Verb::Resync { ttl: Duration::from_secs(3600), keep_key: false });
    }
    pub(crate) fn reset(&mut self) {
        self.verb(Verb::Reset { generated: Sealed(vec![2]), proof_key: Sealed(vec![3]) });
    }
}

/// An attempt that was written to disk and has no result yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending {
    pub(crate) attempt: u32,
    /// The key to prove as current.
    pub(crate) current: u32,
    pub(crate) new: Option<u32>,
    pub(crate) certified: u32,
}

/// A client with its one file. Cloning it is what a thief (or a snapshot) does.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) key: u32,
    pub(crate) state: Option<StateClaims>,
    pub(crate) pending: Option<Pending>,
    pub(crate) secret: Option<u32>,
    /// Numbers of attempts and new keys: `base + counter`, so that clients never share one by chance.
    pub(crate) base: u32,
    pub(crate) counter: u32,
    pub(crate) roles: RoleSet,
}

/// How a join ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Admitted(JoinKind),
    Retried,
    Denied(Code),
    /// More than three confirmations or rotations in a row.
    Stuck,
}

impl Client {
    pub(crate) fn new(base: u32, server: &Server) -> Self {
        let roles = server.token.as_ref().unwrap().spec.roles.clone();
        Self { key: base, state: None, pending: None, secret: Some(server.secret), base, counter: 0, roles }
    }
    /// A copy of everything, that from now on makes its own attempts and keys.
    pub(crate) fn copied(&self, base: u32) -> Self {
        Self { base, ..self.clone() }
    }
    fn next(&mut self) -> u32 {
        self.counter += 1;
        self.base + self.counter
    }
    /// Goes on with the pending attempt, or writes a new one.
    pub(crate) fn begin(&mut self) {
        if self.pending.is_none() {
            let attempt = self.next();
            self.pending = Some(Pending { attempt, current: self.key, new: None, certified: attempt });
        }
    }
    pub(crate) fn message(&self, position: Option<Position>) -> Message {
        let pending = self.pending.as_ref().expect("begin() comes first");
        Message {
            current: Some(pending.current),
            new: pending.new,
            secret: self.secret,
            state: self
                .state
                .as_ref()
                .map_or(StateEvidence::None, |s| StateEvidence::Valid(Box::new(s.clone()))),
            attempt: pending.attempt,
            position,
            certified: pending.certified,
            roles: self.roles.clone(),
            names: RequestedNames::default(),
        }
    }
    /// Makes a new key, as `rotation_required` asks. An attempt has one new key at most.
    pub(crate) fn make_key(&mut self) {
        let number = self.next();
        let pending = self.pending.as_mut().expect("an attempt is pending");
        assert_eq!(pending.new.replace(number), None, "the attempt has a new key already");
    }
    /// Stores a result in one write.
    pub(crate) fn store(&mut self, claims: &StateClaims) {
        let held = self.pending.iter().flat_map(|p| [Some(p.current), p.new]).flatten();
        let bound = held.chain([self.key]).find(|n| thumb(*n) == claims.key);
        self.key = bound.expect("the bound key is one the client holds");
        self.state = Some(claims.clone());
        self.pending = None;
        self.secret = None;
    }
    /// Sends the pending attempt and goes on until it has a result or a denial. `sent` sees every message.
    pub(crate) fn complete(&mut self, server: &mut Server, sent: &mut Vec<Message>) -> Outcome {
        self.begin();
        let mut position = None;
        for _ in 0..8 {
            let message = self.message(position);
            sent.push(message.clone());
            match server.handle(&message) {
                Verdict::Admit(a) => {
                    self.store(&a.claims);
                    return Outcome::Admitted(a.kind);
                }
                Verdict::Retry(r) => {
                    self.store(&r.claims);
                    return Outcome::Retried;
                }
                Verdict::RotationRequired(_) => self.make_key(),
                Verdict::Confirm(c) => position = Some(c.position),
                Verdict::Deny(d) => return Outcome::Denied(d.code),
            }
        }
        Outcome::Stuck
    }
    /// A join as a user sees it: after a repeated answer it goes on with a new attempt until one is admitted.
    pub(crate) fn join(&mut self, server: &mut Server) -> Outcome {
        match self.complete(server, &mut Vec::new()) {
            Outcome::Retried => self.complete(server, &mut Vec::new()),
            outcome => outcome,
        }
    }
}

/// A bound host with `joins` joins behind it, and its server.
pub(crate) fn bound(mode: RecoveryMode, limit: u32, joins: u32) -> (Server, Client) {
    let mut server = Server::host(mode, limit);
    let mut client = Client::new(10_000, &server);
    assert_eq!(client.join(&mut server), Outcome::Admitted(JoinKind::Register));
    for _ in 1..joins {
        server.later(Duration::from_secs(3600));
        assert_eq!(client.join(&mut server), Outcome::Admitted(JoinKind::Renew));
    }
    (server, client)
}

/// Sends the pending attempt once; the answer is lost.
pub(crate) fn answer_lost(client: &mut Client, server: &mut Server) -> (Message, Verdict) {
    client.begin();
    let message = client.message(None);
    let verdict = server.handle(&message);
    (message, verdict)
}

pub(crate) fn admitted(verdict: Verdict) -> Admission {
    match verdict {
        Verdict::Admit(a) => *a,
        other => panic!("not admitted: {other:?}"),
    }
}

pub(crate) fn denied(verdict: Verdict) -> Denial {
    match verdict {
        Verdict::Deny(d) => *d,
        other => panic!("not denied: {other:?}"),
    }
}

pub(crate) fn retried(verdict: Verdict) -> Retry {
    match verdict {
        Verdict::Retry(r) => *r,
        other => panic!("not answered again: {other:?}"),
    }
}

/// A word for a verdict: `admit register`, `retry`, `retry provisional`, `rotation`, `confirm shared`, `deny CODE`,
/// `deny CODE (unproven)`, `lock`.
pub(crate) fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Admit(a) => {
            let way = match a.write {
                Write::Enrolment(_) => "",
                Write::Instance(_) => " instance",
            };
            format!("admit {}{way}", format!("{:?}", a.kind).to_lowercase())
        }
        Verdict::Retry(r) if r.certificates.is_some() => "retry".to_owned(),
        Verdict::Retry(_) => "retry provisional".to_owned(),
        Verdict::RotationRequired(_) => "rotation".to_owned(),
        Verdict::Confirm(c) => format!("confirm {:?}", c.reason).to_lowercase(),
        Verdict::Deny(d) if d.lock.is_some() => "lock".to_owned(),
        Verdict::Deny(d) if d.proven => format!("deny {}", d.code),
        Verdict::Deny(d) => format!("deny {} (unproven)", d.code),
    }
}
