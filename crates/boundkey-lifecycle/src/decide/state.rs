//! Rules 5 and 6, outside `insecure`: a resync grant, and the join state.

use super::case::{Case, Standing};
use super::{Early, Way, limits, refuse};
use crate::{Confirm, ConfirmReason, JoinKind, StateClaims, Trail, Verdict};

/// Rule 5: a grant stands in for join state and recovery limit, for the holder of the bound key.
///
/// None: no grant is open for this request, and it is judged like any other.
pub(super) fn resync(case: &Case<'_>) -> Result<Option<Way>, Early> {
    let open = case.base.resync_until.is_some_and(|end| end > case.input.now);
    if !open || case.bound.is_none() {
        return Ok(None);
    }
    if case.standing.is_present() {
        // An ordinary join, and the grant ends with it. But where it would be a recovery, as after a lock that
        // revoked, the grant is for its holder too: else only whoever holds an older copy could use it.
        let renews = limits::kind(case, Way::Numbered) == JoinKind::Renew;
        return Ok((!renews && !case.base.shared).then_some(Way::Grant));
    }
    // A client of shared times that was not adopted has the key too: it would take the grant from the one that stayed, which
    // would then look like its clone.
    let behind = matches!(case.standing, Standing::Overtaken | Standing::AheadForked);
    if behind && !case.base.shared && fellow(case) {
        return Err(refuse::shared_token(case));
    }
    // A late duplicate of an earlier request must not eat the grant.
    if !case.is_live() {
        return Err(confirm(case, ConfirmReason::Resync));
    }
    Ok(Some(Way::Grant))
}

/// Rule 6: the state is the current one of this lineage.
pub(super) fn check(case: &Case<'_>) -> Result<(), Early> {
    match case.standing {
        Standing::Current | Standing::Returned => Ok(()),
        Standing::Overtaken | Standing::AheadForked if fellow(case) => Err(refuse::shared_token(case)),
        Standing::Overtaken | Standing::AheadForked => Err(clone(case)),
        // It registered while the token was shared, and the answer never arrived: a fellow of whoever was adopted.
        Standing::Nothing if case.registrant && case.base.adoption.is_some() => {
            Err(refuse::shared_token(case))
        }
        // The answer to the registration never arrived, and somebody went on with a copy of it.
        Standing::Nothing if case.registrant => Err(clone(case)),
        missing => Err(unusable(case, missing)),
    }
}

/// Missing, unreadable, or of another lineage: says nothing about clones, and so never locks.
pub(super) fn unusable(case: &Case<'_>, standing: Standing) -> Early {
    match standing {
        Standing::Nothing => refuse::state_required(case),
        Standing::Invalid(cause) => refuse::state_invalid(case, cause),
        Standing::OtherToken => refuse::recreated(case),
        Standing::EarlierGeneration => refuse::reset_since(case),
        // A state of this lineage beside a key that it does not name.
        _ => refuse::state_of_other_key(case),
    }
}

/// Two hold the lineage, or a snapshot was reverted. Only a live request condemns: it was signed, with a key of the
/// lineage (rule 2), after the lineage got where it stands. Any other may be an honest message that came late.
fn clone(case: &Case<'_>) -> Early {
    if case.is_live() { refuse::clone(case) } else { confirm(case, ConfirmReason::CloneSuspected) }
}

/// Another of the machines that hold this key, as shared times show: not a clone, and not the one that stayed. It may
/// have been the one that stayed, or the only one, in a history that a restore ended.
fn fellow(case: &Case<'_>) -> bool {
    let (Some(s), adoption) = (case.claims, &case.base.adoption) else { return false };
    let of_many = s.shared || s.adoption.is_some() || adoption.is_some();
    let is_ours = case.base.identity.as_ref() == Some(&s.identity)
        || adoption.as_ref().is_some_and(|a| a.instance == *s.client() || a.instance == s.identity);
    of_many && !is_ours && !have_met(case, s)
}

/// The holder of the state and the lineage's one client have been at one place: a bot has another name after each
/// recovery, and in each history, but its marks go on.
fn have_met(case: &Case<'_>, s: &StateClaims) -> bool {
    let base = &case.base;
    let (theirs, ours) =
        (marks(s.shared, &s.passed, &s.trail), marks(base.shared, &base.passed, &base.trail));
    theirs.iter().any(|mark| ours.contains(mark))
}

fn marks<'t>(shared: bool, passed: &'t Trail, trail: &'t Trail) -> &'t [[u8; 8]] {
    if passed.0.is_empty() && !shared { &trail.0 } else { &passed.0 }
}

/// A fresh challenge that names the present position. Nothing is stored.
pub(super) fn confirm(case: &Case<'_>, reason: ConfirmReason) -> Early {
    let position = case.input.enrolment.position(case.uid);
    Box::new(Verdict::Confirm(Confirm { position, reason }))
}
