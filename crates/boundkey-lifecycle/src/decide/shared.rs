//! Rules 6a and 8: `insecure` operation (static keys in CI, many clients at once), and leaving it.

use super::case::{Case, Standing};
use super::state::{confirm, unusable};
use super::{Early, Way, refuse};
use crate::ConfirmReason;

/// `insecure`, and a key is bound: whoever proves it joins.
pub(super) fn join(case: &Case<'_>) -> Result<Way, Early> {
    // 2(b) and (c) alone admit nobody: a key that was rotated away stays out in every mode.
    let Some(bound) = case.bound else { return Err(refuse::rotated_away(case)) };
    // A current state that names another key than the enrolment (2(a)) is news that has to be stored.
    let is_known = case.base.bound_public_key.as_ref() == Some(bound);
    // So is a current state that was not shared: after a restore the same join was admitted again in `insecure`.
    let is_numbered = case.standing == Standing::Current && case.claims.is_some_and(|s| !s.shared);
    if case.base.shared && !case.healed && is_known && !is_numbered {
        return Ok(Way::Instance);
    }
    // What was numbered becomes shared with the next sequence (so does what a heal has to store). A late duplicate
    // must not do that to a lineage: its holder would find a state that is not his.
    if case.standing.is_present() || case.is_live() {
        return Ok(Way::EnterShared);
    }
    Err(confirm(case, ConfirmReason::Shared))
}

/// `insecure` was left, and the lineage still is shared: the first live request with a shared state stays.
/// Nobody is locked here, for many were admitted to this position.
pub(super) fn leave(case: &Case<'_>) -> Result<Way, Early> {
    let of_lineage =
        case.standing.is_present() || matches!(case.standing, Standing::Overtaken | Standing::AheadForked);
    if !of_lineage {
        return Err(unusable(case, case.standing));
    }
    let shared = case.standing.is_present() || case.claims.is_some_and(|s| s.shared);
    if !shared || case.bound.is_none() || case.named.is_none() {
        return Err(refuse::shared_token(case));
    }
    // After a restore another client's registration may have been repeated alone: it has this state too, and this is his
    // lineage now.
    let is_his =
        case.has_been_here() || case.claims.is_none_or(|s| case.base.identity.as_ref() == Some(&s.identity));
    if !case.base.shared && !is_his {
        return Err(refuse::shared_token(case));
    }
    if !case.is_live() {
        return Err(confirm(case, ConfirmReason::Shared));
    }
    Ok(Way::Adopt)
}

/// Rule 8: this one client was not revoked. One that is unknown, or was dropped, is a new client, not a denial.
pub(super) fn instance_allowed(case: &Case<'_>, way: Way) -> Result<(), Early> {
    let asks = matches!(way, Way::Instance | Way::EnterShared | Way::Adopt);
    if asks && case.instance().is_some_and(|record| record.revoked) {
        return Err(refuse::instance_revoked(case));
    }
    Ok(())
}
