//! What a verdict writes: one batch, conditional on everything that the decision depended on.

use boundkey_lifecycle::{
    Admission, Denial, Event, LockInForce, LockOrigin, NewLock, Verb, Write, apply_verb,
};
use boundkey_store::records::{EnrolmentRecord, InstanceEntry, LockRecord};
use boundkey_store::{Batch, keys};
use boundkey_token::LockTarget;

use super::Joining;
use crate::loaded::put;
use crate::{AutoLockRevokes, Entry, Events, RequestContext, locking, revocation};

pub(super) fn admission(joining: &Joining<'_>, admission: &Admission) -> Batch {
    let snapshot = joining.snapshot;
    let name = joining.received.request.token.as_str();
    let mut batch = Batch { conditions: snapshot.conditions(), writes: Vec::new() };
    match &admission.write {
        Write::Enrolment(enrolment) => {
            let record = EnrolmentRecord { uid: snapshot.uid, enrolment: enrolment.clone() };
            batch.writes.push(put(keys::enrolment(name), &record));
            batch.writes.extend(revocation::list(&snapshot.unlisted, joining.now));
        }
        Write::Instance(record) => {
            let entry = InstanceEntry { token: name.to_owned(), record: record.clone() };
            batch.writes.push(revocation::put_instance(snapshot.uid, &entry));
            // It is written over, and the sweep would not find what it held.
            let void = snapshot.void.as_ref().map(|void| void.record.issued.as_slice());
            batch.writes.extend(revocation::list(void.unwrap_or_default(), joining.now));
        }
    }
    batch.writes.extend(revocation::revoke(&admission.revoke, joining.now));
    if admission.revoke_other_instances {
        // All but the one that stays: it is written again by the same commit.
        let kept = snapshot.instance.as_ref().filter(|kept| kept.record.identity == admission.identity);
        batch.writes.extend(kept.map(|kept| revocation::put_instance(snapshot.uid, kept)));
        batch.writes.push(void_clients(joining));
    }
    for id in &admission.remove_locks {
        for (key, index) in &snapshot.indexes {
            batch.writes.extend(locking::remove(id, key, index));
        }
    }
    let detail = format!(
        "joined as {}, sequence {}, certificates until {}",
        admission.identity.id(),
        admission.claims.sequence,
        crate::rfc3339(admission.certificates_expire_at),
    );
    let identity = Some(admission.identity.id().to_owned());
    batch.writes.extend(event(joining, &admission.event, identity, detail, Vec::new()));
    batch
}

pub(super) fn denial(joining: &Joining<'_>, denial: &Denial) -> Batch {
    let snapshot = joining.snapshot;
    let mut batch = Batch { conditions: snapshot.conditions(), writes: Vec::new() };
    if let Some(lock) = &denial.lock {
        set_lock(joining, lock, &mut batch);
    }
    let identity = snapshot.enrolment.identity.as_ref().map(|identity| identity.id().to_owned());
    let cause = vec![format!("cause={}", denial.code.as_str())];
    batch.writes.extend(event(joining, &denial.event, identity, denial.message.clone(), cause));
    batch
}

/// The token's automatic lock, and what the operator wants it to revoke at once.
fn set_lock(joining: &Joining<'_>, lock: &NewLock, batch: &mut Batch) {
    let (snapshot, now) = (joining.snapshot, joining.now);
    let name = joining.received.request.token.as_str();
    let record = LockRecord {
        target: LockTarget::Token(name.to_owned()),
        lock: LockInForce {
            id: locking::automatic_id(snapshot.uid),
            origin: LockOrigin::Automatic(lock.position.clone()),
            message: Some(lock.message.clone()),
            public_message: None,
            expires: None,
        },
        created_at: now,
    };
    let key = locking::index_key(&record.target);
    let index = snapshot.indexes.iter().find(|(present, _)| *present == key).map(|(_, index)| index);
    batch.writes.extend(locking::set(&record, index));

    let Some(token) = &snapshot.token else { return };
    let revokes = match joining.service.config().auto_lock_revokes {
        AutoLockRevokes::None => false,
        AutoLockRevokes::Bots => token.token.spec.roles.is_bot(),
        AutoLockRevokes::All => true,
    };
    if !revokes {
        return;
    }
    let outcome = apply_verb(&token.token, &snapshot.enrolment, Verb::Revoke, now);
    if let Some(enrolment) = outcome.next {
        batch.writes.push(put(keys::enrolment(name), &EnrolmentRecord { uid: snapshot.uid, enrolment }));
        batch.writes.extend(revocation::list(&snapshot.unlisted, now));
    }
    batch.writes.extend(revocation::revoke(&outcome.revoke, now));
    if outcome.revoke_all_instances {
        batch.writes.push(void_clients(joining));
    }
}

fn void_clients(joining: &Joining<'_>) -> boundkey_store::Write {
    let name = joining.received.request.token.as_str();
    revocation::void_clients(joining.snapshot.uid, name, joining.now, &joining.context.correlation)
}

fn event(
    joining: &Joining<'_>,
    event: &Event,
    identity: Option<String>,
    detail: String,
    more_notes: Vec<String>,
) -> Vec<boundkey_store::Write> {
    let context = RequestContext { actor: "join".to_owned(), ..joining.context.clone() };
    let mut events = Events::new(joining.now, &context);
    events.push(Entry {
        code: event.code.as_str().to_owned(),
        token: Some(joining.received.request.token.to_string()),
        identity,
        detail,
        notes: event.notes.iter().map(ToString::to_string).chain(more_notes).collect(),
        ..Entry::default()
    });
    events.into_writes()
}
