//! The rules under any sequence of acts: `message` says what is sent, `judge` what must hold of each verdict.

mod judge;
mod message;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use boundkey_keys::PublicKey;
use boundkey_lifecycle::{
    Enrolment, InstanceRecord, LockInForce, LockOrigin, Position, Sealed, SecretRecord, StateClaims, Uid,
    Verb, Verdict, apply_verb,
};
use boundkey_token::{
    Bot, BoundKeypairSpec, CertificateNames, JoinMethod, Recovery, RecoveryMode, Role, RoleSet, Token,
    TokenSpec,
};
use time::OffsetDateTime;

use self::judge::round_trips;
use self::message::Message;
use super::{Choices, say};
use crate::scene::NOW;

const UID: Uid = Uid([7; 16]);
/// So many keys there are; no input gets so far.
const KEYS_MADE: u8 = 96;
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
            assert!(!next.is_bound() && next.generation > before.generation && next.sequence == 0);
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
                public_message: None,
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
}

fn mode(choice: u8) -> RecoveryMode {
    match choice % 3 {
        0 => RecoveryMode::Standard,
        1 => RecoveryMode::Relaxed,
        _ => RecoveryMode::Insecure,
    }
}
