//! Rule 3: no lock is in force.

use std::cmp::Ordering;

use super::case::{Case, Standing};
use super::{Early, refuse};
use crate::{LockInForce, LockOrigin, LockPosition};

/// The automatic locks that came back with a backup, to be removed with the admission.
pub(super) fn check(case: &Case<'_>) -> Result<Vec<String>, Early> {
    let mut superseded = Vec::new();
    for lock in in_force(case.input.locks, case.input.now) {
        match &lock.origin {
            // The client is the witness that the lock had been lifted: it was admitted after it.
            LockOrigin::Automatic(position) if outlived(case, position) => superseded.push(lock.id.clone()),
            LockOrigin::Automatic(_) | LockOrigin::ByHand => return Err(refuse::locked(case, lock)),
        }
    }
    Ok(superseded)
}

/// The locks whose time has not passed.
pub(crate) fn in_force(
    locks: &[LockInForce],
    now: time::OffsetDateTime,
) -> impl Iterator<Item = &LockInForce> {
    locks.iter().filter(move |lock| lock.expires.is_none_or(|end| end > now))
}

/// Does the presented state prove that the lineage went on past the lock's position?
fn outlived(case: &Case<'_>, lock: &LockPosition) -> bool {
    // A state alone is no proof: its key has to be there too.
    let Some(s) = case.claims.filter(|_| case.named.is_some()) else { return false };
    match s.generation.cmp(&lock.generation) {
        Ordering::Less => false,
        // A later generation began with a reset, which removes the lock and every key it was about.
        Ordering::Greater => true,
        Ordering::Equal if s.sequence <= lock.sequence => false,
        Ordering::Equal => match s.trail.at(s.sequence, lock.sequence) {
            Some(passed) => lock.state_id.is_some_and(|id| passed == id.short()),
            // So many joins ago that the trail does not tell. As far as 3a trusts such a state, the lock does not stand
            // against it: a second holder is behind then, and his next join locks again.
            None => case.standing == Standing::Ahead,
        },
    }
}
