//! What must hold of every verdict, and its consequences.

use std::collections::BTreeSet;
use std::time::Duration;

use boundkey_keys::PublicKey;
use boundkey_lifecycle::{
    Admission, AttemptId, CaKind, Enrolment, Identity, Input, IssuedCertificate, JoinKind, LockInForce,
    LockOrigin, Note, Policy, Retry, StateEvidence, StateId, TRAIL_LENGTH, Verdict, View, Write, decide,
    instance_of,
};
use boundkey_store::records::{EnrolmentRecord, Record as _};
use boundkey_token::RecoveryMode;

use super::message::Message;
use super::{AUTOMATIC, UID, World, key};
use crate::sequences::say;

impl World {
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
    pub(super) fn handle(&mut self, message: &Message) -> Verdict {
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
                        public_message: None,
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
        let returned = has(|note| matches!(note, Note::Returned));
        let untold = before.sequence > TRAIL_LENGTH as u64;
        assert!(!returned || self.restored || untold, "returned, and there was no restore");
        let reason = current || healed || returned || live || insecure || !before.is_bound();
        assert!(reason, "admitted without a reason");

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
    pub(super) fn explained(&mut self) {
        let enrolment = &self.stored.enrolment;
        let policy = Policy::default();
        let view = View {
            token: &self.token,
            bot: self.bot.as_ref(),
            enrolment,
            locks: &self.stored.locks,
            clients: None,
            policy: &policy,
            now: self.now,
        };
        let said = view.explain();
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

pub(super) fn round_trips(enrolment: &Enrolment) {
    let record = EnrolmentRecord { uid: UID, enrolment: enrolment.clone() };
    let again = EnrolmentRecord::decode(&record.encode()).expect("what was written is read");
    assert_eq!(again.enrolment, record.enrolment);
}
