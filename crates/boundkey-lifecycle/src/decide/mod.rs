//! The decision: rules 1 to 10 of `docs/lifecycle.md`, one file for each group, in that order.
//!
//! | file | rules |
//! |---|---|
//! | `eligible` | 1: token, roles, names |
//! | `proof` | 2: what the proven keys, the secret and the state amount to |
//! | `locks` | 3 |
//! | `heal` | 3a |
//! | `retry` | 4 |
//! | `state` | 5 and 6: resync grant, join state |
//! | `shared` | 6a and 8: `insecure` operation, and leaving it |
//! | `limits` | 7 and 9: recovery limit, rotation |
//! | `admit` | 10 |
//! | `refuse` | what is said when a rule fails |

mod admit;
mod case;
mod eligible;
mod heal;
mod limits;
mod locks;
mod proof;
mod refuse;
mod retry;
mod shared;
mod state;

use std::time::Duration;

use boundkey_token::{Bot, RecoveryMode, Token};
use time::OffsetDateTime;

use crate::{Enrolment, Evidence, Identity, InstanceRecord, Locks, Proven, StateEvidence, Uid, Verdict};
use case::{Case, Standing};
pub(crate) use eligible::usable;
pub(crate) use limits::{certified_until, is_renewal, renewable_until, rotation_due};
pub(crate) use locks::in_force;
pub use retry::BACK_DATED;

/// Everything a decision depends on. The clock is read once for the request.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// None: no such token.
    pub token: Option<(Uid, &'a Token)>,
    /// `Enrolment::default()` if there is none.
    pub enrolment: &'a Enrolment,
    /// The record of the instance that [`instance_of`] names, if there is one; only shared lineages have any.
    /// Its absence is a condition of the commit too.
    pub instance: Option<&'a InstanceRecord>,
    /// The bot that the token names, if it exists.
    pub bot: Option<&'a Bot>,
    /// What was proven.
    pub evidence: &'a Evidence,
    /// Every lock on the token, its bot, and the host or bot instance: that of the presented state, and the
    /// enrolment's, but [`instance_of`]'s in place of that one while many clients share the token.
    pub locks: Locks<'a>,
    /// The id of a new host or bot instance, derived from (uid, generation, attempt): the same for a repeated attempt.
    pub fresh: &'a Identity,
    /// How long the certificates asked for would live (after caps and floors).
    pub lifetime: Duration,
    /// The operator's settings.
    pub policy: &'a Policy,
    /// The server's clock, read once for the request.
    pub now: OffsetDateTime,
}

/// Renewal grace: how long after expiry a join still is a renewal. Default: hosts 30 d, bots 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// For hosts.
    pub host_grace: Duration,
    /// For bots.
    pub bot_grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { host_grace: Duration::from_secs(30 * 86_400), bot_grace: Duration::from_secs(86_400) }
    }
}

impl Policy {
    /// The grace for this kind of token.
    #[must_use]
    pub fn grace(&self, is_bot: bool) -> Duration {
        if is_bot { self.bot_grace } else { self.host_grace }
    }
}

/// Whose instance record a decision needs (`instance/<uid>/<id>`), and writes with [`crate::Write::Instance`].
/// Only of use while `enrolment.shared` or the token's mode is `insecure`.
///
/// It is the presented state's own identity if that state is of this lineage and its key is proven (so a client
/// that is known stays known, and a host keeps its id); else `fresh`.
pub fn instance_of<'a>(
    uid: Uid,
    enrolment: &Enrolment,
    proven: &Proven,
    join_state: &'a StateEvidence,
    fresh: &'a Identity,
) -> &'a Identity {
    match join_state {
        StateEvidence::Valid(s)
            if s.uid == uid
                && s.generation >= enrolment.generation
                && s.identity.is_bot() == fresh.is_bot()
                && proven.find(|k| k.thumbprint() == s.key).is_some() =>
        {
            &s.identity
        }
        _ => fresh,
    }
}

/// What may happen next. Total: it answers on any input, and panics on none.
///
/// # Source
/// `docs/lifecycle.md`, "The rules".
pub fn decide(input: &Input<'_>) -> Verdict {
    run(input).unwrap_or_else(|refused| *refused)
}

/// A verdict that ends the decision before rule 10.
type Early = Box<Verdict>;

/// On which way a join goes through rules 5 to 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A key becomes bound.
    Register,
    /// An ordinary join.
    Numbered,
    /// Rule 5: by a resync grant.
    Grant,
    /// Rule 6a: the first shared join, or one that heals: it takes the next sequence.
    EnterShared,
    /// Rule 6a: a further shared join, which writes its instance only.
    Instance,
    /// Rule 6a: `insecure` was left, and this client is the one that stays.
    Adopt,
}

fn run(input: &Input<'_>) -> Result<Verdict, Early> {
    let mut case = Case::new(input)?;
    let names = eligible::check(&case)?; // 1
    proof::check(&case)?; // 2
    let superseded = locks::check(&case)?; // 3
    heal::apply(&mut case); // 3a
    if let Some(retry) = retry::answer(&case, &names) {
        return Ok(retry); // 4
    }
    let way = way(&case)?; // 5, 6, 6a
    let kind = limits::kind(&case, way);
    limits::recovery(&case, way, kind)?; // 7
    shared::instance_allowed(&case, way)?; // 8
    let key = limits::rotation(&case, way)?; // 9
    Ok(admit::admit(case, way, kind, key, names, superseded)) // 10
}

fn way(case: &Case<'_>) -> Result<Way, Early> {
    if !case.base.is_bound() {
        return Ok(Way::Register);
    }
    if case.mode == RecoveryMode::Insecure {
        return shared::join(case);
    }
    if let Some(way) = state::resync(case)? {
        return Ok(way);
    }
    // After a restore the same join may have been admitted twice, in `insecure` and not: the state says so.
    let of_shared = case.standing == Standing::Current && case.claims.is_some_and(|s| s.shared);
    if case.base.shared || of_shared {
        shared::leave(case)
    } else {
        state::check(case).map(|()| Way::Numbered)
    }
}
