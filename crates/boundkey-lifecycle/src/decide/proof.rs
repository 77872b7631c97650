//! Rule 2: is enough proven to go on at all?

use super::case::Case;
use super::{Early, refuse};
use crate::{OnboardingInForce, SecretEvidence};

pub(super) fn check(case: &Case<'_>) -> Result<(), Early> {
    // A state of this token, ahead, with its key: the server is the one that forgot (3a). It stands above the
    // secret, for whoever registers anew would start below the state he holds.
    if case.heals() {
        return Ok(());
    }
    if case.base.is_bound() { bound(case) } else { unbound(case) }
}

fn bound(case: &Case<'_>) -> Result<(), Early> {
    // (a) the bound key, (b) a state of the lineage and the key that it names, (c) the registration's own attempt
    // and key. Without (b) a thief who rotates would turn the honest client into a stranger with a wrong key, and
    // no lock would ever fall; without (c) the same after a theft during registration. What (b) and (c) alone
    // can lead to is decided in 4 and 6: an answer given again, or a lock.
    if case.bound.is_some() || case.named.is_some() || case.registrant {
        return Ok(());
    }
    if case.secret {
        // Somebody who knows a used secret but has not the key: worth an event of its own.
        return Err(refuse::secret_used(case));
    }
    match case.input.evidence.secret {
        SecretEvidence::Wrong => Err(refuse::wrong_secret(case)),
        _ => Err(refuse::wrong_key(case)),
    }
}

fn unbound(case: &Case<'_>) -> Result<(), Early> {
    if case.initial.is_some() {
        return Ok(());
    }
    // The initial key wins over a secret and its deadline.
    if matches!(case.base.onboarding(case.token), OnboardingInForce::InitialKey(_)) {
        return Err(refuse::wrong_initial_key(case));
    }
    match case.input.evidence.secret {
        SecretEvidence::NotPresented => return Err(refuse::secret_required(case)),
        SecretEvidence::Wrong => return Err(refuse::wrong_secret(case)),
        SecretEvidence::ProvenAlreadyUsed => return Err(refuse::secret_used(case)),
        SecretEvidence::Proven if case.base.secret.used => return Err(refuse::secret_used(case)),
        SecretEvidence::Proven => {}
    }
    let deadline = case.token.spec.bound_keypair.onboarding.must_register_before;
    if let Some(end) = deadline.filter(|end| *end <= case.input.now) {
        return Err(refuse::registration_expired(case, end));
    }
    if case.input.evidence.proven.current.is_none() {
        return Err(refuse::no_key(case));
    }
    Ok(())
}
