//! The server: one token, its records, and what `decide()` says committed at once, as the service does it.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use boundkey_keys::{ProvenKey, PublicKey};
use boundkey_lifecycle::*;
use boundkey_token::*;
use time::OffsetDateTime;

use crate::client::{Hint, Message};
use crate::judge::{self, Broken};
use crate::log::{Entry, Held, Log, Print};
use crate::papers::{Issue, Papers};
use crate::sanity::Sabotage;

const UID: Uid = Uid([7; 16]);
pub(crate) const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The instants that the server's clock knows: start, within the certificates' life, within the grace, after it,
/// ten years on.
pub(crate) const INSTANTS: [u64; 5] = [0, 12 * 3600, 10 * 86_400, 60 * 86_400, 3650 * 86_400];

pub(crate) fn instant(n: u8) -> OffsetDateTime {
    let start = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
    start + Duration::from_secs(INSTANTS[usize::from(n)])
}

/// The key of this number.
pub(crate) fn key(n: u8) -> &'static PublicKey {
    static KEYS: OnceLock<Vec<PublicKey>> = OnceLock::new();
    let make = |n: u8| {
        let mut raw = [0; 32];
        raw[0] = n;
        PublicKey::from_ed25519(raw)
    };
    &KEYS.get_or_init(|| (0..=255).map(make).collect())[usize::from(n)]
}

fn attempt(n: u8) -> AttemptId {
    let mut id = [0; 16];
    id[0] = n;
    AttemptId(id)
}

/// What does not change while a scenario runs.
pub(crate) struct Setup {
    tokens: [Token; 3],
    bot: Option<Bot>,
    pub(crate) policy: Policy,
    pub(crate) limit: u32,
    pub(crate) initial_key: Option<u8>,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Setup {
    pub(crate) fn new(is_bot: bool, limit: u32, initial_key: Option<u8>, sabotage: Option<Sabotage>) -> Self {
        let token = |mode| Token {
            name: "web-1".parse().unwrap(),
            labels: BTreeMap::new(),
            expires: None,
            revision: None,
            spec: TokenSpec {
                roles: RoleSet::new([if is_bot { Role::Bot } else { Role::Node }]),
                join_method: JoinMethod::BoundKeypair,
                bot_name: is_bot.then(|| "deploy".parse().unwrap()),
                bound_keypair: BoundKeypairSpec {
                    onboarding: Onboarding {
                        initial_public_key: initial_key.map(|n| key(n).clone()),
                        ..Onboarding::default()
                    },
                    recovery: Recovery { limit, mode },
                    rotate_after: None,
                },
                certificates: CertificateNames::default(),
            },
        };
        let bot = Bot {
            name: "deploy".parse().unwrap(),
            labels: BTreeMap::new(),
            expires: None,
            revision: None,
            logins: Vec::new(),
            admin_role: None,
            token_prefix: None,
        };
        // A day for bots would make every instant after the first a recovery.
        let policy = Policy { bot_grace: Duration::from_secs(30 * 86_400), ..Policy::default() };
        Self {
            tokens: [
                token(RecoveryMode::Standard),
                token(RecoveryMode::Relaxed),
                token(RecoveryMode::Insecure),
            ],
            bot: is_bot.then_some(bot),
            policy,
            limit,
            initial_key,
            sabotage,
        }
    }

    pub(crate) fn token(&self, mode: RecoveryMode) -> &Token {
        match mode {
            RecoveryMode::Standard => &self.tokens[0],
            RecoveryMode::Relaxed => &self.tokens[1],
            RecoveryMode::Insecure => &self.tokens[2],
        }
    }

    pub(crate) fn is_bot(&self) -> bool {
        self.bot.is_some()
    }

    fn fresh(&self, generation: u32, n: u8) -> Identity {
        let id = format!("id-{generation}-{n}");
        if self.bot.is_some() { Identity::BotInstance(id) } else { Identity::Host(id) }
    }
}

/// All that is stored, so all that a backup brings back; and what the judge knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) mode: RecoveryMode,
    pub(crate) enrolment: Enrolment,
    pub(crate) instances: BTreeMap<String, InstanceRecord>,
    /// With the place of the lineage when it was made.
    pub(crate) auto_lock: Option<(LockInForce, Log)>,
    pub(crate) hand_lock: bool,
    /// The registration secret in force.
    pub(crate) secret: u8,
    /// The joins that really happened in the history of this store.
    pub(crate) log: Log,
    /// What was issued and not revoked.
    pub(crate) papers: Papers,
    /// An administrator revoked what the last join issued.
    pub(crate) revoked: bool,
    /// Those of many clients: when, by the server's clock.
    pub(crate) many_revoked: Option<u8>,
    /// How often an administrator opened a new way in.
    pub(crate) epoch: u8,
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `again`: by rule 4, so the client goes on with a new attempt.
    Result {
        held: Print<Held>,
        again: bool,
    },
    Rotate,
    Confirm(Hint),
    Denied(Code),
}

/// One message handled.
#[derive(Debug, Clone)]
pub(crate) struct Handled {
    pub(crate) store: Print<Store>,
    pub(crate) answer: Answer,
    pub(crate) broken: Option<Broken>,
}

/// How long the record of one of many clients is kept after its certificates.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 3600);

/// As many as matter: certificates that end together are one.
fn bounded(issued: &mut Vec<IssuedCertificate>) {
    issued.sort_by_key(|certificate| certificate.expires_at);
    issued.dedup();
}

const AUTO_LOCK: &str = "auto-token";

impl Store {
    pub(crate) fn new(mode: RecoveryMode, by_secret: bool) -> Self {
        Self {
            mode,
            enrolment: Enrolment {
                secret: SecretRecord {
                    generated: by_secret.then(|| Sealed(vec![1])),
                    ..SecretRecord::default()
                },
                ..Enrolment::default()
            },
            instances: BTreeMap::new(),
            auto_lock: None,
            hand_lock: false,
            secret: 200,
            log: Log::default(),
            papers: Papers::default(),
            revoked: false,
            many_revoked: None,
            epoch: 0,
        }
    }

    fn locks(&self) -> Vec<LockInForce> {
        let hand = LockInForce {
            id: "hand".to_owned(),
            origin: LockOrigin::ByHand,
            message: None,
            public_message: None,
            expires: None,
        };
        let hand = self.hand_lock.then_some(hand);
        self.auto_lock.iter().map(|(lock, _)| lock.clone()).chain(hand).collect()
    }

    fn evidence(&self, message: &Message) -> Evidence {
        let prove = |n: u8| ProvenKey::assumed(key(n).clone());
        let secret = match message.secret {
            None => SecretEvidence::NotPresented,
            Some(s) if s != self.secret => SecretEvidence::Wrong,
            Some(_) if self.enrolment.secret.used => SecretEvidence::ProvenAlreadyUsed,
            Some(_) => SecretEvidence::Proven,
        };
        let state = |held: &Print<Held>| StateEvidence::Valid(Box::new(held.claims.clone()));
        let is_bot = self.enrolment.identity.as_ref().is_some_and(Identity::is_bot);
        Evidence {
            proven: Proven { current: Some(prove(message.current)), new: message.new.map(prove) },
            secret,
            join_state: message.held.as_ref().map_or(StateEvidence::None, state),
            attempt: attempt(message.attempt),
            position: message.hint.map(|hint| hint.position),
            roles: RoleSet::new([if is_bot { Role::Bot } else { Role::Node }]),
            names: RequestedNames::default(),
            certified: Hash32([message.attempt; 32]),
            facts: MachineFacts::default(),
        }
    }

    fn decide(&self, setup: &Setup, message: &Message, clock: u8) -> Verdict {
        let mut evidence = self.evidence(message);
        let token = setup.token(self.mode);
        evidence.roles = token.spec.roles.clone();
        let fresh = setup.fresh(self.enrolment.generation, message.attempt);
        let mut enrolment = std::borrow::Cow::Borrowed(&self.enrolment);
        let mut locks = self.locks();
        if let Some(sabotage) = setup.sabotage {
            sabotage.before(enrolment.to_mut(), &mut evidence, &mut locks, UID);
        }
        let of = instance_of(UID, &enrolment, &evidence.proven, &evidence.join_state, &fresh);
        decide(&Input {
            cluster: "example.com",
            token: Some((UID, token)),
            enrolment: &enrolment,
            instance: self.instances.get(of.id()),
            bot: setup.bot.as_ref(),
            evidence: &evidence,
            locks: &locks,
            fresh: &fresh,
            lifetime: LIFETIME,
            policy: &setup.policy,
            now: instant(clock),
        })
    }

    /// One message: decided and committed.
    pub(crate) fn handle(setup: &Setup, store: &Print<Self>, message: &Message, clock: u8) -> Handled {
        let verdict = store.decide(setup, message, clock);
        let broken = judge::verdict(setup, store, message, clock, &verdict);
        let unchanged = |answer| Handled { store: store.clone(), answer, broken };
        match verdict {
            Verdict::Admit(admission) => {
                let says = admission.identity.id().to_owned();
                let (next, held) = store.admit(setup, message, clock, *admission);
                let broken = broken.or_else(|| judge::record(&next)).or_else(|| {
                    (!says.ends_with(&format!("-{}", held.life))).then_some(Broken::SomebodyElse)
                });
                Handled {
                    store: Print::new(next),
                    answer: Answer::Result { held: Print::new(held), again: false },
                    broken,
                }
            }
            Verdict::Retry(retry) => {
                let key = judge::number(message, &retry.bound_key);
                let log = store.log.clone();
                let (life, at) = judge::given(store, message, clock);
                let been = judge::been(message);
                let held = Print::new(Held { claims: retry.claims, log, key, life, at, been });
                unchanged(Answer::Result { held, again: true })
            }
            Verdict::RotationRequired(_) => unchanged(Answer::Rotate),
            Verdict::Confirm(confirm) => {
                unchanged(Answer::Confirm(Hint { position: confirm.position, place: store.log.place() }))
            }
            Verdict::Deny(denial) => match denial.lock {
                None => unchanged(Answer::Denied(denial.code)),
                Some(lock) => {
                    let mut next = Self::clone(store);
                    let in_force = LockInForce {
                        id: AUTO_LOCK.to_owned(),
                        origin: LockOrigin::Automatic(lock.position),
                        message: None,
                        public_message: None,
                        expires: None,
                    };
                    next.auto_lock = Some((in_force, store.log.clone()));
                    Handled { store: Print::new(next), ..unchanged(Answer::Denied(denial.code)) }
                }
            },
        }
    }

    fn admit(&self, setup: &Setup, message: &Message, clock: u8, mut admission: Admission) -> (Self, Held) {
        let mut next = self.clone();
        let key = judge::number(message, &admission.bound_key);
        let life = judge::life(setup, self, message, admission.kind);
        let advances = matches!(admission.write, Write::Enrolment(_));
        next.papers.issue(&Issue {
            attempt: message.attempt,
            life,
            at: clock,
            advances,
            recovers: admission.kind == JoinKind::Recover && self.mode != RecoveryMode::Insecure,
            adopts: judge::base(self, message).is_shared() && self.mode != RecoveryMode::Insecure,
        });
        admission.record_issued([IssuedCertificate {
            ca: CaKind::Host,
            serial: String::new(),
            expires_at: admission.certificates_expire_at,
        }]);
        match admission.write {
            Write::Enrolment(mut enrolment) => {
                bounded(&mut enrolment.issued);
                if let Some(sabotage) = setup.sabotage {
                    sabotage.after(&mut enrolment, &self.log);
                }
                next.enrolment = enrolment;
                let base = judge::base(self, message);
                next.log = base.with(Entry::Join {
                    attempt: message.attempt,
                    key,
                    counted: judge::counts(setup, self, message, clock),
                    at: clock,
                    epoch: self.epoch,
                    shared: self.mode == RecoveryMode::Insecure,
                    life,
                    first: judge::been(message)[0],
                });
                next.revoked = false;
                next.many_revoked = None;
            }
            Write::Instance(mut record) => {
                bounded(&mut record.issued);
                next.instances.insert(record.identity.id().to_owned(), record);
            }
        }
        if !admission.remove_locks.is_empty() {
            next.auto_lock = None;
        }
        if admission.revoke_other_instances {
            let keep = admission.identity.id().to_owned();
            next.instances.retain(|id, _| *id == keep);
        }
        let mut claims = admission.claims;
        if setup.sabotage.is_some() {
            claims = next.enrolment.claims(UID).filter(|_| !next.enrolment.shared).unwrap_or(claims);
        }
        let log = next.log.clone();
        (next, Held { claims, log, key, life, at: clock, been: judge::been(message) })
    }

    /// Of clients whose certificates ended long ago there is no record any more, whatever the clock says later.
    pub(crate) fn swept(store: &Print<Self>, clock: u8) -> Print<Self> {
        let is_kept = |record: &InstanceRecord| instant(clock) < record.certificates_expire_at + KEPT;
        if store.instances.values().all(is_kept) {
            return store.clone();
        }
        let mut next = Self::clone(store);
        next.instances.retain(|_, record| is_kept(record));
        next.papers.sweep(clock);
        Print::new(next)
    }

    /// An administrator's verb.
    pub(crate) fn verb(&self, setup: &Setup, verb: Verb, clock: u8) -> Self {
        let mut next = self.clone();
        match &verb {
            Verb::Reset { .. } => {
                next.log = next.log.with(Entry::Reset { at: clock });
                next.papers.revoke(self.log.is_shared());
                next.secret += 1;
                next.revoked = false;
                next.many_revoked = None;
                next.epoch += 1;
            }
            Verb::Resync { .. } => next.epoch += 1,
            Verb::Revoke => {
                next.revoked |= self.log.last().is_some();
                next.many_revoked = self.log.is_shared().then_some(clock);
                next.papers.revoke(self.log.is_shared());
            }
            Verb::GrantRecovery { .. } | Verb::Rotate { .. } => {}
        }
        let outcome = apply_verb(setup.token(self.mode), &self.enrolment, verb, instant(clock));
        next.enrolment = outcome.next.unwrap_or(next.enrolment);
        if outcome.remove_automatic_lock {
            next.auto_lock = None;
        }
        if outcome.revoke_all_instances {
            next.instances.clear();
        }
        next
    }

    pub(crate) fn reset() -> Verb {
        Verb::Reset { generated: Sealed(vec![2]), proof_key: Sealed(vec![3]) }
    }

    pub(crate) fn resync(keep_key: bool) -> Verb {
        // Through every instant within the grace.
        Verb::Resync { ttl: Duration::from_secs(20 * 86_400), keep_key }
    }

    pub(crate) fn with_mode(&self, mode: RecoveryMode) -> Self {
        Self { mode, epoch: self.epoch + 1, ..self.clone() }
    }
}
