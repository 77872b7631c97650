use std::time::Duration;

use boundkey_token::{Bot, Token};
use time::OffsetDateTime;

use crate::{Enrolment, Evidence, Identity, InstanceRecord, Locks, Uid, Verdict};

/// Everything a decision depends on. The clock is read once for the request.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub cluster: &'a str,
    /// None: no such token.
    pub token: Option<(Uid, &'a Token)>,
    pub enrolment: &'a Enrolment,
    /// The record of the instance that [`instance_of`] names, if there is one; only shared lineages have any.
    /// Its absence is a condition of the commit too.
    pub instance: Option<&'a InstanceRecord>,
    /// The bot that the token names, if it exists.
    pub bot: Option<&'a Bot>,
    pub evidence: &'a Evidence,
    pub locks: Locks<'a>,
    /// The id of a new host or bot instance, derived from (uid, generation, attempt): the same for a repeated attempt.
    pub fresh: &'a Identity,
    /// How long the certificates asked for would live (after caps and floors).
    pub lifetime: Duration,
    pub policy: &'a Policy,
    pub now: OffsetDateTime,
}

/// Renewal grace: how long after expiry a join still is a renewal. Default: hosts 30 d, bots 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub host_grace: Duration,
    pub bot_grace: Duration,
}
impl Default for Policy {
    fn default() -> Self {
        Self { host_grace: Duration::from_secs(30 * 86_400), bot_grace: Duration::from_secs(86_400) }
    }
}

/// Whose instance record a decision needs (`instance/<uid>/<id>`), and writes with [`crate::Write::Instance`].
/// Only of use while `enrolment.shared` or the token's mode is `insecure`.
pub fn instance_of<'a>(
    uid: Uid,
    enrolment: &Enrolment,
    evidence: &'a Evidence,
    fresh: &'a Identity,
) -> &'a Identity {
    use crate::StateEvidence;
    // The state's own, if its key is proven: so a host keeps its id. Else it is a new client.
    match &evidence.join_state {
        StateEvidence::Valid(s)
            if s.uid == uid
                && s.generation >= enrolment.generation
                && s.identity.is_bot() == fresh.is_bot()
                && evidence.proven.find(|k| k.thumbprint() == s.key).is_some() =>
        {
            &s.identity
        }
        _ => fresh,
    }
}

pub fn decide(input: &Input<'_>) -> Verdict {
    todo!()
}
