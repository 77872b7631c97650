//! Rule 10: what an admitted join changes.

use boundkey_token::{RecoveryMode, RequestedNames};
use time::OffsetDateTime;

use super::case::{Case, Standing};
use super::limits::NextKey;
use super::{Way, eligible};
use crate::{
    Admission, Adoption, Enrolment, Event, EventCode, Identity, InstanceRecord, IssuedCertificate, JoinKind,
    LastAttempt, Note, StateId, Trail, Verdict, Write, clock,
};

/// How many unexpired certificates a record keeps before a join. A client that joins in a tight loop revokes those of
/// its own that end first; it cannot make its record grow.
pub(super) const MAX_ISSUED: usize = 96;

struct Times {
    now: OffsetDateTime,
    expire: OffsetDateTime,
}

pub(super) fn admit(
    case: Case<'_>,
    way: Way,
    kind: JoinKind,
    key: NextKey<'_>,
    names: RequestedNames,
    superseded: Vec<String>,
) -> Verdict {
    let input = case.input;
    let times = Times {
        now: clock::micros(input.now),
        expire: clock::seconds(clock::after(input.now, input.lifetime)),
    };
    let event = Event { code: event_code(way, kind), notes: notes(&case, way, &key, &superseded) };
    let identity = identity(&case, way, kind);
    let attempt = LastAttempt {
        attempt: Enrolment::attempt_hash(input.evidence.attempt),
        presented: case.presented(),
        identity: identity.clone(),
        issued_at: times.now,
        certified: input.evidence.certified,
        granted: eligible::digest(&names),
    };
    let mut revoke = Vec::new();
    let (uid, roles, bound_key) = (case.uid, input.evidence.roles.clone(), key.key.clone());
    let (write, claims) = if way == Way::Instance {
        let record = instance(&case, attempt, &times, &mut revoke);
        let claims = case.base.instance_claims(uid, &record);
        (Write::Instance(record), claims)
    } else {
        let next = enrolment(case, way, kind, key, attempt, &times, &mut revoke);
        let claims = next.claims(uid);
        (Write::Enrolment(next), claims)
    };
    // `claims` is None only for a shared lineage without a last state, which no join leaves behind and only a
    // damaged store could hold: nobody is admitted to that.
    let Some(claims) = claims else { return super::refuse::damaged(event) };
    Verdict::Admit(Box::new(Admission {
        kind,
        write,
        claims,
        identity,
        bound_key,
        names,
        roles,
        issued_at: times.now,
        certificates_expire_at: times.expire,
        revoke,
        revoke_other_instances: event.notes.contains(&Note::LeftShared),
        remove_locks: superseded,
        event,
    }))
}

/// Host ids stay for life; a bot's recovery is a new instance, so that the audit tells its lives apart. In shared
/// operation a known client stays what it is.
fn identity(case: &Case<'_>, way: Way, kind: JoinKind) -> Identity {
    let numbered = matches!(way, Way::Numbered | Way::Grant | Way::Adopt);
    if numbered && kind == JoinKind::Recover && case.input.fresh.is_bot() {
        return case.input.fresh.clone();
    }
    case.subject.clone()
}

fn enrolment(
    case: Case<'_>,
    way: Way,
    kind: JoinKind,
    key: NextKey<'_>,
    attempt: LastAttempt,
    times: &Times,
    revoke: &mut Vec<IssuedCertificate>,
) -> Enrolment {
    let (input, evidence) = (case.input, case.input.evidence);
    let was_shared = case.base.shared;
    let own = case.instance().map(|record| record.issued.clone());
    let (subject, initial, mode, uid) = (case.subject.clone(), case.initial, case.mode, case.uid);
    let returned = case.claims.filter(|_| case.standing == Standing::Returned);
    let passed = passed(&case, way);
    let mut next = case.base.into_owned();
    let before = next.identity.clone();

    let id = StateId::derive(uid, next.generation, next.last_state_id, evidence.attempt);
    next.sequence = next.sequence.saturating_add(1);
    next.last_state_id = Some(id);
    next.trail.push(id);
    next.passed = passed;
    next.identity = Some(attempt.identity.clone());
    next.last_attempt = Some(attempt);

    let counts = match way {
        Way::Register => true,
        Way::Numbered | Way::Adopt => kind == JoinKind::Recover,
        Way::Grant | Way::EnterShared | Way::Instance => false,
    };
    if counts {
        next.recovery_count = next.recovery_count.saturating_add(1);
    }
    if way == Way::Register {
        next.secret.used = true;
        next.secret.generated = None;
        // Of the key that registered, not of one that it was rotated to at once: whoever holds a copy of the attempt
        // proves that one, and the owner can only be told from a stranger by it.
        let by = initial.or(evidence.proven.current.as_ref().map(boundkey_keys::ProvenKey::public_key));
        let by = by.unwrap_or(key.key).thumbprint();
        next.registration_attempt = Some(Enrolment::registration_hash(evidence.attempt, by));
    }

    next.shared = match way {
        Way::Register => mode == RecoveryMode::Insecure,
        Way::EnterShared => true,
        _ => false,
    };
    let narrowed = was_shared && !next.shared;
    if narrowed {
        // Of all that the many clients got, only this one's own certificates stay: those on its own record, and those
        // that the lineage's record has of before it was shared, or of the registration, if they were this client's.
        if before.as_ref() != Some(&subject) {
            revoke.extend(next.issued.drain(..).filter(|c| c.expires_at > input.now));
        }
        next.issued.extend(own.unwrap_or_default());
        next.adoption = Some(Adoption { instance: subject, sequence: next.sequence });
    }

    // The key and its age. Whoever returns may have another one than the record: it is as old as its state says, and if this
    // history had replaced it, that is to be done again.
    if let Some(s) = returned.filter(|_| next.bound_public_key.as_ref() != Some(key.key)) {
        if s.key_since < next.key_bound_at {
            next.rotate_requested_at = Some(times.now);
        }
        next.key_bound_at = s.key_since;
    }
    next.bound_public_key = Some(key.key.clone());
    if key.fresh {
        next.key_bound_at = Some(times.now);
        next.rotate_requested_at = next.rotate_requested_at.filter(|at| *at > input.now);
    }
    if key.rotated {
        next.last_rotated_at = Some(times.now);
    }
    if way == Way::Register && initial.is_none() && key.overdue {
        next.rotate_requested_at = Some(times.now);
    }

    next.issued.retain(|c| c.expires_at > input.now);
    if kind == JoinKind::Recover && !next.shared {
        revoke.append(&mut next.issued);
    }
    revoke_surplus(&mut next.issued, revoke);
    next.certificates_expire_at = Some(times.expire);
    next.certificates_revoked = false;
    next.shared_revoked_at = None;
    next.last_joined_at = Some(times.now);
    if kind == JoinKind::Recover {
        next.last_recovered_at = Some(times.now);
    }
    // A grant is for one join, whichever it is.
    next.resync_until = None;
    next.facts = evidence.facts.clone();
    next
}

fn instance(
    case: &Case<'_>,
    attempt: LastAttempt,
    times: &Times,
    revoke: &mut Vec<IssuedCertificate>,
) -> InstanceRecord {
    let mut issued: Vec<_> = case.instance().map(|record| record.issued.clone()).unwrap_or_default();
    issued.retain(|c| c.expires_at > case.input.now);
    revoke_surplus(&mut issued, revoke);
    InstanceRecord {
        identity: attempt.identity.clone(),
        last_attempt: attempt,
        certificates_expire_at: times.expire,
        revoked: false,
        issued,
        last_joined_at: times.now,
        facts: case.input.evidence.facts.clone(),
        passed: passed(case, Way::Instance),
    }
}

/// The marks that the client's next state carries: those of the state that it comes from, and this attempt's. None as
/// long as each of its joins went on from the one before, for then the trail tells it all.
fn passed(case: &Case<'_>, way: Way) -> Trail {
    let base = &case.base;
    let (mut marks, shared, trail) = match (way, case.claims.filter(|_| case.named.is_some())) {
        (Way::Register, _) => (Trail::default(), false, &base.trail),
        (_, Some(s)) => (s.passed.clone(), s.shared, &s.trail),
        // It has lost its state, and is the lineage's one client all the same.
        (Way::Grant, None) if !base.shared => (base.passed.clone(), false, &base.trail),
        (_, None) => (Trail::default(), true, &base.trail),
    };
    if marks.0.is_empty() && !shared {
        if way == Way::Numbered || (way == Way::Register && case.mode != RecoveryMode::Insecure) {
            return marks;
        }
        // Whose attempts they were is not known any more. (Where many share a trail it is nobody's own.)
        marks = trail.clone();
    }
    marks.push_mark(Enrolment::attempt_hash(case.input.evidence.attempt).short());
    marks
}

/// Not the oldest: under a clock that is behind a machine joins again and again, and what it got before must still be
/// on record when the clock is right, or its next join is a recovery (rule 7).
fn revoke_surplus(issued: &mut Vec<IssuedCertificate>, revoke: &mut Vec<IssuedCertificate>) {
    while issued.len() > MAX_ISSUED {
        let first = issued.iter().enumerate().min_by_key(|(_, certificate)| certificate.expires_at);
        let Some((at, _)) = first else { return };
        revoke.push(issued.remove(at));
    }
}

fn event_code(way: Way, kind: JoinKind) -> EventCode {
    match (way, kind) {
        (Way::Instance, _) => EventCode::InstanceJoined,
        (_, JoinKind::Register) => EventCode::Registered,
        (_, JoinKind::Renew) => EventCode::Renewed,
        (_, JoinKind::Recover) => EventCode::Recovered,
    }
}

fn notes(case: &Case<'_>, way: Way, key: &NextKey<'_>, superseded: &[String]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |holds: bool, what: Note| {
        if holds {
            notes.push(what);
        }
    };
    note(
        case.healed,
        Note::RollbackHealed {
            from_sequence: case.input.enrolment.sequence,
            to_sequence: case.base.sequence,
        },
    );
    note(case.standing == Standing::Returned, Note::Returned);
    for lock in superseded {
        note(true, Note::LockSuperseded { lock: lock.clone() });
    }
    note(key.rotated, Note::Rotated);
    note(key.overdue, Note::RotationOverdue);
    note(way == Way::Grant, Note::ByGrant);
    let was_shared = case.base.shared;
    let insecure = case.mode == RecoveryMode::Insecure;
    note(insecure && !was_shared, Note::EnteredShared);
    note(!insecure && was_shared, Note::LeftShared);
    let unknown = way == Way::Instance
        && case.instance().is_none()
        && case.base.identity.as_ref() != Some(case.subject);
    note(unknown, Note::NewInstance);
    notes
}
