//! What a verdict writes: one batch, conditional on everything that the decision depended on.

use boundkey_lifecycle::{
    Admission, Denial, Event, LockInForce, LockOrigin, NewLock, Verb, Write, apply_verb,
};
use boundkey_store::records::{EnrolmentRecord, InstanceEntry, LockRecord};
use boundkey_store::{Batch, keys};
use boundkey_token::LockTarget;

use super::Joining;
use crate::loaded::put;
use crate::{AutoLockRevokes, Entry, Events, Refusal, RequestContext, locking, revocation};

pub(super) async fn admission(joining: &Joining<'_>, admission: &Admission) -> Result<Batch, Refusal> {
    let snapshot = joining.snapshot;
    let name = joining.received.request.token.as_str();
    let mut batch = Batch { conditions: snapshot.conditions(), writes: Vec::new() };
    batch.writes.push(match &admission.write {
        Write::Enrolment(enrolment) => {
            put(keys::enrolment(name), &EnrolmentRecord { uid: snapshot.uid, enrolment: enrolment.clone() })
        }
        Write::Instance(record) => revocation::put_instance(
            snapshot.uid,
            &InstanceEntry { token: name.to_owned(), record: record.clone() },
        ),
    });
    batch.writes.extend(revocation::revoke(&admission.revoke, joining.now));
    if admission.revoke_other_instances {
        let keep = Some(admission.identity.id());
        let (conditions, writes) =
            revocation::revoke_instances(joining.service, snapshot.uid, keep, joining.now).await?;
        batch.conditions.extend(conditions);
        batch.writes.extend(writes);
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
    Ok(batch)
}

pub(super) async fn denial(joining: &Joining<'_>, denial: &Denial) -> Result<Batch, Refusal> {
    let snapshot = joining.snapshot;
    let mut batch = Batch { conditions: snapshot.conditions(), writes: Vec::new() };
    if let Some(lock) = &denial.lock {
        set_lock(joining, lock, &mut batch).await?;
    }
    let identity = snapshot.enrolment.identity.as_ref().map(|identity| identity.id().to_owned());
    let cause = vec![format!("cause={}", denial.code.as_str())];
    batch.writes.extend(event(joining, &denial.event, identity, denial.message.clone(), cause));
    Ok(batch)
}

/// The token's automatic lock, and what the operator wants it to revoke at once.
async fn set_lock(joining: &Joining<'_>, lock: &NewLock, batch: &mut Batch) -> Result<(), Refusal> {
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

    let Some(token) = &snapshot.token else { return Ok(()) };
    let revokes = match joining.service.config().auto_lock_revokes {
        AutoLockRevokes::None => false,
        AutoLockRevokes::Bots => token.token.spec.roles.is_bot(),
        AutoLockRevokes::All => true,
    };
    if !revokes {
        return Ok(());
    }
    let outcome = apply_verb(&token.token, &snapshot.enrolment, Verb::Revoke, now);
    if let Some(enrolment) = outcome.next {
        batch.writes.push(put(keys::enrolment(name), &EnrolmentRecord { uid: snapshot.uid, enrolment }));
    }
    batch.writes.extend(revocation::revoke(&outcome.revoke, now));
    if outcome.revoke_all_instances {
        let (conditions, writes) =
            revocation::revoke_instances(joining.service, snapshot.uid, None, now).await?;
        batch.conditions.extend(conditions);
        batch.writes.extend(writes);
    }
    Ok(())
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
