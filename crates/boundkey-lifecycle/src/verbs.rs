use std::time::Duration;

use time::OffsetDateTime;

use crate::{Enrolment, IssuedCertificate, Sealed};
use boundkey_token::Token;

/// An administrator's verb on an enrolment (locks and `rm` are the service's).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    GrantRecovery {
        count: u32,
    },
    Rotate {
        at: Option<OffsetDateTime>,
    },
    Resync {
        ttl: Duration,
        keep_key: bool,
    },
    Revoke,
    /// The new generated secret and its proof key, sealed by the caller.
    Reset {
        generated: Sealed,
        proof_key: Sealed,
    },
}

/// The next enrolment (None: nothing is left to do), what is revoked, and whether the token's automatic lock goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerbOutcome {
    pub next: Option<Enrolment>,
    pub revoke: Vec<IssuedCertificate>,
    pub revoke_all_instances: bool,
    pub remove_automatic_lock: bool,
}

pub fn apply_verb(token: &Token, enrolment: &Enrolment, verb: Verb, now: OffsetDateTime) -> VerbOutcome {
    todo!()
}
