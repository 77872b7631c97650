//! Rules 7 and 9: is it a renewal or a recovery, are recoveries left, is a rotation due; and which key is bound
//! after the join.

use std::time::Duration;

use boundkey_keys::PublicKey;
use boundkey_token::{RecoveryMode, Token};
use time::OffsetDateTime;

use super::case::{Case, Standing};
use super::{Early, Way, refuse};
use crate::{Enrolment, IssuedCertificate, JoinKind, RotationRequired, Verdict, clock};

/// By the server's record alone, so that no client can choose.
pub(super) fn kind(case: &Case<'_>, way: Way) -> JoinKind {
    let grace = case.input.policy.grace(case.input.fresh.is_bot());
    let (until, revoked) = match way {
        Way::Register => return JoinKind::Register,
        // It comes from a lost or reverted state: what was issued before is in doubt, and goes.
        Way::Grant => return JoinKind::Recover,
        Way::Numbered => (numbered_until(case, grace), case.base.certificates_revoked),
        Way::Instance | Way::EnterShared | Way::Adopt => shared_until(case, grace),
    };
    if !revoked && is_renewal(until, grace, case.input.now) { JoinKind::Renew } else { JoinKind::Recover }
}

/// Until when the lineage's certificates run; those of the other history that it comes back from count too.
fn numbered_until(case: &Case<'_>, grace: Duration) -> Option<OffsetDateTime> {
    let here = certified_until(&case.base, grace, case.input.now);
    let elsewhere = case.claims.filter(|_| case.standing == Standing::Returned && case.named.is_some());
    here.max(elsewhere.map(|s| s.certificates_expire_at))
}

/// Until when the certificates of this one client run, and whether they were revoked.
fn shared_until(case: &Case<'_>, grace: Duration) -> (Option<OffsetDateTime>, bool) {
    let base = &case.base;
    if let Some(record) = case.instance() {
        let until = latest(record.certificates_expire_at, &record.issued, grace, case.input.now);
        return (Some(until), record.revoked);
    }
    match case.claims.filter(|_| case.named.is_some()) {
        // Its record was dropped, or there never was one: its state tells, by the server's own tag.
        Some(s) => {
            let before = base.shared_revoked_at.is_none_or(|at| s.issued_at <= at);
            (Some(s.certificates_expire_at), base.certificates_revoked && before)
        }
        None => (None, base.certificates_revoked),
    }
}

/// Until when the lineage's certificates run: those of its last join, or an earlier one's that run longer and were
/// not revoked. A join under a clock that was behind has certificates that ended long ago; once the clock is right, it
/// must not have cost what an earlier join gave. What ends further ahead than the grace, a clock gave that was ahead.
pub(crate) fn certified_until(
    enrolment: &Enrolment,
    grace: Duration,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    Some(latest(enrolment.certificates_expire_at?, &enrolment.issued, grace, now))
}

fn latest(
    last: OffsetDateTime,
    issued: &[IssuedCertificate],
    grace: Duration,
    now: OffsetDateTime,
) -> OffsetDateTime {
    let plausible = clock::after(now, grace);
    let earlier = issued.iter().map(|c| c.expires_at).filter(|end| *end <= plausible);
    earlier.fold(last, OffsetDateTime::max)
}

/// Until when a join renews, if the certificates were not revoked.
pub(crate) fn renewable_until(until: OffsetDateTime, grace: Duration) -> OffsetDateTime {
    clock::after(until, grace)
}

pub(crate) fn is_renewal(until: Option<OffsetDateTime>, grace: Duration, now: OffsetDateTime) -> bool {
    until.is_some_and(|until| now < renewable_until(until, grace))
}

/// Rule 7. Registration counts too.
pub(super) fn recovery(case: &Case<'_>, way: Way, kind: JoinKind) -> Result<(), Early> {
    let counts = case.mode == RecoveryMode::Standard && kind != JoinKind::Renew && way != Way::Grant;
    if counts && case.base.recovery_count >= case.base.limit_in_force(case.token) {
        return Err(refuse::recovery_limit(case));
    }
    Ok(())
}

/// The key that is bound after the join.
pub(super) struct NextKey<'a> {
    pub(super) key: &'a PublicKey,
    pub(super) rotated: bool,
    /// Made for this binding, as far as the server can tell: nothing asked for before makes it old.
    pub(super) fresh: bool,
    pub(super) overdue: bool,
}

/// Since when a rotation is due, if it is.
pub(crate) fn rotation_due(
    token: &Token,
    enrolment: &Enrolment,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    // A request stands until a rotation clears it, so no step of the clock can make it pass for done.
    let requested = enrolment.rotate_requested_at.filter(|at| *at <= now);
    // The spec is the user's and cannot be cleared: it is compared with the age of the key.
    let by_spec = token
        .spec
        .bound_keypair
        .rotate_after
        .filter(|at| *at <= now && enrolment.key_bound_at.is_none_or(|since| since < *at));
    requested.into_iter().chain(by_spec).min()
}

/// Rule 9.
pub(super) fn rotation<'a>(case: &Case<'a>, way: Way) -> Result<NextKey<'a>, Early> {
    let due = rotation_due(case.token, &case.base, case.input.now);
    let keep = |key| NextKey { key, rotated: false, fresh: false, overdue: due.is_some() };
    match (way, case.bound, case.initial) {
        // The other clients have this key too: a rotation would shut them out. It is reported as overdue.
        (Way::Instance | Way::EnterShared, Some(bound), _) => Ok(keep(bound)),
        (Way::Register, _, Some(initial)) if case.mode == RecoveryMode::Insecure => Ok(keep(initial)),
        (Way::Register, _, Some(initial)) => rotated(case, way, initial, due),
        (Way::Register, _, None) => registered(case),
        (_, Some(bound), _) => rotated(case, way, bound, due),
        // Rules 2, 6 and 6a let nobody pass without it.
        (_, None, _) => Err(refuse::wrong_key(case)),
    }
}

/// A new key that is offered is taken, asked for or not; one that is due is insisted on.
fn rotated<'a>(
    case: &Case<'a>,
    way: Way,
    bound: &'a PublicKey,
    due: Option<OffsetDateTime>,
) -> Result<NextKey<'a>, Early> {
    let proven = &case.input.evidence.proven;
    let is_bound =
        |key: &Option<boundkey_keys::ProvenKey>| key.as_ref().is_some_and(|k| k.public_key() == bound);
    // That the bound key comes as the NEW one is an earlier try of this attempt that got through: no new key then.
    if let Some(key) = offered(case)?.filter(|key| *key != bound) {
        return Ok(NextKey { key, rotated: true, fresh: true, overdue: false });
    }
    match due {
        // By grant such an attempt may come back after a thief used it. It has offered its new key already and can
        // offer no other: it is let in, and the rotation stays due for its next join.
        Some(_) if way == Way::Grant && is_bound(&proven.new) => {
            Ok(NextKey { key: bound, rotated: false, fresh: false, overdue: true })
        }
        Some(since) => Err(ask(since)),
        None => Ok(NextKey { key: bound, rotated: false, fresh: false, overdue: false }),
    }
}

/// Registration by secret: the key was made for it, so nothing is due, but for the one case below.
fn registered<'a>(case: &Case<'a>) -> Result<NextKey<'a>, Early> {
    let proven = &case.input.evidence.proven;
    let current = proven.current.as_ref().map(boundkey_keys::ProvenKey::public_key);
    let new = proven.new.as_ref().map(boundkey_keys::ProvenKey::public_key);
    // A reset that caught a rotation on its way voided the one new key that the attempt can offer. It is let in with the
    // key that it had before, and makes another at its next join.
    if let (Some(current), Some(void)) = (current, new.filter(|new| is_void(case, new)))
        && current != void
        && !is_void(case, current)
    {
        return Ok(NextKey { key: current, rotated: false, fresh: false, overdue: true });
    }
    let Some(key) = offered(case)?.or(current) else { return Err(refuse::no_key(case)) };
    // What a reset unbound is never bound again, or the leaked key would be in force with the new secret.
    if is_void(case, key) {
        return Err(ask(case.input.now));
    }
    Ok(NextKey { key, rotated: false, fresh: true, overdue: false })
}

fn offered<'a>(case: &Case<'a>) -> Result<Option<&'a PublicKey>, Early> {
    let proven = &case.input.evidence.proven;
    let Some(new) = proven.new.as_ref().map(boundkey_keys::ProvenKey::public_key) else { return Ok(None) };
    let again = proven.current.as_ref().is_some_and(|current| current.public_key() == new);
    if again || is_void(case, new) {
        return Err(refuse::new_key_not_new(case));
    }
    Ok(Some(new))
}

fn is_void(case: &Case<'_>, key: &PublicKey) -> bool {
    case.base.secret.void_keys.contains(&key.thumbprint())
}

fn ask(since: OffsetDateTime) -> Early {
    Box::new(Verdict::RotationRequired(RotationRequired { since }))
}
