use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use boundkey_keys::{ProvenKey, PublicKey};
use boundkey_lifecycle::{
    Admission, AttemptId, CaKind, Enrolment, Evidence, Hash32, Identity, Input, InstanceRecord,
    IssuedCertificate, JoinKind, LockInForce, LockOrigin, MachineFacts, Note, Policy, Position, Proven,
    Retry, Sealed, SecretEvidence, SecretRecord, StateClaims, StateEvidence, StateId, TRAIL_LENGTH, Uid,
    Verb, Verdict, Write, apply_verb, decide, explain, instance_of,
};
use boundkey_store::records::{EnrolmentRecord, Record as _};
use boundkey_token::{
    Bot, BoundKeypairSpec, CertificateNames, JoinMethod, Recovery, RecoveryMode, RequestedNames, Role,
    RoleSet, Token, TokenSpec,
};
use time::OffsetDateTime;

use super::{Choices, say};
use crate::scene::NOW;

const UID: Uid = Uid([7; 16]);
/// So many keys there are; no input gets so far.
const KEYS_MADE: u8 = 96;
/// From here on attempts of messages put together; no input makes a client get so far.
const FOREIGN_ATTEMPTS: u16 = 0x8000;
const AUTOMATIC: &str = "auto-token";

/// Any order of joins, lost and late messages, thieves, snapshots, restored backups, verbs, changed specs and stepped
/// clocks, with proofs taken for granted. Holds what the chapter on the lifecycle promises of EVERY verdict.
pub fn decide_sequence(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut world = World::new(&mut choices);
    while choices.more() {
        world.step(&mut choices);
    }
}

fn key(number: u8) -> PublicKey {
    static KEYS: LazyLock<Vec<PublicKey>> =
        LazyLock::new(|| (0..=KEYS_MADE).map(|n| crate::scene::key(n).public_key().clone()).collect());
    KEYS[usize::from(number.min(KEYS_MADE))].clone()
}

/// What a request proves and says; numbers stand for keys and secrets.
#[derive(Debug, Clone)]
struct Message {
    current: Option<u8>,
    new: Option<u8>,
    secret: Option<u8>,
    state: StateEvidence,
    attempt: u16,
    position: Option<Position>,
    certified: u8,
    roles: RoleSet,
    /// Sent by a client that keeps to the protocol.
    honest: bool,
}

/// What a backup holds. `attempts` is the log of what advanced the lineage: part of the history, restored with it.
#[derive(Debug, Clone)]
struct Stored {
    enrolment: Enrolment,
    instances: BTreeMap<String, InstanceRecord>,
    locks: Vec<LockInForce>,
    secret: u8,
    attempts: Vec<u16>,
    registered: bool,
}

#[derive(Debug, Clone)]
struct Client {
    key: u8,
    state: Option<StateClaims>,
    pending: Option<(u16, Option<u8>)>,
    secret: Option<u8>,
}

struct World {
    token: Token,
    bot: Option<Bot>,
    stored: Stored,
    now: OffsetDateTime,
    clients: Vec<Client>,
    snapshots: Vec<Client>,
    backups: Vec<Stored>,
    net: Vec<Message>,
    states: Vec<StateClaims>,
    positions: Vec<Position>,
    /// A backup was restored.
    restored: bool,
    next_key: u8,
    next_attempt: u16,
}

impl World {
    fn new(choices: &mut Choices<'_>) -> Self {
        let kind = choices.byte();
        let is_bot = kind & 1 == 1;
        let preregistered = kind & 2 == 2;
        let roles = RoleSet::new([if is_bot { Role::Bot } else { Role::Node }]);
        let bot = || "deploy".parse().expect("a name");
        let mut token = Token {
            name: "web-1".parse().expect("a name"),
            labels: BTreeMap::new(),
            expires: None,
            revision: None,
            spec: TokenSpec {
                roles: if is_bot { roles } else { RoleSet::new([Role::Node, Role::App]) },
                join_method: JoinMethod::BoundKeypair,
                bot_name: is_bot.then(bot),
                bound_keypair: BoundKeypairSpec::default(),
                certificates: CertificateNames::default(),
            },
        };
        token.spec.bound_keypair.recovery =
            Recovery { limit: 1 + u32::from(kind >> 4), mode: mode(kind >> 2) };
        if preregistered {
            token.spec.bound_keypair.onboarding.initial_public_key = Some(key(1));
        }
        let bot = is_bot.then(|| Bot {
            name: bot(),
            labels: BTreeMap::new(),
            expires: None,
            revision: None,
            logins: Vec::new(),
            admin_role: None,
            token_prefix: None,
        });
        let secret = SecretRecord { generated: Some(Sealed(vec![1])), ..SecretRecord::default() };
        Self {
            token,
            bot,
            stored: Stored {
                enrolment: Enrolment { secret, ..Enrolment::default() },
                instances: BTreeMap::new(),
                locks: Vec::new(),
                secret: 100,
                attempts: Vec::new(),
                registered: false,
            },
            now: NOW,
            clients: vec![Client { key: 1, state: None, pending: None, secret: Some(100) }],
            snapshots: Vec::new(),
            backups: Vec::new(),
            net: Vec::new(),
            states: Vec::new(),
            positions: Vec::new(),
            restored: false,
            next_key: 1,
            next_attempt: 0,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let operation = choices.below(20);
        let n = choices.below(self.clients.len());
        say((operation, n));
        match operation {
            0..=3 => self.join(n, 8),
            4 => self.join(n, 1 + choices.below(3)),
            5 => {
                if let Some(message) = choices.one_of(&self.net).cloned() {
                    self.handle(&message);
                }
            }
            6 if self.clients.len() < 4 => {
                let copy = self.clients[n].clone();
                self.clients.push(copy);
            }
            6 | 7 => {
                let snapshot = self.clients[n].clone();
                self.snapshots.push(snapshot);
            }
            8 => {
                if let Some(snapshot) = choices.one_of(&self.snapshots).cloned() {
                    self.clients[n] = snapshot;
                }
            }
            9 => self.backups.push(self.stored.clone()),
            10 => {
                if let Some(backup) = choices.one_of(&self.backups).cloned() {
                    self.stored = backup;
                    self.restored = true;
                }
            }
            11 => self.step_clock(choices.byte()),
            12 => self.token.spec.bound_keypair.recovery.mode = mode(choices.byte()),
            13 => self.spec(choices.byte()),
            14..=16 => self.verb(choices.byte()),
            17 => self.lock(choices.byte()),
            _ => {
                let message = self.composed(choices);
                self.handle(&message);
            }
        }
        self.explained();
    }

    /// Minutes, days, years; back as well.
    fn step_clock(&mut self, choice: u8) {
        let minutes = match choice >> 5 {
            0 => i64::from(choice),
            1 => -i64::from(choice),
            2 => 60 * i64::from(choice),
            3 => -60 * i64::from(choice),
            4 | 5 => 1440 * i64::from(choice & 31),
            6 => -1440 * i64::from(choice & 31),
            _ => 525_600 * (i64::from(choice & 31) - 16),
        };
        self.now += time::Duration::minutes(minutes);
    }

    fn spec(&mut self, choice: u8) {
        let before = self.stored.enrolment.clone();
        let spec = &mut self.token.spec.bound_keypair;
        match choice % 6 {
            0 => spec.recovery.limit = 1 + u32::from(choice >> 3),
            1 => spec.rotate_after = Some(self.now),
            2 => spec.rotate_after = None,
            3 => spec.onboarding.initial_public_key = (choice > 100).then(|| key(choice >> 4)),
            4 => {
                let hours = time::Duration::hours(i64::from(choice) - 128);
                spec.onboarding.must_register_before = Some(self.now + hours);
            }
            _ => {
                let hours = time::Duration::hours(i64::from(choice) - 50);
                self.token.expires = (choice > 40).then_some(self.now + hours);
            }
        }
        assert_eq!(before, self.stored.enrolment, "applying a spec changes no enrolment");
    }

    fn verb(&mut self, choice: u8) {
        let verb = match choice % 8 {
            0 => Verb::GrantRecovery { count: u32::from(choice >> 6) },
            1 => Verb::Rotate { at: None },
            2 => Verb::Rotate { at: Some(self.now + time::Duration::hours(i64::from(choice >> 3))) },
            3 | 4 => Verb::Resync { ttl: Duration::from_secs(3600), keep_key: choice > 127 },
            5 => Verb::Revoke,
            6 if choice > 127 => Verb::Reset { generated: Sealed(vec![choice]), proof_key: Sealed(vec![3]) },
            _ => return,
        };
        let is_reset = matches!(verb, Verb::Reset { .. });
        let before = self.stored.enrolment.clone();
        let outcome = apply_verb(&self.token, &before, verb.clone(), self.now);
        if let Some(next) = &outcome.next {
            assert_ne!(&before, next, "a verb that changes nothing writes nothing");
            self.stored.enrolment = next.clone();
            round_trips(next);
        }
        let next = &self.stored.enrolment;
        if is_reset {
            assert!(!next.is_bound() && next.generation == before.generation + 1 && next.sequence == 0);
            let bound = before.bound_public_key.iter().map(PublicKey::thumbprint);
            assert!(bound.into_iter().all(|key| next.secret.void_keys.contains(&key)), "{next:?}");
            self.stored.secret = self.stored.secret.wrapping_add(1).max(100);
            self.stored.registered = false;
            self.stored.attempts.clear();
            let secret = self.stored.secret;
            // Whoever is told of the new secret may be anybody.
            let client = self.clients.first_mut().expect("there is one");
            client.secret = Some(secret);
        } else {
            assert_eq!(
                (next.generation, next.sequence, next.last_state_id, &next.bound_public_key),
                (before.generation, before.sequence, before.last_state_id, &before.bound_public_key),
                "{verb:?} moves no lineage"
            );
            assert_eq!(next.recovery_count, before.recovery_count, "{verb:?} counts no recovery");
            let again = apply_verb(&self.token, next, verb.clone(), self.now);
            assert_eq!(again.next, None, "{verb:?} twice");
            assert!(again.revoke.is_empty(), "{verb:?} twice revokes nothing more");
        }
        if outcome.remove_automatic_lock {
            self.stored.locks.retain(|lock| lock.id != AUTOMATIC);
        }
        if outcome.revoke_all_instances {
            self.stored.instances.clear();
        }
    }

    fn lock(&mut self, choice: u8) {
        match choice % 4 {
            0 => self.stored.locks.clear(),
            1 => self.stored.locks.retain(|lock| lock.id != AUTOMATIC),
            kind => self.stored.locks.push(LockInForce {
                id: format!("hand-{choice}"),
                origin: LockOrigin::ByHand,
                message: None,
                expires: (kind == 2).then(|| self.now + time::Duration::hours(i64::from(choice) - 64)),
            }),
        }
    }

    /// Goes on with the pending attempt, through so many messages; the answer to the last may be lost.
    fn join(&mut self, n: usize, through: usize) {
        if self.clients[n].pending.is_none() {
            self.next_attempt += 1;
            self.clients[n].pending = Some((self.next_attempt, None));
        }
        let mut position = None;
        for sent in 1..=through {
            let message = self.message(&self.clients[n], position);
            if self.net.len() < 32 {
                self.net.push(message.clone());
            }
            let verdict = self.handle(&message);
            if sent == through {
                return;
            }
            match verdict {
                Verdict::Admit(admission) => return self.store(n, &admission.claims),
                Verdict::Retry(retry) => return self.store(n, &retry.claims),
                Verdict::Confirm(confirm) => {
                    self.positions.push(confirm.position);
                    position = Some(confirm.position);
                }
                Verdict::RotationRequired(_) => {
                    self.next_key = self.next_key.saturating_add(1).min(90);
                    let (_, new) = self.clients[n].pending.as_mut().expect("pending");
                    assert_eq!(new.replace(self.next_key), None, "asked for a new key although there is one");
                }
                Verdict::Deny(_) => return,
            }
        }
    }

    fn store(&mut self, n: usize, claims: &StateClaims) {
        let client = &mut self.clients[n];
        let (_, new) = client.pending.take().expect("pending");
        let held = [Some(client.key), new].into_iter().flatten().find(|k| key(*k).thumbprint() == claims.key);
        client.key = held.expect("the bound key is one that the client proved");
        client.state = Some(claims.clone());
        client.secret = None;
    }

    fn message(&self, client: &Client, position: Option<Position>) -> Message {
        let (attempt, new) = client.pending.expect("an attempt");
        let state = client.state.clone().map_or(StateEvidence::None, |s| StateEvidence::Valid(Box::new(s)));
        Message {
            current: Some(client.key),
            new,
            secret: client.secret,
            state,
            attempt,
            position,
            certified: 0,
            roles: self.roles(0),
            honest: true,
        }
    }

    fn roles(&self, choice: u8) -> RoleSet {
        if self.bot.is_some() {
            return RoleSet::new([Role::Bot]);
        }
        match choice % 8 {
            6 => RoleSet::new([Role::Node, Role::App]),
            7 => RoleSet::new([Role::Db]),
            _ => RoleSet::new([Role::Node]),
        }
    }

    /// Any parts that exist, put together anew.
    fn composed(&self, choices: &mut Choices<'_>) -> Message {
        let any_key = |choices: &mut Choices<'_>| match choices.byte() {
            255 => None,
            byte => Some(1 + byte % (self.next_key + 2)),
        };
        let state = match (choices.byte(), choices.one_of(&self.states)) {
            (0..=50, _) | (_, None) => StateEvidence::None,
            (250.., _) => StateEvidence::Invalid(boundkey_lifecycle::InvalidState::BadTag),
            (choice, Some(state)) => {
                let mut state = state.clone();
                if choice > 240 {
                    state.uid = Uid([8; 16]);
                }
                StateEvidence::Valid(Box::new(state))
            }
        };
        let current = any_key(choices);
        let new = if choices.flag() { any_key(choices) } else { None };
        let position = match choices.byte() {
            0..=80 => None,
            81..=200 => Some(self.stored.enrolment.position(UID)),
            _ => choices.one_of(&self.positions).copied(),
        };
        let secret = match choices.byte() {
            0..=150 => None,
            151..=230 => Some(self.stored.secret),
            _ => Some(99),
        };
        // One that a client made, or one that no client ever makes: nobody guesses 128 random bits beforehand.
        let attempt = match u16::try_from(choices.below(usize::from(self.next_attempt) + 3)).unwrap_or(0) {
            made if made <= self.next_attempt => made,
            more => FOREIGN_ATTEMPTS + (more - self.next_attempt),
        };
        let rest = choices.byte();
        let (certified, roles) = (rest & 1, self.roles(rest >> 1));
        Message { current, new, secret, state, attempt, position, certified, roles, honest: false }
    }

    fn evidence(&self, message: &Message) -> Evidence {
        let prove = |number: Option<u8>| number.map(|n| ProvenKey::assumed(key(n)));
        let mut attempt = [0; 16];
        attempt[..2].copy_from_slice(&message.attempt.to_be_bytes());
        Evidence {
            proven: Proven { current: prove(message.current), new: prove(message.new) },
            secret: match message.secret {
                None => SecretEvidence::NotPresented,
                Some(secret) if secret != self.stored.secret => SecretEvidence::Wrong,
                Some(_) if self.stored.enrolment.secret.used => SecretEvidence::ProvenAlreadyUsed,
                Some(_) => SecretEvidence::Proven,
            },
            join_state: message.state.clone(),
            attempt: AttemptId(attempt),
            position: message.position,
            roles: message.roles.clone(),
            names: RequestedNames::default(),
            certified: Hash32([message.certified; 32]),
            facts: MachineFacts::default(),
        }
    }

    fn verdict(&self, message: &Message) -> Verdict {
        let evidence = self.evidence(message);
        let enrolment = &self.stored.enrolment;
        let id = format!("id-{}-{}", enrolment.generation, message.attempt);
        let fresh = if self.bot.is_some() { Identity::BotInstance(id) } else { Identity::Host(id) };
        let of = instance_of(UID, enrolment, &evidence.proven, &evidence.join_state, &fresh);
        decide(&Input {
            cluster: "example.com",
            token: Some((UID, &self.token)),
            enrolment,
            instance: self.stored.instances.get(of.id()),
            bot: self.bot.as_ref(),
            evidence: &evidence,
            locks: &self.stored.locks,
            fresh: &fresh,
            lifetime: Duration::from_secs(86_400),
            policy: &Policy::default(),
            now: self.now,
        })
    }

    /// The verdict, what must hold of it, and its consequences.
    fn handle(&mut self, message: &Message) -> Verdict {
        say(message);
        let mut verdict = self.verdict(message);
        say(&verdict);
        let live = message.position == Some(self.stored.enrolment.position(UID));
        match &mut verdict {
            Verdict::Admit(admission) => self.admit(message, admission),
            Verdict::Deny(denial) => {
                assert!(!denial.message.is_empty());
                if !denial.proven {
                    assert_eq!(denial.public_code().as_str(), "denied");
                }
                if let Some(lock) = &denial.lock {
                    assert!(live, "locked by a message that is not live");
                    assert!(denial.proven, "locked by a stranger");
                    assert!(!self.stored.enrolment.shared, "a shared lineage locks nobody");
                    assert_ne!(self.mode(), RecoveryMode::Insecure, "`insecure` locks nobody");
                    self.stored.locks.retain(|lock| lock.id != AUTOMATIC);
                    self.stored.locks.push(LockInForce {
                        id: AUTOMATIC.to_owned(),
                        origin: LockOrigin::Automatic(lock.position.clone()),
                        message: Some(lock.message.clone()),
                        expires: None,
                    });
                }
            }
            Verdict::Retry(retry) => self.retried(message, retry),
            Verdict::Confirm(confirm) => {
                assert!(!live, "a live message is asked to be live");
                assert_eq!(confirm.position, self.stored.enrolment.position(UID));
            }
            Verdict::RotationRequired(_) => {
                // (But a registration with a key that a reset voided is asked for another one.)
                let shared = self.mode() == RecoveryMode::Insecure && self.stored.enrolment.is_bound();
                assert!(!shared, "nobody rotates a shared key");
            }
        }
        verdict
    }

    fn mode(&self) -> RecoveryMode {
        self.token.spec.bound_keypair.recovery.mode
    }

    fn proves(message: &Message, wanted: &PublicKey) -> bool {
        [message.current, message.new].into_iter().flatten().any(|n| key(n) == *wanted)
    }

    fn admit(&mut self, message: &Message, admission: &mut Admission) {
        let notes = admission.event.notes.clone();
        let has = |wanted: fn(&Note) -> bool| notes.iter().any(wanted);
        let healed = has(|note| matches!(note, Note::RollbackHealed { .. }));
        let reopened = has(|note| matches!(note, Note::ByGrant | Note::LeftShared | Note::EnteredShared));
        let before = self.stored.enrolment.clone();
        assert!(Self::proves(message, &admission.bound_key), "a key is bound that was not proven");
        assert_eq!(admission.claims.key, admission.bound_key.thumbprint());
        assert_eq!(admission.identity.is_bot(), self.bot.is_some());
        assert!(self.token.expires.is_none_or(|end| self.now < end), "admitted with an expired token");
        assert!(message.roles.iter().all(|role| self.token.spec.roles.contains(role)));
        if let Some(bound) = before.bound_public_key.as_ref().filter(|_| !self.restored) {
            assert!(Self::proves(message, bound), "admitted without the bound key");
        }
        for lock in self.stored.locks.iter().filter(|lock| lock.expires.is_none_or(|end| end > self.now)) {
            assert!(matches!(lock.origin, LockOrigin::Automatic(_)), "admitted past a lock by hand");
            assert!(admission.remove_locks.contains(&lock.id), "admitted past a lock that stays");
        }
        let claims = match &message.state {
            StateEvidence::Valid(claims) => Some(&**claims),
            _ => None,
        };
        let live = message.position == Some(before.position(UID));
        let current = claims.is_some_and(|s| s.uid == UID && Some(s.state_id) == before.last_state_id);
        let insecure = self.mode() == RecoveryMode::Insecure;
        assert!(current || healed || live || insecure || !before.is_bound(), "admitted without a reason");

        admission.record_issued([IssuedCertificate {
            ca: CaKind::Host,
            serial: format!("{:04x}", self.stored.attempts.len()),
            expires_at: admission.certificates_expire_at,
        }]);
        match &admission.write {
            Write::Enrolment(next) => {
                let from = match claims {
                    Some(s) if healed => (s.generation, s.sequence, Some(s.state_id), s.recovery_count),
                    _ => (before.generation, before.sequence, before.last_state_id, before.recovery_count),
                };
                assert!((from.0, from.1) >= (before.generation, before.sequence), "healed backwards");
                advanced(from, &before, next, message, admission);
                if next.recovery_count > from.3 && self.mode() == RecoveryMode::Standard {
                    assert!(next.recovery_count <= next.limit_in_force(&self.token), "past the limit");
                }
                let by_grant = has(|note| matches!(note, Note::ByGrant));
                assert!(!by_grant || next.recovery_count == from.3, "a grant used a recovery");
                if admission.kind == JoinKind::Register {
                    assert!(!self.stored.registered, "registered twice in one history");
                    self.stored.registered = true;
                }
                // Of those that keep to the protocol: whoever puts messages together may use a number again. A heal
                // that skips a reset skips the log too.
                let skips = healed && from.0 != before.generation;
                if message.honest && !reopened && !skips {
                    assert!(!self.stored.attempts.contains(&message.attempt), "one attempt advanced twice");
                }
                self.stored.attempts.push(message.attempt);
                round_trips(next);
                self.stored.enrolment = next.clone();
            }
            Write::Instance(record) => {
                assert!(insecure && before.shared, "an instance is written where there are none");
                self.stored.instances.insert(record.identity.id().to_owned(), record.clone());
            }
        }
        let superseded = admission.remove_locks.clone();
        self.stored.locks.retain(|lock| !superseded.contains(&lock.id));
        if self.states.len() < 64 {
            self.states.push(admission.claims.clone());
        }
        self.positions.push(self.stored.enrolment.position(UID));
        // The answer is lost and the message comes again: the same answer, and nothing changes.
        match self.verdict(message) {
            Verdict::Retry(retry) => {
                assert_eq!(retry.claims, admission.claims);
                assert_eq!(retry.bound_key, admission.bound_key);
                assert_eq!(retry.identity, admission.identity);
                let given = retry.certificates.expect("the certificates are valid");
                assert_eq!(given.issued_at, admission.issued_at);
                assert_eq!(given.expire_at, admission.certificates_expire_at);
                assert_eq!(given.names, admission.names);
            }
            other => panic!("no retry: {other:?}"),
        }
    }

    fn retried(&self, message: &Message, retry: &Retry) {
        let enrolment = &self.stored.enrolment;
        assert!(Self::proves(message, &retry.bound_key), "told of a key that was not proven");
        assert_eq!(Some(&retry.bound_key), enrolment.bound_public_key.as_ref());
        assert_eq!(retry.claims.sequence, enrolment.sequence);
        assert!(retry.certificates.as_ref().is_none_or(|given| given.expire_at > self.now));
        let hash = Enrolment::attempt_hash(self.evidence(message).attempt);
        let known: BTreeSet<_> = enrolment
            .last_attempt
            .iter()
            .chain(self.stored.instances.values().map(|record| &record.last_attempt))
            .map(|last| last.attempt.0)
            .collect();
        assert!(known.contains(&hash.0), "an attempt is retried that was not admitted last");
    }

    /// `explain` speaks of the machine that holds bound key and present state: that machine asks, and it is so.
    fn explained(&mut self) {
        let enrolment = &self.stored.enrolment;
        let policy = Policy::default();
        let said = explain(&self.token, enrolment, &self.stored.locks, &policy, self.now);
        let number =
            enrolment.bound_public_key.as_ref().and_then(|bound| (1..=92).find(|n| key(*n) == *bound));
        let (Some(current), Some(claims), false) = (number, enrolment.claims(UID), enrolment.shared) else {
            return;
        };
        if self.mode() == RecoveryMode::Insecure || claims.identity.is_bot() != self.bot.is_some() {
            return;
        }
        let message = Message {
            current: Some(current),
            new: None,
            secret: None,
            state: StateEvidence::Valid(Box::new(claims)),
            attempt: u16::MAX,
            position: None,
            certified: 0,
            roles: self.roles(0),
            honest: true,
        };
        let verdict = self.verdict(&message);
        let refused = matches!(verdict, Verdict::Deny(_));
        assert_eq!(said.next_join.starts_with("refused:"), refused, "{said:?}\n{verdict:?}");
        let rotates = matches!(verdict, Verdict::RotationRequired(_));
        assert_eq!(
            said.next_join.ends_with("with a new key (the agent makes it)"),
            rotates,
            "{said:?}\n{verdict:?}"
        );
    }
}

/// What every admission that takes a sequence does to the record.
fn advanced(
    (generation, sequence, state, count): (u32, u64, Option<StateId>, u32),
    before: &Enrolment,
    next: &Enrolment,
    message: &Message,
    admission: &Admission,
) {
    let mut attempt = [0; 16];
    attempt[..2].copy_from_slice(&message.attempt.to_be_bytes());
    assert_eq!((next.generation, next.sequence), (generation, sequence + 1));
    assert_eq!(next.last_state_id, Some(StateId::derive(UID, generation, state, AttemptId(attempt))));
    assert_eq!(next.trail.0.last().copied(), next.last_state_id.map(StateId::short));
    assert!(next.trail.0.len() <= TRAIL_LENGTH);
    assert!(next.recovery_count == count || next.recovery_count == count + 1);
    assert!((next.recovery_count > count) <= (admission.kind != JoinKind::Renew), "a renewal was counted");
    assert_eq!(next.claims(UID).as_ref(), Some(&admission.claims));
    assert_eq!(next.bound_public_key.as_ref(), Some(&admission.bound_key));
    assert_eq!(next.resync_until, None, "a grant outlives a join");
    assert!(!next.certificates_revoked);
    assert!(next.secret.used && next.secret.generated.is_none(), "a secret outlives a registration");
    assert!(next.granted_limit == before.granted_limit);
    // Every certificate of before is still there, expired, or revoked with the join.
    let kept: BTreeSet<_> = next.issued.iter().chain(&admission.revoke).map(|c| &c.serial).collect();
    let missing =
        before.issued.iter().find(|c| c.expires_at > admission.issued_at && !kept.contains(&c.serial));
    assert!(missing.is_none(), "a certificate was forgotten: {missing:?}");
}

fn round_trips(enrolment: &Enrolment) {
    let record = EnrolmentRecord { uid: UID, enrolment: enrolment.clone() };
    let again = EnrolmentRecord::decode(&record.encode()).expect("what was written is read");
    assert_eq!(again.enrolment, record.enrolment);
}

fn mode(choice: u8) -> RecoveryMode {
    match choice % 3 {
        0 => RecoveryMode::Standard,
        1 => RecoveryMode::Relaxed,
        _ => RecoveryMode::Insecure,
    }
}
