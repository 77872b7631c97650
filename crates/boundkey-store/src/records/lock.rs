use boundkey_lifecycle::LockInForce;
use boundkey_token::LockTarget;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A lock by hand or an automatic one (`auto-<uid>`), under its own id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    /// What it locks.
    pub target: LockTarget,
    /// The lock as the decision sees it.
    pub lock: LockInForce,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// All locks on one target: what a join reads, and whose absence is a condition of its commit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockIndex {
    /// In the order in which they were made.
    pub locks: Vec<LockInForce>,
}

super::encoded_as_it_is!(LockRecord, "lock");
super::encoded_as_it_is!(LockIndex, "index of locks");
