use time::OffsetDateTime;

use crate::{Enrolment, Locks, Policy};
use boundkey_token::Token;

/// The derived state that `tokens ls` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleState {
    Pending,
    Bound,
    RotationDue,
    NoRecoveriesLeft,
    Overdue,
    RegistrationExpired,
    Locked,
    Expired,
    Shared,
}
impl LifecycleState {
    pub fn as_str(self) -> &'static str {
        todo!()
    }
}

pub fn lifecycle_state(
    token: &Token,
    enrolment: &Enrolment,
    locks: Locks<'_>,
    policy: &Policy,
    now: OffsetDateTime,
) -> LifecycleState {
    todo!()
}

/// What would happen at the next join of the honest client, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    pub state: LifecycleState,
    pub next_join: String,
    pub reasons: Vec<String>,
    pub warnings: Vec<String>,
}

pub fn explain(
    token: &Token,
    enrolment: &Enrolment,
    locks: Locks<'_>,
    policy: &Policy,
    now: OffsetDateTime,
) -> Explanation {
    todo!()
}
