//! Rule 3a: the server was restored from an older backup, and the client's own state, by the server's own
//! authentication tag, tells how far the lineage had got.

use std::borrow::Cow;

use super::case::{Case, Standing};
use crate::Enrolment;

/// Takes the enrolment to where the presented state stands. It is stored only if the join is admitted.
///
/// A state whose trail shows that the histories forked is not healed: it goes on to rules 5 and 6, so that a
/// resync grant can end the quarrel and nothing else does.
pub(super) fn apply(case: &mut Case<'_>) {
    let (Some(s), Some(key)) = (case.claims, case.named) else { return };
    if case.standing != Standing::Ahead {
        return;
    }
    let stored = case.input.enrolment;
    let mut secret = stored.secret.clone();
    // Whoever registered did it with the secret, or made it void.
    secret.used = true;
    secret.generated = None;
    if s.generation != stored.generation {
        // A reset that the backup does not know unbound this key, or one that followed it.
        if let Some(unbound) = &stored.bound_public_key {
            secret.void(unbound.thumbprint());
        }
        secret.spec_void = true;
    }
    let rotated_since = |asked: &_| s.key_since.is_some_and(|since| since >= *asked);
    case.base = Cow::Owned(Enrolment {
        generation: s.generation,
        secret,
        bound_public_key: Some(key.clone()),
        identity: Some(s.identity.clone()),
        sequence: s.sequence,
        recovery_count: s.recovery_count,
        granted_limit: stored.granted_limit,
        rotate_requested_at: stored.rotate_requested_at.filter(|asked| !rotated_since(asked)),
        certificates_expire_at: Some(s.certificates_expire_at),
        // They were issued after whatever revocation the backup knows.
        certificates_revoked: false,
        shared_revoked_at: None,
        issued: stored.issued.clone(),
        last_joined_at: Some(s.issued_at),
        last_recovered_at: stored.last_recovered_at,
        last_rotated_at: stored.last_rotated_at,
        key_bound_at: s.key_since,
        // What the last join before the restore was is not known: the attempt in hand is no repetition of it.
        last_attempt: None,
        registration_attempt: s.registration_attempt,
        last_state_id: Some(s.state_id),
        trail: s.trail.clone(),
        shared: s.shared,
        adoption: s.adoption.clone(),
        passed: s.passed.clone(),
        // The grant was made for whom the backup took for lost.
        resync_until: None,
        facts: stored.facts.clone(),
    });
    case.bound = Some(key);
    case.standing = Standing::Current;
    case.healed = true;
}
