//! Rule 4: the attempt that was admitted last is repeated. The answer is given again and nothing changes.

use std::time::Duration;

use boundkey_token::RequestedNames;
use time::OffsetDateTime;

use super::case::Case;
use super::eligible;
use crate::{Enrolment, Hash32, LastAttempt, Retry, RetryCertificates, StateClaims, Verdict, clock};

/// Certificates are valid from this long before they are issued, for clocks that are slow.
pub const BACK_DATED: Duration = Duration::from_secs(5 * 60);

/// Only for who proves the key that the join bound: a thief who used a copied attempt with a key of his own would
/// otherwise have the owner told, for ever, of a key that he does not hold, and no lock would ever fall. His request
/// goes on to rule 6, where it is what it is: a state that somebody else went on from.
pub(super) fn answer(case: &Case<'_>, names: &RequestedNames) -> Option<Verdict> {
    if case.bound? != case.base.bound_public_key.as_ref()? {
        return None;
    }
    let attempt = Enrolment::attempt_hash(case.input.evidence.attempt);
    if let Some(last) = case.base.last_attempt.as_ref().filter(|last| repeats(case, last, attempt)) {
        let until = case.base.certificates_expire_at.filter(|_| !case.base.certificates_revoked);
        return given_again(case, names, last, until, case.base.claims(case.uid)?);
    }
    let record = case.instance().filter(|_| case.base.shared)?;
    if !repeats(case, &record.last_attempt, attempt) {
        return None;
    }
    let until = Some(record.certificates_expire_at).filter(|_| !record.revoked);
    let claims = case.base.instance_claims(case.uid, record)?;
    given_again(case, names, &record.last_attempt, until, claims)
}

/// The same attempt from the same state. The state is compared as it was PRESENTED: a join by grant or in shared
/// operation may have come with any, and its repetition comes with the same one.
fn repeats(case: &Case<'_>, last: &LastAttempt, attempt: Hash32) -> bool {
    last.attempt == attempt && last.presented == case.presented()
}

fn given_again(
    case: &Case<'_>,
    names: &RequestedNames,
    last: &LastAttempt,
    valid_until: Option<OffsetDateTime>,
    claims: StateClaims,
) -> Option<Verdict> {
    let evidence = case.input.evidence;
    // Only the certificates of that very join: for the same keys, names and roles, and while they are valid. Were
    // they made anew, a hoarded attempt would be worth more than the join that it was. Not yet valid are those of a clock
    // that was ahead when they were issued: no client would take them, and the attempt would have no end before that time.
    let certificates = valid_until
        .filter(|end| last.issued_at <= clock::after(case.input.now, BACK_DATED) && case.input.now < *end)
        .filter(|_| last.certified == evidence.certified && last.granted == eligible::digest(names))
        .map(|expire_at| RetryCertificates { issued_at: last.issued_at, expire_at, names: names.clone() });
    Some(Verdict::Retry(Box::new(Retry {
        identity: claims.identity.clone(),
        claims,
        bound_key: case.base.bound_public_key.clone()?,
        roles: evidence.roles.clone(),
        certificates,
    })))
}
