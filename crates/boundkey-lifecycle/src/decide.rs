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
    /// The record of the instance that the presented state (or, without one, `fresh`) names; shared lineages only.
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

pub fn decide(input: &Input<'_>) -> Verdict {
    todo!()
}
